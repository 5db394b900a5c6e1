package plan

import (
	"sort"

	"redstart.dev/redstart/api/v1alpha1"
)

// heap of one master: its slots from the lightest to the heaviest, and what they weigh together.
type slotHeap struct {
	id    string
	slots []int
	sum   int64
}

// balanceWeight first gives away what has no owner or whose owner leaves, the heaviest slots first and each to the
// lightest master; then it moves slots from the heaviest master to the lightest, each time the heaviest slot that takes
// neither past the mean (else the one that brings the two closest together), until all are within the tolerance or no
// slot helps any more. The heaviest slots that fit make the fewest moves.
func (s *slotShares) balanceWeight() {
	heaps := make([]*slotHeap, len(s.masters))
	for i, id := range s.masters {
		heaps[i] = s.newSlotHeap(id, s.has[id])
	}
	homeless := s.free
	for _, id := range s.leaving {
		homeless = homeless.Union(s.has[id])
		s.has[id] = nil
	}
	pool := s.newSlotHeap("", homeless)
	for i := len(pool.slots) - 1; i >= 0; i-- {
		lightest, _ := extremes(heaps)
		s.put(lightest, pool.slots[i])
	}
	var total int64
	for _, h := range heaps {
		total += h.sum
	}
	mean := total / int64(len(heaps))
	for {
		lightest, heaviest := extremes(heaps)
		if within(lightest.sum, mean) && within(heaviest.sum, mean) {
			break
		}
		i, ok := s.choose(heaviest, lightest, mean)
		if !ok {
			break
		}
		slot := heaviest.slots[i]
		heaviest.slots = append(heaviest.slots[:i], heaviest.slots[i+1:]...)
		heaviest.sum -= s.weights[slot]
		s.put(lightest, slot)
	}
	for _, h := range heaps {
		s.has[h.id] = v1alpha1.Slots(h.slots...)
	}
}

func within(sum, mean int64) bool {
	d := sum - mean
	return max(d, -d) <= mean/weightTolerance
}

// choose picks a slot of heaviest, by index, to move to lightest.
func (s *slotShares) choose(heaviest, lightest *slotHeap, mean int64) (int, bool) {
	gap := heaviest.sum - lightest.sum
	weigh := func(i int) int64 { return s.weights[heaviest.slots[i]] }
	// above is the first slot that would take one of the two past the mean.
	room := min(heaviest.sum-mean, mean-lightest.sum)
	above := sort.Search(len(heaviest.slots), func(i int) bool { return weigh(i) > room })
	if above > 0 && weigh(above-1) > 0 && len(heaviest.slots) > 1 {
		return above - 1, true
	}
	// Every slot with a weight is heavier than the room: the lightest of them helps while it is lighter than the gap
	// between the two, for then the heavier of both is lighter afterwards than heaviest is now.
	if above < len(heaviest.slots) && len(heaviest.slots) > 1 && weigh(above) < gap {
		return above, true
	}
	return 0, false
}

func (s *slotShares) newSlotHeap(id string, slots v1alpha1.SlotSet) *slotHeap {
	h := &slotHeap{id: id}
	for slot := range slots.All() {
		h.slots = append(h.slots, slot)
		h.sum += s.weights[slot]
	}
	sort.SliceStable(h.slots, func(i, j int) bool { return s.weights[h.slots[i]] < s.weights[h.slots[j]] })
	return h
}

// put inserts slot in order.
func (s *slotShares) put(h *slotHeap, slot int) {
	i := sort.Search(len(h.slots), func(i int) bool { return s.weights[h.slots[i]] >= s.weights[slot] })
	h.slots = append(h.slots, 0)
	copy(h.slots[i+1:], h.slots[i:])
	h.slots[i] = slot
	h.sum += s.weights[slot]
}

// extremes are the lightest and the heaviest master; of those that weigh the same, the lightest is the one with the
// fewest slots, so that slots without weight are spread too.
func extremes(heaps []*slotHeap) (lightest, heaviest *slotHeap) {
	lightest, heaviest = heaps[0], heaps[0]
	for _, h := range heaps[1:] {
		if h.sum < lightest.sum || h.sum == lightest.sum && len(h.slots) < len(lightest.slots) {
			lightest = h
		}
		if h.sum > heaviest.sum {
			heaviest = h
		}
	}
	return lightest, heaviest
}
