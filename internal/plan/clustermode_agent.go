package plan

import (
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// Times of one agent's decisions in mode Cluster.
const (
	// electAgain is after how long a replica that was asked to stand for election is asked again, or another one.
	electAgain = time.Second
	// electTries is how often a master's agent asks for a successor before its own server starts again.
	electTries = 2
	// meetAgain is after how long a member that did not come to know a new address is met again.
	meetAgain = 2 * time.Second
	// meetAtOnce is with how many members one shakes hands at a time.
	meetAtOnce = 8
	// replicasWait is how long a master that comes back waits for its replicas to say what they hold.
	replicasWait = 5 * time.Second
	// openTime is how long the lifting of a fence may take, on what was known when it was decided.
	openTime = time.Second
	// movedFor is how long a master that gave its last slot away goes on to answer clients that have an old map.
	movedFor = 3 * time.Second
	// succession is how long a master that comes back after a crash leaves its shard to its replicas.
	succession = 2 * time.Second
)

// NodeObservation is all that the agent of one member of mode Cluster knows when it decides. Times are as in Observation.
type NodeObservation struct {
	Now    time.Duration
	Config v1alpha1.AgentConfig
	// Self is this member; Self.Cluster is what its server believes, or believed last while it is not up.
	Self  Member
	Peers []Member

	ServerRunning    bool
	ServerStartedAt  time.Duration
	ServerAnsweredAt time.Duration
	// ServerSilent is for how long a question to the server has waited for its answer while this agent itself was running.
	ServerSilent time.Duration
	// CrashedAt is when this agent saw its server end although nobody had told it to, 0 when it did not, or when the server that
	// followed has found its role.
	CrashedAt time.Duration
	// Unclean: the server that runs follows one that did not end in order, in this run of the agent or the one before.
	Unclean bool
	// Complete: what the server writes to its disk has every write that it acknowledged (an append-only file).
	Complete bool
	// MasterLost: the connection that the agent keeps to its master's server ended, and its host refuses another.
	MasterLost bool

	HandoverWanted   bool
	HandoverTo       string
	HandoverFailedAt time.Duration
	StopBy           time.Duration

	Memory NodeMemory
}

// NodeMemory is what one decision leaves for the next.
type NodeMemory struct {
	// ElectedAt is when a replica was last asked to stand for election, and Elections how often since the crash.
	ElectedAt time.Duration
	Elections int
	// MetAt is when a member was last met.
	MetAt map[string]time.Duration
	// ServedAt is when this member was last seen to serve slots as a master, 0 for never.
	ServedAt time.Duration
}

// NodeDecision is what one agent of mode Cluster shall do now.
type NodeDecision struct {
	Actions []Action
	Next    time.Duration
	Why     string
	Role    v1alpha1.Role
	Follows string
	// Ready: the member serves its role, or is fit to be given one.
	Ready bool
	// Start: the server may be started, should it not run.
	Start  bool
	Memory NodeMemory
}

// Actions of mode Cluster alone.
type (
	// Elect makes a replica stand for election in the place of its master, which is dead: CLUSTER FAILOVER FORCE. It needs the
	// votes of a majority of the masters.
	Elect struct{ Name, Address string }
	// Meet tells the own server the address that a member has now.
	Meet struct{ Name, Address string }
)

func (a Elect) String() string { return fmt.Sprintf("let %s stand for election", a.Name) }
func (a Meet) String() string  { return fmt.Sprintf("meet %s at %s", a.Name, a.Address) }

// nodeDecider is one decision in the making.
type nodeDecider struct {
	*NodeObservation
	own *v1alpha1.ClusterNode
	d   NodeDecision
}

// DecideNode decides for one member of mode Cluster.
func DecideNode(o NodeObservation) NodeDecision {
	n := &nodeDecider{NodeObservation: &o, d: NodeDecision{Memory: o.Memory, Next: o.Now + RenewEvery, Start: true}}
	if o.Self.Cluster != nil {
		n.own = o.Self.Cluster.Myself()
	}
	switch {
	case !o.ServerRunning:
		n.down()
	case n.hung():
		n.why("the server does not answer")
		n.do(KillServer{})
	case !o.Self.Loaded() || n.own == nil:
		n.why("the server starts")
		if o.Self.Stopping && o.ServerAnsweredAt < o.ServerStartedAt {
			n.do(Stop{})
		}
	default:
		n.up()
	}
	return n.d
}

func (n *nodeDecider) do(a ...Action)                 { n.d.Actions = append(n.d.Actions, a...) }
func (n *nodeDecider) why(format string, args ...any) { n.d.Why = fmt.Sprintf(format, args...) }
func (n *nodeDecider) nodeTimeout() time.Duration {
	return time.Duration(n.Config.NodeTimeoutMS) * time.Millisecond
}
func (n *nodeDecider) serves() bool { return n.own != nil && len(n.own.Slots) > 0 }

// open lifts the fence.
func (n *nodeDecider) open() { n.do(Unfence{Before: n.Now + openTime}) }

// ownNode is what a member's server says of itself, nil while it is not known.
func ownNode(m *Member) *v1alpha1.ClusterNode {
	if m.Cluster == nil {
		return nil
	}
	return m.Cluster.Myself()
}

// hung tells whether the server, once up, has been silent for too long. A master that a replica can stand in for has the node
// timeout, after which the cluster takes it for failed too. Killing any other would end no outage, only lose what it has
// not saved: it may be slow, or busy with one long command.
func (n *nodeDecider) hung() bool {
	limit := hungReplica
	if n.serves() && n.nodeTimeout() > 0 && n.successor() != nil {
		limit = n.nodeTimeout()
	}
	return n.ServerAnsweredAt >= n.ServerStartedAt && n.ServerSilent > limit
}

// down: the server is not there. One that was a master gets a successor first.
func (n *nodeDecider) down() {
	switch {
	case n.Self.Stopping:
		n.why("stopping")
		n.do(Stop{})
	case n.CrashedAt == 0 || !n.serves() || n.d.Memory.Elections >= electTries:
		n.why("starting the server")
	default:
		best := n.successor()
		if best == nil {
			n.why("the server ended, and no replica can take over: it starts again")
			return
		}
		n.elect(best, "the server ended")
	}
}

// elect asks a replica to stand, unless that was done a moment ago.
func (n *nodeDecider) elect(best *Member, because string) {
	mem := &n.d.Memory
	if mem.ElectedAt != 0 && n.Now-mem.ElectedAt < electAgain {
		n.d.Start = n.ServerRunning || n.Now-mem.ElectedAt > electAgain/2
		n.why("%s; %s stands for election", because, best.Name)
		return
	}
	mem.ElectedAt, mem.Elections = n.Now, mem.Elections+1
	n.why("%s; %s is to take over", because, best.Name)
	if n.ServerRunning {
		n.do(Fence{}) // an earlier opening that was given up may have reached the server
	}
	n.do(Elect{best.Name, best.Address})
}

// replicas of this member's server that answered lately.
func (n *nodeDecider) replicas() []*Member {
	var out []*Member
	for i := range n.Peers {
		p := &n.Peers[i]
		if own := ownNode(p); p.Reachable && own != nil && n.own != nil && own.MasterID == n.own.ID && p.Loaded() && !p.Stopping {
			out = append(out, p)
		}
	}
	return out
}

// successor is the replica that has most of what this member acknowledged. One that is still empty, while this member is not,
// was never in sync.
func (n *nodeDecider) successor() *Member {
	var best *Member
	for _, p := range n.replicas() {
		if p.Server.Keys == 0 && n.Self.Server.Keys > 0 {
			continue
		}
		if best == nil || p.Server.Offset > best.Server.Offset {
			best = p
		}
	}
	return best
}

// up: the server answers and knows who it is.
func (n *nodeDecider) up() {
	joined := len(n.Self.Cluster.Nodes) > 1
	n.meet()
	switch {
	case n.own.Role == v1alpha1.RoleReplica:
		n.replica()
	case n.serves():
		n.d.Memory.ServedAt = n.Now
		n.master()
	case joined:
		n.why("a master without slots")
		n.d.Role, n.d.Ready = v1alpha1.RoleMaster, n.whole()
		if orphan := n.orphan(); orphan != "" {
			n.why("a master without slots; closed, for %s would copy it in the place of its lost master", orphan)
		} else if n.Self.Fenced {
			n.open()
		}
		n.stopEmptied()
	default:
		n.why("waiting to be taken into the cluster")
		n.stopNow()
	}
	n.label()
}

// whole tells whether the own server sends clients on for every slot: it refuses keys whose owner it has not heard of, and all keys
// while it finds no majority of the masters.
func (n *nodeDecider) whole() bool {
	if !n.Self.Cluster.Info.OK {
		return false
	}
	known := ownedIn(n.Self.Cluster)
	for i := range n.Peers {
		p := &n.Peers[i]
		if own := ownNode(p); p.Reachable && own != nil && own.Role == v1alpha1.RoleMaster && len(own.Slots.Minus(known)) > 0 {
			return false
		}
	}
	return true
}

// stopEmptied ends a master whose slots have gone, once clients had the time to learn from it (MOVED) where to.
func (n *nodeDecider) stopEmptied() {
	if until := min(n.d.Memory.ServedAt+movedFor, n.StopBy); n.Self.Stopping && n.d.Memory.ServedAt > 0 && n.Now < until {
		n.why("stopping; telling clients where its slots are now")
		n.d.Next = min(n.d.Next, until)
		return
	}
	n.stopNow()
}

// stopNow ends a member that has nothing to hand over.
func (n *nodeDecider) stopNow() {
	if n.Self.Stopping {
		n.why("stopping")
		n.do(Stop{})
	}
}

// replica follows; it stands for election itself when its master is dead for certain and nobody told it to.
func (n *nodeDecider) replica() {
	n.d.Role = v1alpha1.RoleReplica
	master := n.peerByID(n.own.MasterID)
	if master != nil {
		n.d.Follows = master.Name
	}
	n.why("replica of %s", orNobody(n.d.Follows))
	n.d.Ready = n.Self.Server.LinkUp && n.whole()
	if n.Self.Fenced && n.Self.Server.LinkUp {
		n.open()
	}
	if n.Self.Stopping {
		n.stopNow()
		return
	}
	if n.Self.Server.LinkUp || n.Self.Fenced || !n.MasterLost && !dead(master) {
		return
	}
	for i := range n.Peers {
		p := &n.Peers[i]
		own := ownNode(p)
		if p.Reachable && own != nil && own.MasterID == n.own.MasterID && p.Loaded() && !p.Stopping && comesFirst(p, &n.Self) {
			n.why("the master %s is dead; leaving it to %s, which has more", orNobody(n.d.Follows), p.Name)
			return
		}
	}
	if n.Now-n.d.Memory.ElectedAt >= electAgain || n.d.Memory.ElectedAt == 0 {
		n.d.Memory.ElectedAt = n.Now
		n.do(Elect{n.Self.Name, n.Self.Server.Address})
	}
	n.why("the master %s is dead; this member stands for election", orNobody(n.d.Follows))
}

// dead tells whether a member is dead for certain: a time-out alone is no proof.
func dead(m *Member) bool {
	return m != nil && !m.Reachable && (m.Terminated || m.Refused) || m != nil && m.Reachable && !m.Server.Up && m.Server.PID == 0
}

// comesFirst tells whether a comes before b as the next master: by offset, then by ordinal.
func comesFirst(a, b *Member) bool {
	if a.Server.Offset != b.Server.Offset {
		return a.Server.Offset > b.Server.Offset
	}
	return Ordinal(a.Name) < Ordinal(b.Name)
}

// master serves its slots; one whose server started opens when nobody else has a better claim or better data.
func (n *nodeDecider) master() {
	n.d.Role, n.d.Follows = v1alpha1.RoleMaster, n.Self.Name
	n.why("master of %d slots", n.own.Slots.Len())
	n.d.Ready = !n.Self.Fenced && n.Self.Cluster.Info.OK
	switch {
	case n.Self.Fenced:
		n.reopen()
	case n.Self.Stopping || n.HandoverWanted:
		n.handOver()
	}
}

// reopen decides whether a master that came back may take writes again.
func (n *nodeDecider) reopen() {
	if n.Self.Stopping {
		n.stopNow()
		return
	}
	age := n.Now - n.ServerStartedAt
	if p := n.otherOwner(); p != nil {
		n.why("%s has taken over; waiting to become its replica", p.Name)
		return
	}
	if !n.Self.Cluster.Info.OK {
		n.why("waiting for a majority of the masters")
		return
	}
	best := n.successor()
	empty := n.Self.Server.Keys == 0
	switch {
	case best != nil && best.Server.Keys > 0 && empty:
		n.elect(best, "this member lost its data")
	case best != nil && n.Unclean && age < succession:
		n.why("leaving the shard to %s after a crash", best.Name)
		n.lookAt(n.ServerStartedAt + succession)
		if !n.Complete {
			n.elect(best, "this member may lack writes after a crash")
		}
	case best != nil && n.Unclean && !n.Complete && n.d.Memory.Elections < electTries:
		n.elect(best, "this member may lack writes after a crash")
	case n.missingReplica() && age < replicasWait:
		n.why("waiting for its replicas to say what they hold")
		n.lookAt(n.ServerStartedAt + replicasWait)
	default:
		n.open()
	}
}

// lookAt asks to decide again at t, when that is sooner.
func (n *nodeDecider) lookAt(t time.Duration) {
	if t > n.Now && t < n.d.Next {
		n.d.Next = t
	}
}

// otherOwner is a member that owns slots of this one, by a later epoch.
func (n *nodeDecider) otherOwner() *Member {
	for i := range n.Peers {
		p := &n.Peers[i]
		own := ownNode(p)
		if p.Reachable && own != nil && own.ConfigEpoch > n.own.ConfigEpoch && len(own.Slots.Intersect(n.own.Slots)) > 0 {
			return p
		}
	}
	return nil
}

// missingReplica tells whether a replica that this server knows of has not answered yet.
func (n *nodeDecider) missingReplica() bool {
	for _, k := range n.Self.Cluster.Nodes {
		if k.MasterID != n.own.ID {
			continue
		}
		if p := n.peerByID(k.ID); p == nil || !p.Reachable || !p.Loaded() {
			return true
		}
	}
	return false
}

// meet tells the own server where members that it knows are now: by name and node ID, never by a remembered address.
func (n *nodeDecider) meet() {
	met := map[string]time.Duration{}
	for i := range n.Peers {
		p := &n.Peers[i]
		own := ownNode(p)
		if !p.Reachable || own == nil || p.Address == "" {
			continue
		}
		k := n.Self.Cluster.Node(own.ID)
		if k == nil || k.Handshake || k.Address == p.Address && !k.NoAddress {
			continue
		}
		last := n.Memory.MetAt[p.Name]
		if last == 0 || n.Now-last >= meetAgain {
			if len(met) >= meetAtOnce {
				continue
			}
			n.do(Meet{p.Name, p.Address})
			last = n.Now
		}
		met[p.Name] = last
	}
	n.d.Memory.MetAt = met
}

// label keeps the own label true.
func (n *nodeDecider) label() {
	want := n.d.Role
	if !n.serves() && want == v1alpha1.RoleMaster {
		want = ""
	}
	if n.Self.Label != want {
		n.do(SetRoleLabel{Pod: n.Self.Name, Role: want})
	}
}

// peerByID is the member whose server has a node ID, nil when none is known.
func (n *nodeDecider) peerByID(id string) *Member {
	for i := range n.Peers {
		if own := ownNode(&n.Peers[i]); own != nil && own.ID == id {
			return &n.Peers[i]
		}
	}
	return nil
}

func orNobody(name string) string {
	if name == "" {
		return "an unknown member"
	}
	return name
}
