package workloads

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// set is a ReplicaSet of a Deployment as the planner sees it.
type set struct {
	name string
	// size is spec.replicas, available how many of those are available.
	size, available int
	// maxAtScaling is the most pods that the Deployment allowed when it last scaled this set; 0 when unknown.
	maxAtScaling int
}

// bounds are how many pods more and fewer than wanted a rolling update may have.
type bounds struct{ surge, unavailable int }

// rollingBounds resolves maxSurge (rounded up) and maxUnavailable (rounded down) against the number wanted. They are
// never both zero, since nothing could move then.
func rollingBounds(d *appsv1.Deployment) (bounds, error) {
	want := int(ptr.Deref(d.Spec.Replicas, 1))
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return bounds{}, nil
	}
	quarter := intstr.FromString("25%")
	surge, unavailable := &quarter, &quarter
	if ru := d.Spec.Strategy.RollingUpdate; ru != nil {
		surge, unavailable = cmp.Or(ru.MaxSurge, surge), cmp.Or(ru.MaxUnavailable, unavailable)
	}
	s, err := intstr.GetScaledValueFromIntOrPercent(surge, want, true)
	if err != nil {
		return bounds{}, fmt.Errorf("spec.strategy.rollingUpdate.maxSurge: %w", err)
	}
	u, err := intstr.GetScaledValueFromIntOrPercent(unavailable, want, false)
	if err != nil {
		return bounds{}, fmt.Errorf("spec.strategy.rollingUpdate.maxUnavailable: %w", err)
	}
	u = min(u, want)
	if s == 0 && u == 0 {
		u = 1
	}
	return bounds{surge: s, unavailable: u}, nil
}

// scaling is the new size of a ReplicaSet.
type scaling struct {
	name     string
	from, to int
}

func total(sets []set, of func(set) int) int {
	n := 0
	for _, s := range sets {
		n += of(s)
	}
	return n
}

func size(s set) int { return s.size }

// usable is how many pods certainly serve: a status that lags behind a smaller spec counts pods that are going.
func usable(s set) int { return min(s.size, s.available) }

// planRolling is the next step of a rolling update from old (oldest first) to current: grow the new set as far as
// maxSurge allows; when it cannot grow, shrink the old ones as far as maxUnavailable allows, pods that do not serve first.
func planRolling(want int, b bounds, current set, old []set) []scaling {
	all := append([]set{current}, old...)
	if grown := growth(want, b, current, old); grown != current.size {
		return []scaling{{current.name, current.size, grown}}
	}
	least := want - b.unavailable
	spare := total(all, size) - least - (current.size - usable(current))
	if spare <= 0 {
		return nil
	}
	sizes := make([]int, len(old))
	for i, s := range old { // those that do not serve cost nothing
		idle := min(s.size-usable(s), spare)
		sizes[i] = s.size - idle
		spare -= idle
	}
	serving := total(all, usable) - least
	for i := range old {
		n := max(0, min(sizes[i], serving))
		sizes[i] -= n
		serving -= n
	}
	var out []scaling
	for i, s := range old {
		if sizes[i] != s.size {
			out = append(out, scaling{s.name, s.size, sizes[i]})
		}
	}
	return out
}

// growth is the size of the new set when it takes what maxSurge leaves; at once the wanted one if it is too large.
func growth(want int, b bounds, current set, old []set) int {
	if current.size >= want {
		return want
	}
	room := want + b.surge - current.size - total(old, size)
	return current.size + max(0, min(room, want-current.size))
}

// planRecreate empties the old sets, and fills the new one only when no old pod is left.
func planRecreate(want int, current set, old []set, oldPods int) []scaling {
	var out []scaling
	for _, s := range old {
		if s.size > 0 {
			out = append(out, scaling{s.name, s.size, 0})
		}
	}
	if len(out) > 0 || oldPods > 0 {
		return out
	}
	if current.size != want {
		return []scaling{{current.name, current.size, want}}
	}
	return nil
}

// planScale spreads a changed number of replicas over the sets of a Deployment that is paused or in the middle of
// a rolling update: each gets its share, so that a bad new version does not grow beyond it. Sets are oldest first, the
// current one (if there is one) last.
func planScale(want int, b bounds, sets []set) []scaling {
	var live []set
	for _, s := range sets {
		if s.size > 0 {
			live = append(live, s)
		}
	}
	if len(live) == 0 && len(sets) > 0 {
		live = sets[len(sets)-1:]
	}
	if len(live) == 0 {
		return nil
	}
	allowed := 0
	if want > 0 {
		allowed = want + b.surge
	}
	if len(live) == 1 {
		allowed = want
	}
	have := total(live, size)
	add := allowed - have
	sizes := map[string]int{}
	left := add
	// Largest first; of equals the newest first when growing, the oldest first when shrinking.
	order := slices.Clone(live)
	if add > 0 {
		slices.Reverse(order)
	}
	slices.SortStableFunc(order, func(a, b set) int { return cmp.Compare(b.size, a.size) })
	for _, s := range order {
		share := 0
		if have > 0 {
			was := cmp.Or(s.maxAtScaling, have)
			share = roundDiv(s.size*allowed, was) - s.size
		}
		if add > 0 {
			share = max(0, min(share, left))
		} else {
			share = min(0, max(share, left))
		}
		sizes[s.name] = s.size + share
		left -= share
	}
	sizes[order[0].name] = max(0, sizes[order[0].name]+left) // what rounding left over
	var out []scaling
	for _, s := range live {
		if sizes[s.name] != s.size {
			out = append(out, scaling{s.name, s.size, sizes[s.name]})
		}
	}
	return out
}

func roundDiv(a, b int) int { return (2*a + b) / (2 * b) }
