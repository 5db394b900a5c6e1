package plan

import (
	"strings"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// nodeCase is a shard as the agent of cache-0, its master, sees it: cache-3 and cache-4 are its replicas.
type nodeCase struct {
	about  string
	change func(*NodeObservation)
	want   string // actions, or the beginning of why there are none
}

// shardNode is a member with the view of its server.
func shardNode(name, id, of string, slots v1alpha1.SlotSet, epoch int64) Member {
	own := v1alpha1.ClusterNode{ID: id, Address: name + ":6379", Myself: true, Role: v1alpha1.RoleMaster, Slots: slots, ConfigEpoch: epoch, LinkUp: true}
	role := v1alpha1.RoleMaster
	if of != "" {
		own.Role, own.MasterID, role = v1alpha1.RoleReplica, of, v1alpha1.RoleReplica
	}
	m := Member{Address: name + ":6379", Reachable: true, AskedAt: time.Hour, LinkUpSince: time.Hour - time.Minute, Label: role}
	m.Name, m.APIReachable = name, true
	m.Server = v1alpha1.ServerStatus{Up: true, PID: 1, Role: role, Keys: 10, Offset: 100, LinkUp: of != "", Address: name + ":6379"}
	m.Cluster = &v1alpha1.ClusterView{Info: v1alpha1.ClusterInfo{OK: true}, Nodes: []v1alpha1.ClusterNode{own}}
	return m
}

// shard is three shards, seen by cache-0 or, as its replica, by cache-3.
func shard(self string) NodeObservation {
	all := []Member{
		shardNode("cache-0", "A", "", v1alpha1.Slots(1), 1), shardNode("cache-1", "B", "", v1alpha1.Slots(2), 2), shardNode("cache-2", "C", "", v1alpha1.Slots(3), 3),
		shardNode("cache-3", "D", "A", nil, 1), shardNode("cache-4", "E", "A", nil, 1),
	}
	o := NodeObservation{Now: time.Hour, ServerRunning: true, ServerStartedAt: time.Minute, ServerAnsweredAt: time.Hour, Complete: true, StopBy: 2 * time.Hour}
	o.Config.NodeTimeoutMS = 3000
	for i := range all {
		for j := range all {
			if n := *ownNode(&all[j]); j != i {
				n.Myself = false
				all[i].Cluster.Nodes = append(all[i].Cluster.Nodes, n)
			}
		}
	}
	for _, m := range all {
		if m.Name == self {
			o.Self = m
		} else {
			o.Peers = append(o.Peers, m)
		}
	}
	return o
}

func peer(o *NodeObservation, name string) *Member {
	for i := range o.Peers {
		if o.Peers[i].Name == name {
			return &o.Peers[i]
		}
	}
	return nil
}

// crashed: the server of cache-0 ended a moment ago.
func crashed(o *NodeObservation) {
	o.ServerRunning, o.CrashedAt, o.Unclean = false, o.Now, true
	o.Self.Server.Up, o.Self.Server.PID = false, 0
	peer(o, "cache-4").Server.Offset = 120
}

// cameBack: it started again, fenced.
func cameBack(o *NodeObservation) {
	o.Self.Fenced, o.ServerStartedAt = true, o.Now-time.Second
}

func TestDecideNodeAsMaster(t *testing.T) {
	for _, tc := range []nodeCase{
		{"serves", func(*NodeObservation) {}, "master of 1 slots"},
		{"crashed", crashed, "let cache-4 stand for election"},
		{"crashed with an empty replica", func(o *NodeObservation) {
			crashed(o)
			peer(o, "cache-4").Server.Keys = 0
		}, "let cache-3 stand for election"},
		{"crashed, a successor was asked", func(o *NodeObservation) {
			crashed(o)
			o.Memory = NodeMemory{ElectedAt: o.Now - 100*time.Millisecond, Elections: 1}
		}, "the server ended; cache-4 stands for election"},
		{"crashed, nobody came", func(o *NodeObservation) {
			crashed(o)
			o.Memory = NodeMemory{ElectedAt: o.Now - time.Second, Elections: 2}
		}, "starting the server"},
		{"crashed alone", func(o *NodeObservation) {
			crashed(o)
			peer(o, "cache-3").Reachable, peer(o, "cache-4").Stopping = false, true
		}, "the server ended, and no replica can take over"},
		{"hangs", func(o *NodeObservation) { o.ServerSilent = 4 * time.Second }, "kill the server"},
		{"has not answered an agent that stood still", func(o *NodeObservation) {
			o.ServerAnsweredAt, o.ServerSilent = o.Now-time.Minute, time.Second
		}, "master of 1 slots"},
		{"is silent, and nobody can stand in for it", func(o *NodeObservation) {
			o.ServerSilent, peer(o, "cache-3").Reachable, peer(o, "cache-4").Reachable = 20*time.Second, false, false
		}, "master of 1 slots"},
		{"hangs, and nobody can stand in for it", func(o *NodeObservation) {
			o.ServerSilent, peer(o, "cache-3").Reachable, peer(o, "cache-4").Reachable = 31*time.Second, false, false
		}, "kill the server"},
		{"came back in order", cameBack, "unfence"},
		{"came back after a crash", func(o *NodeObservation) { cameBack(o); o.Unclean = true }, "leaving the shard to cache-3 after a crash"},
		{"came back long after a crash", func(o *NodeObservation) {
			cameBack(o)
			o.Unclean, o.ServerStartedAt = true, o.Now-10*time.Second
		}, "unfence"},
		{"came back after a crash with a snapshot", func(o *NodeObservation) {
			cameBack(o)
			o.Unclean, o.Complete = true, false
		}, "fence, let cache-3 stand for election"},
		{"came back empty", func(o *NodeObservation) { cameBack(o); o.Self.Server.Keys = 0 }, "fence, let cache-3 stand for election"},
		{"came back empty, all are", func(o *NodeObservation) {
			cameBack(o)
			o.Self.Server.Keys, peer(o, "cache-3").Server.Keys, peer(o, "cache-4").Server.Keys = 0, 0, 0
		}, "unfence"},
		{"came back before its replicas", func(o *NodeObservation) { cameBack(o); peer(o, "cache-3").Reachable = false }, "waiting for its replicas"},
		{"came back in a minority", func(o *NodeObservation) { cameBack(o); o.Self.Cluster.Info.OK = false }, "waiting for a majority"},
		{"came back too late", func(o *NodeObservation) {
			cameBack(o)
			p := shardNode("cache-3", "D", "", v1alpha1.Slots(1), 7)
			*peer(o, "cache-3") = p
		}, "cache-3 has taken over"},
		{"stops", func(o *NodeObservation) { o.Self.Stopping = true }, "hand over to cache-3"},
		{"stops, all stop", func(o *NodeObservation) {
			o.Self.Stopping, peer(o, "cache-3").Stopping, peer(o, "cache-4").Stopping = true, true, true
		}, "stop"},
		{"stops, its replica was promoted a moment ago", func(o *NodeObservation) {
			o.Self.Stopping, peer(o, "cache-3").ElectedMS, peer(o, "cache-4").Stopping = true, 5000, true
		}, "cannot hand over yet: cache-3 was promoted"},
		{"stops, its replicas are slow to answer", func(o *NodeObservation) {
			o.Self.Stopping = true
			for _, name := range []string{"cache-3", "cache-4"} {
				peer(o, name).Reachable, peer(o, name).AskedAt = false, o.Now-time.Second
			}
		}, "cannot hand over yet: cache-0 has no replica that answers"},
		{"stops, its replicas do not answer", func(o *NodeObservation) {
			o.Self.Stopping = true
			for _, name := range []string{"cache-3", "cache-4"} {
				peer(o, name).Reachable, peer(o, name).AskedAt = false, o.Now-4*time.Second
			}
		}, "stop"},
		{"stops, its replicas have ended", func(o *NodeObservation) {
			o.Self.Stopping = true
			for _, name := range []string{"cache-3", "cache-4"} {
				peer(o, name).Reachable, peer(o, name).Terminated, peer(o, name).AskedAt = false, true, o.Now-time.Second
			}
		}, "stop"},
		{"stops, and no time is left", func(o *NodeObservation) { o.Self.Stopping, o.StopBy = true, o.Now }, "stop"},
		{"others moved", func(o *NodeObservation) { peer(o, "cache-1").Address = "new:6379" }, "meet cache-1 at new:6379"},
		{"a stranger is not met", func(o *NodeObservation) {
			peer(o, "cache-1").Cluster.Nodes[0].ID = "X"
			peer(o, "cache-1").Address = "new:6379"
		}, "master of 1 slots"},
	} {
		t.Run(tc.about, func(t *testing.T) { tc.check(t, shard("cache-0")) })
	}
}

func TestDecideNodeAsReplica(t *testing.T) {
	lost := func(o *NodeObservation) {
		o.Self.Server.LinkUp, o.MasterLost = false, true
		peer(o, "cache-4").Server.LinkUp = false
	}
	for _, tc := range []nodeCase{
		{"follows", func(*NodeObservation) {}, "replica of cache-0"},
		{"in sync after its start", func(o *NodeObservation) { o.Self.Fenced = true }, "unfence"},
		{"not in sync after its start", func(o *NodeObservation) { o.Self.Fenced, o.Self.Server.LinkUp = true, false }, "replica of cache-0"},
		{"its server is slow", func(o *NodeObservation) { o.ServerSilent = 20 * time.Second }, "replica of cache-0"},
		{"its server hangs", func(o *NodeObservation) { o.ServerSilent = 31 * time.Second }, "kill the server"},
		{"its link broke", func(o *NodeObservation) { o.Self.Server.LinkUp = false }, "replica of cache-0"},
		{"its master is dead", lost, "let cache-3 stand for election"},
		{"its master is dead, and another has more", func(o *NodeObservation) { lost(o); peer(o, "cache-4").Server.Offset = 101 }, "the master cache-0 is dead; leaving it to cache-4"},
		{"its master is dead, and it was never in sync", func(o *NodeObservation) { lost(o); o.Self.Fenced = true }, "replica of cache-0"},
		{"stops", func(o *NodeObservation) { o.Self.Stopping = true }, "stop"},
		{"its label is old", func(o *NodeObservation) { o.Self.Label = v1alpha1.RoleMaster }, "label cache-3 replica"},
	} {
		t.Run(tc.about, func(t *testing.T) { tc.check(t, shard("cache-3")) })
	}
}

func (tc nodeCase) check(t *testing.T, o NodeObservation) {
	t.Helper()
	tc.change(&o)
	d := DecideNode(o)
	var actions []string
	for _, a := range d.Actions {
		actions = append(actions, a.String())
	}
	got := strings.Join(actions, ", ")
	if got == "" {
		got = d.Why
	}
	if !strings.HasPrefix(got, tc.want) || len(d.Actions) > 1+strings.Count(tc.want, ", ") {
		t.Errorf("got %q (%s), want %q", got, d.Why, tc.want)
	}
}

// TestReady: a member that serves no slots itself is ready, and hence behind the Service, when it sends clients on for every slot.
func TestReady(t *testing.T) {
	unheard := func(o *NodeObservation) { o.Self.Cluster.Node("B").Slots = nil }
	fresh := func(o *NodeObservation) {
		o.Self.Cluster.Myself().Role, o.Self.Cluster.Myself().MasterID = v1alpha1.RoleMaster, ""
	}
	for _, tc := range []struct {
		about  string
		change func(*NodeObservation)
		want   bool
	}{
		{"a replica", func(*NodeObservation) {}, true},
		{"a replica out of sync", func(o *NodeObservation) { o.Self.Server.LinkUp = false }, false},
		{"a replica that has not heard of the slots of a master", unheard, false},
		{"a replica that does not know a master", func(o *NodeObservation) { unheard(o); o.Self.Cluster.Node("B").ID = "X" }, false},
		{"a replica of a cluster with a master that is gone with its slots", func(o *NodeObservation) {
			unheard(o)
			peer(o, "cache-1").Reachable = false
		}, true},
		{"a replica that has heard of the new owner, as the old one has not", func(o *NodeObservation) {
			peer(o, "cache-2").Cluster.Myself().Slots = v1alpha1.Slots(2, 3)
		}, true},
		{"a replica that finds no majority", func(o *NodeObservation) { o.Self.Cluster.Info.OK = false }, false},
		{"a master without slots", fresh, true},
		{"a master without slots that has not heard of the slots of a master", func(o *NodeObservation) { fresh(o); unheard(o) }, false},
		{"a master without slots that finds no majority", func(o *NodeObservation) { fresh(o); o.Self.Cluster.Info.OK = false }, false},
	} {
		o := shard("cache-3")
		tc.change(&o)
		if d := DecideNode(o); d.Ready != tc.want {
			t.Errorf("%s: ready %t, want %t (%s)", tc.about, d.Ready, tc.want, d.Why)
		}
	}
}

// TestNewMember: a member that is part of nothing waits, and takes no writes.
func TestNewMember(t *testing.T) {
	o := shard("cache-0")
	o.Self = shardNode("cache-0", "Z", "", nil, 0)
	o.Self.Fenced, o.Self.Label = true, ""
	if d := DecideNode(o); len(d.Actions) > 0 || d.Ready || d.Role != "" {
		t.Errorf("a member that is part of nothing: %+v", d)
	}
}

// TestLostDisk: a member whose disk was lost has another ID where its replicas look for their master. It is closed, so that nobody
// copies it, until they follow somebody else.
func TestLostDisk(t *testing.T) {
	o := shard("cache-0")
	before := *o.Self.Cluster.Myself()
	own := shardNode("cache-0", "Z", "", nil, 0)
	own.Cluster.Nodes = append(own.Cluster.Nodes, o.Self.Cluster.Nodes[1:]...)
	o.Self = own
	o.Self.Fenced, o.Self.Label, o.Self.Server.Keys = true, "", 0
	for _, tc := range []nodeCase{
		{"its old node is unknown", func(*NodeObservation) {}, "a master without slots; closed, for the replica at cache-3:6379 would copy it"},
		{"its old node is known without an address", func(o *NodeObservation) {
			lost := before
			lost.Myself, lost.Address, lost.NoAddress, lost.Failed = false, "", true, true
			o.Self.Cluster.Nodes = append(o.Self.Cluster.Nodes, lost)
		}, "a master without slots; closed, for the replica at cache-3:6379 would copy it"},
		{"a replica asks here", func(o *NodeObservation) {
			lost := before
			lost.Myself, lost.Address = false, "elsewhere:6379"
			o.Self.Cluster.Nodes = append(o.Self.Cluster.Nodes, lost)
			peer(o, "cache-4").Server.MasterAddress = o.Self.Server.Address
		}, "a master without slots; closed, for cache-4 would copy it"},
		{"its replicas have another master", func(o *NodeObservation) {
			for i := range o.Self.Cluster.Nodes {
				if r := &o.Self.Cluster.Nodes[i]; r.MasterID == "A" {
					r.MasterID = "B"
				}
			}
		}, "unfence"},
	} {
		t.Run(tc.about, func(t *testing.T) {
			c := o
			view := *o.Self.Cluster
			view.Nodes = append([]v1alpha1.ClusterNode(nil), view.Nodes...)
			c.Self.Cluster = &view
			c.Peers = append([]Member(nil), o.Peers...)
			tc.check(t, c)
		})
	}
}

// TestEmptiedMaster: a master that goes away once its slots have gone tells clients with an old map for a while where to.
func TestEmptiedMaster(t *testing.T) {
	o := shard("cache-0")
	emptied := func(ago time.Duration) func(*NodeObservation) {
		return func(o *NodeObservation) {
			o.Memory.ServedAt = o.Now - ago
			o.Self.Cluster.Myself().Slots = nil
			o.Self.Stopping, o.Self.Label, o.Peers = true, "", o.Peers[:2]
			o.Self.Cluster.Nodes = o.Self.Cluster.Nodes[:3]
		}
	}
	o.Memory.ServedAt = 0
	if d := DecideNode(o); d.Memory.ServedAt != o.Now {
		t.Errorf("a master that serves remembers %s, want %s", d.Memory.ServedAt, o.Now)
	}
	for _, tc := range []nodeCase{
		{"its last slot has just gone", emptied(time.Second), "stopping; telling clients where its slots are now"},
		{"its last slot went some time ago", emptied(3 * time.Second), "stop"},
		{"its time is over", func(o *NodeObservation) { emptied(time.Second)(o); o.StopBy = o.Now }, "stop"},
		{"it never had one", func(o *NodeObservation) { emptied(time.Second)(o); o.Memory.ServedAt = 0 }, "stop"},
	} {
		t.Run(tc.about, func(t *testing.T) {
			c := shard("cache-0")
			tc.check(t, c)
		})
	}
}
