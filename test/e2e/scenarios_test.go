package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// scenario is one fault or one planned change, under load.
type scenario struct {
	name string
	// needs is what it asks of the backend.
	needs []need
	// core: it belongs to those that continuous integration runs on a real cluster.
	core []v1alpha1.Mode
	// planned: no acknowledged write may be lost. After a crash, those that no replica had may be.
	planned bool
	// modes that it is run in; nil for Replication and Sentinel.
	modes []v1alpha1.Mode
	// inject does it, and returns when the Redis may be expected to become ready again.
	inject func(in *instance, master string)
	// moves: another member must be master afterwards.
	moves bool
	// check looks at what else must be true afterwards.
	check func(in *instance, before string)
}

var (
	replicationMode = []v1alpha1.Mode{v1alpha1.ModeReplication}
	sentinelMode    = []v1alpha1.Mode{v1alpha1.ModeSentinel}
	clusterMode     = []v1alpha1.Mode{v1alpha1.ModeCluster}
	bothModes       = append(replicationMode[:1:1], sentinelMode...)
)

var scenarios = []scenario{
	{name: "kill -9 of the master's server", inject: killServer, moves: true, needs: []need{needProcesses}, core: bothModes},
	{name: "kill -9 of the master's agent", inject: killAgent, moves: true, needs: []need{needProcesses}},
	{name: "SIGSTOP of the master's server", inject: stopServer, moves: true, needs: []need{needProcesses}},
	{name: "pod of the master deleted", inject: deleteMaster, planned: true, moves: true, core: bothModes},
	{
		name: "planned failover", planned: true, moves: true,
		inject: func(in *instance, _ string) {
			if out, err := in.redstart("-n", in.namespace, "failover", in.name); err != nil {
				in.t.Fatalf("redstart failover: %v\n%s", err, out)
			}
		},
	},
	{
		name: "rolling restart of all", planned: true,
		inject: restartBy(func(r *v1alpha1.Redis) {
			if r.Annotations == nil {
				r.Annotations = map[string]string{}
			}
			r.Annotations[v1alpha1.AnnotationRestart] = time.Now().UTC().Format(time.RFC3339)
		}),
	},
	{name: "all pods at once", inject: deleteAll, planned: true, core: replicationMode},
	{
		name: "all Sentinels at once", planned: true, modes: sentinelMode,
		inject: func(in *instance, _ string) { in.deletePods(v1alpha1.ComponentSentinel) },
		check:  (*instance).checkSameMaster,
	},
	{name: "old master's data emptied", inject: emptyMaster, moves: true, needs: []need{needProcesses, needDisks}},
	{
		name: "scaling 3 to 5 to 2", planned: true,
		inject: func(in *instance, _ string) {
			for _, n := range []int32{5, 2} {
				if out, err := in.redstart("-n", in.namespace, "scale", "redis/"+in.name, "--replicas", fmt.Sprint(n)); err != nil {
					in.t.Fatalf("redstart scale: %v\n%s", err, out)
				}
				in.waitReady()
			}
		},
	},
	{name: "live config change", inject: changeConfigLive, planned: true, check: (*instance).checkSameMaster},
	{
		name: "config change by rolling restart", planned: true, moves: true,
		inject: restartBy(func(r *v1alpha1.Redis) { r.Spec.Config["databases"] = "20" }),
	},
}

// What scenarios of all modes do to the master.
func killServer(in *instance, master string) { in.kill(in.serverPID(master)) }
func killAgent(in *instance, master string)  { in.kill(in.agentPID(master)) }

func stopServer(in *instance, master string) {
	pid := in.serverPID(master)
	signalPID(in.t, pid, syscall.SIGSTOP)
	in.waitMoved(master)
	// The agent kills a server that hangs; one that it could not kill goes on here, and must not accept writes.
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

func deleteMaster(in *instance, master string) { in.deletePod(master) }

// deleteAll deletes all pods at once.
func deleteAll(in *instance, _ string) {
	old := in.uids()
	in.deletePods(v1alpha1.ComponentMember)
	if in.redis(context.Background()).Spec.Mode == v1alpha1.ModeSentinel {
		in.deletePods(v1alpha1.ComponentSentinel)
	}
	in.waitReplaced(old)
}

// emptyMaster: the server is gone and its disk with it. It comes back empty, and must not bring that to the others.
func emptyMaster(in *instance, master string) {
	in.emptyData(master)
	in.kill(in.serverPID(master))
}

func changeConfigLive(in *instance, _ string) {
	in.update(func(r *v1alpha1.Redis) { r.Spec.Config["maxmemory"] = "123mb" })
	eventually(in.t, time.Minute, "maxmemory on every member", func(ctx context.Context) bool {
		return in.everywhere(ctx, "maxmemory", fmt.Sprint(123<<20))
	})
}

// restartBy changes something for which every member must be restarted.
func restartBy(change func(*v1alpha1.Redis)) func(*instance, string) {
	return func(in *instance, _ string) {
		old := in.uids()
		in.update(change)
		in.waitReplaced(old)
	}
}

func TestScenarios(t *testing.T) {
	for _, mode := range bothModes {
		for _, s := range append(scenarios, nodeScenarios...) {
			if len(s.modes) > 0 && !slices.Contains(s.modes, mode) {
				continue
			}
			t.Run(string(mode)+"/"+s.name, func(t *testing.T) {
				s.skipUnlessWanted(t, mode)
				for range *trials {
					s.run(t, theCluster(t, s.needs...).create(t, redisSpec(mode)))
				}
			})
		}
	}
}

// skipUnlessWanted skips what is not of -scenarios=core.
func (s scenario) skipUnlessWanted(t *testing.T, mode v1alpha1.Mode) {
	t.Helper()
	if !slices.Contains(s.core, mode) {
		beyondCore(t)
	}
}

func redisSpec(mode v1alpha1.Mode) v1alpha1.RedisSpec {
	return v1alpha1.RedisSpec{
		Mode: mode, Replicas: ptr.To[int32](3),
		Config: map[string]string{"appendonly": "yes"},
	}
}

// replicationLag is by how much the replicas of a Redis that nothing ails lag behind at most, on a machine that is busy.
const replicationLag = 2 * time.Second

// run lets writers write, a reader read and a probe try every member while it happens, and judges.
func (s scenario) run(t *testing.T, in *instance) {
	t.Helper()
	in.waitReady()
	in.waitSettled()
	before := in.master()
	mode := string(in.redis(context.Background()).Spec.Mode)
	prefixes, name := []string{"w"}, s.name
	if in.sharded {
		// One writer writes to the shard that is hit, one to all. Other scenarios run on the same Redis.
		unique := strconv.FormatInt(time.Now().UnixNano(), 10)
		prefixes, name = []string{victimTag + unique, "all" + unique}, mode+": "+s.name
	}
	r, watch := startReader(prefixes[0], in.reads()), watchMasters(in.addresses, in.password)
	defer r.stop()
	defer watch.stop()
	o := underLoad(t, in.writes(), prefixes, func() {
		s.inject(in, before)
		if s.moves {
			in.waitMoved(before)
		}
		in.waitReady()
	})
	r.stop()
	watch.stop()

	t.Logf("%s, %s: gap %s (of any shard %s), %d of %d acknowledged writes lost, %d failed attempts (last: %v), longest read gap %s",
		s.name, mode, o.gap.Round(time.Millisecond/10), o.anyGap.Round(time.Millisecond/10), o.lost, o.acked, o.failures, o.lastErr, r.gap.Round(time.Millisecond))
	results.add(result{scenario: name, system: "Redstart, " + mode, took: o.gap, lost: o.lost})
	if s.planned && s.moves && o.gap > 3*time.Second {
		in.dump() // far more than a planned change of master should take: the log says where it went
	}
	if s.planned && o.lost > 0 {
		t.Errorf("%d acknowledged writes were lost in a planned change", o.lost)
	}
	// Replicas are asynchronous: what a master that dies or is cut off took last is lost with it, and nothing older.
	if o.lostBefore > replicationLag {
		t.Errorf("a write was lost that had been acknowledged %s before the fault", o.lostBefore)
	}
	if n := watch.overlaps(); n > 0 {
		t.Errorf("two writable masters at %d moments", n)
	}
	if r.reads == 0 {
		t.Error("the reader read nothing")
	}
	if s.check != nil {
		s.check(in, before)
	}
}

// TestSideBySide runs two Redises in mode Sentinel beside each other and lets one of them fail over: the other must
// notice nothing, and no Sentinel may know one of the other's.
func TestSideBySide(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needProcesses)
	a := c.create(t, redisSpec(v1alpha1.ModeSentinel))
	b := c.createIn(t, a.namespace, "other", redisSpec(v1alpha1.ModeSentinel))
	a.waitSettled()
	b.waitSettled()
	wa, wb := startWriter("w", a.writes()), startWriter("w", b.writes())
	defer wa.stop()
	defer wb.stop()
	eventually(t, time.Minute, "the first writes", func(context.Context) bool {
		return wa.count(time.Time{}) > 300 && wb.count(time.Time{}) > 300
	})
	masterA, masterB := a.master(), b.master()
	a.kill(a.serverPID(masterA))
	a.waitMoved(masterA)
	goOn := func() {
		t.Helper()
		a.waitReady()
		end := time.Now()
		eventually(t, time.Minute, "writes afterwards", func(context.Context) bool { return wa.count(end) > 300 && wb.count(end) > 300 })
	}
	// Sentinels that come back at other addresses find their own again, and nobody else.
	a.deletePods(v1alpha1.ComponentSentinel)
	goOn()
	// At the same time as the master dies: whoever becomes master, the old one with its data perhaps, they find it.
	a.kill(a.serverPID(a.master()))
	a.deletePods(v1alpha1.ComponentSentinel)
	goOn()
	wb.stop()
	if lost, err := wb.lost(context.Background(), b.writes()); err != nil || lost > 0 {
		t.Errorf("the other Redis lost %d writes, %v", lost, err)
	}
	if now := b.master(); now != masterB {
		t.Errorf("the other Redis' master moved from %s to %s", masterB, now)
	}
	for _, in := range []*instance{a, b} {
		eventually(t, time.Minute, "the Sentinels of "+in.name+" to know just their own", func(ctx context.Context) bool {
			for _, p := range in.pods(ctx, v1alpha1.ComponentSentinel) {
				s, err := in.status(p.Name)
				if err != nil || s.Sentinel == nil || len(s.Sentinel.Sentinels) != 2 || len(s.Sentinel.Replicas) != 2 {
					return false
				}
			}
			return true
		})
	}
}

// uids of all pods of the Redis.
func (in *instance) uids() map[string]bool {
	uids := map[string]bool{}
	for _, p := range in.pods(context.Background(), v1alpha1.ComponentMember) {
		uids[string(p.UID)] = true
	}
	return uids
}

// waitReplaced waits until no member of old is there and all are ready.
func (in *instance) waitReplaced(old map[string]bool) {
	in.t.Helper()
	eventually(in.t, 3*time.Minute, "every member to be replaced", func(ctx context.Context) bool {
		pods := in.pods(ctx, v1alpha1.ComponentMember)
		for _, p := range pods {
			if old[string(p.UID)] || !podReady(&p) {
				return false
			}
		}
		return len(pods) == len(old)
	})
}

// waitSettled waits until every replica has been in sync for the two seconds that a candidate must be.
func (in *instance) waitSettled() {
	in.t.Helper()
	var since time.Time
	eventually(in.t, time.Minute, "replicas in sync", func(context.Context) bool {
		for pod := range in.addresses() {
			s, err := in.status(pod)
			if err != nil || !s.Ready {
				since = time.Time{}
				return false
			}
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > 3*time.Second
	})
}

// emptyData removes the data of a member from its disk, as the loss of the disk would; the server still has its files open.
func (in *instance) emptyData(pod string) {
	in.t.Helper()
	dir, err := in.volume(context.Background(), in.Client, in.namespace, "data-"+pod)
	if err != nil {
		in.t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		in.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			in.t.Fatal(err)
		}
	}
}
