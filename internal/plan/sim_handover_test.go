package plan

import "time"

const pauseFor = 3 * second

// startHandover carries the steps out as NextHandoverStep asks for them.
func (a *agent) startHandover(x HandOver) {
	a.handover = HandoverPause
	a.wanted, a.force = false, false
	a.candidateClock = 0
	if c := a.n.w.byName(x.To); c.agent.running && a.n.w.linked(a.n, c) {
		a.candidateClock = c.agent.clock()
	}
	st := HandoverState{Step: HandoverNone, PauseEnd: a.clock() + pauseFor}
	a.nextStep(&x, st)
}

func (a *agent) nextStep(x *HandOver, st HandoverState) {
	st.Now = a.clock()
	st.Authority = len(a.sentinels) > 0 || a.lease.Holder == a.n.name && a.lease.Boot == a.boot && st.Now < a.lease.RenewedAt+4*second
	step := NextHandoverStep(st)
	a.n.w.log(a.n.name, "  handover to %s: %s", x.To, step)
	a.handover = step
	if step == HandoverDone || step == HandoverFailed {
		if step == HandoverFailed {
			a.failedAt = a.clock()
		}
		a.handover = HandoverNone
		a.wake()
		return
	}
	a.later(a.n.w.between(ms/2, 3*ms), func() {
		a.doStep(step, x, func(out Outcome) {
			st.Step, st.Outcome = step, out
			a.nextStep(x, st)
		})
	})
}

func (a *agent) doStep(step HandoverStep, x *HandOver, done func(Outcome)) {
	n, w, s := a.n, a.n.w, &a.n.srv
	c := w.byName(x.To)
	if (!s.running || s.hung) && step != HandoverUndo && step != HandoverLeave {
		done(Unknown)
		return
	}
	switch step {
	case HandoverPause:
		s.pausedUntil = w.now + pauseFor
	case HandoverWait:
		deadline := w.now + 2*second
		var look func()
		look = func() {
			switch {
			case s.running && a.caughtUp(c):
				done(Succeeded)
			case w.now > deadline || !s.running:
				done(Refused)
			default:
				a.later(5*ms, look)
			}
		}
		look()
		return
	case HandoverFence:
		s.fenced = true
	case HandoverMove:
		if len(a.sentinels) > 0 {
			a.moveSentinels(x, done)
			return
		}
		m := a.peers[x.To]
		if m == nil || !m.Reachable {
			done(Refused)
			return
		}
		a.give(x.To, m.Boot, true, func(ok bool) {
			if ok {
				done(Succeeded)
			} else {
				done(Unknown)
			}
		})
		return
	case HandoverFollow:
		n.followServer(x.Address)
		if len(a.sentinels) > 0 && c.agent.running && w.linked(n, c) {
			a.candidateClock = c.agent.clock()
		}
	case HandoverTakeover:
		a.handedAt = a.clock()
		a.tell(c, Takeover{Term: a.lease.Term, From: n.name, ReplID: s.id, Offset: s.data.off - s.base}, a.candidateClock)
	case HandoverFinish, HandoverLeave:
		s.pausedUntil = 0
	case HandoverUndo:
		s.fenced, s.pausedUntil = false, 0
	}
	done(Succeeded)
}

// give moves the Lease to a run of another's agent.
func (a *agent) give(to, boot string, planned bool, done func(ok bool)) {
	n, w := a.n, a.n.w
	c, term := w.byName(to), a.lease.Term
	a.cas(a.lease.ResourceVersion, func(l *simLease) {
		l.holder, l.boot, l.last, l.from, l.term = to, boot, to, n.name, term+1
		if planned {
			w.handed[l.term] = handed{n, c.srv.run}
		} else if c.agent.runs(boot) {
			w.checkChosen(n, c)
		}
	}, func(ok bool) {
		if ok {
			a.lease.RenewedAt = 0
		}
		done(ok)
	})
}

// tell posts a takeover to another's agent, in mode Replication with the Lease as it was given, after that agent's clock.
func (a *agent) tell(c *node, t Takeover, clock time.Duration) {
	n, w := a.n, a.n.w
	if !w.linked(n, c) || !w.chance(0.9) {
		return
	}
	l := simLease{a.lease.Holder, a.lease.Boot, a.lease.LastHolder, a.lease.From, a.lease.Term, a.lease.Members, a.leaseRV}
	t.Term, t.Since = l.term, clock
	delay := ms
	if w.chance(0.05) {
		delay = w.between(50*ms, 6*second)
	}
	b := &c.agent
	b.later(delay, func() {
		if clock > 0 && l.holder == c.name && l.boot == b.boot {
			b.sawLease(l)
			if b.lease.Holder == c.name && b.lease.Boot == b.boot && b.lease.Term == l.term {
				b.lease.RenewedAt = max(b.lease.RenewedAt, clock)
			}
		}
		b.takeover = &t
		b.lookAround()
		b.later(second, func() {
			if b.takeover == &t {
				b.takeover = nil
			}
		})
		b.wake()
		b.later(20*ms, b.wake)
	})
}

// caughtUp tells whether the candidate holds all that this master does; in mode Sentinel every
// member that can be reached has to, for the Sentinels may choose any of them.
func (a *agent) caughtUp(c *node) bool {
	n := a.n
	has := func(p *node) bool { return p.srv.linkUp && p.srv.masterAddr == n.address && p.srv.data == n.srv.data }
	for name, m := range a.peers {
		if p := n.w.byName(name); len(a.sentinels) > 0 && m.Reachable && !has(p) {
			return false
		}
	}
	return has(c)
}

// stopped is the end of a pod that was told to stop.
func (n *node) stopped() {
	w := n.w
	n.killAgent("stopped", 0)
	n.terminated = true
	if int32(n.ord) >= w.replicas {
		n.exists = false
		w.log(n.name, "pod is gone")
		return
	}
	w.after(w.between(100*ms, 2*second), func() {
		if !n.agent.running && int32(n.ord) < w.replicas {
			n.create()
		}
	})
}

// create starts the pod, at a new address.
func (n *node) create() {
	n.w.addrs++
	n.exists, n.address = true, addressOf(n.w.addrs)
	n.startAgent()
}

// terminate sends SIGTERM, and SIGKILL at the end of the grace period.
func (n *node) terminate(grace time.Duration) {
	a := &n.agent
	if !a.running || a.stopping {
		return
	}
	n.w.log(n.name, "SIGTERM")
	n.stableAt = n.w.now
	a.stopping, a.stopBy = true, a.clock()+grace-second
	gen := a.gen
	n.w.after(grace, func() {
		if a.gen == gen {
			n.killAgent("its grace period is over", 0)
			n.stopped()
		}
	})
	a.wake()
}
