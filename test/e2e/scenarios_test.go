package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	{
		name: "kill -9 of the master's server", moves: true, needs: []need{needProcesses}, core: bothModes,
		inject: func(in *instance, master string) { in.kill(in.serverPID(master)) },
	},
	{
		name: "kill -9 of the master's agent", moves: true, needs: []need{needProcesses},
		inject: func(in *instance, master string) { in.kill(in.agentPID(master)) },
	},
	{
		name: "SIGSTOP of the master's server", moves: true, needs: []need{needProcesses},
		inject: func(in *instance, master string) {
			pid := in.serverPID(master)
			signalPID(in.t, pid, syscall.SIGSTOP)
			in.waitMoved(master)
			// The agent kills a server that hangs; one that it could not kill goes on here, and must not accept writes.
			_ = syscall.Kill(pid, syscall.SIGCONT)
		},
	},
	{
		name: "pod of the master deleted", planned: true, moves: true, core: bothModes,
		inject: func(in *instance, master string) {
			p := &corev1.Pod{}
			p.Name, p.Namespace = master, in.namespace
			if err := in.Delete(context.Background(), p); err != nil {
				in.t.Fatal(err)
			}
		},
	},
	{
		name: "planned failover", planned: true, moves: true,
		inject: func(in *instance, master string) {
			if out, err := in.redstart("-n", in.namespace, "failover", in.name); err != nil {
				in.t.Fatalf("redstart failover: %v\n%s", err, out)
			}
		},
	},
	{
		name: "rolling restart of all", planned: true,
		inject: func(in *instance, _ string) {
			old := in.uids()
			in.update(func(r *v1alpha1.Redis) {
				if r.Annotations == nil {
					r.Annotations = map[string]string{}
				}
				r.Annotations[v1alpha1.AnnotationRestart] = time.Now().UTC().Format(time.RFC3339)
			})
			in.waitReplaced(old)
		},
	},
	{
		name: "all pods at once", planned: true, core: replicationMode,
		inject: func(in *instance, _ string) {
			old := in.uids()
			in.deletePods(v1alpha1.ComponentMember)
			if in.redis(context.Background()).Spec.Mode == v1alpha1.ModeSentinel {
				in.deletePods(v1alpha1.ComponentSentinel)
			}
			in.waitReplaced(old)
		},
	},
	{
		name: "all Sentinels at once", planned: true, modes: sentinelMode,
		inject: func(in *instance, _ string) { in.deletePods(v1alpha1.ComponentSentinel) },
		check: func(in *instance, before string) {
			if now := in.master(); now != before {
				in.t.Errorf("the Sentinels' restart moved the master from %s to %s", before, now)
			}
		},
	},
	{
		name: "old master's data emptied", moves: true, needs: []need{needProcesses, needDisks},
		inject: func(in *instance, master string) {
			// The server is gone and its disk with it: it comes back empty, and must not bring that to the others.
			in.emptyData(master)
			in.kill(in.serverPID(master))
		},
	},
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
		check: func(in *instance, before string) {
			if now := in.master(); now != before {
				in.t.Errorf("a live change moved the master from %s to %s", before, now)
			}
		},
	},
	{
		name: "config change by rolling restart", planned: true, moves: true,
		inject: func(in *instance, _ string) {
			old := in.uids()
			in.update(func(r *v1alpha1.Redis) { r.Spec.Config["databases"] = "20" })
			in.waitReplaced(old)
		},
	},
}

func TestScenarios(t *testing.T) {
	for _, mode := range bothModes {
		for _, s := range append(scenarios, nodeScenarios...) {
			if len(s.modes) > 0 && !slices.Contains(s.modes, mode) {
				continue
			}
			t.Run(string(mode)+"/"+s.name, func(t *testing.T) {
				for range *trials {
					runScenario(t, mode, s)
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

func runScenario(t *testing.T, mode v1alpha1.Mode, s scenario) {
	s.skipUnlessWanted(t, mode)
	in := theCluster(t, s.needs...).create(t, redisSpec(mode))
	in.waitSettled()
	before := in.master()
	w, r := startWriter("w", in.writes()), startReader("w", in.reads())
	watch := watchMasters(in.addresses, in.password)
	defer w.stop()
	defer r.stop()
	defer watch.stop()
	eventually(t, time.Minute, "the first writes", func(context.Context) bool { return w.count(time.Time{}) > 500 })

	start := time.Now()
	s.inject(in, before)
	if s.moves {
		in.waitMoved(before)
	}
	in.waitReady()
	end := time.Now()
	eventually(t, time.Minute, "writes afterwards", func(context.Context) bool { return w.count(end) > 500 })
	w.stop()
	r.stop()
	watch.stop()

	missing, err := w.missing(context.Background(), in.writes())
	if err != nil {
		t.Fatal(err)
	}
	lost, gap := len(missing), w.gap(start)
	t.Logf("%s, %s: gap %s, %d of %d acknowledged writes lost, %d failed attempts (last: %v), longest read gap %s",
		s.name, mode, gap.Round(time.Millisecond/10), lost, len(w.acked), w.failures, w.lastErr, r.gap.Round(time.Millisecond))
	results.add(result{scenario: s.name, system: "Redstart, " + string(mode), gap: gap, lost: lost})
	if s.planned && lost > 0 {
		t.Errorf("%d acknowledged writes were lost in a planned change", lost)
	}
	// Replicas are asynchronous: what a master that dies or is cut off took last is lost with it, and nothing older.
	if lost > 0 && missing[0].at.Before(start.Add(-replicationLag)) {
		t.Errorf("a write was lost that had been acknowledged %s before the fault", start.Sub(missing[0].at))
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
	// Sentinels that come back at other addresses find their own again, and nobody else.
	a.deletePods(v1alpha1.ComponentSentinel)
	a.waitReady()
	end := time.Now()
	eventually(t, time.Minute, "writes afterwards", func(context.Context) bool { return wa.count(end) > 300 && wb.count(end) > 300 })
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

func (in *instance) waitMoved(before string) {
	in.t.Helper()
	eventually(in.t, time.Minute, "another master than "+before, func(ctx context.Context) bool {
		for _, p := range in.pods(ctx, v1alpha1.ComponentMember) {
			if p.Labels[v1alpha1.LabelRole] == string(v1alpha1.RoleMaster) && p.Name != before {
				return true
			}
		}
		return false
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
