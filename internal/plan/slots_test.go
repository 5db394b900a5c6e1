package plan

import (
	"fmt"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"redstart.dev/redstart/api/v1alpha1"
)

// layouts draws a cluster whose slots lie about in ranges of any size, some with no owner, and the masters wanted.
func layouts(t *rapid.T) SlotLayout {
	l := SlotLayout{Owners: map[string]v1alpha1.SlotSet{}}
	present := rapid.IntRange(0, 7).Draw(t, "present")
	cuts := rapid.SliceOfN(rapid.IntRange(0, v1alpha1.SlotCount), 0, 40).Draw(t, "cuts")
	cuts = append(cuts, 0, v1alpha1.SlotCount)
	sort.Ints(cuts)
	for i := 1; i < len(cuts); i++ {
		owner := rapid.IntRange(-1, present-1).Draw(t, "owner")
		if owner >= 0 && cuts[i-1] < cuts[i] {
			id := fmt.Sprintf("m%d", owner)
			l.Owners[id] = l.Owners[id].Union(v1alpha1.SlotSet{{First: cuts[i-1], Last: cuts[i] - 1}})
		}
	}
	for i := range rapid.IntRange(1, 9).Draw(t, "wanted") {
		l.Masters = append(l.Masters, fmt.Sprintf("m%d", i+rapid.IntRange(0, 1).Draw(t, "first")*20))
	}
	return l
}

func apply(owners map[string]v1alpha1.SlotSet, p SlotPlan) map[string]v1alpha1.SlotSet {
	now := map[string]v1alpha1.SlotSet{}
	for id, s := range owners {
		now[id] = s
	}
	for _, m := range append(append([]v1alpha1.SlotMove(nil), p.Assign...), p.Moves...) {
		if m.From != "" {
			now[m.From] = now[m.From].Minus(m.Slots)
		}
		now[m.To] = now[m.To].Union(m.Slots)
	}
	return now
}

// checkPlan: moves start where the slots are; afterwards every slot has one owner, who is wanted; nothing is left to do.
func checkPlan(t *rapid.T, l SlotLayout, p SlotPlan) map[string]v1alpha1.SlotSet {
	for _, m := range p.Moves {
		if m.From == m.To || m.Slots.Len() == 0 || !m.Slots.Minus(l.Owners[m.From]).Equal(nil) {
			t.Fatalf("move %+v of slots that %s does not own", m, m.From)
		}
	}
	now := apply(l.Owners, p)
	seen := 0
	wanted := map[string]bool{}
	all := v1alpha1.SlotSet(nil)
	for _, id := range l.Masters {
		wanted[id] = true
		seen += now[id].Len()
		all = all.Union(now[id])
	}
	if seen != v1alpha1.SlotCount || all.Len() != v1alpha1.SlotCount {
		t.Fatalf("the wanted masters own %d slots, %d different ones", seen, all.Len())
	}
	for id, s := range now {
		if !wanted[id] && s.Len() > 0 {
			t.Fatalf("%s is not wanted and keeps %s", id, s)
		}
	}
	again, err := PlanSlots(SlotLayout{Owners: now, Masters: l.Masters, Weights: l.Weights})
	if err != nil || !again.Empty() {
		t.Fatalf("planned again: %+v, %v", again, err)
	}
	return now
}

func TestPlanSlotsByCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := layouts(t)
		p, err := PlanSlots(l)
		if len(unique(l.Masters)) != len(l.Masters) {
			if err == nil {
				t.Fatal("a master that is named twice is no error")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		now := checkPlan(t, l, p)
		// Minimal: whoever stays gives only what is above its share, and whoever leaves gives all. The best is found by
		// giving the larger share to those that have most.
		var sizes []int
		least := 0
		for _, id := range l.Masters {
			sizes = append(sizes, l.Owners[id].Len())
		}
		sort.Sort(sort.Reverse(sort.IntSlice(sizes)))
		for i, n := range sizes {
			share := v1alpha1.SlotCount / len(sizes)
			if i < v1alpha1.SlotCount%len(sizes) {
				share++
			}
			least += max(0, n-share)
		}
		wanted := unique(l.Masters)
		for id, s := range l.Owners {
			if !wanted[id] {
				least += s.Len()
			}
		}
		if p.Slots() != least {
			t.Fatalf("%d slots move, %d would do", p.Slots(), least)
		}
		for _, id := range l.Masters {
			if d := now[id].Len() - v1alpha1.SlotCount/len(l.Masters); d < 0 || d > 1 {
				t.Fatalf("%s has %d slots of %d masters", id, now[id].Len(), len(l.Masters))
			}
		}
	})
}

func unique(ids []string) map[string]bool {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	return set
}

func TestPlanSlotsByWeight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := layouts(t)
		if len(unique(l.Masters)) != len(l.Masters) {
			t.Skip("a master twice")
		}
		l.Weights = &[v1alpha1.SlotCount]int64{}
		most := rapid.SampledFrom([]int64{0, 1, 100, 1 << 30}).Draw(t, "most")
		salt := rapid.Uint64().Draw(t, "salt")
		var total int64
		for i := range l.Weights {
			salt = salt*6364136223846793005 + 1442695040888963407
			l.Weights[i] = int64((salt >> 33) % uint64(most+1))
			total += l.Weights[i]
		}
		p, err := PlanSlots(l)
		if err != nil {
			t.Fatal(err)
		}
		now := checkPlan(t, l, p)
		mean := total / int64(len(l.Masters))
		for _, id := range l.Masters {
			var sum int64
			for slot := range now[id].All() {
				sum += l.Weights[slot]
			}
			if d := max(sum-mean, mean-sum); d > mean/weightTolerance+most+1 {
				t.Fatalf("%s weighs %d, the mean is %d", id, sum, mean)
			}
		}
	})
}

// TestPlanSlotsOneHeavySlot: a slot that outweighs all others together cannot be balanced away; the plan still ends.
func TestPlanSlotsOneHeavySlot(t *testing.T) {
	l := SlotLayout{
		Owners:  map[string]v1alpha1.SlotSet{"a": EvenSlots(2)[0], "b": EvenSlots(2)[1]},
		Masters: []string{"a", "b"}, Weights: &[v1alpha1.SlotCount]int64{0: 1 << 40, 1: 10, 9000: 10},
	}
	p, err := PlanSlots(l)
	if err != nil || len(p.Moves) != 1 || p.Moves[0].Slots.String() != "1" {
		t.Fatalf("plan %+v, %v; want slot 1 to move to b", p, err)
	}
}

func TestPlanSlotsRefuses(t *testing.T) {
	for name, l := range map[string]SlotLayout{
		"no masters":  {},
		"two owners":  {Masters: []string{"a"}, Owners: map[string]v1alpha1.SlotSet{"a": v1alpha1.Slots(1), "b": v1alpha1.Slots(1)}},
		"named twice": {Masters: []string{"a", "a"}},
		"too many":    {Masters: make([]string, v1alpha1.SlotCount+1)},
	} {
		if p, err := PlanSlots(l); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestEvenSlots(t *testing.T) {
	for n := 1; n <= v1alpha1.SlotCount; n += 1 + n/3 {
		all := 0
		for _, part := range EvenSlots(n) {
			all += part.Len()
		}
		if all != v1alpha1.SlotCount {
			t.Errorf("%d parts hold %d slots", n, all)
		}
	}
}
