package plan

import "time"

const pauseFor = 3 * second

// startHandover carries the steps out as NextHandoverStep asks for them.
func (a *agent) startHandover(x HandOver) {
	a.handover = HandoverPause
	a.wanted, a.force = false, false
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
		boot, term := m.Boot, a.lease.Term
		a.cas(a.lease.ResourceVersion, func(l *simLease) {
			l.holder, l.boot, l.last, l.term = x.To, boot, x.To, term+1
			w.handed[l.term] = handed{n, c.srv.run}
		}, func(ok bool) {
			if ok {
				a.lease.RenewedAt = 0
				done(Succeeded)
			} else {
				done(Unknown)
			}
		})
		return
	case HandoverFollow:
		n.followServer(x.Address)
	case HandoverTakeover:
		if w.linked(n, c) && w.chance(0.9) {
			t := &Takeover{Term: a.lease.Term, From: n.name, ReplID: s.id, Offset: s.data.off - s.base}
			c.agent.later(ms, func() {
				c.agent.takeover = t
				c.agent.lookAround()
				c.agent.later(second, func() {
					if c.agent.takeover == t {
						c.agent.takeover = nil
					}
				})
				c.agent.later(20*ms, c.agent.wake)
			})
		}
	case HandoverFinish, HandoverLeave:
		s.pausedUntil = 0
	case HandoverUndo:
		s.fenced, s.pausedUntil = false, 0
	}
	done(Succeeded)
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
