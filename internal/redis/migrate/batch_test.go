package migrate

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestNextBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys []key
		for i := range rapid.IntRange(0, 3000).Draw(t, "keys") {
			keys = append(keys, key{fmt.Sprint(i), i / 7, int64(rapid.SampledFrom([]int{0, 50, 5000, 1 << 20}).Draw(t, "bytes"))})
		}
		budget := rapid.Int64Range(minBudget, maxBudget).Draw(t, "budget")
		var sent []key
		for rest := keys; len(rest) > 0; {
			var batch []part
			before := len(rest)
			batch, rest = nextBatch(rest, budget, 1<<20)
			var cost int64
			n := 0
			for _, p := range batch {
				for _, k := range p.keys {
					if k.slot != p.slot {
						t.Fatalf("key of slot %d in a part of slot %d", k.slot, p.slot)
					}
					cost += k.cost()
					n++
					sent = append(sent, k)
				}
			}
			if n == 0 || n != before-len(rest) {
				t.Fatalf("a batch of %d keys of %d leaves %d", n, before, len(rest))
			}
			if n > 1 && (cost > budget || n > maxPartKeys) {
				t.Fatalf("a batch of %d keys costs %d of %d", n, cost, budget)
			}
			for _, p := range batch {
				if n > 1 && p.bytes >= 1<<20 {
					t.Fatal("a big key is not alone")
				}
			}
		}
		if diff := cmp.Diff(fmt.Sprint(keys), fmt.Sprint(sent)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestPace: whatever a byte costs, batches come to take about the time wanted.
func TestPace(t *testing.T) {
	for _, perMB := range []time.Duration{time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond} {
		p := newPace(2 * time.Millisecond)
		took := func() time.Duration { return time.Duration(float64(p.budget) / (1 << 20) * float64(perMB)) }
		for range 50 {
			p.took(p.budget, took())
		}
		if took() < time.Millisecond || took() > 3*time.Millisecond {
			t.Errorf("at %s a megabyte a batch of %d bytes takes %s", perMB, p.budget, took())
		}
		p.took(p.budget, time.Hour)
		p.took(100, time.Microsecond)
		if p.budget < minBudget {
			t.Errorf("budget %d", p.budget)
		}
	}
}

func TestTimeLeft(t *testing.T) {
	for _, test := range []struct {
		p    Progress
		want time.Duration
	}{
		{Progress{SlotsTotal: 10, KeysTotal: 100, Elapsed: time.Second}, 0},
		{Progress{Slots: 5, SlotsTotal: 10, Keys: 50, KeysTotal: 100, Elapsed: time.Second}, time.Second},
		{Progress{Slots: 10, SlotsTotal: 10, Keys: 120, KeysTotal: 100, Elapsed: time.Second}, 0},
		{Progress{Slots: 2, SlotsTotal: 8, Elapsed: time.Second}, 3 * time.Second},
	} {
		if got := timeLeft(test.p); got != test.want {
			t.Errorf("%+v: %s left, want %s", test.p, got, test.want)
		}
	}
}

// viewOf makes the view of a master of itself, and of replicas by the ID of their master.
func viewOf(id string, epoch int64, slots v1alpha1.SlotSet, change func(*v1alpha1.ClusterNode)) View {
	me := v1alpha1.ClusterNode{ID: id, Myself: true, Role: v1alpha1.RoleMaster, ConfigEpoch: epoch, Slots: slots}
	if change != nil {
		change(&me)
	}
	return View{ID: id, Address: id + ":1", View: v1alpha1.ClusterView{Nodes: []v1alpha1.ClusterNode{me}}}
}

// TestMistaken: a target that imports slots is told of the master that took over from their source.
func TestMistaken(t *testing.T) {
	target := viewOf("t", 2, v1alpha1.Slots(1), nil)
	for id, slots := range map[string]v1alpha1.SlotSet{"s": v1alpha1.Slots(3), "s2": v1alpha1.Slots(4)} {
		target.View.Nodes = append(target.View.Nodes, v1alpha1.ClusterNode{ID: id, Role: v1alpha1.RoleMaster, Slots: slots})
	}
	unknown := View{ID: "u", Err: errors.New("down")}
	// Slot 1 is its own, of 2 it knows no owner, 3 it believes to be the source's that is gone, and 4 is as it knows.
	if got := mistaken([]View{unknown, target}, "t", []int{1, 2, 3, 4}, "s2"); !slices.Equal(got, []int{2, 3}) {
		t.Errorf("mistaken about %v, want slots 2 and 3", got)
	}
	if got := mistaken([]View{unknown, target}, "u", []int{1}, "s2"); len(got) > 0 {
		t.Errorf("mistaken about %v, although it does not answer", got)
	}
}

// TestOpenings tells what is found and done when a migration of slot 7 from s to t ended at each of its steps.
func TestOpenings(t *testing.T) {
	seven := v1alpha1.Slots(7)
	importing := func(from string) func(*v1alpha1.ClusterNode) {
		return func(n *v1alpha1.ClusterNode) { n.Importing = []v1alpha1.OpenSlot{{Slot: 7, NodeID: from}} }
	}
	migrating := func(to string) func(*v1alpha1.ClusterNode) {
		return func(n *v1alpha1.ClusterNode) { n.Migrating = []v1alpha1.OpenSlot{{Slot: 7, NodeID: to}} }
	}
	replica := func(id, master string) View {
		return viewOf(id, 1, nil, func(n *v1alpha1.ClusterNode) { n.Role, n.MasterID = v1alpha1.RoleReplica, master })
	}
	gone := func(id string) View { return View{ID: id, Err: errors.New("refused")} }
	for _, test := range []struct {
		name  string
		views []View
		held  map[string]int64
		want  Repair
		err   bool
	}{
		{"the target imports, nothing else happened", []View{viewOf("s", 1, seven, nil), viewOf("t", 2, nil, importing("s"))}, nil, Repair{Close: []string{"t"}}, false},
		{"both opened it, no key moved", []View{viewOf("s", 1, seven, migrating("t")), viewOf("t", 2, nil, importing("s"))}, nil, Repair{To: "t"}, false},
		{"in the middle", []View{viewOf("s", 1, seven, migrating("t")), viewOf("t", 2, nil, importing("s"))}, map[string]int64{"t": 3}, Repair{To: "t"}, false},
		{"the source failed over in the middle", []View{gone("s"), viewOf("s2", 3, seven, nil), viewOf("t", 2, nil, importing("s"))}, map[string]int64{"t": 3}, Repair{To: "t"}, false},
		{"the target failed over in the middle", []View{viewOf("s", 1, seven, migrating("t")), replica("t", "t2"), viewOf("t2", 3, nil, nil)}, nil, Repair{To: "t2"}, false},
		{"the target is gone for ever", []View{viewOf("s", 1, seven, migrating("t"))}, nil, Repair{Close: []string{"s"}}, false},
		{"the target owns it, the source has not heard", []View{viewOf("s", 1, seven, migrating("t")), viewOf("t", 2, seven, nil)}, nil, Repair{Close: []string{"s"}}, false},
		{"two import, one has keys", []View{viewOf("s", 1, seven, migrating("u")), viewOf("t", 2, nil, importing("s")), viewOf("u", 3, nil, importing("s"))}, map[string]int64{"t": 3}, Repair{To: "t", Close: []string{"u"}}, false},
		{"two import, both have keys", []View{viewOf("s", 1, seven, nil), viewOf("t", 2, nil, importing("s")), viewOf("u", 3, nil, importing("s"))}, map[string]int64{"t": 3, "u": 1}, Repair{}, true},
		{"nobody owns it", []View{gone("s"), viewOf("t", 2, nil, importing("s"))}, map[string]int64{"t": 3}, Repair{}, true},
	} {
		open := Openings(test.views)
		if test.name == "the target owns it, the source has not heard" {
			if len(open) != 1 || open[0].Owner != "t" {
				t.Errorf("%s: %+v", test.name, open)
			}
			test.want = Repair{Close: []string{"s"}}
		}
		if len(open) != 1 {
			t.Errorf("%s: found %+v", test.name, open)
			continue
		}
		got := Decide(open[0], test.held, func(id string) (string, error) { return successorIn(test.views, id) })
		if (got.Err != nil) != test.err {
			t.Errorf("%s: error %v", test.name, got.Err)
		}
		got.Err = nil
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestHeard(t *testing.T) {
	with := func(id string, epoch, otherEpoch int64, other string) View {
		v := viewOf(id, epoch, nil, nil)
		v.View.Nodes = append(v.View.Nodes, v1alpha1.ClusterNode{ID: other, Role: v1alpha1.RoleMaster, ConfigEpoch: otherEpoch})
		return v
	}
	for _, test := range []struct {
		name   string
		source View
		target View
		ok     bool
	}{
		{"the target knows", with("s", 5, 0, "t"), with("t", 2, 5, "s"), true},
		{"the target is higher", with("s", 5, 7, "t"), with("t", 7, 5, "s"), true},
		{"the source has taken slots and the target has not heard", with("s", 5, 4, "t"), with("t", 4, 3, "s"), false},
		{"both have the same epoch", with("s", 5, 5, "t"), with("t", 5, 5, "s"), false},
		{"the target does not know the source", with("s", 5, 0, "t"), viewOf("t", 2, nil, nil), false},
		{"the source does not answer", View{ID: "s", Err: errors.New("refused")}, with("t", 2, 5, "s"), false},
	} {
		if err := heard([]View{test.source, test.target}, "s", "t"); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
