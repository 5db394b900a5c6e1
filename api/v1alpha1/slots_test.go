package v1alpha1

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSlotSet compares every operation with the same on a plain array.
func TestSlotSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (SlotSet, [SlotCount]bool) {
			var plain [SlotCount]bool
			var ranges []SlotRange
			for range rapid.IntRange(0, 12).Draw(t, name) {
				first := rapid.IntRange(0, SlotCount-1).Draw(t, "first")
				last := min(SlotCount-1, first+rapid.SampledFrom([]int{0, 1, 5, 4000}).Draw(t, "more"))
				ranges = append(ranges, SlotRange{first, last})
				for i := first; i <= last; i++ {
					plain[i] = true
				}
			}
			return SlotsOf(ranges...), plain
		}
		s, inS := draw("s")
		u, inU := draw("u")
		check := func(what string, got SlotSet, want func(int) bool) {
			n := 0
			for i := range SlotCount {
				if got.Contains(i) != want(i) {
					t.Fatalf("%s: slot %d of %s and %s is in %s: %t", what, i, s, u, got, got.Contains(i))
				}
				if want(i) {
					n++
				}
			}
			if got.Len() != n {
				t.Fatalf("%s: %s has %d slots, want %d", what, got, got.Len(), n)
			}
			for i := 1; i < len(got); i++ {
				if got[i].First <= got[i-1].Last+1 {
					t.Fatalf("%s: %s is not in order", what, got)
				}
			}
			if back, err := ParseSlots(got.String()); err != nil || !back.Equal(got) {
				t.Fatalf("%s reads back as %s, %v", got, back, err)
			}
		}
		check("itself", s, func(i int) bool { return inS[i] })
		check("union", s.Union(u), func(i int) bool { return inS[i] || inU[i] })
		check("minus", s.Minus(u), func(i int) bool { return inS[i] && !inU[i] })
		check("intersect", s.Intersect(u), func(i int) bool { return inS[i] && inU[i] })
		n := rapid.IntRange(0, SlotCount).Draw(t, "n")
		rest, tail := s.Tail(n)
		if tail.Len() != min(n, s.Len()) || !rest.Union(tail).Equal(s) || len(rest) > 0 && len(tail) > 0 && rest[len(rest)-1].Last >= tail[0].First {
			t.Fatalf("the last %d of %s: %s and %s", n, s, rest, tail)
		}
	})
}

func TestParseSlotsRefuses(t *testing.T) {
	for _, s := range []string{"16384", "5-", "-5", "7-3", "a", "1-2-3", "0-99999999999"} {
		if got, err := ParseSlots(s); err == nil {
			t.Errorf("%q is %s", s, got)
		}
	}
}
