package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// scaleKeys is how many keys are there to move, of 100 bytes each.
const scaleKeys = 50_000

// fill writes keys that have to move.
func fill(t *testing.T, dial dialer, n int) {
	t.Helper()
	c := dial()
	defer func() { _ = c.Close() }()
	value := strings.Repeat("x", 100)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i := 0; i < n; i += 1000 {
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for j := i; j < min(i+1000, n); j++ {
				p.Set(ctx, "fill:"+strconv.Itoa(j), value, 0)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkFilled counts what is left of them.
func checkFilled(t *testing.T, in *instance, n int) {
	t.Helper()
	c := in.writes()()
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	missing := 0
	for i := 0; i < n; i += 1000 {
		var got []*redis.IntCmd
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for j := i; j < min(i+1000, n); j++ {
				got = append(got, p.Exists(ctx, "fill:"+strconv.Itoa(j)))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range got {
			if g.Val() != 1 {
				missing++
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d keys are gone", missing, n)
	}
}

// application is what a program does all day: transactions of several keys and scripts, within hash tags, through a client
// with its usual retries. Any error that reaches it counts.
type application struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	// took are the latencies; sums is what every account should have.
	took   []time.Duration
	sums   map[string]int64
	errors []error
}

var transfer = redis.NewScript(`redis.call("INCRBY", KEYS[1], ARGV[1]); return redis.call("INCRBY", KEYS[2], ARGV[1])`)

func startApplication(addr, password string) *application {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	a := &application{cancel: cancel, sums: map[string]int64{}}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{addr}, Password: password, MaxRedirects: 8, DisableIdentity: true})
	for worker := range 4 {
		a.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a.once(ctx, c, worker, n)
			}
		})
	}
	context.AfterFunc(ctx, func() {
		a.done.Wait()
		_ = c.Close()
	})
	return a
}

// once adds one to two accounts of one tag: by a script, or by a transaction.
func (a *application) once(ctx context.Context, c *redis.ClusterClient, worker, n int) {
	tag := fmt.Sprintf("{acct%d-%d}", worker, n%200)
	start := time.Now()
	var err error
	if n%2 == 0 {
		err = transfer.Run(ctx, c, []string{tag + "a", tag + "b"}, 1).Err()
	} else {
		_, err = c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.IncrBy(ctx, tag+"a", 1)
			p.IncrBy(ctx, tag+"b", 1)
			return nil
		})
	}
	took := time.Since(start)
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took = append(a.took, took)
	if err != nil {
		a.errors = append(a.errors, fmt.Errorf("%s: %w", tag, err))
		return
	}
	a.sums[tag]++
}

// stop ends it and reads the accounts back: none may have less than was acknowledged, and both of a tag the same.
func (a *application) stop(t *testing.T, dial dialer) {
	t.Helper()
	a.cancel()
	a.done.Wait()
	c := dial()
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for tag, sum := range a.sums {
		x, errX := c.Get(ctx, tag+"a").Int64()
		y, errY := c.Get(ctx, tag+"b").Int64()
		if errX != nil || errY != nil || x < sum || x != y {
			t.Errorf("%s has %d and %d, %v, %v; acknowledged were %d", tag, x, y, errX, errY, sum)
		}
	}
}

// latency is the median, the 99th percentile and the maximum since the n-th call, and how many there were until now.
func (a *application) latency(since int) (text string, now int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := slices.Clone(a.took[since:])
	if len(l) == 0 {
		return "no calls", since
	}
	slices.Sort(l)
	at := func(q float64) time.Duration { return l[int(q*float64(len(l)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d calls, median %s, p99 %s, max %s", len(l), at(0.5), at(0.99), at(1)), len(a.took)
}

// TestClusterScaling changes the numbers of shards and replicas while clients write, use transactions and scripts.
func TestClusterScaling(t *testing.T) {
	beyondCore(t)
	c := theCluster(t)
	in := c.create(t, clusterSpec(3, 1))
	fill(t, in.writes(), scaleKeys)
	app := startApplication(in.service(in.name, v1alpha1.PortRedis), in.password)
	w := startWriter("w", in.writes())
	defer w.stop()
	defer app.cancel()
	maps := startMapsWatcher(in.service(in.name, v1alpha1.PortRedis), in.password)
	defer maps.cancel()
	eventually(t, time.Minute, "the first writes", func(context.Context) bool { return w.count(time.Time{}) > 500 })
	_, calls := app.latency(0)
	for _, step := range [][]string{{"--shards", "6"}, {"--shards", "3"}, {"--replicas-per-shard", "2"}, {"--replicas-per-shard", "0"}} {
		start := time.Now()
		if out, err := in.redstart(append([]string{"-n", in.namespace, "scale", in.name}, step...)...); err != nil {
			t.Fatalf("redstart scale: %v\n%s", err, out)
		}
		in.waitReady()
		var latency string
		latency, calls = app.latency(calls)
		t.Logf("scale %s: %s; an application's calls meanwhile: %s", strings.Join(step, " "), time.Since(start).Round(time.Millisecond), latency)
	}
	w.stop()
	maps.stop(t)
	app.stop(t, in.writes())
	lost, err := w.lost(context.Background(), in.writes())
	if err != nil {
		t.Fatal(err)
	}
	results.add(result{scenario: "Cluster: shards 3 to 6 to 3, replicas 1 to 2 to 0", system: "Redstart, Cluster", took: w.gap(time.Time{}), lost: lost})
	if lost > 0 {
		t.Errorf("%d acknowledged writes were lost", lost)
	}
	if len(app.errors) > 0 {
		t.Errorf("%d of %d calls of the application failed, the first: %v", len(app.errors), len(app.took), app.errors[0])
	}
	checkFilled(t, in, scaleKeys)
	in.checkKnown()
}

// TestClusterKilledMigration kills a master, and the operator, in the middle of a migration of slots: what is open is found and
// finished, by who took over.
func TestClusterKilledMigration(t *testing.T) {
	for _, tc := range []struct {
		who   string
		needs []need
		kill  func(in *instance)
	}{
		{"a master", []need{needProcesses}, func(in *instance) { in.kill(in.serverPID(in.master())) }},
		{"the operator", []need{needKubernetes, needProcesses}, (*instance).killOperator},
	} {
		t.Run(tc.who, func(t *testing.T) {
			beyondCore(t)
			in := theCluster(t, tc.needs...).create(t, clusterSpec(3, 1))
			in.waitSettled()
			fill(t, in.writes(), scaleKeys)
			w := startWriter("w", in.writes())
			defer w.stop()
			in.startMigration()
			tc.kill(in)
			in.waitReady()
			w.stop()
			lost, err := w.lost(context.Background(), in.writes())
			t.Logf("%s killed while slots moved: gap %s, %d of %d acknowledged writes lost, %v", tc.who, w.gap(time.Time{}).Round(time.Millisecond), lost, len(w.acked), err)
			results.add(result{scenario: "Cluster: " + tc.who + " killed in a migration", system: "Redstart, Cluster", took: w.gap(time.Time{}), lost: lost})
			if err != nil || lost > len(w.acked)/2 {
				t.Errorf("%d acknowledged writes were lost, %v", lost, err)
			}
			checkFilled(t, in, scaleKeys)
			in.checkKnown()
		})
	}
}

// startMigration adds a shard and returns while slots move to it.
func (in *instance) startMigration() {
	in.t.Helper()
	in.update(func(r *v1alpha1.Redis) { *r.Spec.Shards++ })
	eventually(in.t, time.Minute, "slots to move", func(ctx context.Context) bool {
		c := in.redis(ctx).Status.Cluster
		return c != nil && c.Migration != nil && c.Migration.SlotsMoved < c.Migration.SlotsTotal
	})
}

// TestClusterClients lets redis-cli judge a cluster of ours, and clients in other languages write to it while a shard comes, a
// master hands over, a shard goes, and a master dies.
func TestClusterClients(t *testing.T) {
	beyondCore(t)
	c := theCluster(t)
	in := c.create(t, clusterSpec(3, 1))
	redisCLICheck(t, in)
	var writers []*foreignWriter
	var clients [][]string
	for name, command := range foreignClients("cluster_client") {
		clients = append(clients, command)
		writers = append(writers, startForeignWriter(t, name, command, in.service(in.name, v1alpha1.PortRedis), in.password))
	}
	for _, step := range [][]string{{"scale", in.name, "--shards", "4"}, {"failover", in.name, "--to", in.replicaOf(in.master())}, {"scale", in.name, "--shards", "3"}} {
		if out, err := in.redstart(append([]string{"-n", in.namespace}, step...)...); err != nil {
			t.Fatalf("redstart %s: %v\n%s", strings.Join(step, " "), err, out)
		}
		in.waitReady()
	}
	for _, w := range writers {
		if told := w.stop(t); told.Lost > 0 {
			t.Errorf("%s lost %d of %d acknowledged writes", w.name, told.Lost, told.Acked)
		}
	}
	redisCLICheck(t, in)
	if !c.has(needProcesses) {
		return
	}
	// A master that dies may lose what it acknowledged last, which its replica has not; the clients still see hardly an error.
	for i, command := range clients {
		writers[i] = startForeignWriter(t, writers[i].name, command, in.service(in.name, v1alpha1.PortRedis), in.password)
	}
	before := in.master()
	in.kill(in.serverPID(before))
	in.waitMoved(before)
	in.waitReady()
	for _, w := range writers {
		w.stop(t)
	}
	if len(writers) < 2 {
		t.Skip("redis-py and ioredis are not both installed")
	}
}

func redisCLICheck(t *testing.T, in *instance) {
	t.Helper()
	if out := in.redisCLI("--cluster", "check", in.addresses()["cache-0"]); !strings.Contains(out, "All 16384 slots covered") {
		t.Errorf("redis-cli --cluster check:\n%s", out)
	}
}

// redisCLI runs Redis' own client with the password of the Redis.
func (in *instance) redisCLI(args ...string) string {
	in.t.Helper()
	cmd := exec.Command("redis-cli", args...)
	cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+in.password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		in.t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
