package plan

import (
	"strings"
	"testing"

	"redstart.dev/redstart/api/v1alpha1"
)

// healthy is what the nodes of a cluster of three masters a, b, c with replicas d, e, f say, each on a host of its own.
func healthy() []Witness {
	var nodes []v1alpha1.ClusterNode
	for i, id := range []string{"a", "b", "c", "d", "e", "f"} {
		n := v1alpha1.ClusterNode{ID: id, Address: "10.0.0." + string(rune('1'+i)) + ":6379", Role: v1alpha1.RoleMaster, ConfigEpoch: int64(i + 1), LinkUp: true}
		if i < 3 {
			n.Slots = EvenSlots(3)[i]
		} else {
			n.Role, n.MasterID, n.ConfigEpoch = v1alpha1.RoleReplica, []string{"a", "b", "c"}[i-3], int64(i-2)
		}
		nodes = append(nodes, n)
	}
	var out []Witness
	for i, n := range nodes {
		view := v1alpha1.ClusterView{Info: v1alpha1.ClusterInfo{OK: true}, Nodes: append([]v1alpha1.ClusterNode(nil), nodes...)}
		view.Nodes[i].Myself = true
		out = append(out, Witness{ID: n.ID, Name: n.Address, View: view})
	}
	return out
}

// everywhere changes the node id in the view of every witness.
func everywhere(ws []Witness, id string, change func(*v1alpha1.ClusterNode)) {
	for i := range ws {
		if n := ws[i].View.Node(id); n != nil {
			change(n)
		}
	}
}

func TestDiagnoseCluster(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func([]Witness) []Witness
		// want are the codes that must be found, and no others, each with a word of its message.
		want map[string]string
	}{
		{"fine", func(ws []Witness) []Witness { return ws }, nil},
		{"a replica is down, and nobody has noticed", func(ws []Witness) []Witness {
			ws[5].Error = "connection refused"
			return ws
		}, map[string]string{FindUnreachable: "10.0.0.6:6379 does not answer: connection refused"}},
		{"a master is suspected by one", func(ws []Witness) []Witness {
			ws[1].View.Node("a").Suspected = true
			return ws
		}, map[string]string{FindSuspected: "10.0.0.1:6379 cannot be reached by 10.0.0.2:6379"}},
		{"a master has failed", func(ws []Witness) []Witness {
			everywhere(ws, "a", func(n *v1alpha1.ClusterNode) { n.Failed = true })
			ws[0].Error = "i/o timeout"
			return ws
		}, map[string]string{FindUnreachable: "10.0.0.1", FindFailed: "10.0.0.1:6379 has failed, as 10.0.0.2:6379"}},
		{"two of three masters are gone", func(ws []Witness) []Witness {
			ws[0].Error, ws[1].Error = "refused", "refused"
			for i := range ws {
				ws[i].View.Info.OK = false
			}
			return ws
		}, map[string]string{FindUnreachable: "", FindDown: "cluster_state is not ok, so commands are refused: 10.0.0.3:6379, 10.0.0.4:6379, 10.0.0.5:6379, 10.0.0.6:6379", FindNoMajority: "2 of 3 masters"}},
		{"masters that do not let us in", func(ws []Witness) []Witness {
			for i := range 2 {
				ws[i].Error, ws[i].Refused, ws[i].View = "WRONGPASS", true, v1alpha1.ClusterView{}
			}
			return ws
		}, map[string]string{FindRefused: "10.0.0.1:6379 does not let us in: WRONGPASS"}},
		{"slots without an owner", func(ws []Witness) []Witness {
			everywhere(ws, "b", func(n *v1alpha1.ClusterNode) { n.Slots = n.Slots.Minus(v1alpha1.Slots(6000, 6001)) })
			return ws
		}, map[string]string{FindUncovered: "2 slots have no owner: 6000-6001"}},
		{"half-migrated slots", func(ws []Witness) []Witness {
			ws[0].View.Node("a").Migrating = []v1alpha1.OpenSlot{{Slot: 1, NodeID: "b"}, {Slot: 2, NodeID: "b"}}
			ws[1].View.Node("b").Importing = []v1alpha1.OpenSlot{{Slot: 1, NodeID: "a"}}
			return ws
		}, map[string]string{FindOpenSlots: "open slots: 10.0.0.1:6379 is moving to 10.0.0.2:6379 1-2"}},
		{"one has not heard of a move", func(ws []Witness) []Witness {
			for i := range ws {
				if i != 4 {
					ws[i].View.Node("a").Slots = ws[i].View.Node("a").Slots.Minus(v1alpha1.Slots(0))
					ws[i].View.Node("b").Slots = ws[i].View.Node("b").Slots.Union(v1alpha1.Slots(0))
				}
			}
			return ws
		}, map[string]string{FindDisagree: "10.0.0.5:6379 believes that 10.0.0.1:6379 owns slots 0; 10.0.0.2:6379 does"}},
		{"two masters claim slots, the higher epoch wins", func(ws []Witness) []Witness {
			ws[1].View.Node("b").Slots = ws[1].View.Node("b").Slots.Union(v1alpha1.Slots(0))
			return ws
		}, map[string]string{FindDisagree: "owns slots 0; 10.0.0.2:6379 does"}},
		{"two masters at one epoch", func(ws []Witness) []Witness {
			everywhere(ws, "b", func(n *v1alpha1.ClusterNode) { n.ConfigEpoch = 1 })
			return ws
		}, map[string]string{FindEpoch: "10.0.0.1:6379 and 10.0.0.2:6379 have the same config epoch, 1"}},
		{"a node that one has forgotten", func(ws []Witness) []Witness {
			ws[2].View.Nodes = append(append([]v1alpha1.ClusterNode(nil), ws[2].View.Nodes[:5]...), ws[2].View.Nodes[6:]...)
			return ws
		}, map[string]string{FindStranger: "10.0.0.6:6379 (f) is not known to 10.0.0.3:6379"}},
		{"a handshake that hangs", func(ws []Witness) []Witness {
			ws[0].View.Nodes = append(ws[0].View.Nodes, v1alpha1.ClusterNode{ID: "z", Address: "10.0.0.99:6379", Handshake: true})
			return ws
		}, map[string]string{FindHandshake: "10.0.0.1:6379 has begun a handshake with 10.0.0.99:6379"}},
		{"a server that lost its nodes.conf", func(ws []Witness) []Witness {
			for i := range ws {
				ws[i].View.Nodes = append(ws[i].View.Nodes, v1alpha1.ClusterNode{ID: "old", Address: "10.0.0.6:6379", Role: v1alpha1.RoleReplica, MasterID: "c", Failed: true})
			}
			return ws
		}, map[string]string{FindSameAddress: "2 nodes have the address 10.0.0.6:6379", FindFailed: ""}},
		{"no address", func(ws []Witness) []Witness {
			for i := range ws {
				ws[i].View.Nodes = append(ws[i].View.Nodes, v1alpha1.ClusterNode{ID: "gone", Role: v1alpha1.RoleMaster, NoAddress: true})
			}
			ws[3].View.Nodes = ws[3].View.Nodes[:6]
			return append(ws, Witness{ID: "gone", Name: "gone", Error: "its address is not known"})
		}, map[string]string{FindNoAddress: "gone"}},
		{"a master without a replica", func(ws []Witness) []Witness {
			everywhere(ws, "f", func(n *v1alpha1.ClusterNode) { n.MasterID = "a" })
			return ws
		}, map[string]string{FindNoReplica: "10.0.0.3:6379 has no replica"}},
		{"a replica beside its master", func(ws []Witness) []Witness {
			ws[0].Host, ws[3].Host = "n1", "n1"
			return ws
		}, map[string]string{FindSameHost: "every replica of 10.0.0.1:6379 runs where it runs, on n1"}},
		{"a replica beside its master, and another elsewhere", func(ws []Witness) []Witness {
			ws[0].Host, ws[3].Host = "n1", "n1"
			everywhere(ws, "f", func(n *v1alpha1.ClusterNode) { n.MasterID = "a" })
			return ws
		}, map[string]string{FindNoReplica: "10.0.0.3"}},
		{"a replica of a master that nobody knows", func(ws []Witness) []Witness {
			everywhere(ws, "f", func(n *v1alpha1.ClusterNode) { n.MasterID = "x" })
			return ws
		}, map[string]string{FindNoReplica: "10.0.0.3", FindLostMaster: "10.0.0.6:6379 replicates node x"}},
		{"a new master without slots", func(ws []Witness) []Witness {
			everywhere(ws, "f", func(n *v1alpha1.ClusterNode) { n.Role, n.MasterID, n.ConfigEpoch = v1alpha1.RoleMaster, "", 9 })
			return ws
		}, map[string]string{FindNoReplica: "10.0.0.3", FindEmptyMaster: "10.0.0.6:6379 is a master and owns no slots"}},
		{"unequal shares", func(ws []Witness) []Witness {
			everywhere(ws, "a", func(n *v1alpha1.ClusterNode) { n.Slots = v1alpha1.SlotSet{{First: 0, Last: 999}} })
			everywhere(ws, "b", func(n *v1alpha1.ClusterNode) { n.Slots = v1alpha1.SlotSet{{First: 1000, Last: 10921}} })
			return ws
		}, map[string]string{FindUnbalanced: "10.0.0.1:6379 has 1000, 10.0.0.2:6379 has 9922"}},
	} {
		got := DiagnoseCluster(test.change(healthy()))
		seen := map[string]bool{}
		for i, f := range got {
			word, ok := test.want[f.Code]
			if !ok {
				t.Errorf("%s: found %+v", test.name, f)
			}
			if strings.Contains(f.Message, word) {
				seen[f.Code] = true
			}
			if f.Advice == "" || i > 0 && f.Serious && !got[i-1].Serious {
				t.Errorf("%s: no advice, or not in order: %+v", test.name, got)
			}
		}
		for code, word := range test.want {
			if !seen[code] {
				t.Errorf("%s: no %s with %q in %+v", test.name, code, word, got)
			}
		}
	}
	ws := healthy()
	everywhere(ws, "a", func(n *v1alpha1.ClusterNode) { n.Failed = true })
	ws[0].Error = "refused"
	for _, f := range DiagnoseCluster(ws) {
		if !strings.Contains(f.Advice, "CLUSTER FAILOVER TAKEOVER on 10.0.0.4:6379") || strings.Contains(f.Advice, "FORGET") {
			t.Errorf("of a master that a replica can stand in for: %+v", f)
		}
	}
	everywhere(ws, "d", func(n *v1alpha1.ClusterNode) { n.MasterID = "b" })
	for _, f := range DiagnoseCluster(ws) {
		if f.Code == FindFailed && !strings.Contains(f.Advice, "no replica has its keys") {
			t.Errorf("of a master that nobody can stand in for: %+v", f)
		}
	}
	if got := DiagnoseCluster(nil); got != nil {
		t.Errorf("of no node: %+v", got)
	}
}
