package apiserver

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// wanted is a number of replicas, whose default is one.
func wanted(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func containerNames(t corev1.PodTemplateSpec) string {
	var all []string
	for _, c := range t.Spec.Containers {
		all = append(all, c.Name)
	}
	return strings.Join(all, ",")
}

func containerImages(t corev1.PodTemplateSpec) string {
	var all []string
	for _, c := range t.Spec.Containers {
		all = append(all, c.Image)
	}
	return strings.Join(all, ",")
}

var deploymentColumns = []column[*appsv1.Deployment]{
	name[*appsv1.Deployment](),
	{"Ready", func(d *appsv1.Deployment) any {
		return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, wanted(d.Spec.Replicas))
	}, false},
	{"Up-to-date", func(d *appsv1.Deployment) any { return int64(d.Status.UpdatedReplicas) }, false},
	{"Available", func(d *appsv1.Deployment) any { return int64(d.Status.AvailableReplicas) }, false},
	age[*appsv1.Deployment](),
	{"Containers", func(d *appsv1.Deployment) any { return containerNames(d.Spec.Template) }, true},
	{"Images", func(d *appsv1.Deployment) any { return containerImages(d.Spec.Template) }, true},
	{"Selector", func(d *appsv1.Deployment) any { return metav1.FormatLabelSelector(d.Spec.Selector) }, true},
}

var replicaSetColumns = []column[*appsv1.ReplicaSet]{
	name[*appsv1.ReplicaSet](),
	{"Desired", func(r *appsv1.ReplicaSet) any { return int64(wanted(r.Spec.Replicas)) }, false},
	{"Current", func(r *appsv1.ReplicaSet) any { return int64(r.Status.Replicas) }, false},
	{"Ready", func(r *appsv1.ReplicaSet) any { return int64(r.Status.ReadyReplicas) }, false},
	age[*appsv1.ReplicaSet](),
	{"Containers", func(r *appsv1.ReplicaSet) any { return containerNames(r.Spec.Template) }, true},
	{"Images", func(r *appsv1.ReplicaSet) any { return containerImages(r.Spec.Template) }, true},
	{"Selector", func(r *appsv1.ReplicaSet) any { return metav1.FormatLabelSelector(r.Spec.Selector) }, true},
}

var statefulSetColumns = []column[*appsv1.StatefulSet]{
	name[*appsv1.StatefulSet](),
	{"Ready", func(s *appsv1.StatefulSet) any {
		return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, wanted(s.Spec.Replicas))
	}, false},
	age[*appsv1.StatefulSet](),
	{"Containers", func(s *appsv1.StatefulSet) any { return containerNames(s.Spec.Template) }, true},
	{"Images", func(s *appsv1.StatefulSet) any { return containerImages(s.Spec.Template) }, true},
}

var revisionColumns = []column[*appsv1.ControllerRevision]{
	name[*appsv1.ControllerRevision](),
	{"Controller", func(r *appsv1.ControllerRevision) any {
		owner := metav1.GetControllerOf(r)
		if owner == nil {
			return "<none>"
		}
		group, _, _ := strings.Cut(owner.APIVersion, "/")
		return fmt.Sprintf("%s.%s/%s", strings.ToLower(owner.Kind), group, owner.Name)
	}, false},
	{"Revision", func(r *appsv1.ControllerRevision) any { return r.Revision }, false},
	age[*appsv1.ControllerRevision](),
}
