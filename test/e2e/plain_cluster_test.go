package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
	"redstart.dev/redstart/internal/redis/clustertest"
)

const createScenario = "Cluster: create, until all are in sync"

// TestPlainCluster measures a Redis Cluster of plain processes, made by redis-cli, under the faults that mode Cluster is measured
// under. Redis' own default, of 15 s, takes long, so that only several trials include it.
func TestPlainCluster(t *testing.T) {
	onlyEmbedded(t)
	timeouts := []time.Duration{5 * time.Second}
	if *trials > 1 {
		timeouts = append(timeouts, 15*time.Second)
	}
	for _, timeout := range timeouts {
		system := fmt.Sprintf("plain Cluster, %.0f s", timeout.Seconds())
		for trial := range *trials {
			t.Run(system+"/"+strconv.Itoa(trial), func(t *testing.T) { plainClusterTrial(t, system, timeout) })
		}
	}
}

// plainClusterTrial has a replica of a new cluster take over by CLUSTER FAILOVER, and then kills it.
func plainClusterTrial(t *testing.T, system string, timeout time.Duration) {
	start := time.Now()
	nodes := startPlainCluster(t, timeout)
	results.add(result{scenario: createScenario, system: system, took: time.Since(start)})
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.Addr)
	}
	measure := func(scenario string, inject func(master, replica *clustertest.Node)) {
		master, replica := plainShard(t, nodes)
		o := underLoad(t, clustered("", false, addrs...), []string{victimTag + scenario}, func() {
			inject(master, replica)
			eventually(t, time.Minute, "the replica to be master", func(ctx context.Context) bool {
				v, err := replica.ClusterView(ctx)
				return err == nil && v.Myself().Slots.Contains(victimSlot)
			})
		})
		results.add(result{scenario: scenario, system: system, took: o.gap, lost: o.lost})
	}
	measure("Cluster: planned failover of a shard", func(_, replica *clustertest.Node) {
		if err := replica.ClusterFailover(t.Context(), redis.FailoverPlanned); err != nil {
			t.Fatal(err)
		}
	})
	clustertest.AwaitFormed(t, nodes)
	measure("Cluster: kill -9 of a master's server", func(master, _ *clustertest.Node) {
		signalPID(t, master.Process().Pid, syscall.SIGKILL)
	})
}

// startPlainCluster starts six servers as a tutorial does, and lets redis-cli make a cluster of them.
func startPlainCluster(t *testing.T, timeout time.Duration) []*clustertest.Node {
	t.Helper()
	nodes := clustertest.Start(t, 6, clustertest.Settings{
		"cluster-node-timeout": strconv.FormatInt(timeout.Milliseconds(), 10),
		// The rest as Redis has it by default.
		"cluster-replica-validity-factor": "10", "repl-diskless-sync-delay": "5",
	})
	args := []string{"--cluster", "create"}
	for _, n := range nodes {
		args = append(args, n.Addr)
	}
	if out, err := exec.Command("redis-cli", append(args, "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	clustertest.AwaitFormed(t, nodes)
	return nodes
}

// plainShard finds the master of victimSlot and its replica.
func plainShard(t *testing.T, nodes []*clustertest.Node) (master, replica *clustertest.Node) {
	t.Helper()
	views := make([]v1alpha1.ClusterView, len(nodes))
	for i, n := range nodes {
		var err error
		if views[i], err = n.ClusterView(t.Context()); err != nil {
			t.Fatal(err)
		}
		if views[i].Myself().Slots.Contains(victimSlot) {
			master = n
		}
	}
	for i, n := range nodes {
		if master != nil && views[i].Myself().MasterID == master.ID {
			replica = n
		}
	}
	if replica == nil {
		t.Fatalf("no master of slot %d with a replica in %+v", victimSlot, views)
	}
	return master, replica
}
