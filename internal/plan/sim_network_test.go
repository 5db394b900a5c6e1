package plan

import (
	"strconv"

	"redstart.dev/redstart/api/v1alpha1"
)

// demote reaches another's server directly.
func (w *world) demote(n *node, x DemoteServer, done func(bool)) {
	p := w.byAddress(x.Address)
	ok := p != nil && w.linked(n, p) && p.srv.running
	if ok {
		if p.srv.hung {
			to := n.address
			p.srv.later = append(p.srv.later, func() { p.followServer(to) })
			ok = false
		} else if p != n {
			p.followServer(n.address)
			w.log(n.name, "  made the server of %s a replica", p.name)
		}
	}
	n.agent.later(ms, func() { done(ok || !x.Must) })
}

// api does a request; fn runs at the server, reply at the agent, unless the request or its reply is lost.
func (a *agent) api(fn func(), reply func(ok bool)) {
	n, w := a.n, a.n.w
	there, back := w.between(ms, 6*ms), w.between(ms, 6*ms)
	if !w.apiPrompt && w.chance(0.01) {
		back = w.between(500*ms, 3*second)
	}
	answered := false
	w.after(there, func() {
		if !w.apiUp || n.apiCut {
			return
		}
		fn()
		a.later(back, func() {
			if w.apiUp && !n.apiCut && !answered {
				answered = true
				now := a.clock()
				if a.apiAnswer == 0 || now-a.apiAnswer > APITimeout(leaseSeconds*second) {
					a.lease.ReachableSince = now
				}
				a.apiAnswer = now
				reply(true)
			}
		})
	})
	a.later(second, func() {
		if !answered {
			answered = true
			reply(false)
		}
	})
}

func (a *agent) cas(rv string, change func(*simLease), done func(bool)) {
	w := a.n.w
	sent := a.clock()
	var result simLease
	ok := false
	a.api(func() {
		if rv == strconv.Itoa(w.lease.rv) || rv == "" && w.lease.rv == 0 {
			change(&w.lease)
			w.lease.rv++
			ok = true
			w.notify()
		}
		result = w.lease
	}, func(answered bool) {
		if answered {
			a.sawLease(result)
			if ok {
				a.lease.RenewedAt = sent
			}
		}
		done(answered && ok)
	})
}

// notify is the watch on the Lease.
func (w *world) notify() {
	l := w.lease
	for _, n := range w.nodes {
		if n.agent.running && w.apiUp && !n.apiCut {
			n.agent.later(w.between(ms, 20*ms), func() { n.agent.sawLease(l) })
		}
	}
}

func (a *agent) readLease() {
	w := a.n.w
	var l simLease
	replicas := int32(0)
	a.api(func() { l, replicas = w.lease, w.replicas }, func(ok bool) {
		if ok {
			a.replicas = replicas
			a.sawPods()
			a.sawLease(l)
		}
	})
}

func (a *agent) sawLease(l simLease) {
	if a.lease.Known && l.rv <= a.leaseRV {
		return
	}
	changed := a.lease.Holder != l.holder || a.lease.Boot != l.boot
	a.leaseRV = l.rv
	a.lease.Known, a.lease.ChangedAt = true, a.clock()
	a.lease.Holder, a.lease.Boot, a.lease.LastHolder, a.lease.Term, a.lease.Members = l.holder, l.boot, l.last, l.term, l.members
	a.lease.From = l.from
	a.lease.Duration = leaseSeconds * second
	a.lease.ResourceVersion = strconv.Itoa(l.rv)
	if changed {
		a.wake()
	}
}

// sawPods reads addresses, labels and deaths from the API.
func (a *agent) sawPods() {
	a.sawSentinels()
	for _, p := range a.n.w.nodes {
		if p == a.n {
			continue
		}
		m := a.peers[p.name]
		if m == nil {
			if !p.exists {
				continue
			}
			m = &Member{}
			m.Name = p.name
			a.peers[p.name] = m
		}
		m.Label = p.label
		if !p.exists {
			m.Label = ""
		}
		gone := p.terminated || !p.exists
		if gone && !m.Terminated {
			m.TerminatedAt = a.clock()
			a.wake()
		}
		m.Terminated = gone
		if p.exists && m.Address != p.address {
			m.Address, m.Refused = p.address, false
		}
	}
}

// askAll asks every peer for its status, and every Sentinel.
func (a *agent) askAll() { a.poll(func() {}) }

// poll does so, and goes on when all peers answered, or after PollTimeout.
func (a *agent) poll(done func()) {
	waiting := 1
	one := func() {
		if waiting--; waiting == 0 {
			done()
		}
	}
	for _, p := range a.n.w.nodes {
		if m := a.peers[p.name]; m != nil {
			waiting++
			a.ask(m, one)
		}
	}
	for i := range a.sentinels {
		if a.sentinels[i].Address != "" {
			waiting++
			a.askSentinel(i)
			a.later(PollTimeout, one)
		}
	}
	one()
}

// ask asks one; over is called when it answered, or did not within PollTimeout.
func (a *agent) ask(m *Member, over func()) {
	n, w := a.n, a.n.w
	sent, address := a.clock(), m.Address
	there, back := w.between(ms/5, 3*ms), w.between(ms/5, 3*ms)
	if w.chance(0.01) {
		back = w.between(20*ms, 900*ms)
	}
	answered := false
	w.after(there, func() {
		p := w.byAddress(address)
		if p == nil || !w.linked(n, p) || !p.agent.running || p.agent.pausedUntil > w.now {
			return
		}
		st := p.agent.status()
		a.later(back, func() {
			if answered || !w.linked(n, p) {
				return
			}
			answered = true
			defer over()
			if sent < m.AskedAt {
				return
			}
			opened := st.Server.Role == v1alpha1.RoleMaster && m.Server.Role != v1alpha1.RoleMaster
			m.AgentStatus, m.Reachable, m.AskedAt, m.Refused, m.ServerOpen = st, true, sent, false, false
			if !st.Server.LinkUp {
				m.LinkUpSince = 0
			} else if m.LinkUpSince == 0 {
				m.LinkUpSince = a.clock()
			}
			if opened {
				a.wake()
			}
		})
	})
	a.later(PollTimeout, func() {
		if answered {
			return
		}
		answered = true
		defer over()
		m.Reachable, m.LinkUpSince = false, 0
		p := w.byAddress(address)
		m.Refused = p != nil && w.linked(n, p) && !p.srv.running
		m.ServerOpen = p != nil && w.linked(n, p) && p.srv.running && p.srv.master && !p.srv.fenced
		if m.Refused {
			m.RefusedAt = sent
			a.wake()
		}
		if m.ServerOpen {
			a.wake()
		}
	})
}
