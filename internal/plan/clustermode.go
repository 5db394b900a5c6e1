package plan

import (
	"fmt"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// This file and its neighbours decide what mode Cluster as a whole needs next: forming, joining, repair, scaling. It is the
// operator's part; while the operator is away, agents and the cluster bus keep every shard served (clustermode_agent.go).

// ClusterMember is one member of mode Cluster as the operator sees it.
type ClusterMember struct {
	Name    string
	Ordinal int
	// Node that its pod runs on; empty while it is not known.
	Node string
	// Address of its server, HOST:PORT, and BusPort of its cluster bus, 0 for the port + 10000.
	Address string
	BusPort int
	// Up: its agent answers, and its server is up and has loaded its data. Stopping: it is about to end.
	Up, Stopping bool
	// View is what its server believes; zero while it does not tell. LastID is the node ID that it had last, as far as that
	// is remembered.
	View   v1alpha1.ClusterView
	LastID string
	// Keys and Offset of its server; LinkUp of a replica to its master.
	Keys, Offset int64
	LinkUp       bool
}

// ClusterObservation is all that the operator knows of a Redis in mode Cluster.
type ClusterObservation struct {
	// Members by ordinal: those that are wanted, and those that exist beyond them.
	Members []ClusterMember
	// Shards and ReplicasPerShard that are wanted, and Have, the number of members of the StatefulSet.
	Shards, ReplicasPerShard, Have int
	// Ephemeral: the data of a member lives no longer than its pod.
	Ephemeral bool
	// Force: somebody accepted what it costs to give up lost masters.
	Force bool
	// Migrating: slots are on their way, by this operator.
	Migrating bool
	// Unfinished: a migration began and did not come to its end.
	Unfinished bool
}

// ClusterStepKind names a step of mode Cluster for people and for the status.
type ClusterStepKind string

// The steps.
const (
	// ClusterSettled: there is nothing to do.
	ClusterSettled ClusterStepKind = ""
	// ClusterWaiting: something has to come first, by itself. ClusterBlocked: it will not, somebody has to decide.
	ClusterWaiting ClusterStepKind = "waiting"
	ClusterBlocked ClusterStepKind = "blocked"

	ClusterForming     ClusterStepKind = "forming"
	ClusterJoining     ClusterStepKind = "joining"
	ClusterElecting    ClusterStepKind = "electing"
	ClusterForgetting  ClusterStepKind = "forgetting"
	ClusterReplicating ClusterStepKind = "assigning replicas"
	ClusterMigrating   ClusterStepKind = "moving slots"
	ClusterHandingOver ClusterStepKind = "handing over"
	ClusterShrinking   ClusterStepKind = "removing members"
)

// ClusterDecision is what to do next. The actions belong together and do not depend on each other's success; afterwards the
// operator observes and decides again.
type ClusterDecision struct {
	Kind    ClusterStepKind
	Why     string
	Actions []ClusterAction
	// Members that the StatefulSet shall have now.
	Members int
	// Lost names the shards that no member can serve as things are, and what is known of their data.
	Lost []string
}

// ClusterAction is one command to one server, or one job of the operator's; String describes it to people.
type ClusterAction interface{ String() string }

// The actions. At is the name of the member that gets the command.
type (
	// ClusterSetEpoch gives a member that knows nobody a config epoch of its own.
	ClusterSetEpoch struct {
		At    string
		Epoch int64
	}
	// ClusterMeet makes two members shake hands.
	ClusterMeet struct {
		At, With string
		Address  string
		BusPort  int
	}
	// ClusterAddSlots gives a master slots that nobody owns.
	ClusterAddSlots struct {
		At    string
		Slots v1alpha1.SlotSet
	}
	// ClusterReplicate makes a member a replica of a master.
	ClusterReplicate struct{ At, Master, MasterID string }
	// ClusterForget makes a member forget a node.
	ClusterForget struct{ At, ID string }
	// ClusterReset makes a replica that no shard needs a member without a role.
	ClusterReset struct{ At string }
	// ClusterElect makes a replica ask for its lost master's slots: with the votes of a majority, or, Takeover, without.
	ClusterElect struct {
		At       string
		Takeover bool
	}
	// ClusterHandOver makes a master hand over to its replica To.
	ClusterHandOver struct{ At, To string }
	// ClusterMigrate moves slots between masters; open slots that an earlier run left are finished by it.
	ClusterMigrate struct{ Moves []v1alpha1.SlotMove }
)

func (a ClusterSetEpoch) String() string { return fmt.Sprintf("give %s epoch %d", a.At, a.Epoch) }
func (a ClusterMeet) String() string {
	return fmt.Sprintf("%s meets %s at %s", a.At, a.With, a.Address)
}
func (a ClusterAddSlots) String() string { return fmt.Sprintf("give %s slots %s", a.At, a.Slots) }
func (a ClusterReplicate) String() string {
	return fmt.Sprintf("make %s a replica of %s", a.At, a.Master)
}

func (a ClusterForget) String() string { return fmt.Sprintf("%s forgets node %s", a.At, short(a.ID)) }
func (a ClusterReset) String() string  { return fmt.Sprintf("take %s out of its shard", a.At) }
func (a ClusterElect) String() string {
	if a.Takeover {
		return fmt.Sprintf("%s takes the slots of its lost master without votes", a.At)
	}
	return fmt.Sprintf("%s stands for election", a.At)
}

func (a ClusterHandOver) String() string { return fmt.Sprintf("%s hands over to %s", a.At, a.To) }
func (a ClusterMigrate) String() string {
	var parts []string
	for _, m := range a.Moves {
		parts = append(parts, fmt.Sprintf("%d from %s to %s", m.Slots.Len(), short(m.From), short(m.To)))
	}
	return "move slots: " + strings.Join(parts, ", ")
}

// short is the beginning of a node ID, which is enough for people.
func short(id string) string { return id[:min(8, len(id))] }

// clusterDecider is one decision in the making.
type clusterDecider struct {
	*ClusterObservation
	clusterMap
	d ClusterDecision
}

// wanted is how many members are wanted.
func (o *ClusterObservation) wanted() int { return o.Shards * (1 + o.ReplicasPerShard) }

// stays tells whether a member is wanted.
func (o *ClusterObservation) stays(m *ClusterMember) bool { return m.Ordinal < o.wanted() }

// DecideCluster decides the next step. It names the first thing that is not as it should be, so that repeated steps converge:
// lost masters first, then members that are no part of the cluster, then the spread of replicas and of slots, and
// members that are not wanted any more last, once nothing hangs on them.
func DecideCluster(o ClusterObservation) ClusterDecision {
	c := &clusterDecider{ClusterObservation: &o, clusterMap: mapCluster(o.Members)}
	c.d.Members = max(c.needed(), o.wanted())
	for _, step := range []func() bool{
		c.form, c.election, c.join, c.migrationRuns, c.acquaint, c.unowned, c.forget, c.replicas, c.migrate, c.leaveMasters, c.shrink, c.missing, c.agree,
	} {
		if step() {
			return c.d
		}
	}
	return c.d
}

// step is set by the first of the steps that applies.
func (c *clusterDecider) step(kind ClusterStepKind, format string, args ...any) bool {
	c.d.Kind, c.d.Why = kind, fmt.Sprintf(format, args...)
	return true
}

func (c *clusterDecider) do(a ClusterAction) { c.d.Actions = append(c.d.Actions, a) }

// notUp names the wanted members that are not up.
func (c *clusterDecider) notUp() []string {
	var names []string
	for i := range c.Members {
		if m := &c.Members[i]; c.stays(m) && !m.Up {
			names = append(names, m.Name)
		}
	}
	return names
}

// form makes one cluster of members that belong to none yet.
func (c *clusterDecider) form() bool {
	if c.formed() {
		return false
	}
	if down := c.notUp(); len(down) > 0 {
		return c.step(ClusterWaiting, "the cluster is formed when all members are up; waiting for %s", fewOf(down))
	}
	var members []*ClusterMember
	for i := range c.Members {
		m := &c.Members[i]
		if !c.stays(m) {
			continue
		}
		if m.Keys > 0 {
			return c.step(ClusterBlocked, "%s holds %d keys and belongs to no cluster; nothing is formed over data: "+
				"save it elsewhere and empty the volume, or delete this Redis", m.Name, m.Keys)
		}
		members = append(members, m)
	}
	for i, m := range members {
		if alone(m) && m.View.Info.MyEpoch == 0 {
			c.do(ClusterSetEpoch{At: m.Name, Epoch: int64(i + 1)})
		}
	}
	if c.mesh(members) {
		return c.step(ClusterForming, "%d members meet", len(members))
	}
	if len(c.d.Actions) > 0 {
		return c.step(ClusterForming, "%d members get their epochs", len(members))
	}
	c.d.Actions = nil
	shards := PlaceCluster(members, c.Shards, c.ReplicasPerShard)
	slots := EvenSlots(len(shards))
	for i, s := range shards {
		c.do(ClusterAddSlots{At: s.Master.Name, Slots: slots[i]})
		for _, r := range s.Replicas {
			c.do(ClusterReplicate{At: r.Name, Master: s.Master.Name, MasterID: s.Master.id()})
		}
	}
	return c.step(ClusterForming, "%d shards get their slots and replicas", len(shards))
}

// meshMembers is up to how many members each is met by; those beyond learn of each other by gossip.
const meshMembers = 8

// mesh makes members that do not know each other meet, and tells whether any still has to. All meet directly where
// they are few: gossip alone takes seconds.
func (c *clusterDecider) mesh(members []*ClusterMember) bool {
	meeting := false
	for i, a := range members {
		for _, b := range members[i+1:] {
			if a.knows(b) && b.knows(a) {
				continue
			}
			meeting = true
			if i < meshMembers {
				c.meet(a, b)
			}
		}
	}
	return meeting
}

// meet makes two members shake hands unless they are at it. The one that knows owners of fewer slots begins: who is met sends a packet of
// its own, and with it its slots, once it is known; who begins does so within half the node timeout only.
func (c *clusterDecider) meet(a, b *ClusterMember) {
	if a.shaking(b) || b.shaking(a) {
		return
	}
	if ownedIn(&b.View).Len() < ownedIn(&a.View).Len() {
		a, b = b, a
	}
	c.do(ClusterMeet{At: a.Name, With: b.Name, Address: b.Address, BusPort: b.BusPort})
}

// join takes members that are up into the cluster: new ones, and those that were removed once and come back with their disk, which know
// the others but were forgotten by them.
func (c *clusterDecider) join() bool {
	var joining []string
	for i := range c.Members {
		m := &c.Members[i]
		if !m.Up || m.Stopping || !c.stays(m) || c.nodes[m.id()] != nil && !alone(m) {
			continue // one that is known under another address is met by the agents, by name
		}
		slots := m.View.Myself().Slots
		switch {
		case len(slots) > 0:
			return c.step(ClusterBlocked, "%s serves %d slots of another cluster; two clusters are never merged: empty its volume, and it joins as a replica", m.Name, slots.Len())
		case !alone(m) && !c.related(m):
			return c.step(ClusterBlocked, "%s is part of another cluster; two clusters are never merged: empty its volume, and it joins as a replica", m.Name)
		case m.Keys > 0 && !c.copies(m):
			return c.step(ClusterBlocked, "%s is no part of the cluster and holds %d keys, which joining would throw away; empty its volume, and it joins as a replica", m.Name, m.Keys)
		}
		joining = append(joining, m.Name)
		for _, other := range c.known(m) {
			c.meet(m, other)
		}
	}
	if len(joining) == 0 {
		return false
	}
	return c.step(ClusterJoining, "%s joins", fewOf(joining))
}

// known are the members of the cluster that one who joins meets, the hub first; it learns of any others by gossip.
func (c *clusterDecider) known(joining *ClusterMember) []*ClusterMember {
	all := []*ClusterMember{c.hub}
	for _, m := range c.present() {
		if m != c.hub && m != joining && !alone(m) && len(all) < meshMembers {
			all = append(all, m)
		}
	}
	return all
}

// present are the members that are nodes of the cluster, up, and not about to end.
func (c *clusterDecider) present() []*ClusterMember {
	var all []*ClusterMember
	for i := range c.Members {
		if m := &c.Members[i]; m.Up && !m.Stopping && c.nodes[m.id()] != nil {
			all = append(all, m)
		}
	}
	return all
}

// acquaint makes members meet that do not know each other: of one that they have forgotten the others learn nothing by gossip for a
// minute. While they shake hands everything else goes on.
func (c *clusterDecider) acquaint() bool {
	c.mesh(c.present())
	if len(c.d.Actions) == 0 {
		return false
	}
	return c.step(ClusterJoining, "members meet that do not know each other")
}

// migrationRuns leaves everything but lost masters and joining alone while slots move.
func (c *clusterDecider) migrationRuns() bool {
	if !c.Migrating {
		return false
	}
	return c.step(ClusterMigrating, "slots are moving")
}

// unowned gives slots that no node owns, in any view, to the masters with the fewest: they were never given, or their
// lost owner was forgotten.
func (c *clusterDecider) unowned() bool {
	free := c.uncovered()
	if free.Len() == 0 {
		return false
	}
	if m := c.differs(); m != nil {
		// An owner that was given its slots just now may not be known to all, nor even have told so itself.
		return c.step(ClusterWaiting, "%d slots have no master as %s sees it, and not all see it so", free.Len(), m.Name)
	}
	p, err := PlanSlots(c.layout(c.shards().kept))
	if err != nil {
		return c.step(ClusterBlocked, "%v", err)
	}
	for _, m := range p.Assign {
		if n := c.nodes[m.To]; n.up() {
			c.do(ClusterAddSlots{At: n.member.Name, Slots: m.Slots})
		}
	}
	if len(c.d.Actions) == 0 {
		return c.step(ClusterWaiting, "%d slots have no master, and no member is there to take them", free.Len())
	}
	return c.step(ClusterForming, "slots that nobody serves get a master")
}

// missing waits for wanted members that are not there, at the very end: nothing else waits for them.
func (c *clusterDecider) missing() bool {
	if down := c.notUp(); len(down) > 0 {
		return c.step(ClusterWaiting, "waiting for %s", fewOf(down))
	}
	return false
}

// agree waits until every member sends clients to the right master, and none refuses them: after a change gossip takes some
// tenths of a second.
func (c *clusterDecider) agree() bool {
	if m := c.differs(); m != nil {
		return c.step(ClusterWaiting, "%s has yet to learn which master has which slots", m.Name)
	}
	for i := range c.Members {
		if m := &c.Members[i]; m.Up && !m.View.Info.OK {
			return c.step(ClusterWaiting, "%s does not find the cluster whole yet", m.Name)
		}
	}
	return false
}

// fewOf names a few of many.
func fewOf(names []string) string {
	if len(names) > 4 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:4], ", "), len(names)-4)
	}
	return strings.Join(names, ", ")
}
