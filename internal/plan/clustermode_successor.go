package plan

import (
	"fmt"
	"time"
)

// handOver gives the shard to a replica, before this member stops or because somebody asked.
func (n *nodeDecider) handOver() {
	best, err := ChooseSuccessor(n.NodeObservation, n.HandoverTo)
	switch {
	case err == nil && n.Self.Stopping && n.Now >= n.StopBy:
		n.why("stopping without a handover: no time is left")
		n.do(Stop{})
	case err == nil && n.HandoverFailedAt != 0 && n.Now-n.HandoverFailedAt < time.Second:
		n.why("the handover to %s failed; trying again", best.Name)
		n.lookAt(n.HandoverFailedAt + time.Second)
	case err == nil:
		n.why("handing over to %s", best.Name)
		n.do(HandOver{To: best.Name})
	case n.Self.Stopping && (n.Now >= n.StopBy || !n.replicaMayCome()):
		n.why("stopping: %v", err)
		n.do(Stop{})
	default:
		n.why("cannot hand over yet: %v", err)
	}
}

// replicaMayCome tells whether it makes sense for a stopping master to wait: a replica is there that does not stop itself. One that
// answered a moment ago may only be slow.
func (n *nodeDecider) replicaMayCome() bool {
	for i := range n.Peers {
		p := &n.Peers[i]
		answers := p.Reachable || n.Now-p.AskedAt < n.nodeTimeout() && !dead(p)
		if own := ownNode(p); answers && own != nil && own.MasterID == n.own.ID && p.Loaded() && !p.Stopping {
			return true
		}
	}
	return false
}

// ChooseSuccessor is the replica that a master hands over to: to, or the best where that is empty. It has to be in sync, and
// must not have been promoted within the time in which its server does not stand again. The error says what is wrong.
func ChooseSuccessor(o *NodeObservation, to string) (*Member, error) {
	n := &nodeDecider{NodeObservation: o}
	if o.Self.Cluster != nil {
		n.own = o.Self.Cluster.Myself()
	}
	if !n.serves() {
		return nil, fmt.Errorf("%s is master of no shard", o.Self.Name)
	}
	var best *Member
	why := fmt.Errorf("%s has no replica that answers", o.Self.Name)
	if to != "" {
		why = fmt.Errorf("%s is no replica of %s that answers", to, o.Self.Name)
	}
	for _, p := range n.replicas() {
		if to != "" && p.Name != to {
			continue
		}
		settled := o.Now - p.LinkUpSince
		spacing := 4*n.nodeTimeout() + 500*time.Millisecond
		promoted := time.Duration(p.ElectedMS) * time.Millisecond
		switch {
		case !p.Server.LinkUp || p.LinkUpSince == 0:
			why = fmt.Errorf("%s is not in sync", p.Name)
		case promoted != 0 && promoted+o.Now-p.AskedAt < spacing:
			why = fmt.Errorf("%s was promoted %s ago and does not stand for election within %s", p.Name, promoted.Round(time.Second), spacing)
		case settled < settledFor && best != nil:
		case best == nil, p.Server.Offset > best.Server.Offset:
			best = p
		}
	}
	if best == nil {
		return nil, why
	}
	return best, nil
}
