package plan

import (
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

func addressOf(i int) string { return fmt.Sprintf("10.0.%d.%d:6379", i/250, i%250+1) }

// checkOneMaster is rule 1 of the safety rules: never two writable masters.
func (w *world) checkOneMaster() {
	var open *node
	for _, n := range w.nodes {
		if !n.exists || !n.writable() {
			continue
		}
		if open != nil {
			w.fail("%s and %s are writable at once: %s", open.name, n.name, w)
			return
		}
		open = n
	}
}

// steady tells whether nothing was done to a member, its network or its agent for so long that others must know it.
func (n *node) steady(now time.Duration) bool {
	s, a := &n.srv, &n.agent
	return n.exists && a.running && !a.stopping && a.pausedUntil <= now && s.running && !s.loading && !s.hung && now-n.stableAt > 1500*ms
}

// checkChosen: whoever takes the Lease, or is given it by another, is not behind anybody whom the one that chose can reach.
func (w *world) checkChosen(by, n *node) {
	for _, p := range w.nodes {
		if m := by.agent.peers[p.name]; m == nil || !m.Reachable {
			continue // its answer was lost
		}
		if p == n || !p.steady(w.now) || !w.linked(by, p) || p.status().APIReachableMS < 1500 || int32(p.ord) >= min(w.replicas, n.agent.replicas) {
			continue
		}
		switch {
		case p.agent.term > n.agent.term:
			w.fail("%s of term %d takes the lease although %s holds term %d", n.name, n.agent.term, p.name, p.agent.term)
		case w.mode == v1alpha1.ModeSentinel && p.srv.id != n.srv.id:
			// Promoted by the Sentinels and restarted before it was opened: its history cannot be compared any more.
		case p.agent.term == n.agent.term && p.live() && n.live() && p.srv.data.off > n.srv.data.off && p.srv.data.has(n.srv.data) &&
			(w.now-p.seen > 1500*ms || by != n && !p.srv.linkUp):
			w.fail("%s takes the lease with %d writes although %s holds %d", n.name, n.srv.data.off, p.name, p.srv.data.off)
		}
	}
}

func (n *node) status() v1alpha1.AgentStatus { return n.agent.status() }

// live tells whether the server still has its history.
func (n *node) live() bool { return n.agent.status().LastReplID == "" && n.srv.id == n.agent.replID }

// checkOpen looks at a server that is about to be opened.
func (w *world) checkOpen(n *node, term int64) {
	if n.srv.master && !n.srv.fenced {
		return
	}
	w.log(n.name, "  opens with %d writes", n.srv.data.off)
	if n.srv.data.off == 0 {
		for _, p := range w.nodes {
			if m := n.agent.peers[p.name]; m != nil && m.Reachable && p.steady(w.now) && w.linked(n, p) && p.srv.data.off > 0 {
				w.fail("%s is opened empty although %s holds %d writes", n.name, p.name, p.srv.data.off)
			}
		}
	}
	if h := n.handed; h != nil && h.srv.running && !n.srv.data.has(h.srv.data) {
		w.fail("%s takes over by a handover of the Sentinels with %d writes, and %s has acknowledged %d", n.name, n.srv.data.off, h.name, h.srv.data.off)
	}
	n.handed = nil
	for _, p := range w.nodes {
		if p.handed == n && 2*w.naming(n.address, n) > len(w.sentinels) {
			p.handed = nil
		}
	}
	if h := w.handed[term]; h.run == n.srv.run && h.from.srv.running && !n.srv.data.has(h.from.srv.data) {
		w.fail("%s takes over by a handover with %d writes, and %s has acknowledged %d", n.name, n.srv.data.off, h.from.name, h.from.srv.data.off)
	}
	delete(w.handed, term)
}

// promotedInHandover: until p is opened or p's server restarts, it is to hold all that n acknowledged; or until n is opened
// again because the Sentinels went back to it, which ends the handover.
func (w *world) promotedInHandover(n, p *node) { p.handed = n }

// unsettled says what is missing until there is one master with the label and all others follow it; "" when nothing is.
func (w *world) unsettled() string {
	var master *node
	for _, n := range w.nodes {
		if n.exists && n.writable() {
			master = n
		}
	}
	if master == nil {
		return "no master: " + w.String()
	}
	for _, n := range w.nodes {
		switch want := int32(n.ord) < w.replicas; {
		case want != n.exists:
			return fmt.Sprintf("%s: exists is %v, %d replicas are wanted: %s", n.name, n.exists, w.replicas, w)
		case !want || n == master:
		case !n.srv.linkUp || n.srv.masterAddr != master.address:
			return fmt.Sprintf("%s does not follow %s: %s (it says: %s)", n.name, master.name, w, n.agent.decision.Why)
		case n.label == v1alpha1.RoleMaster:
			return fmt.Sprintf("%s has the label of a master, and %s is the master", n.name, master.name)
		}
	}
	if master.label != v1alpha1.RoleMaster {
		return fmt.Sprintf("the master %s has no label", master.name)
	}
	if int32(master.ord) >= w.replicas {
		return fmt.Sprintf("the master %s was to be removed", master.name)
	}
	return w.sentinelsUnsettled(master)
}
