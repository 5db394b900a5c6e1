package plan

import (
	"slices"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// askEvery is how often a Sentinel is asked again for a failover that did not come.
const askEvery = 2 * second

// underSentinels decides in mode Sentinel. The Sentinels name the master and may promote a server behind its agent's back;
// since every server that is not the open master is fenced, it is the agent that opens it.
func (m *decider) underSentinels() {
	s, mem := &m.Self.Server, &m.d.Memory
	named := m.named()
	self := named != "" && named == m.Self.Address
	mem.SentinelsAt = max(mem.SentinelsAt, m.backedBySentinels())
	if own := string(s.Role) + s.MasterAddress; own != mem.Own {
		mem.Own, mem.OwnSince = own, m.Now
	}
	if !self {
		mem.NamedSince = 0
	} else if mem.NamedSince == 0 {
		mem.NamedSince = m.Now
	}
	if m.Self.Open() || m.master() != nil {
		mem.VacantSince = 0
	} else if mem.VacantSince == 0 {
		mem.VacantSince = m.Now
	}
	limit := hungReplica
	if self || s.Role == v1alpha1.RoleMaster {
		limit = m.patience() - m.patience()/5
	}
	switch {
	case m.Handover >= HandoverMove:
		m.why("handing over: %s", m.Handover)
	case !m.ServerRunning || s.Up && s.Loading:
		m.why("the server is not ready")
		if self {
			m.why("the server died while this member was master")
			m.askFailover()
		}
	case m.hung(limit):
		m.why("the server has not answered for %s", (m.Now - m.ServerAnsweredAt).Round(time.Second/10))
		m.do(KillServer{})
		if self {
			m.askFailover()
		}
	case !s.Up:
		m.why("the server does not answer")
	case m.Self.Open():
		m.asNamedMaster(named)
	case m.Self.Empty() && s.Role == v1alpha1.RoleMaster && m.dataHeld():
		// A master serves full synchronisations, fenced or not.
		m.why("made master without its agent, while it is empty and another holds data")
		m.do(Close{})
	case m.Handover != HandoverNone:
		m.why("handing over: %s", m.Handover)
	case m.Self.Stopping:
		m.why("stopping; not the master")
		m.labelReplica()
		m.do(Stop{})
	case m.master() != nil:
		m.follow()
		m.labelReplica()
	case m.Takeover != nil || self:
		m.openUnderSentinels(self)
	case !m.presentNamed() || m.Now-mem.VacantSince >= coldStart:
		m.bootstrap()
	default:
		m.why("waiting for the Sentinels to agree")
		if named != "" {
			m.why("waiting for %s, which the Sentinels name", m.nameOf(named))
		}
		m.followLink()
		if named != "" {
			m.d.Follows = m.nameOf(named)
		}
		m.labelReplica()
		m.askForTheDead(named)
	}
}

// asNamedMaster keeps an open master going while the Sentinels do not say otherwise.
func (m *decider) asNamedMaster(named string) {
	m.d.Follows = m.Self.Name
	blind := m.Now - m.d.Memory.SentinelsAt
	switch {
	case named != "" && named != m.Self.Address:
		m.why("the Sentinels name %s", m.nameOf(named))
		m.do(Fence{}, DropClients{})
		return
	case blind >= m.patience()-m.patience()/4 && !m.alone() && !m.backedWithoutSentinels():
		m.why("a majority of the Sentinels has been out of sight for %s", blind.Round(time.Second/10))
		m.do(Fence{}, DropClients{})
		return
	case blind >= m.patience()/4:
		m.lookAt(m.Now + fresh)
		if mem := &m.d.Memory; m.Now-mem.PolledAt >= m.patience()/8 {
			mem.PolledAt = m.Now
			m.do(Poll{})
		}
	}
	m.why("master of term %d", m.Self.Term)
	m.d.Candidate = named == ""
	m.demoteOthers()
	m.label()
	m.leave(len(m.Sentinels) > 0 && ToAsk(m.Sentinels, monitoring) != nil)
	if l := &m.Lease; l.Known && l.APIReachable && (!m.holds() || l.Term != m.Self.Term) {
		term := m.Self.Term
		if l.Term > term {
			term = l.Term + 1
			m.do(Remember{term})
		}
		m.do(AcquireLease{Term: term, Members: m.Config.Replicas, ResourceVersion: l.ResourceVersion})
	}
}

// openUnderSentinels opens this member, which Sentinels promoted or name, once the last master is no longer open.
func (m *decider) openUnderSentinels(self bool) {
	mem, s := &m.d.Memory, &m.Self.Server
	m.d.Candidate = self && m.holds()
	if until := m.HandedOverAt + wordFor*3/2; m.Takeover == nil && m.HandedOverAt > 0 && m.Now < until {
		m.why("named by the Sentinels, but whom this member handed over to may be about to open")
		m.lookAt(until)
		return
	}
	if m.Takeover == nil && m.contested() {
		m.why("named by the Sentinels, but one of them names another; waiting until they agree")
		m.lookAt(m.Now + fresh)
		return
	}
	if m.answersOld() {
		m.why("named by the Sentinels; asking the others before it is opened")
		m.do(Poll{})
		return
	}
	best, ok := m.best()
	switch {
	case m.Self.Empty() && !(ok && best == &m.Self):
		m.why("named by the Sentinels, but this member is empty and another holds data")
		// Who asks to be monitored need not be among the replicas, and a failover would only go to another empty one.
		if !slices.ContainsFunc(m.Peers, func(p Member) bool { return p.Reachable && p.Candidate && !p.Empty() }) {
			m.askFailover()
		}
		return
	case m.Self.Empty() && !m.brandNew() && !m.complete() && !m.HandoverForce:
		m.why("named by the Sentinels, but this member is empty and not all others are here: waiting for them " +
			"(redstart failover --force begins anew)")
		m.lookAt(m.Now + fresh)
		return
	case m.Takeover == nil && s.Role == v1alpha1.RoleReplica && !(ok && best == &m.Self):
		m.why("named by the Sentinels, but another member holds more")
		m.askFailover()
		return
	case m.Takeover == nil && s.Role == v1alpha1.RoleReplica && (s.LinkUp && m.Now-mem.NamedSince < 2*second || m.failoverRuns()):
		m.why("named by the Sentinels; waiting for their failover to end")
		return
	}
	var demote []Action
	for i := range m.Peers {
		p := &m.Peers[i]
		dead := p.Terminated && !p.Reachable || p.Refused && m.Now-p.RefusedAt <= fresh || p.Ended() && m.Now-p.AskedAt <= fresh
		switch {
		case dead, p.Reachable && p.Server.Loading,
			p.Reachable && p.Shut() && p.Name != mem.Master && !p.Candidate && p.Server.Role != v1alpha1.RoleMaster:
			continue
		case !p.Reachable && !p.ServerOpen && m.Takeover == nil && !m.sentinelConsent(p):
			m.why("named by the Sentinels; %s may still be master: waiting until it must have given up", p.Name)
			m.lookAt(m.Now + fresh)
			m.do(Poll{})
			return
		case m.Self.Empty() && !p.Reachable:
			// Nobody knows what its server holds: it must not be made to copy this one.
		case p.Address != "":
			// It may have been told by the Sentinels to go on in this very moment: it is made a replica for certain.
			demote = append(demote, DemoteServer{Name: p.Name, Address: p.Address, Must: p.Reachable || p.ServerOpen})
		}
	}
	term := m.nextTerm()
	if own := m.Self.Term; term == own+1 && own > 0 && own == mem.Opening {
		term = own // that opening failed, and nobody is known to have opened since
	}
	mem.Opening = term
	m.why("named by the Sentinels")
	m.do(demote...)
	before := m.Now + m.downAfter()/2
	if m.Takeover != nil {
		before = min(before, m.Takeover.Since+wordFor)
	}
	m.do(Remember{term}, Open{Term: term, Before: before})
	m.label()
	m.do(Nudge{})
}

// contested tells whether a Sentinel is about to name another: it leads a failover that has not promoted this member, or has
// learned of a later one before the others.
func (m *decider) contested() bool {
	epoch := int64(0)
	for i := range m.Sentinels {
		if s := &m.Sentinels[i]; s.Reachable && s.MasterAddress == m.Self.Address {
			epoch = max(epoch, s.ConfigEpoch)
		}
	}
	for i := range m.Sentinels {
		s := &m.Sentinels[i]
		if s.Reachable && s.Monitoring && s.MasterAddress != m.Self.Address &&
			(s.FailoverInProgress && s.Promoting != m.Self.Address || s.ConfigEpoch > epoch && m.nameOf(s.MasterAddress) != "") {
			return true
		}
	}
	return false
}

// answersOld tells whether an answer is too old to open upon, or was asked for before somebody changed the role of the own
// server: another member may have been opened then.
func (m *decider) answersOld() bool {
	since := m.Now - fresh
	if m.Takeover == nil {
		since = max(since, m.d.Memory.OwnSince, m.d.Memory.VacantSince)
	}
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Reachable && p.AskedAt < since {
			return true
		}
	}
	for i := range m.Sentinels {
		if s := &m.Sentinels[i]; s.Reachable && s.AskedAt < since {
			return true
		}
	}
	return false
}

// nextTerm is a term that nobody had, or the one that this member was elected for.
func (m *decider) nextTerm() int64 {
	term := m.Self.Term
	for i := range m.Peers {
		term = max(term, m.Peers[i].Term)
	}
	if m.holds() {
		return max(term+1, m.Lease.Term)
	}
	return max(term, m.Lease.Term) + 1
}

// dataHeld tells whether any peer that can be reached is not empty.
func (m *decider) dataHeld() bool {
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Reachable && !p.Empty() {
			return true
		}
	}
	return false
}

// bootstrap elects by the rules of the Lease. The winner asks the Sentinels to monitor it, and opens when they do.
func (m *decider) bootstrap() {
	m.labelReplica()
	if !m.holds() {
		if why, vacant := m.vacancy(); vacant {
			m.take(why)
		} else {
			m.why("the Sentinels name no master; %s", why)
			m.followLink()
		}
		return
	}
	m.why("waiting for the Sentinels to monitor this member")
	m.d.Candidate = true
	if m.pollStale() {
		return
	}
	if best, ok := m.best(); !ok || best != &m.Self {
		m.why("another member holds more")
		m.d.Candidate = false
		m.release()
	} else if m.Now-m.Lease.RenewedAt >= RenewEvery {
		m.renew()
	}
}

// askForTheDead asks for a failover of a named master that is proven dead, and whose agent cannot ask.
func (m *decider) askForTheDead(named string) {
	if named == "" {
		return // and a pod that has no address yet is nobody's master
	}
	for i := range m.Peers {
		p := &m.Peers[i]
		if p.Address == named && !p.Reachable && (p.Refused && m.Now-p.RefusedAt <= fresh || p.Terminated) {
			m.why("%s, which the Sentinels name, is dead", p.Name)
			m.askFailover()
		}
	}
}

// askFailover asks one Sentinel, always the first that answers, so that whoever asks picks the same one.
func (m *decider) askFailover() {
	s, mem := ToAsk(m.Sentinels, monitoring), &m.d.Memory
	if s == nil || m.failoverRuns() || mem.FailoverAskedAt > 0 && m.Now-mem.FailoverAskedAt < askEvery || !m.replicaThere() {
		return
	}
	mem.FailoverAskedAt = m.Now
	m.do(AskSentinelFailover{Name: s.Name, Address: s.Address})
}

func monitoring(s *Sentinel) bool { return s.Monitoring }

// ToAsk is the Sentinel to ask for a failover, of those that answer and may be asked: the first by ordinal, but one that is about to
// stop, and would leave the failover half done, only when there is no other. It is nil when there is none.
func ToAsk(sentinels []Sentinel, may func(*Sentinel) bool) (best *Sentinel) {
	for i := range sentinels {
		s := &sentinels[i]
		if !s.Reachable || !may(s) {
			continue
		}
		if best == nil || best.Stopping && !s.Stopping || best.Stopping == s.Stopping && Ordinal(s.Name) < Ordinal(best.Name) {
			best = s
		}
	}
	return best
}

func (m *decider) replicaThere() bool {
	if m.Self.Loaded() && !m.Self.Empty() {
		return true
	}
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Reachable && p.Loaded() && !p.Stopping && !p.Empty() {
			return true
		}
	}
	return false
}

// failoverRuns tells whether a Sentinel leads a failover.
func (m *decider) failoverRuns() bool {
	for i := range m.Sentinels {
		if m.Sentinels[i].Reachable && m.Sentinels[i].FailoverInProgress {
			return true
		}
	}
	return false
}

// named is the address that a majority of all the Sentinels names, if it is that of a present member; else empty.
func (m *decider) named() string {
	return majority(m.Sentinels, m.Config.Sentinels, func(address string) bool {
		return address == m.Self.Address || m.nameOf(address) != ""
	})
}

// majority is the master that more than half of n Sentinels name, among those that answer.
func majority(sentinels []Sentinel, n int32, present func(string) bool) string {
	for i := range sentinels {
		a, votes := sentinels[i].MasterAddress, int32(0)
		for j := range sentinels {
			if s := &sentinels[j]; s.Reachable && s.Monitoring && s.MasterAddress == a {
				votes++
			}
		}
		if a != "" && votes > n/2 && present(a) {
			return a
		}
	}
	return ""
}

func (m *decider) nameOf(address string) string {
	if address == m.Self.Address {
		return m.Self.Name
	}
	for i := range m.Peers {
		if p := &m.Peers[i]; p.Address == address && address != "" && !p.Terminated {
			return p.Name
		}
	}
	return ""
}

// presentNamed tells whether any Sentinel names a present member.
func (m *decider) presentNamed() bool {
	for i := range m.Sentinels {
		if s := &m.Sentinels[i]; s.Reachable && s.Monitoring && m.nameOf(s.MasterAddress) != "" {
			return true
		}
	}
	return false
}

// backedBySentinels is when it was last certain that no majority of the Sentinels named another: so many named this member,
// or nobody, or were dead. 0 when they were too few.
func (m *decider) backedBySentinels() time.Duration {
	need := len(m.Sentinels) - int(m.Config.Sentinels)/2
	if need <= 0 {
		return m.Now
	}
	var buf [8]time.Duration
	at := buf[:0]
	for i := range m.Sentinels {
		switch s := &m.Sentinels[i]; {
		case s.Gone:
			at = append(at, m.Now-RenewEvery)
		case !s.Monitoring || s.MasterAddress == m.Self.Address || m.Lease.APIReachable && m.nameOf(s.MasterAddress) == "":
			at = append(at, s.AskedAt)
		}
	}
	if len(at) < need {
		return 0
	}
	slices.Sort(at)
	return at[len(at)-need]
}

// backedWithoutSentinels is backed for mode Sentinel: a majority of the members follows this one and sees no majority of
// the Sentinels either.
func (m *decider) backedWithoutSentinels() bool {
	n, members := int32(0), m.leaseMembers()
	if Ordinal(m.Self.Name) < members {
		n++
	}
	for i := range m.Peers {
		p := &m.Peers[i]
		if Ordinal(p.Name) < members && p.Reachable && p.SentinelsReachableMS == 0 && p.Follows == m.Self.Name && m.Now-p.AskedAt <= m.downAfter()/4 {
			n++
		}
	}
	return n > members/2
}

// sentinelConsent is consent for mode Sentinel: a majority of the Sentinels has named this member, or has not been asked by p, for so
// long that p must know it or be fenced, and so many members see such a majority that they cannot have backed p.
func (m *decider) sentinelConsent(p *Member) bool {
	since := m.d.Memory.NamedSince
	if since == 0 || m.Now-since < m.patience() && !m.silent(p) {
		return false
	}
	n, members, d := int32(0), m.leaseMembers(), m.downAfter().Milliseconds()
	if Ordinal(m.Self.Name) < members && m.Self.SentinelsReachableMS >= d {
		n++
	}
	for i := range m.Peers {
		p := &m.Peers[i]
		if Ordinal(p.Name) < members && p.Reachable && m.Now-p.AskedAt <= fresh && p.SentinelsReachableMS >= d {
			n++
		}
	}
	return n >= (members+1)/2
}

// silent tells whether a majority of the Sentinels has heard nothing of a member's agent for as long as the member may stay open
// without their answers, and some time more. Only a connection that is still there proves that: a node that lost its power closes none.
func (m *decider) silent(p *Member) bool {
	n := int32(0)
	for i := range m.Sentinels {
		s := &m.Sentinels[i]
		known, quiet := false, true
		for _, a := range s.Askers {
			if a.Name == p.Name {
				known, quiet = known || a.Boot == p.Boot, quiet && a.Silent >= m.patience()
			}
		}
		if s.Reachable && m.Now-s.AskedAt <= fresh && known && quiet {
			n++
		}
	}
	return n > m.Config.Sentinels/2
}

// patience is how long a member waits for another that may be master and is out of sight; one that is, gives up before.
func (m *decider) patience() time.Duration { return max(m.downAfter(), 2*second) }

func (m *decider) downAfter() time.Duration {
	return time.Duration(m.Config.DownAfterMS) * time.Millisecond
}
