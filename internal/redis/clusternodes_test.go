package redis

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestParseClusterNodes(t *testing.T) {
	a, b, c := strings.Repeat("a", 40), strings.Repeat("b", 40), strings.Repeat("c", 40)
	for _, test := range []struct {
		line string
		want v1alpha1.ClusterNode
	}{
		{
			a + " 10.0.0.1:6379@16379 myself,master - 0 1700000000000 7 connected 0-5460 5462 [5463->-" + b + "] [9-<-" + c + "]",
			v1alpha1.ClusterNode{
				ID: a, Address: "10.0.0.1:6379", BusPort: 16379, Myself: true, Role: v1alpha1.RoleMaster, PongReceivedMS: 1700000000000, ConfigEpoch: 7, LinkUp: true,
				Slots:     v1alpha1.SlotSet{{First: 0, Last: 5460}, {First: 5462, Last: 5462}},
				Migrating: []v1alpha1.OpenSlot{{Slot: 5463, NodeID: b}}, Importing: []v1alpha1.OpenSlot{{Slot: 9, NodeID: c}},
			},
		},
		{
			b + " 10.0.0.2:6380@16380,cache-1.cache slave,fail?,nofailover " + a + " 1700000000001 1700000000000 7 disconnected",
			v1alpha1.ClusterNode{
				ID: b, Address: "10.0.0.2:6380", BusPort: 16380, Hostname: "cache-1.cache", Role: v1alpha1.RoleReplica, Suspected: true, NoFailover: true,
				MasterID: a, PingSentMS: 1700000000001, PongReceivedMS: 1700000000000, ConfigEpoch: 7,
			},
		},
		{ // IPv6 has no brackets; nodes.conf of Redis 7.2 has auxiliary fields, and here no hostname.
			c + " fd00::12:7000@17000,,tls-port=0,shard-id=" + a + ",future=x master,fail,newflag - 1 2 3 connected",
			v1alpha1.ClusterNode{ID: c, Address: "[fd00::12]:7000", BusPort: 17000, ShardID: a, Role: v1alpha1.RoleMaster, Failed: true, PingSentMS: 1, PongReceivedMS: 2, ConfigEpoch: 3, LinkUp: true},
		},
		{ // A hostname that is absent while auxiliary fields are there without its comma.
			c + " 10.0.0.3:7000@17000,shard-id=" + a + " master - 0 0 3 connected",
			v1alpha1.ClusterNode{ID: c, Address: "10.0.0.3:7000", BusPort: 17000, ShardID: a, Role: v1alpha1.RoleMaster, ConfigEpoch: 3, LinkUp: true},
		},
		{ // What a fresh server says of itself, and Redis 4's form without a bus port.
			a + " :7000 myself,master - 0 0 0 connected",
			v1alpha1.ClusterNode{ID: a, Address: ":7000", Myself: true, Role: v1alpha1.RoleMaster, LinkUp: true},
		},
		{
			b + " 10.0.0.9:7000@17000 handshake - 5 0 0 disconnected",
			v1alpha1.ClusterNode{ID: b, Address: "10.0.0.9:7000", BusPort: 17000, Handshake: true, PingSentMS: 5},
		},
		{
			b + " :0@0 master,noaddr,fail - 5 6 1 disconnected 7",
			v1alpha1.ClusterNode{ID: b, Role: v1alpha1.RoleMaster, NoAddress: true, Failed: true, PingSentMS: 5, PongReceivedMS: 6, ConfigEpoch: 1, Slots: v1alpha1.Slots(7)},
		},
	} {
		got, err := ParseClusterNodes("vars currentEpoch 5 lastVoteEpoch 0\n" + test.line + "\n\n")
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
		} else if diff := cmp.Diff([]v1alpha1.ClusterNode{test.want}, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.line, diff)
		}
	}
}

func TestParseClusterNodesRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"a 10.0.0.1:6379@16379 master -":                           "expected 8 words",
		"a 10.0.0.1 master - 0 0 1 connected":                      "not IP:PORT@BUSPORT",
		"a 10.0.0.1:x@1 master - 0 0 1 connected":                  "no port",
		"a 10.0.0.1:1@y master - 0 0 1 connected":                  "no bus port",
		"a 10.0.0.1:1@2 master - 0 zero 1 connected":               `"zero" is no number`,
		"a 10.0.0.1:1@2 master - 0 0 1 connected 5-16384":          "are not slots",
		"a 10.0.0.1:1@2 master - 0 0 1 connected [16384->-b]":      "no open slot",
		"a 10.0.0.1:1@2 master - 0 0 1 connected [5-b]":            "no open slot",
		strings.Repeat(" ", maxClusterNodesBytes+1):                "more than",
		"a 10.0.0.1:1@2 master - 0 0 1 connected 9-5":              "are not slots",
		"a 10.0.0.1:1@2 master - 0 0 1 connected 00000000000000x1": "are not slots",
	} {
		if _, err := ParseClusterNodes(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: error %v, want %s", line, err, want)
		}
	}
}

func FuzzParseClusterNodes(f *testing.F) {
	f.Add("a fd00::12:7000@17000,h,shard-id=b myself,master - 0 0 1 connected 0-5 7 [9->-b] [10-<-c]")
	f.Fuzz(func(t *testing.T, s string) {
		nodes, err := ParseClusterNodes(s)
		if err != nil {
			return
		}
		for _, n := range nodes {
			back, err := v1alpha1.ParseSlots(n.Slots.String())
			if err != nil || !back.Equal(n.Slots) {
				t.Errorf("slots %q read back as %q, %v", n.Slots, back, err)
			}
		}
	})
}
