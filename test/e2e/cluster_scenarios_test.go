package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// The hash tag and the slot of the shard that faults are aimed at: those of the key that mastersWatcher writes.
const (
	victimTag  = "{watcher}"
	victimSlot = 2515
)

// clusterScenarios are faults and planned changes of one shard, or of all, of a cluster of 3 shards with a replica each.
var clusterScenarios = []scenario{
	{name: "kill -9 of a master's server", inject: killServer, moves: true, needs: []need{needProcesses}},
	{name: "kill -9 of a master's agent", inject: killAgent, moves: true, needs: []need{needProcesses}},
	{name: "SIGSTOP of a master's server", inject: stopServer, moves: true, needs: []need{needProcesses}},
	{name: "pod of a master deleted", inject: deleteMaster, planned: true, moves: true, core: clusterMode},
	{
		name: "planned failover of a shard", planned: true, moves: true, core: clusterMode,
		inject: func(in *instance, victim string) {
			if out, err := in.redstart("-n", in.namespace, "failover", in.name, "--to", in.replicaOf(victim)); err != nil {
				in.t.Fatalf("redstart failover: %v\n%s", err, out)
			}
		},
	},
	{name: "all pods at once", inject: deleteAll, planned: true, core: clusterMode},
	{
		name: "a master's data emptied", inject: emptyMaster, moves: true, needs: []need{needProcesses, needDisks},
		check: func(in *instance, before string) {
			// Its server is a replica when all is ready; its agent says so in its next turn.
			eventually(in.t, 10*time.Second, before+", whose disk was emptied, to be a replica", func(context.Context) bool {
				s, err := in.status(before)
				return err == nil && s.Role == v1alpha1.RoleReplica
			})
			in.checkKnown()
		},
	},
	{name: "live config change", inject: changeConfigLive, planned: true, check: (*instance).checkSameMaster},
	{
		name: "config change by rolling restart", planned: true, moves: true,
		inject: restartBy(func(r *v1alpha1.Redis) { r.Spec.Config["databases"] = "1" }),
	},
	{name: "image upgrade", inject: upgradeImage, planned: true},
	{
		name: "two of three masters lost with their disks, and failover by force", inject: loseMajority, needs: []need{needProcesses, needDisks},
		check: func(in *instance, _ string) {
			checkFilled(in.t, in, keptKeys)
			in.checkKnown()
		},
	},
}

// TestClusterScenarios runs them all on one cluster, one after the other.
func TestClusterScenarios(t *testing.T) {
	c := theCluster(t)
	for range *trials - 1 {
		t.Run("create", func(t *testing.T) { c.createMeasured(t) })
	}
	in := c.createMeasured(t)
	t.Run("check and rebalance", func(t *testing.T) {
		beyondCore(t)
		checkAndRebalance(t, in.in(t))
	})
	for _, s := range clusterScenarios {
		t.Run(s.name, func(t *testing.T) {
			s.skipUnlessWanted(t, v1alpha1.ModeCluster)
			theCluster(t, s.needs...)
			for range *trials {
				s.run(t, in.in(t))
			}
		})
	}
}

// upgradeImage changes the image, which on one machine and in test/kubelab is another name of the same: every pod is another
// afterwards, in the order of an upgrade.
func upgradeImage(in *instance, _ string) {
	shards := in.redis(context.Background()).Status.Shards
	restartBy(func(r *v1alpha1.Redis) { r.Spec.Image = "redis:8.0" })(in, "")
	born := map[string]time.Time{}
	for _, p := range in.pods(context.Background(), v1alpha1.ComponentMember) {
		born[p.Name] = p.CreationTimestamp.Time
	}
	var order []string
	for _, s := range shards {
		order = append(append(order, s.Replicas...), s.Master)
	}
	if !slices.IsSortedFunc(order, func(a, b string) int { return born[a].Compare(born[b]) }) {
		in.t.Errorf("not shard by shard, replicas first: %v of %+v were made at %v", order, shards, born)
	}
}

// keptKeys is how many keys a loss of masters finds.
const keptKeys = 5000

// loseMajority empties the disks of two masters and kills their servers: nobody can be elected. The status says what is to be had,
// and that is taken only by force.
func loseMajority(in *instance, victim string) {
	fill(in.t, in.writes(), keptKeys)
	lost := []string{victim}
	for _, s := range in.redis(context.Background()).Status.Shards {
		if s.Master != victim && len(lost) < 2 {
			lost = append(lost, s.Master)
		}
	}
	if out, err := in.redstart("-n", in.namespace, "failover", in.name, "--force"); err == nil || !strings.Contains(out, "nothing to force") {
		in.t.Errorf("redstart failover --force of what is whole: %v\n%s", err, out)
	}
	var pids []int
	for _, pod := range lost {
		pids = append(pids, in.serverPID(pod))
		in.emptyData(pod)
	}
	for _, pid := range pids {
		in.kill(pid)
	}
	eventually(in.t, time.Minute, "somebody to be asked", func(context.Context) bool {
		out, err := in.redstart("-n", in.namespace, "status", in.name)
		return err == nil && strings.Contains(out, "--force") && strings.Contains(out, "would take over")
	})
	out, err := in.redstart("-n", in.namespace, "failover", in.name, "--force")
	if err != nil || strings.Count(out, "would take over with what it has") != len(lost) {
		in.t.Fatalf("redstart failover --force: %v\n%s", err, out)
	}
	in.t.Log(out)
}

// checkAndRebalance moves slots past Redstart: redstart cluster check finds that, and redstart rebalance puts it right.
func checkAndRebalance(t *testing.T, in *instance) {
	in.waitReady()
	fill(t, in.writes(), keptKeys)
	run := func(ok bool, want string, args ...string) {
		t.Helper()
		out, err := in.redstart(append([]string{"-n", in.namespace}, args...)...)
		if (err == nil) != ok || !strings.Contains(out, want) {
			t.Errorf("redstart %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	run(true, "6 nodes, 3 masters with slots: nothing is wrong", "cluster", "check", in.name)
	shards := in.redis(context.Background()).Status.Shards
	id := func(pod string) string {
		s, err := in.status(pod)
		if err != nil || s.Cluster == nil {
			t.Fatalf("status of %s: %v", pod, err)
		}
		return s.Cluster.Myself().ID
	}
	addr := in.addresses()[shards[0].Master]
	in.redisCLI("--cluster", "reshard", addr, "--cluster-from", id(shards[0].Master), "--cluster-to", id(shards[1].Master), "--cluster-slots", "700", "--cluster-yes")
	run(false, "Unbalanced", "cluster", "check", in.name)
	run(true, " slots from ", "rebalance", in.name, "--dry-run")
	run(true, "moved 700 slots", "rebalance", in.name)
	run(true, "nothing to move", "rebalance", in.name)
	eventually(t, 30*time.Second, "nothing to be wrong", func(context.Context) bool {
		out, err := in.redstart("-n", in.namespace, "cluster", "check", in.name)
		return err == nil && strings.Contains(out, "nothing is wrong")
	})
	checkFilled(t, in, keptKeys)
}

// createMeasured creates 3 shards with a replica each, the servers' processes included.
func (c *cluster) createMeasured(t *testing.T) *instance {
	t.Helper()
	start := time.Now()
	in := c.create(t, clusterSpec(3, 1))
	results.add(result{scenario: createScenario, system: "Redstart, Cluster", took: time.Since(start)})
	return in
}

func clusterSpec(shards, replicas int32) v1alpha1.RedisSpec {
	return v1alpha1.RedisSpec{
		Mode: v1alpha1.ModeCluster, Shards: &shards, ReplicasPerShard: &replicas,
		Config: map[string]string{"appendonly": "yes"},
	}
}

// shardsComplete tells whether the status has as many shards as there should be, each with all its replicas.
func shardsComplete(r *v1alpha1.Redis) bool {
	return len(r.Status.Shards) == int(*r.Spec.Shards) && !slices.ContainsFunc(r.Status.Shards, func(s v1alpha1.ShardStatus) bool {
		return len(s.Replicas) != int(*r.Spec.ReplicasPerShard)
	})
}

// replicaOf is a replica of a member.
func (in *instance) replicaOf(master string) string {
	in.t.Helper()
	for _, s := range in.redis(context.Background()).Status.Shards {
		if s.Master == master && len(s.Replicas) > 0 {
			return s.Replicas[0]
		}
	}
	in.t.Fatalf("no replica of %s in %+v", master, in.redis(context.Background()).Status.Shards)
	return ""
}

// checkKnown makes sure that every member knows just the members that there are, each once.
func (in *instance) checkKnown() {
	in.t.Helper()
	eventually(in.t, time.Minute, "every member to know just its own cluster", func(ctx context.Context) bool {
		pods := in.pods(ctx, v1alpha1.ComponentMember)
		ids := map[string]bool{}
		for _, p := range pods {
			if s, err := in.status(p.Name); err == nil && s.Cluster != nil && s.Cluster.Myself() != nil {
				ids[s.Cluster.Myself().ID] = true
			}
		}
		for _, p := range pods {
			s, err := in.status(p.Name)
			if err != nil || s.Cluster == nil || len(s.Cluster.Nodes) != len(pods) {
				return false
			}
			for _, n := range s.Cluster.Nodes {
				if !ids[n.ID] {
					return false
				}
			}
		}
		return len(ids) == len(pods)
	})
}

// TestClustersSideBySide: two clusters, of which one comes back with all addresses new, never learn of each other.
func TestClustersSideBySide(t *testing.T) {
	beyondCore(t)
	c := theCluster(t)
	namespace := c.namespace(t)
	a := c.createIn(t, namespace, "a", clusterSpec(3, 0))
	b := c.createIn(t, namespace, "b", clusterSpec(3, 0))
	w := startWriter("w", b.writes())
	defer w.stop()
	old := a.uids()
	a.deletePods(v1alpha1.ComponentMember)
	a.waitReplaced(old)
	a.waitReady()
	b.waitReady()
	w.stop()
	if lost, err := w.lost(context.Background(), b.writes()); err != nil || lost > 0 || w.failures > 0 {
		t.Errorf("the other cluster lost %d writes and failed %d, %v, %v", lost, w.failures, w.lastErr, err)
	}
	a.checkKnown()
	b.checkKnown()
}
