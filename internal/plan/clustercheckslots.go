package plan

import (
	"fmt"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// slots finds what is wrong with who owns which slots.
func (d *diagnosis) slots() {
	free := v1alpha1.AllSlots()
	for _, slots := range d.owners {
		free = free.Minus(slots)
	}
	if len(d.truth) > 0 && len(free) > 0 {
		d.find(FindUncovered, true, "if a node that owned them is only down, start it; if their keys are lost anyway, CLUSTER ADDSLOTS on a master", "%d slots have no owner: %s", free.Len(), shorten(free))
	}
	open := map[string]v1alpha1.SlotSet{}
	d.answering(func(_ Witness, me v1alpha1.ClusterNode) {
		for _, o := range me.Migrating {
			key := fmt.Sprintf("%s is moving to %s", d.name(me.ID), d.name(o.NodeID))
			open[key] = open[key].Union(v1alpha1.Slots(o.Slot))
		}
		for _, o := range me.Importing {
			key := fmt.Sprintf("%s is importing from %s", d.name(me.ID), d.name(o.NodeID))
			open[key] = open[key].Union(v1alpha1.Slots(o.Slot))
		}
	})
	for _, what := range sortedKeys(open) {
		d.find(FindOpenSlots, false, "if nothing is migrating them just now, redstart rebalance finishes them before it does anything else", "open slots: %s %s", what, shorten(open[what]))
	}
	d.answering(func(w Witness, _ v1alpha1.ClusterNode) { d.disagreement(w) })
}

// disagreement finds slots that a node ascribes to another owner than the rest.
func (d *diagnosis) disagreement(w Witness) {
	const advice = "look again in a moment, for news travels within seconds; if it stays, the node is cut off from the owner, or their config epochs collide"
	for _, id := range d.order {
		wrong := d.owners[id]
		if n := w.View.Node(id); n != nil {
			wrong = wrong.Minus(n.Slots)
		}
		if len(wrong) == 0 {
			continue
		}
		others := map[string]v1alpha1.SlotSet{}
		rest := wrong
		for _, n := range w.View.Nodes {
			if slots := wrong.Intersect(n.Slots); len(slots) > 0 {
				others[d.name(n.ID)] = slots
				rest = rest.Minus(slots)
			}
		}
		if len(rest) > 0 {
			others["nobody"] = rest
		}
		for _, other := range sortedKeys(others) {
			d.find(FindDisagree, true, advice, "%s believes that %s owns slots %s; %s does", w.Name, other, shorten(others[other]), d.name(id))
		}
	}
}

// shorten names at most eight ranges of many.
func shorten(s v1alpha1.SlotSet) string {
	if len(s) > 8 {
		return s[:8].String() + " ..."
	}
	return s.String()
}

// masters finds risks: a majority that is lost, masters without replicas or with one beside them, unequal shares.
func (d *diagnosis) masters() {
	replicas := map[string][]string{}
	for _, id := range d.order {
		if n := d.truth[id]; n.Role == v1alpha1.RoleReplica {
			replicas[n.MasterID] = append(replicas[n.MasterID], id)
		}
	}
	var down, with []string
	epochs := map[int64][]string{}
	for _, id := range d.order {
		n := d.truth[id]
		if n.Role != v1alpha1.RoleMaster {
			continue
		}
		if len(d.owners[id]) == 0 {
			if !n.Failed && !n.NoAddress && n.Myself {
				d.find(FindEmptyMaster, false, "redstart rebalance gives it its share, or CLUSTER REPLICATE makes it a replica", "%s is a master and owns no slots", d.name(id))
			}
			continue
		}
		with = append(with, id)
		epochs[n.ConfigEpoch] = append(epochs[n.ConfigEpoch], d.name(id))
		if !n.Myself && !d.refused(id) {
			down = append(down, d.name(id))
		}
		d.replicas(id, replicas[id])
	}
	if len(down) > 0 && 2*len(down) >= len(with) {
		d.find(FindNoMajority, true, "start masters until more than half are up: without them no replica can be elected", "%d of %d masters with slots do not answer: %s", len(down), len(with), list(down))
	}
	for _, id := range sortedKeys(replicas) {
		if _, ok := d.truth[id]; !ok {
			var names []string
			for _, r := range replicas[id] {
				names = append(names, d.name(r))
			}
			d.find(FindLostMaster, true, "CLUSTER REPLICATE to a master that is there", "%s replicates node %s, which nobody knows", list(names), id)
		}
	}
	for _, id := range with {
		epoch := d.truth[id].ConfigEpoch
		if names := epochs[epoch]; len(names) > 1 && names[0] == d.name(id) {
			d.find(FindEpoch, true, "Redis mends this by itself within seconds; if it stays, CLUSTER BUMPEPOCH on one of them", "%s have the same config epoch, %d", strings.Join(names, " and "), epoch)
		}
	}
	d.balance(with)
}

func (d *diagnosis) replicas(id string, replicas []string) {
	if len(replicas) == 0 {
		d.find(FindNoReplica, false, "add a node and CLUSTER REPLICATE "+id+"; while this master is down its slots are too", "%s has no replica", d.name(id))
		return
	}
	for _, r := range replicas {
		if host := d.hostOf(id); host == "" || d.hostOf(r) != host {
			return
		}
	}
	advice := "let a replica of another master and this one change places (CLUSTER REPLICATE), or start one elsewhere"
	if d.oneHost() {
		advice = "start replicas on another machine: all nodes run on this one"
	}
	d.find(FindSameHost, false, advice, "every replica of %s runs where it runs, on %s", d.name(id), d.hostOf(id))
}

// balance finds masters whose share of the slots is far from the mean.
func (d *diagnosis) balance(masters []string) {
	if len(masters) < 2 {
		return
	}
	total := 0
	for _, id := range masters {
		total += d.owners[id].Len()
	}
	mean := total / len(masters)
	var off []string
	for _, id := range masters {
		if n := d.owners[id].Len(); max(n-mean, mean-n) > max(1, mean*imbalancePercent/100) {
			off = append(off, fmt.Sprintf("%s has %d", d.name(id), n))
		}
	}
	if len(off) > 0 {
		d.find(FindUnbalanced, false, "redstart rebalance evens it out", "slots are not balanced: %s; the mean is %d", list(off), mean)
	}
}
