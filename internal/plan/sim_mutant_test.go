package plan

import (
	"slices"
	"testing"
)

// TestSimulatorCatches breaks one rule at a time and expects the simulator to notice.
func TestSimulatorCatches(t *testing.T) {
	for _, m := range []struct {
		name   string
		mutant func() func(*Observation, *Decision)
	}{
		{"takes the lease without being the best", mutate(func(o *Observation) {
			for i := range o.Peers {
				o.Peers[i].Server.Offset, o.Peers[i].Term = 0, min(o.Peers[i].Term, o.Self.Term)
			}
		})},
		{"does not fence when the lease ends", drop(func(a Action) bool { _, ok := a.(Fence); return ok })},
		{"takes a lease after half its time", mutate(func(o *Observation) {
			o.Lease.ChangedAt -= 2500 * ms
			o.Lease.ReachableSince -= 5 * second
		})},
		{"does not wait for the members to agree that the lease is over", mutate(func(o *Observation) {
			for i := range o.Peers {
				if p := &o.Peers[i]; !o.holds() && p.Name != o.Lease.Holder && p.Reachable {
					p.APIReachable, p.APIReachableMS = true, 60000
				}
			}
		})},
		{"takes silence for death", mutate(func(o *Observation) {
			for i := range o.Peers {
				if p := &o.Peers[i]; !p.Reachable {
					p.Refused, p.RefusedAt = true, o.Now
				}
			}
		})},
		{"does not demote a server whose agent is paused", drop(func(a Action) bool { _, ok := a.(DemoteServer); return ok })},
		{"lets an answer delay the fence", func() func(*Observation, *Decision) {
			return func(_ *Observation, d *Decision) { d.Until = 0 }
		}},
		{"lifts the fence when the others still follow", func() func(*Observation, *Decision) {
			return func(o *Observation, d *Decision) {
				if o.holds() && o.Self.Fenced && o.Self.Server.Role == "master" && o.backedUntil() > o.Now {
					d.Actions = []Action{Unfence{o.Now + second}}
				}
			}
		}},
		{"keeps the term of data that is gone", drop(func(a Action) bool { r, ok := a.(Remember); return ok && r.Term == 0 })},
		{"fences when the API is away", mutate(func(o *Observation) {
			for i := range o.Peers {
				o.Peers[i].Follows = ""
			}
		})},
		{"never takes a lease that ran out", mutate(func(o *Observation) {
			if !o.holds() && o.Lease.Holder != "" {
				o.Lease.ChangedAt = o.Now
			}
		})},
	} {
		t.Run(m.name, func(t *testing.T) {
			seed, v := firstViolation(10000, m.mutant())
			if v == "" {
				t.Fatal("10000 fault schedules did not catch it")
			}
			t.Logf("seed %d: %.200s", seed, v)
		})
	}
}

// mutate decides from a falsified observation.
func mutate(f func(*Observation)) func() func(*Observation, *Decision) {
	return func() func(*Observation, *Decision) {
		return func(o *Observation, d *Decision) {
			c := *o
			c.Peers = slices.Clone(o.Peers)
			f(&c)
			*d = DecideMember(c)
		}
	}
}

// drop leaves actions out.
func drop(f func(Action) bool) func() func(*Observation, *Decision) {
	return func() func(*Observation, *Decision) {
		return func(_ *Observation, d *Decision) { d.Actions = slices.DeleteFunc(slices.Clone(d.Actions), f) }
	}
}

func BenchmarkDecideMember(b *testing.B) {
	w := newWorld(3, nil)
	w.run(20 * second)
	o := w.nodes[1].agent.observe()
	b.ReportAllocs()
	for b.Loop() {
		DecideMember(o)
	}
}
