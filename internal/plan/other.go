package plan

import "redstart.dev/redstart/api/v1alpha1"

// asOther decides while the Lease does not name this run of this agent.
func (m *decider) asOther() {
	why, vacant := m.vacancy()
	m.why("%s", why)
	mayStay := vacant && m.Lease.Holder == "" && m.Now < m.deadline() || m.alone() && (vacant || !m.Lease.APIReachable)
	if m.Self.Open() && (m.Self.Stopping || !mayStay) {
		m.why("no longer the holder of the Lease: %s", why)
		m.do(Fence{})
		m.Self.Fenced = true
	}
	limit := hungReplica
	if s := &m.Self.Server; s.Role == v1alpha1.RoleMaster && !m.Self.Fenced {
		limit = 0 // it cannot be fenced
	}
	if m.ServerRunning && m.hung(limit) {
		m.why("the server does not answer")
		m.do(KillServer{})
		return
	}
	if m.Self.Stopping && !m.Self.Open() {
		m.why("stopping; not the master")
		m.labelReplica()
		m.do(Stop{})
		return
	}
	switch {
	case vacant:
		if m.take(why) {
			return
		}
	case m.alone() && !m.Lease.APIReachable && m.Config.Mode == v1alpha1.ModeStandalone:
		m.d.Memory.VacantSince = 0
		m.standAlone()
	default:
		m.d.Memory.VacantSince = 0
		if m.Lease.APIReachable {
			m.lookAt(max(m.Lease.ChangedAt, m.Lease.ReachableSince) + m.duration())
		}
		m.follow()
	}
	if !m.Self.Open() {
		m.labelReplica()
	}
}

// standAlone opens the only member there ever was without the API.
func (m *decider) standAlone() {
	m.d.Follows = m.Self.Name
	m.why("the only member, and the API is away")
	if !m.Self.Open() && m.Self.Loaded() {
		term := max(m.Self.Term, 1)
		m.do(Remember{term}, Open{Term: term, Before: m.Now + m.duration()})
	}
}

// take takes a vacant Lease when this member is the best of those that it can reach, and in mode Replication opens at once.
func (m *decider) take(vacant string) (taken bool) {
	mem := &m.d.Memory
	if mem.VacantSince == 0 {
		mem.VacantSince = m.Now
	}
	m.followLink()
	wait, missing := mem.VacantSince+coldStart, ""
	if last := m.lastHolderMissing(); last != "" {
		wait, missing = mem.VacantSince+coldStartLast, ", and above all for "+last+", which was master last"
	}
	switch {
	case m.Self.Stopping || !m.Self.Loaded():
		m.why("%s; this member is not ready to take it", vacant)
		return false
	case !mem.Settled && !m.complete() && m.Now < wait:
		m.why("%s; waiting for all %d members to come up%s", vacant, m.Config.Replicas, missing)
		m.lookAt(wait)
		return false
	case m.pollStale():
		m.why("%s; asking the others", vacant)
		return false
	case m.apiReturning():
		m.why("%s; the API has just come back, and not yet for all members", vacant)
		return false
	}
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Reachable && p.Open() && p.Name != m.Lease.Holder {
			m.why("%s; leaving it to %s, which is an open master", vacant, p.Name)
			return false
		}
	}
	if p, why := m.missed(); p != nil {
		m.why("%s; waiting for %s, which holds more than this member and %s", vacant, p.Name, why)
		return false
	}
	best, ok := m.best()
	switch {
	case !ok:
		m.why("%s; no member that can be reached may become master", vacant)
		return false
	case best != &m.Self:
		m.why("%s; leaving it to %s, which comes first", vacant, best.Name)
		m.lookAt(m.Now + fresh)
		return false
	case m.Self.Term < m.Lease.Term && !m.complete() && !m.HandoverForce:
		m.why("%s; this member's data is of term %d, older than the Lease's %d, and not all members are here: waiting for them "+
			"(redstart failover --force takes what is here)", vacant, m.Self.Term, m.Lease.Term)
		return false
	}
	term := max(m.Lease.Term, m.Self.Term)
	for i := range m.Peers {
		term = max(term, m.Peers[i].Term)
	}
	term++
	m.why("%s, and this member is the best", vacant)
	m.do(AcquireLease{Term: term, Members: m.Config.Replicas, ResourceVersion: m.Lease.ResourceVersion})
	if m.Config.Mode != v1alpha1.ModeSentinel {
		m.open(term, m.Now+m.duration()-m.margin())
	}
	return true
}

// lastHolderMissing names the member that held the Lease last when it does not answer, and is to come back. What the others lack may
// be on its disk.
func (m *decider) lastHolderMissing() string {
	last := m.Lease.Holder
	if last == "" {
		last = m.Lease.LastHolder
	}
	p := m.peer(last)
	if last == "" || last == m.Self.Name || p != nil && p.Reachable || Ordinal(last) >= m.Config.Replicas {
		return ""
	}
	return last
}

// missed is a member that is known to hold more than this one and cannot take the Lease just now: it does not answer, though nothing
// says that it is dead, or it does not reach the API yet. Neither a lost answer nor a network that heals in pieces may cost what only
// it holds, so it is waited for, for a bounded time; the second result says for what. A holder of the Lease that does not answer is not: that it is gone is why the
// Lease is vacant.
func (m *decider) missed() (*Member, string) {
	mem := &m.d.Memory
	for i := range m.Peers {
		p := &m.Peers[i]
		silent := !p.Reachable && !p.Terminated && !p.Refused && p.Name != m.Lease.Holder && m.Now < mem.VacantSince+silentFor
		apart := p.Reachable && p.Loaded() && !p.APIReachable && m.Now < mem.VacantSince+apartFor
		more := p.Term > m.Self.Term || p.Term == m.Self.Term && sameHistory(p, &m.Self) && ahead(p, &m.Self)
		if !more || p.Stopping || Ordinal(p.Name) >= m.Config.Replicas {
			continue
		}
		switch {
		case silent:
			if m.Now-mem.PolledAt >= PollTimeout {
				mem.PolledAt = m.Now
				m.do(Poll{})
			}
			m.lookAt(mem.PolledAt + PollTimeout)
			return p, "does not answer"
		case apart:
			m.lookAt(m.Now + fresh)
			return p, "does not reach the API yet"
		}
	}
	return nil, ""
}

// apiReturning tells whether the API has come back just now, and not yet for all: those that do not count yet may hold more.
func (m *decider) apiReturning() bool {
	if m.Now-m.Lease.ReachableSince >= APITimeout(m.duration()) {
		return false
	}
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Reachable && !p.APIReachable {
			m.lookAt(m.Now + fresh)
			return true
		}
	}
	return false
}

// master is the open master that can be reached, nil when there is none: the Lease's holder while it is known, else the one
// of the newest term.
func (m *decider) master() *Member {
	var best *Member
	for i := range m.Peers {
		p := &m.Peers[i]
		if !p.Reachable || !p.Open() || p.Address == "" {
			continue
		}
		if m.Config.Mode != v1alpha1.ModeSentinel && m.Lease.APIReachable && (p.Name != m.Lease.Holder || p.Boot != m.Lease.Boot) {
			continue
		}
		if best == nil || p.Term > best.Term {
			best = p
		}
	}
	return best
}

// follow makes this member a replica of the open master.
func (m *decider) follow() {
	p, s := m.master(), &m.Self.Server
	if p == nil || !m.Self.Loaded() {
		m.followLink()
		return
	}
	if p.Term < m.Self.Term {
		m.why("not following %s: its data is of term %d, older than the %d of this member (redstart failover --force to give one of the two up)",
			p.Name, p.Term, m.Self.Term)
		if s.Role != v1alpha1.RoleReplica || s.MasterAddress == p.Address {
			m.do(Close{})
		}
		return
	}
	m.d.Follows = p.Name
	m.why("replica of %s", p.Name)
	if s.Role == v1alpha1.RoleReplica && s.MasterAddress == p.Address && m.Self.Fenced {
		return
	}
	m.do(Follow{Name: p.Name, Address: p.Address})
	if s.Role == v1alpha1.RoleMaster {
		m.do(DropClients{})
	}
}

// followLink tells whom the server follows by itself, and cuts a link to an address where no member is.
func (m *decider) followLink() {
	s := &m.Self.Server
	if !s.Up || s.Role != v1alpha1.RoleReplica || s.MasterAddress == "" {
		return
	}
	for i := range m.Peers {
		if m.Peers[i].Address == s.MasterAddress {
			m.d.Follows = m.Peers[i].Name
			return
		}
	}
	if m.Lease.APIReachable && !s.LinkUp {
		m.do(Close{})
	}
}
