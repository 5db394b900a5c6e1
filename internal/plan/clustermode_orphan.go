package plan

import "redstart.dev/redstart/api/v1alpha1"

// orphan is a replica, of a node that is lost, that would copy this master without slots if it could, empty where there is none: a
// server that comes back without its disk has another ID at the address where its replica still looks for data. A replica whose
// master has no address any more may be looking here too.
func (n *nodeDecider) orphan() string {
	for i := range n.Peers {
		p := &n.Peers[i]
		own, looksAt := ownNode(p), p.Server.MasterAddress
		if own != nil && own.Role == v1alpha1.RoleReplica && own.MasterID != n.own.ID && looksAt != "" && looksAt == n.Self.Server.Address {
			return p.Name
		}
	}
	for i := range n.Self.Cluster.Nodes {
		r := &n.Self.Cluster.Nodes[i]
		if r.Role != v1alpha1.RoleReplica || r.MasterID == n.own.ID || r.Failed {
			continue
		}
		if m := n.Self.Cluster.Node(r.MasterID); m == nil || m.NoAddress || m.Address == "" || m.Address == n.own.Address {
			return "the replica at " + r.Address
		}
	}
	return ""
}
