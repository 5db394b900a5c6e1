package plan

import (
	"slices"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestSimulatorCatches breaks one rule at a time and expects the simulator to notice.
func TestSimulatorCatches(t *testing.T) {
	for _, m := range []struct {
		name   string
		mode   v1alpha1.Mode
		from   int64 // no schedule before catches it, when last tried
		mutant mutant
	}{
		{"takes the lease without being the best", "Replication", 0, mutate(func(o *Observation) {
			for i := range o.Peers {
				o.Peers[i].Server.Offset, o.Peers[i].Term = 0, min(o.Peers[i].Term, o.Self.Term)
			}
		})},
		{"does not fence when the lease ends", "Replication", 0, drop(func(a Action) bool { _, ok := a.(Fence); return ok })},
		{"takes a lease after half its time", "Replication", 0, mutate(func(o *Observation) {
			o.Lease.ChangedAt -= 2500 * ms
			o.Lease.ReachableSince -= 5 * second
		})},
		{"does not wait for the members to agree that the lease is over", "Replication", 591, mutate(func(o *Observation) {
			for i := range o.Peers {
				if p := &o.Peers[i]; !o.holds() && p.Name != o.Lease.Holder && p.Reachable {
					p.APIReachable, p.APIReachableMS = true, 60000
				}
			}
		})},
		{"takes silence for death", "Replication", 0, mutate(func(o *Observation) {
			for i := range o.Peers {
				if p := &o.Peers[i]; !p.Reachable {
					p.Refused, p.RefusedAt = true, o.Now
				}
			}
		})},
		{"does not demote a server whose agent is paused", "Replication", 560, drop(func(a Action) bool { _, ok := a.(DemoteServer); return ok })},
		{"lets an answer delay the fence", "Replication", 5143, mutant{member: func(_ *Observation, d *Decision) { d.Until = 0 }}},
		{"lifts the fence when the others still follow", "Replication", 207, mutant{member: func(o *Observation, d *Decision) {
			if o.holds() && o.Self.Fenced && o.Self.Server.Role == "master" && o.backedUntil() > o.Now {
				d.Actions = []Action{Unfence{o.Now + second}}
			}
		}}},
		{"gives the lease of its dead server to anybody", "Replication", 0, mutant{member: func(o *Observation, d *Decision) {
			for i, a := range d.Actions {
				if b, ok := a.(Bequeath); ok {
					for j := range o.Peers {
						if p := &o.Peers[j]; p.Name != b.To {
							b.To, b.Boot, b.Clock, b.ReplID, b.Offset = p.Name, p.Boot, time.Duration(p.ClockNS), p.Server.ReplID, p.Server.Offset
						}
					}
					d.Actions[i] = b
				}
			}
		}}},
		{"keeps the term of data that is gone", "Replication", 0, drop(func(a Action) bool { r, ok := a.(Remember); return ok && r.Term == 0 })},
		{"fences when the API is away", "Replication", 0, mutate(func(o *Observation) {
			for i := range o.Peers {
				o.Peers[i].Follows = ""
			}
		})},
		{"never takes a lease that ran out", "Replication", 0, mutate(func(o *Observation) {
			if !o.holds() && o.Lease.Holder != "" {
				o.Lease.ChangedAt = o.Now
			}
		})},
		{"opens on the word of one Sentinel", "Sentinel", 1673, mutant{member: func(o *Observation, d *Decision) {
			c := *o
			c.Sentinels = slices.DeleteFunc(slices.Clone(o.Sentinels), func(s Sentinel) bool {
				return s.MasterAddress != o.Self.Address
			})
			c.Config.Sentinels = int32(len(c.Sentinels))
			if !o.Self.Open() {
				*d = DecideMember(c)
			}
		}}},
		{"does not wait for a master that the Sentinels left", "Sentinel", 1537, mutate(func(o *Observation) {
			if o.Memory.NamedSince > 0 {
				o.Memory.NamedSince = 1
			}
		})},
		{"takes a master for silent that asked a moment ago", "Sentinel", 0, mutate(func(o *Observation) {
			for i := range o.Sentinels {
				s := &o.Sentinels[i]
				s.Askers = slices.Clone(s.Askers)
				for j := range s.Askers {
					s.Askers[j].Silent += 3 * second
				}
			}
		})},
		{"stays open while others may be named", "Sentinel", 736, mutate(func(o *Observation) {
			for i := range o.Sentinels {
				o.Sentinels[i].Gone = o.Sentinels[i].Gone || !o.Sentinels[i].Reachable
			}
		})},
		{"trusts what was said before its server was demoted", "Sentinel", 675, mutate(func(o *Observation) {
			for i := range o.Sentinels {
				o.Sentinels[i].AskedAt = o.Now
			}
			for i := range o.Peers {
				o.Peers[i].AskedAt = o.Now
			}
		})},
		{"forgets that it told another to take over", "Sentinel", 11700, mutate(func(o *Observation) { o.HandedOverAt = 0 })},
		{"leaves a replica unfenced", "Sentinel", 34, mutant{unfenced: true}},
		{"lets an empty member be promoted", "Sentinel", 1378, mutant{copied: true}},
	} {
		t.Run(m.name, func(t *testing.T) {
			seed, v := firstViolation(m.from, 10000, m.mode, m.mutant)
			if v == "" {
				t.Fatal("10000 fault schedules did not catch it")
			}
			t.Logf("seed %d: %.200s", seed, v)
		})
	}
}

// mutate decides from a falsified observation.
func mutate(f func(*Observation)) mutant {
	return mutant{member: func(o *Observation, d *Decision) {
		c := *o
		c.Peers = slices.Clone(o.Peers)
		f(&c)
		*d = DecideMember(c)
	}}
}

// drop leaves actions out.
func drop(f func(Action) bool) mutant {
	return mutant{member: func(_ *Observation, d *Decision) { d.Actions = slices.DeleteFunc(slices.Clone(d.Actions), f) }}
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
