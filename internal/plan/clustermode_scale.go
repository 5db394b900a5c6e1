package plan

import (
	"cmp"
	"slices"

	"redstart.dev/redstart/api/v1alpha1"
)

// layout is who has which slots, and who shall share them.
func (c *clusterDecider) layout(kept []*clusterNode) SlotLayout {
	l := SlotLayout{Owners: map[string]v1alpha1.SlotSet{}}
	for _, n := range c.masters() {
		l.Owners[n.id] = n.slots
	}
	for _, n := range kept {
		l.Masters = append(l.Masters, n.id)
	}
	return l
}

// shardMembers is how a shard that stays is manned.
type shardMembers struct {
	master *clusterNode
	// replicas that stay, and those that go away with their ordinals.
	staying, leaving []*clusterNode
}

// lacks is how many members that stay it needs yet, below 0 for those that it could spare. A master that goes away is
// followed by one of its replicas.
func (s *shardMembers) lacks(c *clusterDecider) int {
	have := len(s.staying)
	if s.master.member != nil && c.stays(s.master.member) {
		have++
	}
	return 1 + c.ReplicasPerShard - have
}

func (c *clusterDecider) manned(kept []*clusterNode) []*shardMembers {
	var out []*shardMembers
	for _, n := range kept {
		s := &shardMembers{master: n}
		for _, r := range c.replicasOf(n.id) {
			if c.stays(r.member) {
				s.staying = append(s.staying, r)
			} else {
				s.leaving = append(s.leaving, r)
			}
		}
		out = append(out, s)
	}
	return out
}

// replicas gives every member without a role to the shard that needs it most, and moves replicas from shards that have more
// than they need to those that lack some.
func (c *clusterDecider) replicas() bool {
	set := c.shards()
	shards := c.manned(set.kept)
	c.assignIdle(set, shards)
	if len(c.d.Actions) == 0 {
		c.evenOut(shards)
	}
	if len(c.d.Actions) == 0 && len(set.kept) < c.Shards {
		c.freeMaster(set, shards)
	}
	if len(c.d.Actions) == 0 {
		for _, n := range c.idle(set) {
			if !c.whole(n.member) {
				return c.step(ClusterWaiting, "%s has yet to learn which master has which slots", n.name())
			}
		}
		return false
	}
	return c.step(ClusterReplicating, "%s", fewOf(describe(c.d.Actions)))
}

func describe(actions []ClusterAction) []string {
	var out []string
	for _, a := range actions {
		out = append(out, a.String())
	}
	return out
}

// idle are the members that serve nothing: masters without slots that are not to get any, and replicas of masters that are none any
// more.
func (c *clusterDecider) idle(set shardSet) []*clusterNode {
	var idle []*clusterNode
	for _, n := range c.nodes {
		if !n.up() || n.member.Stopping || !c.stays(n.member) || len(n.slots) > 0 || slices.Contains(set.kept, n) {
			continue
		}
		master := c.nodes[n.masterID]
		follows := n.role == v1alpha1.RoleReplica && master != nil && (slices.Contains(set.kept, master) || slices.Contains(set.emptied, master))
		if !follows {
			idle = append(idle, n)
		}
	}
	sortByOrdinal(idle)
	return idle
}

// assignIdle makes replicas of members that serve nothing. All nodes tell clients of a replica, so it has to know every master first.
func (c *clusterDecider) assignIdle(set shardSet, shards []*shardMembers) {
	for _, n := range c.idle(set) {
		if !c.whole(n.member) {
			continue
		}
		var best *shardMembers
		for _, s := range shards {
			if s.lacks(c) > 0 && s.master.up() && c.reaches(n, s.master) && (best == nil || c.needsMore(s, best, n)) {
				best = s
			}
		}
		if best == nil {
			continue // it is there beyond need, until the others are as wanted
		}
		best.staying = append(best.staying, n)
		c.do(ClusterReplicate{At: n.member.Name, Master: best.master.name(), MasterID: best.master.id})
	}
}

// reaches tells whether a member knows the master that it is to follow.
func (c *clusterDecider) reaches(n, master *clusterNode) bool {
	k := n.member.View.Node(master.id)
	return k != nil && !k.Handshake && k.Role == v1alpha1.RoleMaster
}

// needsMore tells whether a should get member n rather than b: the one that lacks more, then the one that has nobody on that
// machine yet.
func (c *clusterDecider) needsMore(a, b *shardMembers, n *clusterNode) bool {
	here := func(s *shardMembers) int {
		count := 0
		for _, x := range append([]*clusterNode{s.master}, s.staying...) {
			if x.member != nil && x.member.Node == n.member.Node {
				count++
			}
		}
		return count
	}
	return cmp.Or(cmp.Compare(b.lacks(c), a.lacks(c)), cmp.Compare(here(a), here(b))) < 0
}

// evenOut moves one replica to a shard that lacks one, from a shard that can spare it; or, where a shard has none at all, from one
// that has two or more.
func (c *clusterDecider) evenOut(shards []*shardMembers) {
	for _, to := range shards {
		if to.lacks(c) <= 0 || !to.master.up() {
			continue
		}
		bare := len(to.staying)+len(to.leaving) == 0 && c.ReplicasPerShard > 0
		var from *shardMembers
		for _, s := range shards {
			spare := s.lacks(c) < 0 || bare && len(s.staying) >= 2
			if s != to && spare && (from == nil || s.lacks(c) < from.lacks(c)) {
				from = s
			}
		}
		if from == nil {
			continue
		}
		for i := len(from.staying) - 1; i >= 0; i-- {
			if n := from.staying[i]; n.up() && c.reaches(n, to.master) {
				from.staying = slices.Delete(from.staying, i, i+1)
				to.staying = append(to.staying, n)
				c.do(ClusterReplicate{At: n.member.Name, Master: to.master.name(), MasterID: to.master.id})
				break
			}
		}
	}
}

// freeMaster makes a replica a member without a role, where a shard is missing and nobody is free to be its master: one whose
// master is none any more, or one that its shard can spare.
func (c *clusterDecider) freeMaster(set shardSet, shards []*shardMembers) {
	for _, n := range c.idle(set) {
		if n.role == v1alpha1.RoleReplica {
			c.do(ClusterReset{At: n.member.Name})
			return
		}
	}
	for _, s := range shards {
		if s.lacks(c) < 0 && len(s.staying) > 0 {
			if n := s.staying[len(s.staying)-1]; n.up() {
				c.do(ClusterReset{At: n.member.Name})
				return
			}
		}
	}
}

// migrate moves slots when masters come or go. A spread that somebody chose otherwise, by memory perhaps, is left alone.
func (c *clusterDecider) migrate() bool {
	set := c.shards()
	fresh := 0
	for _, n := range set.kept {
		if len(n.slots) == 0 {
			fresh++
		}
	}
	open := c.openSlots()
	var p SlotPlan
	var err error
	if fresh > 0 || len(set.emptied) > 0 || c.Unfinished {
		p, err = PlanSlots(c.layout(set.kept))
	}
	if err == nil && p.Slots() == 0 && !open {
		return false
	}
	if len(set.kept) < c.Shards {
		return c.step(ClusterWaiting, "%d of %d masters are there; waiting for members", len(set.kept), c.Shards)
	}
	all := slices.Concat(set.kept, set.emptied)
	for _, n := range all {
		if !n.up() {
			return c.step(ClusterWaiting, "slots move when every master is up; waiting for %s", n.name())
		}
	}
	for _, a := range set.kept {
		for _, b := range all {
			if a != b && (!c.reaches(a, b) || !c.reaches(b, a)) {
				return c.step(ClusterWaiting, "slots move when every master knows the others; %s and %s do not yet", a.name(), b.name())
			}
		}
	}
	// Clients follow the slots to their new master at once, and it refuses them until it finds the cluster whole: for up to five
	// seconds after it came to know a majority of the masters (CLUSTER_MAX_REJOIN_DELAY in its source).
	for _, n := range all {
		switch {
		case !c.whole(n.member):
			return c.step(ClusterWaiting, "slots move when every master knows whose they are; %s does not yet", n.name())
		case !n.member.View.Info.OK:
			return c.step(ClusterWaiting, "slots move when every master serves; %s does not find the cluster whole yet", n.name())
		}
	}
	for _, s := range c.manned(set.kept) {
		for _, r := range s.staying {
			if len(s.master.slots) == 0 && r.up() && !r.member.LinkUp {
				return c.step(ClusterWaiting, "the new shard of %s gets slots when its replica %s is in sync", s.master.name(), r.name())
			}
		}
	}
	if err != nil {
		return c.step(ClusterBlocked, "%v", err)
	}
	c.do(ClusterMigrate{Moves: p.Moves})
	return c.step(ClusterMigrating, "%d slots move", p.Slots())
}

// openSlots tells whether any master has slots that are half on their way.
func (c *clusterDecider) openSlots() bool {
	for _, n := range c.nodes {
		if n.up() {
			if own := n.member.View.Myself(); len(own.Migrating)+len(own.Importing) > 0 {
				return true
			}
		}
	}
	return false
}

// leaveMasters hands the role of masters that go away over to a replica that stays.
func (c *clusterDecider) leaveMasters() bool {
	for _, s := range c.manned(c.shards().kept) {
		if s.master.member == nil || c.stays(s.master.member) {
			continue
		}
		var best *clusterNode
		for _, r := range s.staying {
			if r.up() && r.member.LinkUp && !r.member.Stopping && (best == nil || r.member.Offset > best.member.Offset) {
				best = r
			}
		}
		if best == nil {
			return c.step(ClusterWaiting, "%s goes away and no replica that stays is in sync", s.master.name())
		}
		c.do(ClusterHandOver{At: s.master.name(), To: best.name()})
		return c.step(ClusterHandingOver, "%s goes away and hands over to %s", s.master.name(), best.name())
	}
	return false
}

// needed is how many members there have to be until shrink removes the last of them. Those beyond that the cluster never had go
// at once: a size that was taken back need not be reached first.
func (c *clusterDecider) needed() int {
	var owned v1alpha1.SlotSet
	last := 0
	for _, n := range c.nodes {
		if n.member != nil {
			last, owned = max(last, n.member.Ordinal+1), owned.Union(n.slots)
		}
	}
	if owned.Len() < v1alpha1.SlotCount {
		return c.Have // some that has not told who it is may hold the others
	}
	for i := range c.Members {
		if m := &c.Members[i]; m.Keys > 0 || !alone(m) {
			last = max(last, m.Ordinal+1)
		}
	}
	return min(last, c.Have)
}

// shrink removes the members that are not wanted, once the others serve everything without them.
func (c *clusterDecider) shrink() bool {
	if c.Have <= c.wanted() {
		return false
	}
	for _, s := range c.manned(c.shards().kept) {
		if n := s.lacks(c); n > 0 {
			return c.step(ClusterWaiting, "the shard of %s lacks %d members that stay", s.master.name(), n)
		}
		for _, r := range s.staying {
			if !r.up() || !r.member.LinkUp {
				return c.step(ClusterWaiting, "waiting for %s to be in sync before others are removed", r.name())
			}
		}
	}
	if m := c.differs(); m != nil {
		return c.step(ClusterWaiting, "%s has yet to learn which master has which slots before members are removed", m.Name)
	}
	c.d.Members = c.wanted()
	return c.step(ClusterShrinking, "from %d to %d members", c.Have, c.wanted())
}
