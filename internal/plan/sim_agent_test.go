package plan

import (
	"slices"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// agent is one run after another of a member's agent; term, replID and offset are on its disk.
type agent struct {
	n *node

	term   int64
	replID string
	offset int64

	running, stopping bool
	busy              bool // carries out actions
	list              int  // counts the lists of actions
	gen               int
	pausedUntil       time.Duration
	boot              string
	startedAt         time.Duration
	rate              float64 // of its clock
	replicas          int32   // as it knows
	peers             map[string]*Member
	answered          time.Duration // own server, own clock
	lastServer        v1alpha1.ServerStatus
	lease             Lease
	leaseRV           int
	apiAnswer         time.Duration // own clock
	memory            Memory
	decision          Decision
	takeover          *Takeover
	candidateClock    time.Duration // of the candidate, before the handover
	wanted, force     bool
	to                string
	failedAt          time.Duration
	handedAt          time.Duration
	handover          HandoverStep
	stopBy            time.Duration
	nextAt            time.Duration // true time of the next look
	restartDue        bool
	sentinels         []Sentinel // by ordinal
	sentinelsSince    time.Duration
	discoveredAt      time.Duration
}

const leaseSeconds = 5

// clock is the agent's own monotonic clock.
func (a *agent) clock() time.Duration {
	return time.Duration(float64(a.n.w.now-a.startedAt)*a.rate) + time.Hour
}

// own converts a moment of the world to the agent's clock.
func (a *agent) own(t time.Duration) time.Duration {
	return time.Duration(float64(t-a.startedAt)*a.rate) + time.Hour
}

func (n *node) startAgent() {
	w, old := n.w, n.agent
	n.terminated = false
	n.label = ""
	n.stableAt = w.now
	n.agent = agent{
		n: n, gen: old.gen + 1, running: true, boot: w.id("boot"), startedAt: w.now, rate: 0.98 + 0.04*w.rng.Float64(),
		term: old.term, replID: old.replID, offset: old.offset, replicas: max(old.replicas, 1), peers: map[string]*Member{},
	}
	if old.replicas == 0 {
		n.agent.replicas = w.replicas
	}
	w.log(n.name, "agent starts as %s at %s, term %d", n.agent.boot, n.address, n.agent.term)
	n.agent.sentinels = make([]Sentinel, len(w.sentinels))
	n.startServer()
	gen := n.agent.gen
	n.agent.each(gen, 200*ms, 300*ms, n.agent.readLease)
	n.agent.each(gen, 700*ms, 1000*ms, n.agent.askAll)
	n.agent.readLease()
	n.agent.askAll()
	n.agent.wake()
}

// killAgent kills it and with it its server; the container is started again after a while.
func (n *node) killAgent(why string, restart time.Duration) {
	a := &n.agent
	if !a.running {
		return
	}
	n.w.log(n.name, "agent dies: %s", why)
	n.killServer("its agent died")
	a.running = false
	a.gen++
	n.stableAt = n.w.now
	gen := a.gen
	n.w.after(n.w.between(200*ms, 1000*ms), func() {
		if a.gen == gen {
			n.terminated = true
		}
	})
	if restart > 0 {
		n.w.after(restart, func() {
			if a.gen == gen && n.exists {
				n.startAgent()
			}
		})
	}
}

// alive tells whether a run of the agent goes on; while it is paused, nothing of it does.
func (a *agent) alive(gen int) bool { return a.running && a.gen == gen }

// later runs fn of a run of the agent after d, or when its pause ends.
func (a *agent) later(d time.Duration, fn func()) {
	gen, w := a.gen, a.n.w
	var step func()
	step = func() {
		switch {
		case !a.alive(gen):
		case a.pausedUntil > w.now:
			w.after(a.pausedUntil-w.now, step)
		default:
			fn()
		}
	}
	w.after(d, step)
}

func (a *agent) each(gen int, from, to time.Duration, fn func()) {
	a.later(a.n.w.between(from, to), func() {
		fn()
		a.each(gen, from, to, fn)
	})
}

// wake makes the agent decide soon.
func (a *agent) wake() {
	w := a.n.w
	if !a.running || a.nextAt > w.now && a.nextAt <= w.now+ms {
		return
	}
	a.nextAt = w.now + ms
	a.later(ms, a.step)
}

func (a *agent) step() {
	w := a.n.w
	if a.busy || w.now < a.nextAt {
		return
	}
	if a.n.sen != nil {
		a.stepSentinel()
		return
	}
	a.reapServer()
	o := a.observe()
	d := DecideMember(o)
	if w.mutant.member != nil {
		w.mutant.member(&o, &d)
	}
	if w.trace != nil && (d.Why != a.decision.Why || len(d.Actions) > 0) {
		w.log(a.n.name, "%s", d.Why)
	}
	a.decision, a.memory = d, d.Memory
	if len(d.Actions) > 0 {
		a.busy = true
		a.list++
		list := a.list
		a.carryOut(d.Actions, list)
		if d.Until > 0 {
			a.later(time.Duration(float64(d.Until-o.Now)/a.rate), func() {
				if a.busy && a.list == list {
					a.list++
					a.busy = false
					a.wake()
				}
			})
		}
		return
	}
	wait := max(time.Duration(float64(d.Next-o.Now)/a.rate), ms)
	a.nextAt = w.now + wait
	a.later(wait, a.step)
}

// reapServer restarts a server that died, after the decision that its death calls for.
func (a *agent) reapServer() {
	n := a.n
	if !n.srv.running && !a.restartDue {
		a.restartDue = true
		a.later(n.w.between(20*ms, 500*ms), func() {
			a.restartDue = false
			if !n.srv.running && n.exists && !a.stopping && !a.decision.StayDown {
				n.startServer()
			}
		})
	}
}

func (a *agent) observe() Observation {
	n, w := a.n, a.n.w
	now := a.clock()
	a.lease.APIReachable = a.apiAnswer > 0 && now-a.apiAnswer <= APITimeout(leaseSeconds*second)
	s := a.status()
	o := Observation{
		Now: now, Config: a.config(), Lease: a.lease, Memory: a.memory, ServerRunning: n.srv.running, ServerAnsweredAt: a.answered,
		ServerStartedAt: a.own(n.srv.startedAt), Handover: a.handover, HandoverWanted: a.wanted, HandoverTo: a.to,
		HandoverFailedAt: a.failedAt, HandedOverAt: a.handedAt, Takeover: a.takeover, StopBy: a.stopBy, HandoverForce: a.force,
		Self:  Member{AgentStatus: s, Address: n.address, Label: n.label},
		Peers: make([]Member, 0, len(w.nodes)),
	}
	for _, p := range w.nodes {
		if m := a.peers[p.name]; m != nil {
			o.Peers = append(o.Peers, *m)
		}
	}
	if len(a.sentinels) > 0 {
		o.Sentinels = slices.Clone(a.sentinels)
	}
	return o
}

func (a *agent) config() v1alpha1.AgentConfig {
	return v1alpha1.AgentConfig{
		Redis: "cache", Mode: a.n.w.mode, Replicas: a.replicas, LeaseSeconds: leaseSeconds,
		Sentinels: int32(len(a.n.w.sentinels)), DownAfterMS: downAfter.Milliseconds(),
	}
}

// status is what GET /status answers.
func (a *agent) status() v1alpha1.AgentStatus {
	n, s := a.n, &a.n.srv
	now := a.clock()
	st := v1alpha1.AgentStatus{
		Name: n.name, Boot: a.boot, ClockNS: now.Nanoseconds(), Fenced: s.fenced, Stopping: a.stopping, Term: a.term, Follows: a.decision.Follows,
		Role: a.decision.Role, APIReachable: a.apiAnswer > 0 && now-a.apiAnswer <= APITimeout(leaseSeconds*second),
	}
	if len(a.sentinels) > 0 {
		st.Candidate = a.decision.Candidate
		if a.trackSentinels(now); a.sentinelsSince > 0 {
			st.SentinelsReachableMS = (now - a.sentinelsSince).Milliseconds()
		}
	}
	if st.APIReachable {
		st.APIReachableMS = max(1, (now - a.lease.ReachableSince).Milliseconds())
	}
	if s.running && !s.hung {
		a.answered = now
		a.lastServer = v1alpha1.ServerStatus{
			Up: true, Loading: s.loading, RunID: s.run, Address: n.address, Role: v1alpha1.RoleReplica, MasterAddress: s.masterAddr, LinkUp: s.linkUp,
			ReplID: s.id, ReplID2: s.id2, SecondOffset: s.second, Offset: s.data.off - s.base, Keys: s.data.off,
		}
		if s.loading {
			a.lastServer.Keys = 0
		} else if s.master || s.linkUp {
			a.replID, a.offset = s.id, s.data.off-s.base
		}
		if s.master {
			a.lastServer.Role = v1alpha1.RoleMaster
		}
	}
	st.Server = a.lastServer
	if s.running {
		st.Server.PID = 1
	}
	if !s.running || now-a.answered > second {
		st.Server.Up = false
	}
	if !s.master && !s.linkUp && s.id != a.replID && n.w.persist == appendOnly {
		st.LastReplID, st.LastOffset = a.replID, a.offset
	}
	return st
}

// carryOut does actions one after the other; each takes time, and a failure drops the rest.
func (a *agent) carryOut(actions []Action, list int) {
	if a.list != list {
		return
	}
	if len(actions) == 0 {
		a.busy = false
		a.wake()
		return
	}
	done := func(ok bool) {
		if !ok {
			actions = actions[:1]
		}
		a.carryOut(actions[1:], list)
	}
	if a.n.w.trace != nil {
		a.n.w.log(a.n.name, "  > %s", actions[0])
	}
	a.later(a.n.w.between(0, ms), func() {
		if a.list == list {
			a.act(actions[0], done)
		}
	})
}

// runs tells whether a run of the agent goes on: what it sent may arrive when it is over, and the data gone.
func (a *agent) runs(boot string) bool { return a.running && a.boot == boot }

func (a *agent) act(action Action, done func(ok bool)) {
	n, w, s := a.n, a.n.w, &a.n.srv
	switch x := action.(type) {
	case AcquireLease:
		boot := a.boot
		a.cas(x.ResourceVersion, func(l *simLease) {
			l.holder, l.boot, l.last, l.from, l.term, l.members = n.name, boot, n.name, "", x.Term, x.Members
			if !s.master && a.runs(boot) {
				w.checkChosen(n, n)
			}
		}, done)
		return
	case RenewLease:
		a.cas(x.ResourceVersion, func(l *simLease) { l.members = x.Members }, done)
		return
	case ReleaseLease:
		a.cas(x.ResourceVersion, func(l *simLease) { l.holder, l.boot, l.from = "", "", "" }, done)
		return
	case Remember:
		a.term = x.Term
		if x.Term == 0 {
			a.replID, a.offset = "", 0
		}
	case Open:
		if !s.running || s.hung || s.loading || a.clock() > x.Before {
			done(false)
			return
		}
		w.checkOpen(n, x.Term)
		n.openServer()
		n.touched()
		a.takeover = nil
		w.opens++
	case Unfence:
		if !s.running || s.hung || a.clock() > x.Before {
			done(false)
			return
		}
		s.fenced, s.pausedUntil = false, 0
	case Fence:
		if s.hung {
			n.killServer("it does not answer")
		}
		s.fenced = true
	case Follow:
		if !s.running || s.hung {
			done(false)
			return
		}
		n.followServer(x.Address)
	case Close:
		n.followServer("")
	case KillServer:
		n.killServer("killed by its agent")
	case DemoteServer:
		w.demote(n, x, done)
		return
	case AskSentinelFailover:
		a.askFailover(x.Address, func(out Outcome) { done(out == Succeeded) })
		return
	case SetRoleLabel:
		if p := w.byName(x.Pod); p != nil && w.apiUp && !n.apiCut {
			p.label = x.Role
			if m := a.peers[x.Pod]; m != nil {
				m.Label = x.Role
			}
		}
	case Poll:
		a.poll(func() { done(true) })
		return
	case Nudge:
		for _, p := range w.nodes {
			if p != n && w.linked(n, p) {
				p := p
				w.after(w.between(ms, 5*ms), func() { p.agent.nudged() })
			}
		}
	case HandOver:
		a.startHandover(x)
		done(true)
		return
	case Bequeath:
		a.give(x.To, x.Boot, false, func(ok bool) {
			if ok {
				a.tell(w.byName(x.To), Takeover{From: n.name, ReplID: x.ReplID, Offset: x.Offset}, x.Clock)
			}
			done(ok)
		})
		return
	case Stop:
		n.stopped()
		return
	}
	done(true)
}

func (a *agent) nudged() {
	if a.running && a.pausedUntil <= a.n.w.now {
		a.readLease()
	}
}
