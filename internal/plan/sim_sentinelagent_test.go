package plan

import (
	"strconv"
	"time"
)

// addSentinels begins a world of mode Sentinel.
func (w *world) addSentinels() {
	n := 3
	if w.chance(0.2) {
		n = 1 + 4*w.rng.IntN(2)
	}
	for i := range n {
		s := &node{w: w, ord: i, index: 5 + i, name: "cache-sentinel-" + strconv.Itoa(i), exists: true}
		w.addrs++
		s.address = addressOf(w.addrs)
		s.agent.n, s.sen = s, &sentinel{n: s}
		w.sentinels = append(w.sentinels, s)
	}
	for _, s := range w.sentinels {
		w.after(w.between(0, 2*second), s.startAgent)
	}
}

// pods are all members and Sentinels.
func (w *world) pods() []*node { return append(w.nodes[:len(w.nodes):len(w.nodes)], w.sentinels...) }

// lookAround is what an agent does when something about the Sentinels changed.
func (a *agent) lookAround() {
	if a.running && a.pausedUntil <= a.n.w.now {
		a.readLease()
		a.askAll()
		a.later(10*ms, a.wake)
	}
}

// askSentinel asks a Sentinel what it believes.
func (a *agent) askSentinel(i int) {
	w, m := a.n.w, &a.sentinels[i]
	p := w.sentinels[i]
	sent, address := a.clock(), m.Address
	there, back := w.between(ms/5, 3*ms), w.between(ms/5, 3*ms)
	if w.chance(0.01) {
		back = w.between(20*ms, PollTimeout)
	}
	w.after(there, func() {
		if p.address != address || !w.linked(a.n, p) || !p.sen.running || p.sen.hung {
			a.later(PollTimeout-there, func() {
				if sent >= m.AskedAt {
					m.Reachable = false
					m.Gone = p.terminated || p.address == address && w.linked(a.n, p) && !p.sen.running
				}
			})
			return
		}
		v, askers := p.sen.view(), p.sen.askers()
		p.sen.askedAt[who{a.n.name, a.boot}] = w.now
		a.later(back, func() {
			if sent < m.AskedAt {
				return
			}
			changed := v.MasterAddress != m.MasterAddress
			m.SentinelView, m.Askers, m.Reachable, m.Gone, m.AskedAt = v, askers, true, false, sent
			if changed {
				a.wake()
			}
		})
	})
}

// sawSentinels reads their addresses from the API.
func (a *agent) sawSentinels() {
	for i, p := range a.n.w.sentinels {
		if m := &a.sentinels[i]; p != a.n && m.Address != p.address {
			*m = Sentinel{Name: p.name, Address: p.address}
		}
	}
}

// trackSentinels keeps since when a majority answers.
func (a *agent) trackSentinels(now time.Duration) {
	n := 0
	for i := range a.sentinels {
		if a.sentinels[i].Reachable {
			n++
		}
	}
	switch {
	case 2*n <= len(a.sentinels):
		a.sentinelsSince = 0
	case a.sentinelsSince == 0:
		a.sentinelsSince = now
	}
}

// stepSentinel is step for the agent of a Sentinel. Its actions need answers that are fresh.
func (a *agent) stepSentinel() {
	w := a.n.w
	if !a.n.sen.running && !a.restartDue {
		a.restartDue = true
		a.later(w.between(20*ms, 500*ms), func() {
			a.restartDue = false
			if !a.n.sen.running {
				a.n.sen.start()
			}
		})
	}
	d := a.decideSentinel()
	if len(d.Actions) > 0 {
		a.busy = true
		a.askAll()
		a.later(w.between(10*ms, PollTimeout+ms), func() {
			a.busy = false
			for _, action := range a.decideSentinel().Actions {
				a.actOnSentinel(action)
			}
			a.nextAt = w.now + 200*ms
			a.later(200*ms, a.step)
		})
		return
	}
	a.discover()
	a.nextAt = w.now + 400*ms
	a.later(400*ms, a.step)
}

func (a *agent) decideSentinel() Decision {
	n, w := a.n, a.n.w
	o := SentinelObservation{
		Now: a.clock(), Config: a.config(), Lease: a.lease, Memory: a.memory,
		Self: Sentinel{Name: n.name, Address: n.address, Reachable: n.sen.running && !n.sen.hung},
	}
	if o.Self.Reachable {
		o.Self.SentinelView = n.sen.view()
	}
	for i := range a.sentinels {
		if w.sentinels[i] != n && a.sentinels[i].Address != "" {
			o.Others = append(o.Others, a.sentinels[i])
		}
	}
	for _, p := range w.nodes {
		if m := a.peers[p.name]; m != nil {
			o.Members = append(o.Members, *m)
		}
	}
	d := DecideSentinel(o)
	if w.trace != nil && d.Why != a.decision.Why {
		w.log(n.name, "%s", d.Why)
	}
	a.decision, a.memory = d, d.Memory
	return d
}

func (a *agent) actOnSentinel(action Action) {
	s := a.n.sen
	if !s.running || s.hung {
		return
	}
	a.n.w.log(a.n.name, "  > %s", action)
	switch x := action.(type) {
	case Monitor:
		s.monitor(x.Address)
	case ResetSentinel:
		s.reset()
	}
}

// discover makes a Sentinel that has just begun and knows no replica begin again.
func (a *agent) discover() {
	s, now := a.n.sen, a.n.w.now
	if !s.running || s.hung || s.watch == nil || now-a.discoveredAt < 3*second {
		return
	}
	if t := s.watch; t.configEpoch == 0 && len(t.replicas) == 0 && t.failover.step == noFailover && !s.down(t.master) {
		for _, m := range a.peers {
			if m.Reachable && m.Server.LinkUp && m.Server.MasterAddress == t.master.address {
				a.discoveredAt = now
				s.monitor(t.master.address)
				return
			}
		}
	}
}

// askFailover sends SENTINEL FAILOVER to a Sentinel.
func (a *agent) askFailover(address string, done func(Outcome)) {
	w := a.n.w
	for _, p := range w.sentinels {
		if p.address != address || !w.linked(a.n, p) || !p.sen.running || p.sen.hung {
			continue
		}
		w.after(w.between(ms/5, 3*ms), func() {
			out := Refused
			if p.sen.running && p.sen.askFailover() {
				out = Succeeded
			}
			if w.chance(0.02) {
				out = Unknown
			}
			a.later(w.between(ms/5, 3*ms), func() { done(out) })
		})
		return
	}
	a.later(second, func() { done(Unknown) })
}

// moveSentinels is HandoverMove: it asks for a failover and waits until a replica is promoted, whichever.
func (a *agent) moveSentinels(x *HandOver, done func(Outcome)) {
	w := a.n.w
	end := w.now + 3*second
	var look func()
	look = func() {
		for _, p := range w.nodes {
			m := a.peers[p.name]
			if m == nil || !m.Reachable || p.address != m.Address || !w.linked(a.n, p) || !p.srv.running || p.srv.hung || !p.srv.master {
				continue
			}
			if !p.srv.data.has(a.n.srv.data) {
				done(Unknown) // another failover came in between
				return
			}
			x.To, x.Address = p.name, p.address
			if 2*w.naming(p.address, a.n) > len(w.sentinels) || w.now >= end {
				w.promotedInHandover(a.n, p)
				done(Succeeded)
				return
			}
		}
		if w.now >= end {
			done(Unknown)
			return
		}
		a.later(5*ms, look)
	}
	var ask func(i int)
	ask = func(i int) {
		for ; i < len(a.sentinels); i++ {
			s := &a.sentinels[i]
			if !s.Reachable || s.MasterAddress != a.n.address {
				continue
			}
			a.askFailover(s.Address, func(out Outcome) {
				switch out {
				case Succeeded:
					look()
				case Refused:
					ask(i + 1)
				default:
					done(Unknown)
				}
			})
			return
		}
		done(Refused)
	}
	ask(0)
}

// naming counts the Sentinels that name an address, as far as from can see.
func (w *world) naming(address string, from *node) int {
	n := 0
	for _, s := range w.sentinels {
		if t := s.sen.watch; t != nil && s.sen.running && !s.sen.hung && w.linked(from, s) && t.current() == address {
			n++
		}
	}
	return n
}

// sentinelsUnsettled says which Sentinel does not know what it should, "" if none.
func (w *world) sentinelsUnsettled(master *node) string {
	for _, s := range w.sentinels {
		t := s.sen.watch
		switch {
		case t == nil:
			return s.name + " has no master: " + s.agent.decision.Why
		case t.current() != master.address:
			return s.name + " names " + t.current() + ", not " + master.name + ": " + s.agent.decision.Why
		}
		for _, r := range t.replicas {
			if w.byAddress(r.address) == nil {
				return s.name + " knows a replica at the stale address " + r.address + ": " + s.agent.decision.Why
			}
		}
		for _, o := range t.sentinels {
			if o.n.address != o.address {
				return s.name + " knows a Sentinel at a stale address: " + s.agent.decision.Why
			}
		}
	}
	return ""
}

// faultOfSentinels does one bad thing to the Sentinels.
func (w *world) faultOfSentinels() {
	s := w.sentinels[w.rng.IntN(len(w.sentinels))]
	s.touched()
	switch w.rng.IntN(8) {
	case 0:
		w.log("FAULT", "kill -9 of %s", s.name)
		s.sen.diskLost = w.chance(0.3)
		s.sen.kill("killed")
		s.agent.wake()
	case 1:
		w.log("FAULT", "kill -9 of the agent of %s", s.name)
		s.killAgent("killed", w.between(500*ms, 8*second))
	case 2:
		w.log("FAULT", "%s hangs", s.name)
		s.sen.hung = true
		gen := s.sen.gen
		w.after(w.between(500*ms, 15*second), func() {
			if s.sen.gen == gen {
				s.sen.hung = false
			}
		})
	case 3:
		d := w.between(500*ms, 15*second)
		w.log("FAULT", "the agent of %s is paused for %s", s.name, d.Round(ms))
		s.agent.pausedUntil = max(s.agent.pausedUntil, w.now+d)
	case 4:
		s.cutAPI(w.between(second, 20*second))
	case 5:
		w.replaceSentinel(s)
	case 6:
		w.log("FAULT", "all Sentinels are replaced at once")
		for _, s := range w.sentinels {
			w.replaceSentinel(s)
		}
	case 7:
		w.log("FAULT", "somebody asks %s for a failover", s.name)
		if s.sen.running && !s.sen.hung {
			s.sen.askFailover()
		}
	}
}

// replaceSentinel deletes its pod: it comes back at another address, without its directory.
func (w *world) replaceSentinel(s *node) {
	w.log("FAULT", "the pod of %s is replaced", s.name)
	s.sen.diskLost = true
	s.killAgent("deleted", w.between(500*ms, 5*second))
	w.addrs++
	s.address = addressOf(w.addrs)
}
