package redis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
	"redstart.dev/redstart/internal/redis/clustertest"
)

// TestCluster walks through every command on a cluster of two masters and a replica.
func TestCluster(t *testing.T) {
	ctx := t.Context()
	nodes := clustertest.Start(t, 3, clustertest.Settings{"requirepass": "secret", "masterauth": "secret"})
	a, b, replica := nodes[0], nodes[1], nodes[2]
	if v, err := a.ClusterView(ctx); err != nil || len(v.Nodes) != 1 || v.Myself().ID != a.ID || v.Info.OK || v.Uncovered().Len() != v1alpha1.SlotCount {
		t.Fatalf("a fresh node's view: %+v, %v", v, err)
	}
	clustertest.Form(t, nodes, 2)

	v, err := a.ClusterView(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := v.Node(b.ID); n.Address != b.Addr || n.BusPort != 16379 || n.Role != v1alpha1.RoleMaster || n.ConfigEpoch != 2 || n.Slots.String() != "8192-16383" {
		t.Errorf("the second master is %+v", n)
	}
	if n := v.Node(replica.ID); n.Role != v1alpha1.RoleReplica || n.MasterID != a.ID || n.Slots != nil {
		t.Errorf("the replica is %+v", n)
	}
	if v.Owner(8191) != a.ID || v.Owner(8192) != b.ID || len(v.Owners()) != 2 || v.Uncovered() != nil {
		t.Errorf("owners: %v", v.Owners())
	}
	if info, err := a.ClusterInfo(ctx); err != nil || info != v.Info || !info.OK || info.Size != 2 || info.KnownNodes != 3 || info.SlotsOK != v1alpha1.SlotCount || info.MyEpoch != 1 {
		t.Errorf("CLUSTER INFO: %+v, %v", info, err)
	}

	// Clients are told a name instead of the address, and the address again. A node learns the name of another by the bus.
	for _, name := range []string{"shards-1.shards-members.default.svc", ""} {
		if err := b.SetHostname(ctx, name); err != nil {
			t.Fatal(err)
		}
		if err := a.SetHostname(ctx, name); err != nil {
			t.Fatal(err)
		}
		want := b.Addr
		if name != "" {
			want = name + ":6379"
		}
		clustertest.Eventually(t, "clients are told "+want, func(ctx context.Context) error {
			if _, err := a.ClusterView(ctx); err != nil {
				return err
			}
			rdb := goredis.NewClient(&goredis.Options{Addr: a.Addr, Password: "secret", MaxRetries: -1, DisableIdentity: true})
			defer rdb.Close()
			if err := rdb.Get(ctx, "foo").Err(); err == nil || !strings.HasSuffix(err.Error(), want) { // its slot is 12182
				return fmt.Errorf("%w, want MOVED to %s", err, want)
			}
			return nil
		})
	}

	// Slot 0 is opened, closed, opened and given away.
	for _, step := range []func() error{
		func() error { return b.ClusterSetSlot(ctx, 0, redis.SlotImporting, a.ID) },
		func() error { return a.ClusterSetSlot(ctx, 0, redis.SlotMigrating, b.ID) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if v, err = a.ClusterView(ctx); err != nil || len(v.Myself().Migrating) != 1 || v.Myself().Migrating[0] != (v1alpha1.OpenSlot{Slot: 0, NodeID: b.ID}) {
		t.Errorf("migrating: %+v, %v", v.Myself(), err)
	}
	if v, err = b.ClusterView(ctx); err != nil || len(v.Myself().Importing) != 1 || v.Myself().Importing[0] != (v1alpha1.OpenSlot{Slot: 0, NodeID: a.ID}) {
		t.Errorf("importing: %+v, %v", v.Myself(), err)
	}
	if err := a.ClusterSetSlot(ctx, 0, redis.SlotStable, ""); err != nil {
		t.Error(err)
	}
	for _, n := range []*clustertest.Node{b, a} {
		if err := n.ClusterSetSlot(ctx, 0, redis.SlotNode, b.ID); err != nil {
			t.Fatal(err)
		}
	}
	clustertest.Eventually(t, "all know that slot 0 moved", func(ctx context.Context) error {
		for _, n := range nodes {
			if v, err := n.ClusterView(ctx); err != nil || v.Owner(0) != b.ID {
				return fmt.Errorf("%s says that %s owns slot 0, %w", n.Addr, v.Owner(0), err)
			}
		}
		return nil
	})
	if err := replica.ClusterFailover(ctx, redis.FailoverPlanned); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "the replica is master", func(ctx context.Context) error {
		v, err := b.ClusterView(ctx)
		if err != nil || v.Owner(1) != replica.ID || v.Node(a.ID).MasterID != replica.ID {
			return fmt.Errorf("%+v, %w", v.Nodes, err)
		}
		return nil
	})
	for _, n := range []*clustertest.Node{b, replica} {
		if err := n.ClusterForget(ctx, a.ID); n == b && err != nil {
			t.Error(err)
		}
	}
	if v, err := b.ClusterView(ctx); err != nil || v.Node(a.ID) != nil {
		t.Errorf("b still knows what it forgot: %v", err)
	}
	if err := b.ClusterDelSlots(ctx, v1alpha1.Slots(16383)); err != nil {
		t.Error(err)
	}
	if v, err := b.ClusterView(ctx); err != nil || v.Uncovered().String() != "16383" {
		t.Errorf("uncovered %v, %v", v.Uncovered(), err)
	}
	if err := b.ClusterReset(ctx, false); err != nil {
		t.Error(err)
	}
	if err := b.ClusterAddSlots(ctx, nil); err != nil {
		t.Error(err)
	}
	if err := b.ClusterMeet(ctx, "nowhere", 0); err == nil || !strings.Contains(err.Error(), "CLUSTER MEET at "+b.Addr) {
		t.Errorf("MEET of no address: %v", err)
	}
}

func TestClusterDisabled(t *testing.T) {
	node := clustertest.Start(t, 1, nil)[0]
	if _, err := node.ClusterInfo(t.Context()); redis.IsClusterDisabled(err) {
		t.Error("a cluster node has cluster support disabled")
	}
}
