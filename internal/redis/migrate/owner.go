package migrate

import (
	"fmt"

	"redstart.dev/redstart/api/v1alpha1"
)

// Owner is the ID of the master that owns slot: of those that answer and claim it, the one with the highest config
// epoch, which is the one that will convince the others. Where none claims it, it is empty.
func (c *Cluster) Owner(slot int) string { return OwnerIn(c.Views(), slot) }

// OwnerIn is Owner by these views.
func OwnerIn(views []View, slot int) string {
	owner, epoch := "", int64(-1)
	for _, v := range views {
		if v.Err != nil {
			continue
		}
		me := v.View.Myself()
		if me != nil && me.Role == v1alpha1.RoleMaster && me.ConfigEpoch > epoch && me.Slots.Contains(slot) {
			owner, epoch = me.ID, me.ConfigEpoch
		}
	}
	return owner
}

// mistaken are those of slots whose owner, as far as the node id knows, is not owner, nor that node itself. A node takes no news of a
// slot that it is importing (clusterUpdateSlotsConfigWith): where the old owner was failed over it goes on naming that one, and
// once that one is back as a replica, nobody, and refuses keys of the slot, until it is told.
func mistaken(views []View, id string, slots []int, owner string) []int {
	var out []int
	for _, v := range views {
		if v.ID != id || v.Err != nil {
			continue
		}
		for _, slot := range slots {
			if seen := v.View.Owner(slot); seen != owner && seen != id {
				out = append(out, slot)
			}
		}
	}
	return out
}

// successor is the master that the node id is, or that has taken over from it.
func (c *Cluster) successor(id string) (*node, error) {
	next, err := successorIn(c.Views(), id)
	if err != nil {
		return nil, err
	}
	if n := c.node(next); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("the address of node %s is not known", next)
}

// successorIn follows a node that became a replica to its master. A node that does not answer may have been failed
// over: then one that was its replica is a master that answers, and the others say that the node failed.
func successorIn(views []View, id string) (string, error) {
	for _, v := range views {
		if v.ID != id || v.Err != nil {
			continue
		}
		switch me := v.View.Myself(); {
		case me == nil:
		case me.Role == v1alpha1.RoleMaster:
			return id, nil
		case me.MasterID != "":
			return answering(views, me.MasterID)
		}
	}
	// The node itself does not answer. After a failover its slots have gone to one of its replicas, which the others
	// then list as the node's master once it is back; until then nobody says so, and we wait.
	for _, v := range views {
		if v.Err == nil {
			if n := v.View.Node(id); n != nil && n.MasterID != "" {
				return answering(views, n.MasterID)
			}
		}
	}
	return "", fmt.Errorf("node %s does not answer", id)
}

func answering(views []View, id string) (string, error) {
	for _, v := range views {
		if v.ID == id && v.Err == nil && v.View.Myself() != nil && v.View.Myself().Role == v1alpha1.RoleMaster {
			return id, nil
		}
	}
	return "", fmt.Errorf("node %s does not answer as a master", id)
}

// masters are the nodes that answer as masters.
func (c *Cluster) masters() []*node {
	var out []*node
	for _, v := range c.Views() {
		if v.Err == nil && v.View.Myself() != nil && v.View.Myself().Role == v1alpha1.RoleMaster {
			if n := c.node(v.ID); n != nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// heard is nil when the target knows the config epoch of the source and has another one. Only then does it take slots
// under an epoch above the source's. Otherwise the source's claim, still on its way in some message, would win later: the
// target would drop the slots, and the keys that have moved with them.
func heard(views []View, source, target string) error {
	var from, to, seen *v1alpha1.ClusterNode
	for _, v := range views {
		switch {
		case v.Err != nil:
		case v.ID == source:
			from = v.View.Myself()
		case v.ID == target:
			to, seen = v.View.Myself(), v.View.Node(source)
		}
	}
	switch {
	case from == nil || to == nil:
		return fmt.Errorf("%s or %s does not answer", source, target)
	case seen == nil || seen.ConfigEpoch < from.ConfigEpoch:
		return fmt.Errorf("node %s has not heard of the config epoch %d of node %s", target, from.ConfigEpoch, source)
	case to.ConfigEpoch == from.ConfigEpoch:
		return fmt.Errorf("nodes %s and %s have the same config epoch, %d", target, source, from.ConfigEpoch)
	}
	return nil
}

// epochOf is the config epoch that a node itself says it has, 0 where it does not answer.
func epochOf(views []View, id string) int64 {
	for _, v := range views {
		if v.ID == id && v.Err == nil && v.View.Myself() != nil {
			return v.View.Myself().ConfigEpoch
		}
	}
	return 0
}

// runIDIn is the run ID of a node by these views, empty where it does not answer.
func runIDIn(views []View, id string) string {
	for _, v := range views {
		if v.ID == id {
			return v.RunID
		}
	}
	return ""
}

// engineIn is the engine of a node by these views, empty where it does not answer.
func engineIn(views []View, id string) string {
	for _, v := range views {
		if v.ID == id && v.Err == nil {
			return v.Version.Engine
		}
	}
	return ""
}
