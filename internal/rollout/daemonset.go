package rollout

import (
	"cmp"
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// daemonSet is held by the update strategy OnDelete, and moved by deleting pods, one at a time. A pod that comes back for
// another reason, with a new node for instance, has the newest template: a DaemonSet knows no other.
type daemonSet struct {
	s      *appsv1.DaemonSet
	newest *string // the ControllerRevision of its template
}

func (w *daemonSet) object() client.Object             { return w.s }
func (w *daemonSet) template() *corev1.PodTemplateSpec { return &w.s.Spec.Template }
func (w *daemonSet) selector() *metav1.LabelSelector   { return w.s.Spec.Selector }
func (w *daemonSet) size() int32                       { return w.s.Status.DesiredNumberScheduled }
func (w *daemonSet) heldByUser() bool                  { return false }

func (w *daemonSet) observe(ctx context.Context, live client.Reader, _ func(*corev1.PodTemplateSpec) (string, error), st *v1alpha1.RolloutStatus, out *machine.Workload) error {
	s := w.s
	out.Settled = s.Status.ObservedGeneration >= s.Generation
	out.Held = s.Annotations[v1alpha1.AnnotationHeldBy] != "" && s.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	newest, err := w.newestRevision(ctx, live)
	if err != nil {
		return err
	}
	w.newest = &newest
	_, err = countPods(ctx, live, s, s.Spec.Selector, newest, st, out)
	return err
}

// newestRevision is the label of pods of the present template: the highest of the ControllerRevisions of the DaemonSet.
func (w *daemonSet) newestRevision(ctx context.Context, live client.Reader) (string, error) {
	selector, err := metav1.LabelSelectorAsSelector(w.s.Spec.Selector)
	if err != nil {
		return "", err
	}
	var l appsv1.ControllerRevisionList
	if err := live.List(ctx, &l, client.InNamespace(w.s.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return "", err
	}
	var newest *appsv1.ControllerRevision
	for i := range l.Items {
		if c := &l.Items[i]; metav1.IsControlledBy(c, w.s) && (newest == nil || c.Revision > newest.Revision) {
			newest = c
		}
	}
	if newest == nil {
		return "", nil
	}
	return newest.Labels[appsv1.ControllerRevisionHashLabelKey], nil
}

func (w *daemonSet) set(d machine.Desired, _ machine.Workload) error {
	s := &w.s.Spec.UpdateStrategy
	if d.Hold == machine.Release {
		var was appsv1.DaemonSetUpdateStrategy
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
	*s = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	return nil
}

// surplus is the next pod to replace, when all that were replaced are ready. Pods that are not ready go first.
func (w *daemonSet) surplus(ctx context.Context, live client.Reader, d machine.Desired, seen machine.Workload) ([]corev1.Pod, error) {
	if d.Hold != machine.Batch || !seen.Settled || w.newest == nil || seen.Total < seen.Size ||
		seen.Updated.Ready < seen.Updated.Pods || seen.Updated.Pods >= d.Batch {
		return nil, nil
	}
	pods, err := podsOf(ctx, live, w.s.Namespace, w.s.Spec.Selector)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool {
		return !metav1.IsControlledBy(&p, w.s) || p.Labels[appsv1.ControllerRevisionHashLabelKey] == *w.newest
	})
	if slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }) {
		return nil, nil // one is on its way
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		ready := func(p *corev1.Pod) int {
			if podReady(p) {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(ready(&a), ready(&b)), cmp.Compare(a.Name, b.Name))
	})
	return pods[:min(1, len(pods))], nil
}
