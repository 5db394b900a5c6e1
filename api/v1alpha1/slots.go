package v1alpha1

import (
	"fmt"
	"iter"
	"sort"
	"strconv"
	"strings"
)

// SlotCount is the number of hash slots of a Redis Cluster; slots are numbered from 0.
const SlotCount = 16384

// SlotRange is the slots First to Last, both included.
type SlotRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// SlotSet is a set of slots: ranges in ascending order that neither overlap nor touch. The empty set is nil. Sets are
// never changed in place: every operation answers with a new one.
type SlotSet []SlotRange

// SlotMove is slots that change their master: From and To are node IDs.
type SlotMove struct {
	From  string  `json:"from"`
	To    string  `json:"to"`
	Slots SlotSet `json:"slots"`
}

// Slots makes a set of slots in any order. Slots out of range are an error of the caller, and panic.
func Slots(slots ...int) SlotSet {
	ranges := make([]SlotRange, 0, len(slots))
	for _, s := range slots {
		ranges = append(ranges, SlotRange{s, s})
	}
	return SlotsOf(ranges...)
}

// SlotsOf makes a set of ranges in any order, which may overlap. Slots out of range are an error of the caller, and
// panic.
func SlotsOf(ranges ...SlotRange) SlotSet {
	sorted := append([]SlotRange(nil), ranges...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].First < sorted[j].First })
	var out SlotSet
	for _, r := range sorted {
		if r.First < 0 || r.Last >= SlotCount || r.First > r.Last {
			panic(fmt.Sprintf("no slots: %d-%d", r.First, r.Last))
		}
		if n := len(out); n > 0 && r.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// ParseSlots reads what SlotSet.String writes: "0-5460 5462", separated by blanks or commas.
func ParseSlots(s string) (SlotSet, error) {
	var ranges []SlotRange
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == ',' }) {
		first, last, isRange := strings.Cut(word, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a > b || b >= SlotCount {
			return nil, fmt.Errorf("%.40q are not slots: expected N or FIRST-LAST between 0 and %d", word, SlotCount-1)
		}
		ranges = append(ranges, SlotRange{int(a), int(b)})
	}
	return SlotsOf(ranges...), nil
}

// String is for example "0-5460 5462".
func (s SlotSet) String() string {
	words := make([]string, 0, len(s))
	for _, r := range s {
		words = append(words, r.String())
	}
	return strings.Join(words, " ")
}

// String is for example "0-5460", or "5462".
func (r SlotRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return strconv.Itoa(r.First) + "-" + strconv.Itoa(r.Last)
}

// Len is the number of slots.
func (s SlotSet) Len() int {
	n := 0
	for _, r := range s {
		n += r.Last - r.First + 1
	}
	return n
}

// All lists the slots in ascending order.
func (s SlotSet) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, r := range s {
			for slot := r.First; slot <= r.Last; slot++ {
				if !yield(slot) {
					return
				}
			}
		}
	}
}

// Contains tells whether slot is in the set.
func (s SlotSet) Contains(slot int) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Last >= slot })
	return i < len(s) && s[i].First <= slot
}

// Union is the slots in s or in t.
func (s SlotSet) Union(t SlotSet) SlotSet {
	return SlotsOf(append(append([]SlotRange(nil), s...), t...)...)
}

// Minus is the slots in s that are not in t.
func (s SlotSet) Minus(t SlotSet) SlotSet {
	var out SlotSet
	next := 0 // the first hole that may reach into what is left of s
	for _, r := range s {
		first := r.First
		for next < len(t) && t[next].Last < first {
			next++
		}
		for i := next; i < len(t) && t[i].First <= r.Last; i++ {
			if t[i].First > first {
				out = append(out, SlotRange{first, t[i].First - 1})
			}
			first = t[i].Last + 1
		}
		if first <= r.Last {
			out = append(out, SlotRange{first, r.Last})
		}
	}
	return out
}

// Intersect is the slots in both.
func (s SlotSet) Intersect(t SlotSet) SlotSet { return s.Minus(s.Minus(t)) }

// Equal tells whether both hold the same slots.
func (s SlotSet) Equal(t SlotSet) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// Tail splits off the n highest slots, all of them where there are fewer.
func (s SlotSet) Tail(n int) (rest, tail SlotSet) {
	rest = append(SlotSet(nil), s...)
	for n > 0 && len(rest) > 0 {
		r := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		if size := r.Last - r.First + 1; size > n {
			rest = append(rest, SlotRange{r.First, r.Last - n})
			r.First = r.Last - n + 1
		}
		n -= r.Last - r.First + 1
		tail = append(SlotSet{r}, tail...)
	}
	if len(rest) == 0 {
		rest = nil
	}
	return rest, tail
}

// AllSlots is every slot.
func AllSlots() SlotSet { return SlotSet{{0, SlotCount - 1}} }
