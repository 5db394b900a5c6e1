package plan

import (
	"cmp"
	"slices"

	"redstart.dev/redstart/api/v1alpha1"
)

// clusterMap is the cluster as all members that answer see it together.
type clusterMap struct {
	// hub is the member that knows the cluster best, nil while there is none.
	hub *ClusterMember
	// nodes of the cluster by ID, those of lost members included.
	nodes map[string]*clusterNode
	// memberOf is the member with a node ID, whether it is part of the cluster or not.
	memberOf map[string]*ClusterMember
}

// clusterNode is one node of the cluster.
type clusterNode struct {
	id string
	// member that has this ID now, nil when none does that is known of.
	member   *ClusterMember
	role     v1alpha1.Role
	masterID string
	slots    v1alpha1.SlotSet
	epoch    int64
	// failed: a majority of the masters found it unreachable.
	failed bool
}

// mapCluster puts the views together. A member knows best what it is itself; of those that do not answer, the hub's view is
// taken. A slot that several claim belongs to the one of the highest epoch, which is how the cluster itself settles it.
func mapCluster(members []ClusterMember) clusterMap {
	m := clusterMap{nodes: map[string]*clusterNode{}, memberOf: map[string]*ClusterMember{}}
	for i := range members {
		x := &members[i]
		if x.id() == "" {
			continue
		}
		m.memberOf[x.id()] = x
		if x.Up && !alone(x) && (m.hub == nil || knowsMore(x, m.hub)) {
			m.hub = x
		}
	}
	if m.hub == nil {
		return m
	}
	for _, n := range m.hub.View.Nodes {
		if n.Handshake {
			continue
		}
		m.nodes[n.ID] = &clusterNode{
			id: n.ID, member: m.memberOf[n.ID], role: n.Role, masterID: n.MasterID, slots: n.Slots, epoch: n.ConfigEpoch, failed: n.Failed,
		}
	}
	for _, n := range m.nodes {
		if n.member == nil || !n.member.Up {
			continue
		}
		own := n.member.View.Myself()
		n.role, n.masterID, n.slots, n.epoch, n.failed = own.Role, own.MasterID, own.Slots, own.ConfigEpoch, false
	}
	m.settleClaims()
	return m
}

// settleClaims leaves every slot with one owner.
func (m *clusterMap) settleClaims() {
	var taken v1alpha1.SlotSet
	for _, n := range m.byEpoch() {
		n.slots = n.slots.Minus(taken)
		taken = taken.Union(n.slots)
	}
}

func (m *clusterMap) byEpoch() []*clusterNode {
	var all []*clusterNode
	for _, n := range m.nodes {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *clusterNode) int { return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(a.id, b.id)) })
	return all
}

// alone tells whether a member is part of no cluster: it knows nobody and serves nothing.
func alone(m *ClusterMember) bool {
	others := 0
	for _, n := range m.View.Nodes {
		if !n.Myself && !n.Handshake {
			others++
		}
	}
	own := m.View.Myself()
	return own == nil || others == 0 && len(own.Slots) == 0
}

// knowsMore tells whether a is a better source than b: who serves slots is part of the cluster for certain, while one that the others
// have forgotten may know them all.
func knowsMore(a, b *ClusterMember) bool {
	x, y := a.View.Info, b.View.Info
	return cmp.Or(cmp.Compare(min(1, a.View.Myself().Slots.Len()), min(1, b.View.Myself().Slots.Len())), cmp.Compare(x.SlotsAssigned, y.SlotsAssigned), cmp.Compare(x.CurrentEpoch, y.CurrentEpoch),
		cmp.Compare(x.KnownNodes, y.KnownNodes)) > 0
}

// id is the node ID of a member, the last one while it does not tell; empty where it never did.
func (m *ClusterMember) id() string {
	if own := m.View.Myself(); own != nil {
		return own.ID
	}
	return m.LastID
}

// knows tells whether a member knows another as a node of its cluster.
func (m *ClusterMember) knows(other *ClusterMember) bool {
	n := m.View.Node(other.id())
	return n != nil && !n.Handshake
}

// shaking tells whether a member tries to shake hands with another.
func (m *ClusterMember) shaking(other *ClusterMember) bool {
	for _, n := range m.View.Nodes {
		if n.Handshake && n.Address == other.Address {
			return true
		}
	}
	return false
}

// formed tells whether any slot has an owner: before that there is nothing that could be lost.
func (m *clusterMap) formed() bool {
	for _, n := range m.nodes {
		if len(n.slots) > 0 {
			return true
		}
	}
	return false
}

// related tells whether a member knows any node of the cluster but itself.
func (m *clusterMap) related(x *ClusterMember) bool {
	return slices.ContainsFunc(x.View.Nodes, func(n v1alpha1.ClusterNode) bool { return !n.Myself && m.nodes[n.ID] != nil })
}

// copies tells whether a member's data are those of a node of the cluster.
func (m *clusterMap) copies(x *ClusterMember) bool {
	own := x.View.Myself()
	return own.Role == v1alpha1.RoleReplica && m.nodes[own.MasterID] != nil
}

// uncovered is the slots that no node owns.
func (m *clusterMap) uncovered() v1alpha1.SlotSet {
	free := v1alpha1.AllSlots()
	for _, n := range m.nodes {
		free = free.Minus(n.slots)
	}
	return free
}

// differs is the first member of the cluster that believes other slots to be a living master's than that master does itself; nil
// when all agree.
func (c *clusterDecider) differs() *ClusterMember {
	for i := range c.Members {
		m := &c.Members[i]
		if !m.Up || c.nodes[m.id()] == nil {
			continue
		}
		for _, n := range c.nodes {
			var seen v1alpha1.SlotSet
			if known := m.View.Node(n.id); known != nil {
				seen = known.Slots
			}
			if n.up() && !n.slots.Equal(seen) {
				return m
			}
		}
	}
	return nil
}

// whole tells whether a member knows an owner of every slot that a member has which has not failed: it refuses keys of the others, and
// tells clients of no owner. A node learns the slots of each master from that master itself, some time after it has come to know it.
func (c *clusterDecider) whole(m *ClusterMember) bool {
	known := ownedIn(&m.View)
	for _, n := range c.nodes {
		if n.member != nil && !n.failed && len(n.slots.Minus(known)) > 0 {
			return false
		}
	}
	return true
}

// ownedIn is the slots that have an owner in a view.
func ownedIn(v *v1alpha1.ClusterView) v1alpha1.SlotSet {
	var owned []v1alpha1.SlotRange
	for i := range v.Nodes {
		owned = append(owned, v.Nodes[i].Slots...)
	}
	return v1alpha1.SlotsOf(owned...)
}

// masters are the nodes with slots, by their lowest slot.
func (m *clusterMap) masters() []*clusterNode {
	var all []*clusterNode
	for _, n := range m.nodes {
		if len(n.slots) > 0 {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b *clusterNode) int { return cmp.Compare(a.slots[0].First, b.slots[0].First) })
	return all
}

// replicasOf are the replicas of a node, by ordinal; lost ones are left out.
func (m *clusterMap) replicasOf(id string) []*clusterNode {
	var all []*clusterNode
	for _, n := range m.nodes {
		if n.role == v1alpha1.RoleReplica && n.masterID == id && n.member != nil {
			all = append(all, n)
		}
	}
	sortByOrdinal(all)
	return all
}

func sortByOrdinal(all []*clusterNode) {
	slices.SortFunc(all, func(a, b *clusterNode) int { return cmp.Compare(a.member.Ordinal, b.member.Ordinal) })
}

// name is the member's name, or the ID of a node that no member has.
func (n *clusterNode) name() string {
	if n.member != nil {
		return n.member.Name
	}
	return "node " + short(n.id)
}

// up tells whether it answers.
func (n *clusterNode) up() bool { return n.member != nil && n.member.Up }

// ClusterShard is a shard as it is now.
type ClusterShard struct {
	// Master is the name of its master, or the beginning of the ID of a lost node. Up: it answers.
	Master string
	Up     bool
	Slots  v1alpha1.SlotSet
	// Replicas by ordinal.
	Replicas []string
}

// ClusterShards are the shards that there are, by their lowest slot, with masters that have no slots yet at the end where they have
// replicas.
func ClusterShards(members []ClusterMember) []ClusterShard {
	m := mapCluster(members)
	masters := m.masters()
	var coming []*clusterNode
	for _, n := range m.nodes {
		if n.role == v1alpha1.RoleMaster && len(n.slots) == 0 && n.member != nil && len(m.replicasOf(n.id)) > 0 {
			coming = append(coming, n)
		}
	}
	sortByOrdinal(coming)
	var out []ClusterShard
	for _, n := range append(masters, coming...) {
		s := ClusterShard{Master: n.name(), Up: n.up(), Slots: n.slots}
		for _, r := range m.replicasOf(n.id) {
			s.Replicas = append(s.Replicas, r.name())
		}
		out = append(out, s)
	}
	return out
}
