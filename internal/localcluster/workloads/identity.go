package workloads

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var statefulSetKind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

func podName(set string, ordinal int) string { return fmt.Sprintf("%s-%d", set, ordinal) }

// ordinalOf reads the ordinal out of the name of a pod of set; false if it is no such name.
func ordinalOf(set, pod string) (int, bool) {
	s, ok := strings.CutPrefix(pod, set+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || strconv.Itoa(n) != s {
		return 0, false
	}
	return n, true
}

func claimName(template, set string, ordinal int) string {
	return fmt.Sprintf("%s-%s-%d", template, set, ordinal)
}

// newMember makes the pod with an ordinal of s from the template of a revision.
func newMember(s *appsv1.StatefulSet, template *corev1.PodTemplateSpec, r ordinalRevision) *corev1.Pod {
	p := newPod(template, s.Namespace, controllerRef(s, statefulSetKind))
	p.Name = podName(s.Name, r.ordinal)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.StatefulSetPodNameLabel] = p.Name
	p.Labels[appsv1.PodIndexLabel] = strconv.Itoa(r.ordinal)
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = r.revision
	p.Spec.Hostname = p.Name
	p.Spec.Subdomain = s.Spec.ServiceName
	templates := map[string]bool{}
	for _, t := range s.Spec.VolumeClaimTemplates {
		templates[t.Name] = true
	}
	p.Spec.Volumes = slices.DeleteFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return templates[v.Name] })
	for _, t := range s.Spec.VolumeClaimTemplates {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(t.Name, s.Name, r.ordinal)},
		}})
	}
	return p
}

// newClaim makes the claim of a member from one of the templates of s.
func newClaim(s *appsv1.StatefulSet, t *corev1.PersistentVolumeClaim, ordinal int) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: *t.ObjectMeta.DeepCopy(), Spec: *t.Spec.DeepCopy()}
	c.Name, c.Namespace = claimName(t.Name, s.Name, ordinal), s.Namespace
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	if s.Spec.Selector != nil {
		maps.Copy(c.Labels, s.Spec.Selector.MatchLabels)
	}
	return c
}

// retention is what becomes of the claims of s: deleted with the set, and deleted when their pod is scaled away.
func retention(s *appsv1.StatefulSet) (withSet, withScale bool) {
	p := s.Spec.PersistentVolumeClaimRetentionPolicy
	if p == nil {
		return false, false
	}
	return p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType, p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// claimOwners is refs, the owners of a claim, with what the retention policy of s asks for: the set when claims go
// with it, and the pod when that is being scaled away (pod is nil otherwise). Owners that are not ours stay.
func claimOwners(s *appsv1.StatefulSet, refs []metav1.OwnerReference, pod *corev1.Pod) []metav1.OwnerReference {
	withSet, withScale := retention(s)
	out := slices.DeleteFunc(slices.Clone(refs), func(r metav1.OwnerReference) bool {
		if r.Kind == "Pod" {
			_, ours := ordinalOf(s.Name, r.Name)
			return ours
		}
		return r.UID == s.UID
	})
	if withSet {
		out = append(out, metav1.OwnerReference{APIVersion: statefulSetKind.GroupVersion().String(), Kind: statefulSetKind.Kind, Name: s.Name, UID: s.UID})
	}
	if withScale && pod != nil {
		// With the set as a second owner the claim would outlive the pod.
		out = slices.DeleteFunc(out, func(r metav1.OwnerReference) bool { return r.UID == s.UID })
		out = append(out, metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID})
	}
	return out
}
