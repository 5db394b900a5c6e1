package rollout

import (
	"context"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// statefulSet is held, and moved batch by batch, by the partition of its rolling update: pods of an ordinal below it keep
// their version. It has no pause, so a newer template in mid-release goes to the pods of the present batch at once.
type statefulSet struct{ s *appsv1.StatefulSet }

// holdAll is a partition above every ordinal.
const holdAll = math.MaxInt32

func (w *statefulSet) object() client.Object             { return w.s }
func (w *statefulSet) template() *corev1.PodTemplateSpec { return &w.s.Spec.Template }
func (w *statefulSet) selector() *metav1.LabelSelector   { return w.s.Spec.Selector }
func (w *statefulSet) size() int32                       { return ptr.Deref(w.s.Spec.Replicas, 1) }
func (w *statefulSet) heldByUser() bool                  { return false }

func (w *statefulSet) observe(ctx context.Context, live client.Reader, revisionOf func(*corev1.PodTemplateSpec) (string, error), stable string, out *machine.Workload) error {
	s := w.s
	out.Settled = s.Status.ObservedGeneration >= s.Generation
	out.Held = s.Annotations[v1alpha1.AnnotationHeldBy] != "" && s.Annotations[v1alpha1.AnnotationHeldFields] != ""
	return countPods(ctx, live, s, s.Spec.Selector, s.Status.UpdateRevision, revisionOf, stable, out)
}

// countPods counts the pods of a workload whose pods carry the name of a ControllerRevision. Those of its newest revision are
// of its template, and all others, for what matters here, of the stable one.
func countPods(ctx context.Context, live client.Reader, owner client.Object, selector *metav1.LabelSelector, newest string, _ func(*corev1.PodTemplateSpec) (string, error), stable string, out *machine.Workload) error {
	pods, err := podsOf(ctx, live, owner.GetNamespace(), selector)
	if err != nil {
		return err
	}
	var others machine.Pods
	mine := pods[:0]
	hash := ""
	for i := range pods {
		p := &pods[i]
		if !metav1.IsControlledBy(p, owner) {
			continue
		}
		mine = append(mine, *p)
		count := &others
		if p.Labels[appsv1.ControllerRevisionHashLabelKey] == newest && out.Settled {
			count = &out.Updated
		} else {
			hash = p.Labels[appsv1.ControllerRevisionHashLabelKey]
		}
		count.Pods++
		if podReady(p) {
			count.Ready++
		}
	}
	out.Total = int32(len(mine))
	out.Stable = others
	if stable == out.Template {
		out.Stable = out.Updated
	}
	switch {
	case out.Updated.Pods == out.Total && newest != "" && out.Settled:
		out.Serving, out.ServingHash = out.Template, newest
	case others.Pods == out.Total && stable != "":
		out.Serving, out.ServingHash = stable, hash
	}
	if out.Updated.Ready < out.Updated.Pods {
		out.Problem = problemOf(mine)
	}
	return nil
}

func (w *statefulSet) set(d machine.Desired, _ machine.Workload) error {
	s := &w.s.Spec.UpdateStrategy
	if d.Hold == machine.Release {
		var was appsv1.StatefulSetUpdateStrategy
		kept, err := takeFields(w.s, &was)
		if err != nil || !kept {
			return err
		}
		*s = was
		return nil
	}
	if err := keepFields(w.s, *s); err != nil {
		return err
	}
	partition := int32(holdAll)
	if d.Hold == machine.Batch {
		partition = max(0, w.size()-d.Batch)
	}
	most := s.RollingUpdate
	*s = appsv1.StatefulSetUpdateStrategy{
		Type:          appsv1.RollingUpdateStatefulSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition},
	}
	if most != nil {
		s.RollingUpdate.MaxUnavailable = most.MaxUnavailable
	}
	return nil
}

func (*statefulSet) surplus(context.Context, client.Reader, machine.Desired, machine.Workload) ([]corev1.Pod, error) {
	return nil, nil
}
