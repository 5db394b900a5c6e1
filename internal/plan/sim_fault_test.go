package plan

import (
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// fault does one bad thing, or one that an operator does on purpose, to a random member.
func (w *world) fault() {
	if len(w.sentinels) > 0 && w.chance(0.35) {
		w.faultOfSentinels()
		return
	}
	n := w.nodes[w.rng.IntN(int(w.replicas))]
	if w.chance(0.4) {
		for _, m := range w.nodes {
			if m.srv.master {
				n = m
			}
		}
	}
	n.touched()
	switch w.rng.IntN(18) {
	case 0, 1:
		w.log("FAULT", "kill -9 of the server of %s", n.name)
		n.killServer("killed")
		n.agent.wake()
	case 2:
		w.log("FAULT", "kill -9 of the agent of %s", n.name)
		n.killAgent("killed", w.between(500*ms, 8*second))
	case 3:
		w.hang(n)
	case 4:
		w.pauseAgent(n)
	case 5:
		w.apiFor(w.between(second, 20*second))
	case 6:
		n.cutAPI(w.between(second, 20*second))
	case 7, 8:
		w.partition(n)
	case 9:
		w.wipe(n)
	case 10:
		w.restartAll()
	case 11, 12:
		w.log("FAULT", "handover wanted")
		for _, m := range w.nodes {
			if m.srv.master && m.agent.running {
				m.agent.wanted, m.agent.to = true, ""
				m.agent.wake()
			}
		}
	case 13, 14:
		w.log("FAULT", "pod %s is deleted", n.name)
		n.terminate(w.between(3*second, 20*second))
	case 15, 16:
		d := w.between(6*second, 25*second)
		for _, m := range w.nodes {
			if w.chance(0.6) {
				m.cutAPI(d)
			}
		}
	case 17:
		if w.mode == v1alpha1.ModeStandalone {
			return
		}
		w.replicas = int32(1 + w.rng.IntN(5))
		w.log("FAULT", "scaled to %d", w.replicas)
	}
}

func (n *node) touched() { n.stableAt = n.w.now }

func (w *world) hang(n *node) {
	gen := n.srv.gen
	if !n.srv.running {
		return
	}
	w.log("FAULT", "the server of %s hangs", n.name)
	n.srv.hung = true
	w.after(w.between(500*ms, 15*second), func() {
		s := &n.srv
		n.touched()
		if s.gen != gen || !s.running {
			return
		}
		w.log("FAULT", "the server of %s goes on", n.name)
		n.goOn()
	})
}

// pauseAgent stops an agent while its server goes on. Together with a partition nothing could keep such a server from
// taking writes, so the two are never combined; see "What is not covered" in docs/architecture.md.
func (w *world) pauseAgent(n *node) {
	if !n.agent.running || w.split {
		return
	}
	d := w.between(500*ms, 15*second)
	w.log("FAULT", "the agent of %s is paused for %s", n.name, d.Round(ms))
	n.agent.pausedUntil = max(n.agent.pausedUntil, w.now+d)
	n.stableAt = w.now + d
}

func (w *world) apiFor(d time.Duration) {
	if !w.apiUp {
		return
	}
	w.log("FAULT", "the API goes away for %s", d.Round(ms))
	w.apiUp = false
	w.after(d, func() {
		w.log("FAULT", "the API is back")
		w.apiUp = true
	})
}

func (n *node) cutAPI(d time.Duration) {
	w := n.w
	if n.apiCut {
		return
	}
	w.log("FAULT", "%s is cut off from the API for %s", n.name, d.Round(ms))
	n.apiCut = true
	w.after(d, func() {
		w.log("FAULT", "%s reaches the API again", n.name)
		n.apiCut = false
		n.touched()
	})
}

// partition cuts one or two members off from the others, and sometimes from the API too.
func (w *world) partition(n *node) {
	if w.split {
		return
	}
	for _, m := range w.pods() {
		if m.agent.pausedUntil > w.now {
			return
		}
	}
	side := map[*node]bool{n: true}
	if w.chance(0.4) {
		side[w.nodes[w.rng.IntN(len(w.nodes))]] = true
	}
	d := w.between(500*ms, 20*second)
	for _, s := range w.sentinels {
		if w.chance(0.4) {
			side[s] = true
		}
	}
	w.split = true
	for _, a := range w.pods() {
		a.touched()
		for _, b := range w.pods() {
			if side[a] != side[b] {
				w.cut[a.index] |= 1 << b.index
			}
		}
	}
	w.log("FAULT", "%s is cut off from the other members for %s", n.name, d.Round(ms))
	if w.chance(0.5) {
		for _, m := range w.nodes {
			if side[m] {
				m.cutAPI(d)
			}
		}
	}
	w.after(d, func() {
		w.log("FAULT", "the members reach each other again")
		w.cut, w.split = [10]uint16{}, false
		for _, m := range w.nodes {
			m.touched()
		}
	})
}

// wipe empties the data directory while the pod restarts.
func (w *world) wipe(n *node) {
	w.log("FAULT", "the data directory of %s is emptied", n.name)
	n.killAgent("its pod is replaced", w.between(500*ms, 5*second))
	n.disk, n.snapshot = data{line: &line{}}, data{line: &line{}}
	n.diskID, n.snapID = "", ""
	if w.chance(0.7) {
		n.agent.term, n.agent.replID, n.agent.offset = 0, "", 0
	}
}

func (w *world) restartAll() {
	w.log("FAULT", "all pods are killed at once and come back with new addresses")
	for _, m := range w.nodes {
		if !m.exists {
			continue
		}
		m.killAgent("power", w.between(500*ms, 6*second))
		w.addrs++
		m.address = addressOf(w.addrs)
		m.label = ""
	}
	if w.chance(0.5) {
		for _, s := range w.sentinels {
			w.replaceSentinel(s)
		}
	}
}

// heal ends all faults.
func (w *world) heal() {
	w.log("FAULT", "no more faults")
	w.apiUp = true
	w.cut, w.split = [10]uint16{}, false
	for _, s := range w.sentinels {
		s.sen.hung = false
	}
	for _, n := range w.pods() {
		n.apiCut = false
		n.touched()
		if n.srv.hung {
			n.goOn()
		}
	}
}
