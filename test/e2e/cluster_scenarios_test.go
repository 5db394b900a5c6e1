package e2e

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// clusterScenarios are faults and planned changes of one shard, or of all, of a cluster of 3 shards with a replica each.
var clusterScenarios = []scenario{
	{
		name: "kill -9 of a master's server", moves: true, needs: []need{needProcesses},
		inject: func(in *instance, victim string) { in.kill(in.serverPID(victim)) },
	},
	{
		name: "kill -9 of a master's agent", moves: true, needs: []need{needProcesses},
		inject: func(in *instance, victim string) { in.kill(in.agentPID(victim)) },
	},
	{
		name: "SIGSTOP of a master's server", moves: true, needs: []need{needProcesses},
		inject: func(in *instance, victim string) {
			pid := in.serverPID(victim)
			signalPID(in.t, pid, syscall.SIGSTOP)
			in.waitVictimMoved(victim)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		},
	},
	{
		name: "pod of a master deleted", planned: true, moves: true, core: clusterMode,
		inject: func(in *instance, victim string) { in.deletePod(victim) },
	},
	{
		name: "planned failover of a shard", planned: true, moves: true, core: clusterMode,
		inject: func(in *instance, victim string) {
			if out, err := in.redstart("-n", in.namespace, "failover", in.name, "--to", in.replicaOf(victim)); err != nil {
				in.t.Fatalf("redstart failover: %v\n%s", err, out)
			}
		},
	},
	{
		name: "all pods at once", planned: true, core: clusterMode,
		inject: func(in *instance, _ string) {
			old := in.uids()
			in.deletePods(v1alpha1.ComponentMember)
			in.waitReplaced(old)
		},
	},
	{
		name: "a master's data emptied", moves: true, needs: []need{needProcesses, needDisks},
		inject: func(in *instance, victim string) {
			in.emptyData(victim)
			in.kill(in.serverPID(victim))
		},
		check: func(in *instance, before string) {
			s, err := in.status(before)
			if err != nil || s.Role != v1alpha1.RoleReplica {
				in.t.Errorf("%s, whose disk was emptied, is %q and not a replica: %v", before, s.Role, err)
			}
			in.checkKnown()
		},
	},
	{
		name: "live config change", planned: true,
		inject: func(in *instance, _ string) {
			in.update(func(r *v1alpha1.Redis) { r.Spec.Config["maxmemory"] = "123mb" })
			eventually(in.t, time.Minute, "maxmemory on every member", func(ctx context.Context) bool {
				for _, addr := range in.addresses() {
					c := direct(addr, in.password)()
					m, err := c.ConfigGet(ctx, "maxmemory").Result()
					_ = c.Close()
					if err != nil || m["maxmemory"] != fmt.Sprint(123<<20) {
						return false
					}
				}
				return true
			})
		},
	},
	{
		name: "config change by rolling restart", planned: true, moves: true,
		inject: func(in *instance, _ string) {
			old := in.uids()
			in.update(func(r *v1alpha1.Redis) { r.Spec.Config["databases"] = "1" })
			in.waitReplaced(old)
		},
	},
}

// TestClusterScenarios runs them all on one cluster, one after the other.
func TestClusterScenarios(t *testing.T) {
	c := theCluster(t)
	in := c.createCluster(t, c.namespace(t), "cache", clusterSpec(3, 1))
	for _, s := range clusterScenarios {
		t.Run(s.name, func(t *testing.T) {
			s.skipUnlessWanted(t, v1alpha1.ModeCluster)
			theCluster(t, s.needs...)
			for range *trials {
				runClusterScenario(t, in, s)
			}
		})
	}
}

func runClusterScenario(t *testing.T, in *instance, s scenario) {
	in = &instance{t: t, cluster: in.cluster, name: in.name, namespace: in.namespace, password: in.password, token: in.token}
	in.waitCluster()
	in.waitSettled()
	before := in.victim()
	// One writer writes to the shard that is hit, one to all.
	prefix := fmt.Sprintf("%d", time.Now().UnixNano())
	w, all := startWriter(victimTag+prefix, in.clusterClient()), startWriter("all"+prefix, in.clusterClient())
	watch := watchMasters(in.addresses, in.password)
	defer w.stop()
	defer all.stop()
	defer watch.stop()
	eventually(t, time.Minute, "the first writes", func(context.Context) bool { return w.count(time.Time{}) > 500 && all.count(time.Time{}) > 500 })

	start := time.Now()
	s.inject(in, before)
	if s.moves {
		in.waitVictimMoved(before)
	}
	in.waitCluster()
	end := time.Now()
	eventually(t, time.Minute, "writes afterwards", func(context.Context) bool { return w.count(end) > 500 && all.count(end) > 500 })
	w.stop()
	all.stop()
	watch.stop()

	lost := 0
	for _, x := range []*writer{w, all} {
		n, err := lostInCluster(context.Background(), x, in.clusterClient())
		if err != nil {
			t.Fatal(err)
		}
		lost += n
	}
	gap := w.gap(start)
	t.Logf("%s: gap %s, over all shards %s, %d of %d acknowledged writes lost, %d failed attempts (last: %v)", s.name, gap.Round(time.Millisecond/10),
		all.gap(start).Round(time.Millisecond/10), lost, len(w.acked)+len(all.acked), w.failures+all.failures, w.lastErr)
	results.add(result{scenario: "Cluster: " + s.name, system: "Redstart, Cluster", gap: gap, lost: lost})
	if s.planned && gap > 3*time.Second {
		in.dump() // far more than a planned change should take: the log says where it went
	}
	if s.planned && lost > 0 {
		t.Errorf("%d acknowledged writes were lost in a planned change", lost)
	}
	if lost > (len(w.acked)+len(all.acked))/2 {
		t.Errorf("%d acknowledged writes were lost", lost)
	}
	if n := watch.overlaps(); n > 0 {
		t.Errorf("two writable masters of a slot at %d moments", n)
	}
	if s.check != nil {
		s.check(in, before)
	}
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
	a := c.createCluster(t, namespace, "a", clusterSpec(3, 0))
	b := c.createCluster(t, namespace, "b", clusterSpec(3, 0))
	w := startWriter("w", b.clusterClient())
	defer w.stop()
	old := a.uids()
	a.deletePods(v1alpha1.ComponentMember)
	a.waitReplaced(old)
	a.waitCluster()
	b.waitCluster()
	w.stop()
	if lost, err := lostInCluster(context.Background(), w, b.clusterClient()); err != nil || lost > 0 || w.failures > 0 {
		t.Errorf("the other cluster lost %d writes and failed %d, %v, %v", lost, w.failures, w.lastErr, err)
	}
	a.checkKnown()
	b.checkKnown()
}
