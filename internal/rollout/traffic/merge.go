package traffic

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// merge is a three-way merge: base is what was written last, theirs the object as it is now, and ours the original.
// From base to ours is what undoes our step, from base to theirs what somebody else changed; the result has both.
type merge struct {
	edits, conflicts []string
}

// gone stands for a field that is absent.
type gone struct{}

func (m *merge) strings(path string, base, theirs, ours map[string]string) map[string]string {
	merged, _ := m.value(path, anyMap(base), anyMap(theirs), anyMap(ours)).(map[string]any)
	if len(merged) == 0 {
		return nil
	}
	out := make(map[string]string, len(merged))
	for key, value := range merged {
		out[key], _ = value.(string)
	}
	return out
}

func (m *merge) edit(path string)     { m.edits = append(m.edits, path) }
func (m *merge) conflict(path string) { m.conflicts = append(m.conflicts, path) }

// value merges one value; each may be gone.
func (m *merge) value(path string, base, theirs, ours any) any {
	switch {
	case reflect.DeepEqual(theirs, base):
		return ours
	case reflect.DeepEqual(theirs, ours):
		return ours // they undid our step themselves, as applying the original manifest does
	case reflect.DeepEqual(ours, base):
		m.changes(path, base, theirs)
		return theirs
	}
	baseMap, baseIsMap := base.(map[string]any)
	theirMap, theyAreMap := theirs.(map[string]any)
	ourMap, oursIsMap := ours.(map[string]any)
	if theyAreMap && oursIsMap && (baseIsMap || base == gone{}) {
		return m.object(path, baseMap, theirMap, ourMap)
	}
	baseList, baseIsList := base.([]any)
	theirList, theyAreList := theirs.([]any)
	ourList, oursIsList := ours.([]any)
	if baseIsList && theyAreList && oursIsList {
		return m.list(path, baseList, theirList, ourList)
	}
	// What we added and they only completed, as an API server does with defaults, is ours to remove.
	if (ours != gone{}) || !extends(theirs, base) {
		m.conflict(path)
	}
	return ours
}

// changes notes the fields in which a value was changed.
func (m *merge) changes(path string, from, to any) {
	before, isObject := from.(map[string]any)
	after, isToo := to.(map[string]any)
	if isObject && isToo {
		for _, key := range keysOf(before, after) {
			if !reflect.DeepEqual(field(before, key), field(after, key)) {
				m.changes(path+"."+key, field(before, key), field(after, key))
			}
		}
		return
	}
	old, isList := from.([]any)
	list, isListToo := to.([]any)
	if isList && isListToo && len(old) == len(list) {
		for i := range old {
			if !reflect.DeepEqual(old[i], list[i]) {
				m.changes(fmt.Sprintf("%s[%d]", path, i), old[i], list[i])
			}
		}
		return
	}
	m.edit(path)
}

// keysOf are the keys of all objects, in their order.
func keysOf(objects ...map[string]any) []string {
	keys := map[string]bool{}
	for _, object := range objects {
		for key := range object {
			keys[key] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func (m *merge) object(path string, base, theirs, ours map[string]any) any {
	out := map[string]any{}
	for _, key := range keysOf(base, theirs, ours) {
		merged := m.value(path+"."+key, field(base, key), field(theirs, key), field(ours, key))
		if (merged != gone{}) {
			out[key] = merged
		}
	}
	return out
}

func field(object map[string]any, key string) any {
	if value, ok := object[key]; ok {
		return value
	}
	return gone{}
}

// list merges lists by finding the items of base again in both sides. The order is theirs if they moved items, else ours.
func (m *merge) list(path string, base, theirs, ours []any) any {
	inTheirs, inOurs := align(base, theirs), align(base, ours)
	baseOfTheirs, baseOfOurs := invert(inTheirs, len(theirs)), invert(inOurs, len(ours))

	// merged[k] is item k of ours with their changes; kept says whether it stays.
	merged, stays := slices.Clone(ours), make([]bool, len(ours))
	// place[j] is the item of ours that their item j is, -1 if it is one of base that we removed, -2 if they added it.
	place := make([]int, len(theirs))
	for k := range ours {
		b := baseOfOurs[k]
		if b < 0 {
			stays[k] = true // our step removed it
			continue
		}
		if t := inTheirs[b]; t >= 0 {
			stays[k] = true
			merged[k] = m.value(fmt.Sprintf("%s[%d]", path, t), base[b], theirs[t], ours[k])
			continue
		}
		m.edit(fmt.Sprintf("%s[%d] (removed)", path, b))
	}
	for j := range theirs {
		switch b := baseOfTheirs[j]; {
		case b < 0:
			m.edit(fmt.Sprintf("%s[%d] (added)", path, j))
			place[j] = -2
		case inOurs[b] < 0: // our step added it
			if !extends(theirs[j], base[b]) {
				m.conflict(fmt.Sprintf("%s[%d]", path, j))
			}
			place[j] = -1
		default:
			place[j] = inOurs[b]
		}
	}

	// The items that the side with the order does not have follow their predecessor on the other side.
	if moved(baseOfTheirs) {
		return interleave(len(theirs), len(ours),
			func(j int) (any, bool) {
				switch {
				case place[j] == -2:
					return theirs[j], true
				case place[j] < 0:
					return nil, false
				}
				return merged[place[j]], true
			},
			func(k int) int {
				if b := baseOfOurs[k]; b >= 0 {
					return inTheirs[b]
				}
				return -1
			},
			func(k int) (any, bool) { return merged[k], stays[k] && baseOfOurs[k] < 0 })
	}
	return interleave(len(ours), len(theirs),
		func(k int) (any, bool) { return merged[k], stays[k] },
		func(j int) int { return max(place[j], -1) },
		func(j int) (any, bool) { return theirs[j], place[j] == -2 })
}

// interleave lists the items of a spine, each followed by those of the other side that come after it there and are
// not in the spine. same is the place in the spine of an item of the other side, or -1.
func interleave(spine, other int, item func(int) (any, bool), same func(int) int, extra func(int) (any, bool)) []any {
	after := map[int][]any{}
	last := -1
	for j := range other {
		if at := same(j); at >= 0 {
			last = at
		}
		if value, ok := extra(j); ok {
			after[last] = append(after[last], value)
		}
	}
	out := append([]any{}, after[-1]...)
	for i := range spine {
		if value, ok := item(i); ok {
			out = append(out, value)
		}
		out = append(out, after[i]...)
	}
	return out
}

func invert(to []int, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = -1
	}
	for from, at := range to {
		if at >= 0 {
			out[at] = from
		}
	}
	return out
}

// moved says whether the items that are found again are in another order.
func moved(from []int) bool {
	last := -1
	for _, at := range from {
		if at < 0 {
			continue
		}
		if at < last {
			return true
		}
		last = at
	}
	return false
}

// alike is how similar two items must be to be the same item, changed.
const alike = 0.5

// align finds the items of one list in another: to[i] is the place of item i, or -1. Equal items first, then the most
// similar ones, then those that are nearest to their old place.
func align(from, in []any) (to []int) {
	to = make([]int, len(from))
	taken := make([]bool, len(in))
	texts := map[string][]int{}
	for j := range in {
		text := textOf(in[j])
		texts[text] = append(texts[text], j)
	}
	for i := range from {
		to[i] = -1
		text := textOf(from[i])
		if same := texts[text]; len(same) > 0 {
			to[i], texts[text] = same[0], same[1:]
			taken[same[0]] = true
		}
	}
	type pair struct {
		i, j  int
		score float64
	}
	var pairs []pair
	leavesIn := make([]map[string]int, len(in))
	for j := range in {
		if !taken[j] {
			leavesIn[j] = leavesOf(in[j])
		}
	}
	for i := range from {
		if to[i] >= 0 {
			continue
		}
		leaves := leavesOf(from[i])
		for j := range in {
			if taken[j] {
				continue
			}
			score := similarity(leaves, leavesIn[j])
			if sameRule(from[i], in[j]) {
				score++ // whatever else became of it
			}
			if len(leaves) > 0 && extends(in[j], from[i]) {
				score = max(score, 0.9) // completed with defaults
			}
			if score >= alike {
				pairs = append(pairs, pair{i, j, score})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(abs(a.i-a.j), abs(b.i-b.j)))
	})
	for _, p := range pairs {
		if to[p.i] < 0 && !taken[p.j] {
			to[p.i], taken[p.j] = p.j, true
		}
	}
	return to
}

// sameRule says whether two items are rules of a route of the Gateway API that match the same requests. A step may add
// copies of a rule that are more like it than what becomes of the rule itself, but that match other requests.
func sameRule(a, b any) bool {
	x, isObject := a.(map[string]any)
	y, isToo := b.(map[string]any)
	return isObject && isToo && (field(x, "backendRefs") != gone{}) && (field(y, "backendRefs") != gone{}) &&
		reflect.DeepEqual(field(x, "matches"), field(y, "matches"))
}

func abs(n int) int { return max(n, -n) }

func textOf(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%#v", value)
	}
	return string(text)
}

// leavesOf counts the fields of a value with their paths. Places in lists do not count; weights do not either, since
// every step changes them.
func leavesOf(value any) map[string]int {
	out := map[string]int{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for key, item := range v {
				if key != "weight" {
					walk(path+"."+key, item)
				}
			}
		case []any:
			for _, item := range v {
				walk(path+"[]", item)
			}
		default:
			out[path+"="+textOf(v)]++
		}
	}
	walk("", value)
	return out
}

// similarity is the share of fields that two values have in common, 0 to 1.
func similarity(a, b map[string]int) float64 {
	total, common := 0, 0
	for leaf, n := range a {
		total += n
		common += min(n, b[leaf])
	}
	for _, n := range b {
		total += n
	}
	if total == 0 {
		return 0
	}
	return 2 * float64(common) / float64(total)
}

// extends says whether value has all that base has, and perhaps more fields.
func extends(value, base any) bool {
	switch b := base.(type) {
	case map[string]any:
		v, ok := value.(map[string]any)
		if !ok {
			return value == gone{} // they removed what we added
		}
		for key := range b {
			if !extends(field(v, key), b[key]) || (field(v, key) == gone{}) {
				return false
			}
		}
		return true
	case []any:
		v, ok := value.([]any)
		if !ok || len(v) != len(b) {
			return value == gone{}
		}
		for i := range b {
			if !extends(v[i], b[i]) {
				return false
			}
		}
		return true
	}
	return value == gone{} || reflect.DeepEqual(value, base)
}
