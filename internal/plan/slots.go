package plan

import (
	"errors"
	"fmt"
	"sort"

	"redstart.dev/redstart/api/v1alpha1"
)

// SlotLayout is who owns which slots, and who shall.
type SlotLayout struct {
	// Owners are the slots of each master now, by node ID. No slot has two owners.
	Owners map[string]v1alpha1.SlotSet
	// Masters are the node IDs that shall share the slots from now on, equally; at least one, at most one for each slot.
	// An owner that is not among them is emptied.
	Masters []string
	// Weights, where they are given, are what each slot weighs, for example its keys or its bytes: then it is not the
	// number of slots that is balanced but their weight. Not below 0.
	Weights *[v1alpha1.SlotCount]int64
}

// SlotPlan is how to get from the layout of now to the wanted one.
type SlotPlan struct {
	// Assign are slots that nobody owns: they hold no data and are given with CLUSTER ADDSLOTS. Their From is empty.
	Assign []v1alpha1.SlotMove
	// Moves are slots with an owner, which have to be migrated. At most one move for each pair of masters.
	Moves []v1alpha1.SlotMove
}

// Empty tells whether there is nothing to do.
func (p SlotPlan) Empty() bool { return len(p.Assign) == 0 && len(p.Moves) == 0 }

// Slots is the number of slots that are migrated.
func (p SlotPlan) Slots() int {
	n := 0
	for _, m := range p.Moves {
		n += m.Slots.Len()
	}
	return n
}

// weightTolerance: masters whose weight is within one part in fifty of the mean are balanced.
const weightTolerance = 50

// PlanSlots plans the fewest moves of slots after which every slot has exactly one owner and the masters are balanced:
// by number of slots, no two differ by more than one; by weight, each is within two per cent of the mean, or as near as
// whole slots allow. Planned again after it was carried out, nothing is left to do.
func PlanSlots(l SlotLayout) (SlotPlan, error) {
	if err := l.check(); err != nil {
		return SlotPlan{}, err
	}
	s := newSlotShares(l)
	if l.Weights == nil {
		s.balanceCount()
	} else {
		s.balanceWeight()
	}
	return s.plan(), nil
}

func (l SlotLayout) check() error {
	if len(l.Masters) == 0 {
		return errors.New("plan slots: no masters to share them")
	}
	if len(l.Masters) > v1alpha1.SlotCount {
		return fmt.Errorf("plan slots: %d masters are more than there are slots", len(l.Masters))
	}
	wanted := map[string]bool{}
	for _, id := range l.Masters {
		if id == "" || wanted[id] {
			return fmt.Errorf("plan slots: master %q is named twice, or has no ID", id)
		}
		wanted[id] = true
	}
	var owner [v1alpha1.SlotCount]string
	for id, slots := range l.Owners {
		for slot := range slots.All() {
			if owner[slot] != "" {
				return fmt.Errorf("plan slots: slot %d is owned by both %s and %s", slot, owner[slot], id)
			}
			owner[slot] = id
		}
	}
	return nil
}

// EvenSlots divides all slots into n contiguous parts for the masters of a new cluster; n is from 1 to SlotCount.
func EvenSlots(n int) []v1alpha1.SlotSet {
	parts := make([]v1alpha1.SlotSet, n)
	for i := range parts {
		first, end := i*v1alpha1.SlotCount/n, (i+1)*v1alpha1.SlotCount/n
		parts[i] = v1alpha1.SlotSet{{First: first, Last: end - 1}}
	}
	return parts
}

// slotShares is a layout on its way to be balanced.
type slotShares struct {
	masters []string // the wanted ones, in ascending order
	leaving []string // owners that are not wanted, in ascending order
	was     [v1alpha1.SlotCount]string
	weights *[v1alpha1.SlotCount]int64
	has     map[string]v1alpha1.SlotSet
	free    v1alpha1.SlotSet
}

func newSlotShares(l SlotLayout) *slotShares {
	s := &slotShares{masters: append([]string(nil), l.Masters...), weights: l.Weights, has: map[string]v1alpha1.SlotSet{}, free: v1alpha1.AllSlots()}
	sort.Strings(s.masters)
	wanted := map[string]bool{}
	for _, id := range s.masters {
		wanted[id] = true
	}
	for id, slots := range l.Owners {
		for slot := range slots.All() {
			s.was[slot] = id
		}
		s.free = s.free.Minus(slots)
		s.has[id] = slots
		if !wanted[id] && len(slots) > 0 {
			s.leaving = append(s.leaving, id)
		}
	}
	sort.Strings(s.leaving)
	return s
}

// plan compares who has which slots now with who had them.
func (s *slotShares) plan() SlotPlan {
	var p SlotPlan
	for _, to := range s.masters {
		from := map[string][]v1alpha1.SlotRange{}
		for slot := range s.has[to].All() {
			if id := s.was[slot]; id != to {
				from[id] = append(from[id], v1alpha1.SlotRange{First: slot, Last: slot})
			}
		}
		for id, slots := range from {
			move := v1alpha1.SlotMove{From: id, To: to, Slots: v1alpha1.SlotsOf(slots...)}
			if id == "" {
				p.Assign = append(p.Assign, move)
			} else {
				p.Moves = append(p.Moves, move)
			}
		}
	}
	sort.Slice(p.Moves, func(i, j int) bool {
		a, b := p.Moves[i], p.Moves[j]
		return a.From < b.From || a.From == b.From && a.To < b.To
	})
	return p
}

// balanceCount gives every master the same number of slots; where that does not come out even, those that have most
// keep one more. What is above a master's share is taken from its highest slots, which keeps ranges whole.
func (s *slotShares) balanceCount() {
	bySize := append([]string(nil), s.masters...)
	sort.SliceStable(bySize, func(i, j int) bool { return s.has[bySize[i]].Len() > s.has[bySize[j]].Len() })
	share := map[string]int{}
	for i, id := range bySize {
		share[id] = v1alpha1.SlotCount / len(bySize)
		if i < v1alpha1.SlotCount%len(bySize) {
			share[id]++
		}
	}
	var pool []v1alpha1.SlotSet
	pool = append(pool, s.free)
	for _, id := range s.leaving {
		pool = append(pool, s.has[id])
		s.has[id] = nil
	}
	for _, id := range s.masters {
		rest, surplus := s.has[id].Tail(s.has[id].Len() - share[id])
		s.has[id] = rest
		pool = append(pool, surplus)
	}
	for _, id := range s.masters {
		for len(pool) > 0 && s.has[id].Len() < share[id] {
			rest, part := pool[0].Tail(share[id] - s.has[id].Len())
			s.has[id] = s.has[id].Union(part)
			pool[0] = rest
			if len(rest) == 0 {
				pool = pool[1:]
			}
		}
	}
}
