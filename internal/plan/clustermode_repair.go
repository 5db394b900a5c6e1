package plan

import (
	"fmt"
	"maps"
	"slices"

	"redstart.dev/redstart/api/v1alpha1"
)

// election brings back shards whose master is lost: the best replica stands for election. While their master's member may
// still come back by itself, with its data, nothing but the cluster's own failover is done.
func (c *clusterDecider) election() bool {
	masters := c.masters()
	lost := 0
	for _, n := range masters {
		if c.lost(n) {
			lost++
		}
	}
	majority := lost*2 < len(masters)
	var waits []string
	for i, n := range masters {
		if !c.lost(n) {
			continue
		}
		gone := n.member == nil
		shard := fmt.Sprintf("shard %d (%s)", i+1, n.name())
		best := c.candidate(n)
		switch {
		case best == nil && gone && len(c.replicasOf(n.id)) == 0:
			// No member has this node ID any more, and none is its replica: its data is gone for certain.
			c.d.Lost = append(c.d.Lost, fmt.Sprintf("%s: its data is gone, no replica holds it; %d slots come back empty", shard, n.slots.Len()))
		case best == nil:
			waits = append(waits, shard+" has no replica that is up")
		case majority:
			c.do(ClusterElect{At: best.member.Name})
		default:
			c.d.Lost = append(c.d.Lost, fmt.Sprintf("%s: %s would take over with what it has, %d keys", shard, best.member.Name, best.member.Keys))
			if c.Force {
				c.do(ClusterElect{At: best.member.Name, Takeover: true})
			}
		}
	}
	switch {
	case len(c.d.Actions) > 0:
		return c.step(ClusterElecting, "replicas take over from lost masters")
	case len(c.d.Lost) > 0 && !majority && !c.Force:
		return c.step(ClusterBlocked, "%d of %d masters are lost, so no majority is left to elect others; if they cannot come back: "+
			"redstart failover NAME --force. %s", lost, len(masters), fewOf(c.d.Lost))
	case len(c.d.Lost) > 0 && !c.Force && !c.Ephemeral:
		return c.step(ClusterBlocked, "%s. If its volume cannot be brought back: redstart failover NAME --force", fewOf(c.d.Lost))
	case len(c.d.Lost) > 0:
		return c.giveUp()
	case len(waits) > 0 && !majority:
		return c.step(ClusterWaiting, "%d of %d masters are not up; %s", lost, len(masters), fewOf(waits))
	}
	return false
}

// lost tells whether a master is down for the cluster, or no member has its node ID any more. That the operator does not reach
// it says nothing.
func (c *clusterDecider) lost(n *clusterNode) bool {
	return n.member == nil && c.allTold() || !n.up() && n.failed
}

// giveUp forgets masters whose data is gone for certain, so that their slots are free.
func (c *clusterDecider) giveUp() bool {
	for _, n := range c.masters() {
		if n.member == nil && len(c.replicasOf(n.id)) == 0 {
			c.forgetNode(n.id)
		}
	}
	if len(c.d.Actions) == 0 {
		return c.step(ClusterWaiting, "%s", fewOf(c.d.Lost))
	}
	return c.step(ClusterForgetting, "%s", fewOf(c.d.Lost))
}

// candidate is the replica that has most of a lost master's data, nil when none is up.
func (c *clusterDecider) candidate(master *clusterNode) *clusterNode {
	var best *clusterNode
	for _, n := range c.replicasOf(master.id) {
		if n.up() && !n.member.Stopping && (best == nil || n.member.Offset > best.member.Offset) {
			best = n
		}
	}
	return best
}

// allTold tells whether the node ID of every member is known, so that an ID that none of them has is nobody's.
func (c *clusterDecider) allTold() bool {
	for i := range c.Members {
		if c.Members[i].id() == "" {
			return false
		}
	}
	return len(c.Members) >= c.wanted()
}

// forget makes all members forget nodes that no member is any more: a disk that was lost gave its member another ID, and
// members that were removed are gone.
func (c *clusterDecider) forget() bool {
	if !c.allTold() {
		return false
	}
	stale, owns := map[string]bool{}, map[string]bool{}
	for i := range c.Members {
		m := &c.Members[i]
		if !m.Up || c.nodes[m.id()] == nil {
			continue
		}
		for _, n := range m.View.Nodes {
			if !n.Handshake && c.memberOf[n.ID] == nil {
				stale[n.ID], owns[n.ID] = true, owns[n.ID] || len(n.Slots) > 0
			}
		}
	}
	var names []string
	for _, id := range slices.Sorted(maps.Keys(stale)) {
		if owns[id] || len(c.replicasOf(id)) > 0 {
			continue // who forgets an owner refuses keys of its slots until their new one tells it
		}
		c.forgetNode(id)
		names = append(names, short(id))
	}
	if len(names) == 0 {
		return false
	}
	return c.step(ClusterForgetting, "no member is node %s any more", fewOf(names))
}

// forgetNode makes every member that knows a node forget it, all in one go: they would tell it to each other again.
func (c *clusterDecider) forgetNode(id string) {
	for i := range c.Members {
		m := &c.Members[i]
		if n := m.View.Node(id); m.Up && n != nil && !n.Myself {
			c.do(ClusterForget{At: m.Name, ID: id})
		}
	}
}

// shardSet is the masters that stay, with those that are to come.
type shardSet struct {
	// kept have slots, or will get some. emptied lose theirs.
	kept, emptied []*clusterNode
}

// shards chooses which masters stay. Where there are too few, members without a role become masters; where there are too
// many, those go first whose member goes away, and then the highest ordinals.
func (c *clusterDecider) shards() shardSet {
	masters := c.masters()
	if len(masters) <= c.Shards {
		return shardSet{kept: append(masters, c.chosen(c.Shards-len(masters))...)}
	}
	byWorth := slices.Clone(masters)
	slices.SortStableFunc(byWorth, func(a, b *clusterNode) int { return ordinalOf(a) - ordinalOf(b) })
	s := shardSet{}
	for i, n := range byWorth {
		if i < c.Shards {
			s.kept = append(s.kept, n)
		} else {
			s.emptied = append(s.emptied, n)
		}
	}
	return s
}

// ordinalOf is above all others for a node that no member has.
func ordinalOf(n *clusterNode) int {
	if n.member == nil {
		return 1 << 30
	}
	return n.member.Ordinal
}

// chosen are up to n members without slots, masters of no shard, that become masters: spread over machines.
func (c *clusterDecider) chosen(n int) []*clusterNode {
	perNode := map[string]int{}
	for _, m := range c.masters() {
		if m.member != nil {
			perNode[m.member.Node]++
		}
	}
	var free []*clusterNode
	for _, x := range c.nodes {
		if x.role == v1alpha1.RoleMaster && len(x.slots) == 0 && x.up() && !x.member.Stopping && c.stays(x.member) {
			free = append(free, x)
		}
	}
	sortByOrdinal(free)
	// A master that has replicas already was chosen in an earlier look.
	slices.SortStableFunc(free, func(a, b *clusterNode) int { return len(c.replicasOf(b.id)) - len(c.replicasOf(a.id)) })
	var out []*clusterNode
	for len(out) < n && len(free) > 0 {
		best := 0
		for i, x := range free {
			if len(c.replicasOf(free[best].id)) == len(c.replicasOf(x.id)) && perNode[x.member.Node] < perNode[free[best].member.Node] {
				best = i
			}
		}
		perNode[free[best].member.Node]++
		out = append(out, free[best])
		free = slices.Delete(free, best, best+1)
	}
	return out
}
