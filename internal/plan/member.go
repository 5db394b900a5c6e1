package plan

import (
	"cmp"
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// DecideMember decides for one member, in every mode but Cluster.
func DecideMember(o Observation) Decision {
	m := &decider{Observation: &o, d: Decision{Memory: o.Memory, Next: o.Now + RenewEvery}}
	m.recall()
	if m.Takeover != nil && m.late(m.Takeover) {
		m.Takeover = nil
	}
	switch {
	case o.Config.Mode == v1alpha1.ModeSentinel:
		m.underSentinels()
	case o.Handover >= HandoverMove:
		m.why("handing over: %s", o.Handover)
	case m.holds():
		m.asHolder()
	default:
		m.asOther()
	}
	m.d.Role = m.role()
	m.d.Successor = m.successor()
	return m.d
}

// decider is one decision in the making.
type decider struct {
	*Observation
	d Decision
}

func (m *decider) do(actions ...Action)           { m.d.Actions = append(m.d.Actions, actions...) }
func (m *decider) why(format string, args ...any) { m.d.Why = fmt.Sprintf(format, args...) }

// lookAt asks to decide again at t, when that is sooner.
func (m *decider) lookAt(t time.Duration) {
	if t > m.Now && t < m.d.Next {
		m.d.Next = t
	}
}

// role as it is before the actions: the agent decides again right after them.
func (m *decider) role() v1alpha1.Role {
	switch {
	case m.Self.Open():
		return v1alpha1.RoleMaster
	case m.Self.Loaded() && m.Self.Server.Role == v1alpha1.RoleReplica && m.Self.Server.MasterAddress != "":
		return v1alpha1.RoleReplica
	}
	return ""
}

// successor is the address of the newest open master, of a newer term than this member's, while the own server does not run.
func (m *decider) successor() (address string) {
	if m.ServerRunning {
		return ""
	}
	term := m.Self.Term
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Reachable && p.Open() && p.Term > term {
			address, term = p.Address, p.Term
		}
	}
	return address
}

// recall keeps the member's term and the memory true.
func (m *decider) recall() {
	s, mem := &m.Self.Server, &m.d.Memory
	if m.ServerRunning && m.Self.Loaded() {
		switch {
		case m.Self.Open() || s.Role == v1alpha1.RoleReplica && s.LinkUp:
			mem.LiveRun = s.RunID
		case m.Self.Term > 0 && s.Keys == 0 && s.Role == v1alpha1.RoleReplica && mem.LiveRun != s.RunID:
			// The server came up with nothing: its directory was emptied, or it persists nothing. What this member once
			// held is gone, and it must not outrank those who still hold it.
			m.do(Remember{0})
			m.Self.Term, m.Self.LastReplID, m.Self.LastOffset = 0, "", 0
		}
	}
	if m.Self.Open() {
		mem.Master, mem.Settled, mem.Opening, mem.OpenAt = m.Self.Name, true, 0, m.Now
	}
	if m.Self.Open() || m.Self.Label != v1alpha1.RoleMaster {
		mem.MislabelledSince = 0
	}
	for i := range m.Peers {
		p := &m.Peers[i]
		if !p.Reachable || !p.Open() {
			continue
		}
		mem.Settled, mem.Opening = true, 0
		if p.Term >= m.Self.Term {
			mem.Master = p.Name
		}
		if p.Term > m.Self.Term && s.Up && s.Role == v1alpha1.RoleReplica && s.LinkUp && s.MasterAddress == p.Address {
			m.do(Remember{p.Term})
			m.Self.Term = p.Term
		}
	}
}

// wordFor is how long the word of a takeover holds in mode Sentinel, where no term tells which change of master it belongs to. Whoever
// gave it opens again, should the Sentinels still name him, only when it must be over.
const wordFor = second

// late tells whether a takeover was sent before this member was last open, and hence belongs to a change of master that is over, or is
// too old to be acted upon.
func (m *decider) late(t *Takeover) bool {
	return t.Since <= m.d.Memory.OpenAt || m.Config.Mode == v1alpha1.ModeSentinel && m.Now-t.Since > wordFor
}

// asHolder decides while the Lease names this run of this agent.
func (m *decider) asHolder() {
	s := &m.Self.Server
	until := m.deadline()
	if s.Role == v1alpha1.RoleMaster && !m.Self.Fenced {
		// Once fenced, only a renewal counts: what the others say cannot tell whether somebody took over in between.
		until = max(until, m.backedUntil())
	}
	if m.alone() {
		until = m.Now + m.duration()
	}
	lapsed := m.Now >= until
	if m.ServerRunning {
		m.d.Memory.VacantSince = 0
	}
	m.d.Follows = m.Self.Name
	m.lookAt(until)
	switch {
	case !m.ServerRunning:
		m.why("the server died while this member held the Lease")
		m.bequeath()
		return
	case s.Up && s.Loading:
		m.why("the server died while this member held the Lease")
		m.release()
		return
	case m.hung(m.duration() - m.margin()):
		m.why("the server has not answered for %s while this member held the Lease", (m.Now - m.ServerAnsweredAt).Round(time.Second/10))
		m.do(KillServer{})
		m.release()
		return
	case !s.Up && lapsed:
		m.why("the Lease ran out, and the server does not answer to be fenced")
		m.do(KillServer{})
		return
	case !s.Up:
		m.why("the server does not answer")
		return
	case m.Self.Open() && m.Self.Term == m.Lease.Term:
		m.asMaster(until)
		return
	case m.Handover != HandoverNone:
		m.why("handing over: %s", m.Handover)
		if m.Now-m.Lease.RenewedAt >= RenewEvery {
			m.renew()
		}
		return
	case m.Self.Stopping && (m.Now >= m.StopBy || s.Role != v1alpha1.RoleMaster || m.Self.Term != m.Lease.Term):
		m.why("stopping without being open")
		m.release()
		m.do(Stop{})
		return
	case m.Self.Open():
		// Opened for an earlier term, deposed since, and now named again: it ranks again like any other.
		m.do(Fence{})
	}
	if m.Lease.RenewedAt < m.ServerStartedAt || m.Now-m.Lease.RenewedAt > fresh {
		if by := m.Lease.From; by != "" && m.Takeover == nil && m.Now < m.Lease.ChangedAt+wordTime {
			m.why("%s gave the Lease to this member, and is about to say more", by)
			m.lookAt(m.Lease.ChangedAt + wordTime)
			return
		}
		// A renewal that succeeds just now proves that nobody took over in between, and that what was seen of the Lease is
		// not old.
		m.why("the Lease names this member; it has to be renewed before the server is opened")
		m.renew()
		return
	}
	if s.Role == v1alpha1.RoleMaster && m.Self.Term == m.Lease.Term {
		m.why("the Lease was renewed and nobody took over")
		m.do(Unfence{m.deadline()})
		return
	}
	m.mayOpen()
}

// asMaster keeps a master open, which may be so until then.
func (m *decider) asMaster(until time.Duration) {
	if m.Now >= until {
		m.why("the Lease could not be renewed for %s", (m.Now - m.Lease.RenewedAt).Round(time.Second/10))
		// A client that kept its connection would get errors from here while another member serves.
		m.do(Fence{}, DropClients{})
		m.renew()
		return
	}
	m.why("master of term %d", m.Lease.Term)
	m.d.Until = until
	if m.Now-m.Lease.RenewedAt > RenewEvery+fresh && !m.alone() {
		m.why("master of term %d; the Lease cannot be renewed: asking the others whether they still follow", m.Lease.Term)
		m.d.Until = min(until, m.Now+fresh)
		m.pollStale()
	}
	m.demoteOthers()
	m.label()
	m.leave(m.Lease.APIReachable)
	if m.Now-m.Lease.RenewedAt >= RenewEvery {
		m.renew()
	} else {
		m.lookAt(m.Lease.RenewedAt + RenewEvery)
	}
}

// leave hands a master's role over, or ends it, when that is asked for. movable says whether the authority can be moved now.
func (m *decider) leave(movable bool) {
	if m.Handover != HandoverNone || !(m.Self.Stopping || m.HandoverWanted || Ordinal(m.Self.Name) >= m.Config.Replicas) {
		return
	}
	to := ""
	if m.HandoverWanted {
		to = m.HandoverTo
	}
	c, err := ChooseCandidate(m.Observation, to)
	if err != nil && to != "" && m.Self.Stopping {
		c, err = ChooseCandidate(m.Observation, "")
	}
	switch {
	case err == nil && movable && (m.HandoverFailedAt == 0 || m.Now-m.HandoverFailedAt >= second):
		m.why("handing over to %s", c.Name)
		m.do(HandOver{To: c.Name, Address: c.Address})
	case m.Self.Stopping && (m.Now >= m.StopBy || !m.successors()):
		m.why("stopping without a handover")
		m.do(Fence{})
		if m.holds() {
			m.release()
		}
		m.do(Stop{})
	case m.Self.Stopping:
		m.why("stopping; waiting for a member to hand over to")
		m.lookAt(m.StopBy)
		m.lookAt(m.Now + fresh)
	case err != nil:
		m.why("cannot hand over: %s", err)
	}
}

// successors tells whether waiting can bring a member to hand over to.
func (m *decider) successors() bool {
	for i := range m.Peers {
		p := &m.Peers[i]
		if Ordinal(p.Name) < m.Config.Replicas && !p.Stopping && !p.Terminated {
			return true
		}
	}
	return false
}

// mayOpen opens the holder's server when nobody else who can be reached holds more, and gives the Lease back otherwise.
func (m *decider) mayOpen() {
	if t := m.Takeover; t != nil && t.Term == m.Lease.Term && m.Self.Server.ReplID == t.ReplID && m.Self.Server.Offset >= t.Offset {
		m.why("%s gave the Lease to this member", t.From)
		m.open(m.Lease.Term, m.deadline())
		return
	}
	if m.pollStale() {
		m.why("the Lease names this member; asking the others before it is opened")
		return
	}
	if m.apiReturning() {
		m.why("the Lease names this member; the API has just come back, and not yet for all members")
		return
	}
	if m.Self.Empty() && !m.brandNew() && !m.complete() && !m.HandoverForce {
		m.why("the Lease names this member, but it is empty and not all others are here: waiting for them " +
			"(redstart failover --force begins anew)")
		m.lookAt(m.Now + fresh)
		return
	}
	best, ok := m.best()
	if ok && best == &m.Self {
		m.why("this member holds the Lease and nobody holds more")
		if m.Self.Term < m.Lease.Term || m.alone() {
			m.open(m.Lease.Term, m.deadline())
			return
		}
		// The server that was open under this term is gone. Copies of it may be left, whose offsets do not compare with those of
		// the history that begins now; terms do.
		term := m.Self.Term + 1
		m.do(AcquireLease{Term: term, Members: m.Config.Replicas, ResourceVersion: m.Lease.ResourceVersion})
		m.open(term, m.Now+m.duration()-m.margin())
		return
	}
	m.why("the Lease names this member, but another holds more")
	m.release()
}

// brandNew tells whether nobody can hold data yet: this member is the first holder of the Lease that there ever was, and has
// not been open. Later it may be empty because its data is gone while others hold copies.
func (m *decider) brandNew() bool { return m.holds() && m.Lease.Term == 1 && !m.d.Memory.Settled }

// open makes the server writable, after whoever may still be open, though no longer allowed to, was demoted.
func (m *decider) open(term int64, before time.Duration) {
	for i := range m.Peers {
		p := &m.Peers[i]
		suspect := p.ServerOpen || p.Name == m.d.Memory.Master && !p.Refused && !(p.Terminated && !p.Reachable)
		if m.Self.Empty() && !p.Reachable {
			continue // nobody knows what its server holds: it must not be made to copy this one
		}
		if t := m.Takeover; t != nil && t.From == p.Name {
			continue // it follows already, or its server is dead: it says so by giving the Lease away
		}
		if suspect && p.Address != "" && !(p.Reachable && p.Closed() && m.Now-p.AskedAt <= fresh) {
			m.do(DemoteServer{Name: p.Name, Address: p.Address})
		}
	}
	m.do(Remember{term}, Open{Term: term, Before: before})
	if m.Takeover != nil {
		m.d.Memory.LabelsAt = m.Now + labelsTime
	}
	m.label()
	m.do(Nudge{})
}

// demoteOthers ends leftover masters whose agents cannot do it: an open master of the authority is the only one.
func (m *decider) demoteOthers() {
	for i := range m.Peers {
		if p := &m.Peers[i]; p.ServerOpen && p.Address != "" {
			m.do(DemoteServer{Name: p.Name, Address: p.Address})
		}
	}
}

// labelsTime is how long the one that hands over may take to move the label.
const labelsTime = 300 * time.Millisecond

// label puts the label master on this member alone.
func (m *decider) label() {
	if !m.Lease.APIReachable {
		return
	}
	if m.Now < m.d.Memory.LabelsAt {
		m.lookAt(m.d.Memory.LabelsAt)
		return
	}
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Label == v1alpha1.RoleMaster {
			m.do(SetRoleLabel{Pod: p.Name, Role: v1alpha1.RoleReplica})
		}
	}
	if m.Self.Label != v1alpha1.RoleMaster {
		m.do(SetRoleLabel{Pod: m.Self.Name, Role: v1alpha1.RoleMaster})
	}
}

// labelReplica takes the label master off this member. While its server is down that can wait: whoever takes over does it, and
// the API has better to do. A label that came before the authority is given time for it: who gives that moves both at once.
func (m *decider) labelReplica() {
	if !m.Lease.APIReachable || !m.Self.Server.Up || m.Self.Label == v1alpha1.RoleReplica {
		return
	}
	if m.Self.Label == v1alpha1.RoleMaster && m.d.Memory.Master != m.Self.Name && !m.Self.Stopping {
		since := cmp.Or(m.d.Memory.MislabelledSince, m.Now)
		m.d.Memory.MislabelledSince = since
		if m.Now < since+labelsTime {
			m.lookAt(since + labelsTime)
			return
		}
	}
	m.do(SetRoleLabel{Pod: m.Self.Name, Role: v1alpha1.RoleReplica})
}

func (m *decider) renew() {
	m.do(RenewLease{Members: m.Config.Replicas, ResourceVersion: m.Lease.ResourceVersion})
}

func (m *decider) release() {
	if m.Lease.APIReachable {
		m.do(ReleaseLease{m.Lease.ResourceVersion}, Nudge{})
	}
}

// hung tells whether a running server has been silent for too long.
func (m *decider) hung(limit time.Duration) bool {
	since := max(m.ServerAnsweredAt, m.ServerStartedAt)
	if m.Self.Server.Up || m.Now-since < limit {
		m.lookAt(since + limit)
		return false
	}
	return true
}

// alone tells whether there is, and was all along, no other member.
func (m *decider) alone() bool {
	return m.Config.Replicas == 1 && m.Lease.Members <= 1 && len(m.Peers) == 0
}

// pollStale asks for a Poll when an answer of a reachable peer is too old to decide upon.
func (m *decider) pollStale() bool {
	for i := range m.Peers {
		p := &m.Peers[i]
		if p.Reachable && (m.Now-p.AskedAt > fresh || p.AskedAt < m.d.Memory.VacantSince) {
			m.do(Poll{})
			return true
		}
	}
	return false
}

// best of the members that can be reached, self included.
func (m *decider) best() (*Member, bool) {
	var buf [8]*Member
	members := append(buf[:0], &m.Self)
	m.Self.APIReachable = m.Lease.APIReachable || m.alone()
	for i := range m.Peers {
		if m.Peers[i].ServerOpen && m.Self.Empty() {
			return nil, false // its agent is silent, and its server is master: it holds something
		}
		if m.Peers[i].Reachable {
			members = append(members, &m.Peers[i])
		}
	}
	last := m.Lease.LastHolder
	for _, p := range members {
		if p.Term > m.Lease.Term {
			last = "" // the Lease does not tell who held that term, and all members have to rank alike
		}
	}
	return Best(members, last, m.Config.Replicas)
}
