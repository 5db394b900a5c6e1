package apiserver

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// appsKinds are the kinds of apps/v1.
func appsKinds() []erasable {
	v1 := appsv1.SchemeGroupVersion
	return []erasable{
		row[*appsv1.Deployment]{
			gv: v1, plural: "deployments", list: &appsv1.DeploymentList{}, short: []string{"deploy"}, inAll: true,
			defaults:       defaultDeployment,
			validate:       validateDeployment,
			validateUpdate: validateDeploymentUpdate,
			spec:           func(d *appsv1.Deployment) any { return &d.Spec },
			copyStatus:     func(to, from *appsv1.Deployment) { to.Status = from.Status },
			scale: func(d *appsv1.Deployment) scaleFields {
				return scaleFields{&d.Spec.Replicas, d.Status.Replicas, metav1.FormatLabelSelector(d.Spec.Selector)}
			},
			columns: deploymentColumns,
		},
		row[*appsv1.ReplicaSet]{
			gv: v1, plural: "replicasets", list: &appsv1.ReplicaSetList{}, short: []string{"rs"}, inAll: true,
			defaults:       defaultReplicaSet,
			validate:       validateReplicaSet,
			validateUpdate: validateReplicaSetUpdate,
			spec:           func(r *appsv1.ReplicaSet) any { return &r.Spec },
			copyStatus:     func(to, from *appsv1.ReplicaSet) { to.Status = from.Status },
			scale: func(r *appsv1.ReplicaSet) scaleFields {
				return scaleFields{&r.Spec.Replicas, r.Status.Replicas, metav1.FormatLabelSelector(r.Spec.Selector)}
			},
			fields: func(r *appsv1.ReplicaSet) fields.Set {
				return fields.Set{"status.replicas": itoa(r.Status.Replicas)}
			},
			columns: replicaSetColumns,
		},
		row[*appsv1.StatefulSet]{
			gv: v1, plural: "statefulsets", list: &appsv1.StatefulSetList{}, short: []string{"sts"}, inAll: true,
			defaults:       defaultStatefulSet,
			validate:       validateStatefulSet,
			validateUpdate: validateStatefulSetUpdate,
			spec:           func(s *appsv1.StatefulSet) any { return &s.Spec },
			copyStatus:     func(to, from *appsv1.StatefulSet) { to.Status = from.Status },
			scale: func(s *appsv1.StatefulSet) scaleFields {
				return scaleFields{&s.Spec.Replicas, s.Status.Replicas, metav1.FormatLabelSelector(s.Spec.Selector)}
			},
			columns: statefulSetColumns,
		},
		row[*appsv1.ControllerRevision]{
			gv: v1, plural: "controllerrevisions", list: &appsv1.ControllerRevisionList{},
			validateUpdate: validateRevisionUpdate,
			columns:        revisionColumns,
		},
	}
}
