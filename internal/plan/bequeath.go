package plan

import (
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// heirTime is how long a member whose server died looks for one to give its Lease to, before it leaves that to the others.
	heirTime = 100 * time.Millisecond
	// wordTime is how long a member that was given the Lease waits for the giver's word, before it finds out by itself.
	wordTime = 200 * time.Millisecond
)

// bequeath gives the Lease of a master whose server died to the member that comes first. That takes one write of the Lease, where a
// release and an acquisition take two, and saves the others from finding out. Where it is not plain who comes first, the Lease is
// released.
func (m *decider) bequeath() {
	mem := &m.d.Memory
	if mem.VacantSince == 0 {
		mem.VacantSince = m.Now
	}
	switch heir, draining := m.heir(); {
	case heir == nil || m.Now >= mem.VacantSince+heirTime:
		m.release()
	case m.pollStale():
		m.d.StayDown = true
	case draining:
		m.d.StayDown = true
		m.do(Poll{})
	default:
		m.do(Bequeath{To: heir.Name, Boot: heir.Boot, Clock: time.Duration(heir.ClockNS), ReplID: heir.Server.ReplID, Offset: heir.Server.Offset}, Nudge{})
	}
}

// heir is the member that comes first to follow this one, whose server died, when every other member answers and none holds what
// it lacks; nil when that is not so. draining: one has yet to notice the death, and may still receive what this one sent.
func (m *decider) heir() (best *Member, draining bool) {
	if !m.Lease.APIReachable || m.Config.Mode != v1alpha1.ModeReplication || m.Self.Term != m.Lease.Term || m.Self.Empty() {
		return nil, false
	}
	var buf [8]*Member
	members := buf[:0]
	for i := range m.Peers {
		p := &m.Peers[i]
		switch {
		case p.Reachable && p.Loaded() && p.APIReachable && p.Server.Role == v1alpha1.RoleReplica:
			draining = draining || p.Server.LinkUp
			members = append(members, p)
		case !p.Reachable && p.Terminated:
		default:
			return nil, false
		}
	}
	best, ok := Best(members, m.Self.Name, m.Config.Replicas)
	if !ok || best.Term != m.Self.Term || best.Server.ReplID != m.Self.Server.ReplID || Ordinal(best.Name) >= m.Config.Replicas {
		return nil, false
	}
	return best, draining
}
