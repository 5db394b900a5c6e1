package rollout

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// statefulSet is held, and moved batch by batch, by the partition of its rolling update: pods of an ordinal below it keep
// their version. It has no pause, so a newer template in mid-release goes to the pods of the present batch at once, unless
// that is complete and has routes.
type statefulSet struct {
	s *appsv1.StatefulSet
	// behind are the places of the pods that are not of its template, from 0, the lowest first.
	behind []int32
}

// holdAll is a partition above every ordinal.
const holdAll = math.MaxInt32

func (w *statefulSet) object() client.Object             { return w.s }
func (w *statefulSet) template() *corev1.PodTemplateSpec { return &w.s.Spec.Template }
func (w *statefulSet) selector() *metav1.LabelSelector   { return w.s.Spec.Selector }
func (w *statefulSet) size() int32                       { return ptr.Deref(w.s.Spec.Replicas, 1) }
func (w *statefulSet) heldByUser() bool                  { return false }

func (w *statefulSet) observe(ctx context.Context, live client.Reader, _ func(*corev1.PodTemplateSpec) (string, error), st *v1alpha1.RolloutStatus, out *machine.Workload) error {
	s := w.s
	out.Settled = s.Status.ObservedGeneration >= s.Generation
	out.Held = s.Annotations[v1alpha1.AnnotationHeldBy] != "" && s.Annotations[v1alpha1.AnnotationHeldFields] != ""
	pods, err := countPods(ctx, live, s, s.Spec.Selector, s.Status.UpdateRevision, st, out)
	if err != nil {
		return err
	}
	start := int32(0)
	if s.Spec.Ordinals != nil {
		start = s.Spec.Ordinals.Start
	}
	for i := range pods {
		ordinal, err := strconv.ParseInt(strings.TrimPrefix(pods[i].Name, s.Name+"-"), 10, 32)
		if err == nil && pods[i].Labels[appsv1.ControllerRevisionHashLabelKey] != s.Status.UpdateRevision {
			w.behind = append(w.behind, int32(ordinal)-start)
		}
	}
	slices.Sort(w.behind)
	return nil
}

// countPods counts the pods of a workload whose pods carry the name of a ControllerRevision, and returns them. Those of its
// newest revision are of its template, and all others of the stable one, unless routes have to tell them apart.
func countPods(ctx context.Context, live client.Reader, owner client.Object, selector *metav1.LabelSelector, newest string, st *v1alpha1.RolloutStatus, out *machine.Workload) ([]corev1.Pod, error) {
	pods, err := podsOf(ctx, live, owner.GetNamespace(), selector)
	if err != nil {
		return nil, err
	}
	var others machine.Pods
	stable, byHash := st.StableRevision, map[string]machine.Pods{}
	mine := pods[:0]
	hash := ""
	for i := range pods {
		p := &pods[i]
		if !metav1.IsControlledBy(p, owner) {
			continue
		}
		mine = append(mine, *p)
		count, label := &others, p.Labels[appsv1.ControllerRevisionHashLabelKey]
		if label == newest && out.Settled {
			count = &out.Updated
		} else {
			hash = label
		}
		of := byHash[label]
		count.Pods, of.Pods = count.Pods+1, of.Pods+1
		if podReady(p) {
			count.Ready, of.Ready = count.Ready+1, of.Ready+1
		}
		byHash[label] = of
	}
	out.Total = int32(len(mine))
	out.Stable = others
	if stable == out.Template {
		out.Stable = out.Updated
	}
	if len(st.TrafficRoutings) > 0 {
		out.Stable, out.Canary = byHash[st.StablePodHash], byHash[st.CanaryPodHash]
	}
	if out.Settled {
		out.UpdatedHash = newest
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
	return mine, nil
}

func (w *statefulSet) set(d machine.Desired, seen machine.Workload) error {
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
		partition = w.partition(d, seen)
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

// partition lets a batch become new. Where routes send traffic to the new pods, the last of those that are to stay as they are
// may have any place, and once the batch is complete a still newer template is held, too: pods above the partition keep their version
// for as long as they live.
func (w *statefulSet) partition(d machine.Desired, seen machine.Workload) int32 {
	keep := max(0, w.size()-d.Batch)
	if !d.CanaryService {
		return keep
	}
	if seen.Settled && seen.Updated.Ready >= d.Batch && seen.Total == seen.Size {
		return holdAll
	}
	if n := min(int(keep), len(w.behind)); n > 0 {
		return max(keep, w.behind[n-1]+1)
	}
	return keep
}

func (*statefulSet) surplus(context.Context, client.Reader, machine.Desired, machine.Workload) ([]corev1.Pod, error) {
	return nil, nil
}
