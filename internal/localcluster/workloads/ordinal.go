package workloads

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// member is a pod of a StatefulSet as the planner sees it.
type member struct {
	ordinal int
	// revision is the ControllerRevision that the pod was made from.
	revision string
	// ended: succeeded or failed. terminating: being deleted. ready and available as of the last look.
	ended, terminating, ready, available bool
}

// ordinals is what a StatefulSet wants.
type ordinals struct {
	start, replicas int
	// parallel: do not wait for one pod before the next.
	parallel bool
	// onDelete: pods are renewed only when somebody deletes them. Otherwise those with an ordinal of at least
	// start+partition are, from the highest down.
	onDelete  bool
	partition int
	// current and update are the names of the revision that pods are still at and of the one they shall be at.
	current, update string
}

// ordinalPlan is what to do next, in this order.
type ordinalPlan struct {
	// create lists ordinals and the revisions to make them from.
	create []ordinalRevision
	// remove lists ordinals of pods to delete; condemned those that lie beyond the wanted range.
	remove, condemned []int
	// waitsFor is the ordinal of the pod that has to become ready, or to go, before there is more to do; -1 for none.
	waitsFor int
}

type ordinalRevision struct {
	ordinal  int
	revision string
}

func (p ordinalPlan) empty() bool { return len(p.create)+len(p.remove) == 0 }

// ordinalsOf reads the wishes of s, between the revisions current and update.
func ordinalsOf(s *appsv1.StatefulSet, current, update string) ordinals {
	o := ordinals{
		replicas: int(ptr.Deref(s.Spec.Replicas, 1)),
		parallel: s.Spec.PodManagementPolicy == appsv1.ParallelPodManagement,
		onDelete: s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType,
		current:  current, update: update,
	}
	if s.Spec.Ordinals != nil {
		o.start = int(s.Spec.Ordinals.Start)
	}
	if ru := s.Spec.UpdateStrategy.RollingUpdate; ru != nil {
		o.partition = int(ptr.Deref(ru.Partition, 0))
	}
	return o
}

// revisionFor is the revision that a pod is made from when it is made now.
func (o ordinals) revisionFor(ordinal int) string {
	if !o.onDelete && ordinal < o.start+o.partition {
		return o.current
	}
	return o.update
}

func (o ordinals) wants(ordinal int) bool { return ordinal >= o.start && ordinal < o.start+o.replicas }

// planOrdinals decides what to do next about the pods of a StatefulSet. Pods are created from the lowest ordinal up and
// removed from the highest down; unless parallel, one at a time and only when those before it are ready. A renewal
// removes one pod, and waits until everything above it is available again.
func planOrdinals(o ordinals, members []member) ordinalPlan {
	plan := ordinalPlan{waitsFor: -1}
	at := make(map[int]member, len(members))
	var beyond []member
	for _, m := range members {
		if o.wants(m.ordinal) {
			at[m.ordinal] = m
		} else {
			beyond = append(beyond, m)
		}
	}
	slices.SortFunc(beyond, func(a, b member) int { return cmp.Compare(b.ordinal, a.ordinal) })

	for i := o.start; i < o.start+o.replicas; i++ {
		m, exists := at[i]
		switch {
		case !exists:
			plan.create = append(plan.create, ordinalRevision{i, o.revisionFor(i)})
		case m.terminating:
			plan.waitFor(i)
		case m.ended:
			plan.remove = append(plan.remove, i)
		case !m.available:
			plan.waitFor(i)
		default:
			continue
		}
		if !o.parallel {
			return plan
		}
	}

	for _, m := range beyond {
		if m.terminating {
			plan.waitFor(m.ordinal)
			if !o.parallel {
				return plan
			}
			continue
		}
		plan.remove = append(plan.remove, m.ordinal)
		plan.condemned = append(plan.condemned, m.ordinal)
		if !o.parallel {
			return plan
		}
	}
	if o.onDelete || !plan.empty() || len(beyond) > 0 {
		return plan
	}

	for i := o.start + o.replicas - 1; i >= o.start+o.partition; i-- {
		m := at[i]
		if m.terminating {
			plan.waitsFor = i
			return plan
		}
		if m.revision != o.update {
			plan.remove = append(plan.remove, i)
			return plan
		}
		if !m.available {
			plan.waitsFor = i
			return plan
		}
	}
	return plan
}

func (p *ordinalPlan) waitFor(ordinal int) {
	if p.waitsFor < 0 {
		p.waitsFor = ordinal
	}
}

// observe shows pods to the planner.
func observe(s *appsv1.StatefulSet, pods []*corev1.Pod, now time.Time) []member {
	minReady := time.Duration(s.Spec.MinReadySeconds) * time.Second
	var out []member
	for _, p := range pods {
		n, ok := ordinalOf(s.Name, p.Name)
		if !ok {
			continue
		}
		out = append(out, member{
			ordinal: n, revision: p.Labels[appsv1.ControllerRevisionHashLabelKey],
			ended:       p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
			terminating: p.DeletionTimestamp != nil,
			ready:       p.Status.Phase == corev1.PodRunning && ready(p),
			available:   p.Status.Phase == corev1.PodRunning && available(p, minReady, now),
		})
	}
	return out
}

// statefulSetStatus counts the members of s. current and update name its revisions.
func statefulSetStatus(s *appsv1.StatefulSet, o ordinals, members []member, collisions *int32) appsv1.StatefulSetStatus {
	st := appsv1.StatefulSetStatus{
		ObservedGeneration: s.Generation, CollisionCount: collisions,
		CurrentRevision: o.current, UpdateRevision: o.update, Conditions: s.Status.Conditions,
	}
	for _, m := range members {
		st.Replicas++
		if m.ended || m.terminating {
			// It exists, and serves nobody.
			continue
		}
		if m.ready {
			st.ReadyReplicas++
		}
		if m.available {
			st.AvailableReplicas++
		}
		if m.revision == o.current {
			st.CurrentReplicas++
		}
		if m.revision == o.update {
			st.UpdatedReplicas++
		}
	}
	if n := int32(o.replicas); !o.onDelete && st.UpdatedReplicas == n && st.ReadyReplicas == n && st.Replicas == n {
		st.CurrentRevision, st.CurrentReplicas = st.UpdateRevision, st.UpdatedReplicas
	}
	return st
}
