package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis/clustertest"
	"redstart.dev/redstart/internal/redis/migrate"
)

func addrs(nodes []*clustertest.Node) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.Addr)
	}
	return out
}

func connect(t testing.TB, nodes []*clustertest.Node, credentials migrate.Credentials) *migrate.Cluster {
	t.Helper()
	c, err := migrate.Connect(t.Context(), addrs(nodes), credentials)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func clusterClient(t testing.TB, nodes []*clustertest.Node, password string) *goredis.ClusterClient {
	t.Helper()
	c := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addrs(nodes), Password: password, MaxRedirects: 16, MinRetryBackoff: time.Millisecond})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// fill writes n keys fill:0 and following, each with its number as value.
func fill(t testing.TB, c *goredis.ClusterClient, n int) {
	t.Helper()
	for first := 0; first < n; first += 5000 {
		_, err := c.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
			for i := first; i < min(first+5000, n); i++ {
				p.Set(t.Context(), "fill:"+strconv.Itoa(i), i, 0)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkFill(t testing.TB, c *goredis.ClusterClient, n int) {
	t.Helper()
	for first := 0; first < n; first += 5000 {
		end := min(first+5000, n)
		answers, err := c.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
			for i := first; i < end; i++ {
				p.Get(t.Context(), "fill:"+strconv.Itoa(i))
			}
			return nil
		})
		if err != nil {
			t.Errorf("read keys %d to %d: %v", first, end, err)
		}
		for i, a := range answers {
			if got := a.(*goredis.StringCmd).Val(); got != strconv.Itoa(first+i) {
				t.Fatalf("key fill:%d is %q", first+i, got)
			}
		}
	}
}

// workload writes and reads until it is stopped, and knows what was acknowledged.
type workload struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	acked  map[string]int64 // key to the last number that was acknowledged
	tried  map[string]int64
	errs   []error
	writes atomic.Int64
}

func startWorkload(t testing.TB, c *goredis.ClusterClient, lenient bool) *workload {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &workload{stop: cancel, acked: map[string]int64{}, tried: map[string]int64{}}
	one := func(i int, op func(ctx context.Context, key string, n int64) error, name string) {
		w.done.Go(func() {
			for n := int64(1); ctx.Err() == nil; n++ {
				key := fmt.Sprintf("%s%d:%d", name, i, n%200)
				w.mu.Lock()
				w.tried[key] = n
				w.mu.Unlock()
				call, end := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
				err := op(call, key, n)
				end()
				w.mu.Lock()
				if err == nil {
					w.acked[key] = n
					w.writes.Add(1)
				} else if len(w.errs) < 10 {
					w.errs = append(w.errs, fmt.Errorf("%s %s: %w", name, key, err))
				}
				w.mu.Unlock()
				if err != nil && lenient {
					time.Sleep(20 * time.Millisecond) // the server is down; the next try may be as soon as it likes
				}
			}
		})
	}
	for i := range 3 {
		one(i, func(ctx context.Context, key string, n int64) error { return c.Set(ctx, key, n, 0).Err() }, "set")
	}
	// Two keys of one slot by name, and the same from a script: both must be answered from one side, or retried.
	one(0, func(ctx context.Context, key string, n int64) error {
		return retryTryAgain(ctx, func() error {
			return c.MSet(ctx, "{"+key+"}a", n, "{"+key+"}b", n).Err()
		})
	}, "mset")
	script := goredis.NewScript(`redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1]) return ARGV[1]`)
	one(0, func(ctx context.Context, key string, n int64) error {
		return retryTryAgain(ctx, func() error {
			return script.Eval(ctx, c, []string{"{" + key + "}a", "{" + key + "}b"}, n).Err()
		})
	}, "eval")
	t.Cleanup(w.end)
	return w
}

// retryTryAgain does what Redis asks for with TRYAGAIN: the keys of a command are on both sides for a moment.
func retryTryAgain(ctx context.Context, op func() error) error {
	for {
		err := op()
		if err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN") || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *workload) end() {
	w.stop()
	w.done.Wait()
}

// check stops the workload and compares what the cluster holds with what it acknowledged.
func (w *workload) check(t testing.TB, c *goredis.ClusterClient) {
	t.Helper()
	w.end()
	lost := 0
	for key, n := range w.acked {
		names := []string{key}
		if strings.HasPrefix(key, "mset") || strings.HasPrefix(key, "eval") {
			names = []string{"{" + key + "}a", "{" + key + "}b"}
		}
		for _, name := range names {
			got, err := c.Get(t.Context(), name).Int64()
			if err != nil || got < n || got > w.tried[key] {
				lost++
				t.Errorf("key %s is %d, %v; %d was acknowledged, %d tried", name, got, err, n, w.tried[key])
			}
		}
	}
	t.Logf("%d acknowledged writes, %d lost, %d errors", w.writes.Load(), lost, len(w.errs))
}

// third is the moves of a third of each of two masters' slots to a third master.
func third(nodes []*clustertest.Node) []v1alpha1.SlotMove {
	return []v1alpha1.SlotMove{
		{From: nodes[0].ID, To: nodes[2].ID, Slots: v1alpha1.SlotSet{{First: 0, Last: 2730}}},
		{From: nodes[1].ID, To: nodes[2].ID, Slots: v1alpha1.SlotSet{{First: 13653, Last: 16383}}},
	}
}

func checkOwners(t testing.TB, nodes []*clustertest.Node, moves []v1alpha1.SlotMove) {
	t.Helper()
	for _, n := range nodes {
		v, err := n.ClusterView(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range moves {
			if left := m.Slots.Minus(v.Node(m.To).Slots); len(left) > 0 {
				t.Errorf("%s says that slots %s are not at %s", n.Addr, left, m.To)
			}
		}
		if me := v.Myself(); len(me.Migrating)+len(me.Importing) > 0 {
			t.Errorf("%s has open slots: %+v", n.Addr, me)
		}
	}
}

// formThree is two masters with half of the slots each and one without any.
func formThree(t testing.TB, settings clustertest.Settings, replicas int) []*clustertest.Node {
	t.Helper()
	nodes := clustertest.Start(t, 3+replicas, settings)
	clustertest.Form(t, nodes, 3, v1alpha1.SlotSet{{First: 0, Last: 8191}}, v1alpha1.SlotSet{{First: 8192, Last: 16383}}, nil)
	return nodes
}

// leastBytes is what a small key occupies at least by MEMORY USAGE. Valkey 9 keeps it with its value in one piece.
func leastBytes(t *testing.T) int64 {
	if clustertest.Version(t).MovesSlots() {
		return 30
	}
	return 59
}

// TestMigrate moves slots under load, as a user of the ACL.
func TestMigrate(t *testing.T) {
	nodes := formThree(t, clustertest.Settings{"requirepass": "secret", "masterauth": "secret", "user": "admin on >word ~* &* +@all"}, 1)
	client := clusterClient(t, nodes, "secret")
	fill(t, client, 50_000)
	if err := client.Expire(t.Context(), "fill:1", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, nodes, migrate.Credentials{Username: "admin", Password: "word"})
	w := startWorkload(t, client, false)
	var last migrate.Progress
	report, err := migrate.Migrate(t.Context(), c, third(nodes), migrate.Options{Progress: func(p migrate.Progress) {
		if p.Slots < last.Slots || p.Keys < last.Keys {
			t.Errorf("progress goes back from %+v to %+v", last, p)
		}
		last = p
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, client)
	if len(w.errs) > 0 {
		t.Errorf("clients saw %v", w.errs)
	}
	checkOwners(t, nodes, third(nodes))
	checkFill(t, client, 50_000)
	if p := report.Progress; p != last || p.Slots != 5462 || p.SlotsTotal != 5462 || p.Keys < p.KeysTotal*9/10 || p.KeysTotal < 15_000 || p.Bytes < 17_000*leastBytes(t) {
		t.Errorf("report %+v, last progress %+v", p, last)
	}
	if ttl := client.TTL(t.Context(), "fill:1").Val(); ttl < 50*time.Minute {
		t.Errorf("a key's time to live is %s", ttl)
	}
	again, err := migrate.Migrate(t.Context(), c, third(nodes), migrate.Options{})
	if err != nil || again.Progress.Keys != 0 {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if r, err := migrate.Resume(t.Context(), c, migrate.Options{}); err != nil || r.Progress.Slots != 0 {
		t.Errorf("nothing to resume: %+v, %v", r, err)
	}
}

// TestScaleIn empties a master, which then becomes a replica by itself.
func TestScaleIn(t *testing.T) {
	nodes := clustertest.Start(t, 3, nil)
	clustertest.Form(t, nodes, 3)
	client := clusterClient(t, nodes, "")
	fill(t, client, 10_000)
	w := startWorkload(t, client, false)
	moves := []v1alpha1.SlotMove{
		{From: nodes[2].ID, To: nodes[0].ID, Slots: v1alpha1.SlotSet{{First: 10922, Last: 13652}}},
		{From: nodes[2].ID, To: nodes[1].ID, Slots: v1alpha1.SlotSet{{First: 13653, Last: 16383}}},
	}
	if _, err := migrate.Migrate(t.Context(), connect(t, nodes, migrate.Credentials{}), moves, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	w.check(t, client)
	if len(w.errs) > 0 {
		t.Errorf("clients saw %v", w.errs)
	}
	checkOwners(t, nodes, moves)
	checkFill(t, client, 10_000)
}

// TestKilledInTheMiddle: the program that migrates is killed, and another goes on.
func TestKilledInTheMiddle(t *testing.T) {
	if v := clustertest.Version(t); v.MovesSlots() {
		t.Skipf("skipped: %s opens no slots; see TestExportGoesOn", v)
	}
	nodes := formThree(t, nil, 0)
	client := clusterClient(t, nodes, "")
	fill(t, client, 50_000)
	w := startWorkload(t, client, false)
	c := connect(t, nodes, migrate.Credentials{})
	for range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestChild$")
		child.Env = append(os.Environ(), "MIGRATE_CHILD="+strings.Join(addrs(nodes), ","), "MIGRATE_IDS="+nodes[0].ID+","+nodes[1].ID+","+nodes[2].ID)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		clustertest.Eventually(t, "slots are open", func(ctx context.Context) error {
			v, err := nodes[2].ClusterView(ctx)
			if err == nil && len(v.Myself().Importing) == 0 {
				err = errors.New("not yet")
			}
			return err
		})
		_ = child.Process.Kill()
		_ = child.Wait()
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("killed with %d slots open", len(migrate.Openings(c.Views())))
	}
	if _, err := migrate.Resume(t.Context(), c, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	if left := migrate.Openings(c.Views()); len(left) > 0 {
		t.Errorf("still open: %+v", left)
	}
	if _, err := migrate.Migrate(t.Context(), c, third(nodes), migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	w.check(t, client)
	if len(w.errs) > 0 {
		t.Errorf("clients saw %v", w.errs)
	}
	checkOwners(t, nodes, third(nodes))
	checkFill(t, client, 50_000)
}

// TestChild is no test: it is the program that TestKilledInTheMiddle kills.
func TestChild(t *testing.T) {
	if os.Getenv("MIGRATE_CHILD") == "" {
		return
	}
	ids := strings.Split(os.Getenv("MIGRATE_IDS"), ",")
	nodes := []*clustertest.Node{{ID: ids[0]}, {ID: ids[1]}, {ID: ids[2]}}
	c, err := migrate.Connect(t.Context(), strings.Split(os.Getenv("MIGRATE_CHILD"), ","), migrate.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := migrate.Migrate(t.Context(), c, third(nodes), migrate.Options{}); err != nil {
		t.Fatal(err)
	}
}

// TestServerKilled: the target, and then a source, is killed in the middle and comes back with its data; the migration
// waits for it and goes on. Clients see errors while it is away, but what was acknowledged is kept.
func TestServerKilled(t *testing.T) {
	for name, victim := range map[string]int{"target": 2, "source": 0} {
		t.Run(name, func(t *testing.T) {
			nodes := formThree(t, nil, 0)
			client := clusterClient(t, nodes, "")
			fill(t, client, 50_000)
			w := startWorkload(t, client, true)
			killed := make(chan struct{})
			var once sync.Once
			c := connect(t, nodes, migrate.Credentials{})
			ended := make(chan error, 1)
			go func() {
				_, err := migrate.Migrate(t.Context(), c, third(nodes), migrate.Options{Progress: func(p migrate.Progress) {
					if p.Slots > 0 {
						once.Do(func() { close(killed) })
					}
				}})
				ended <- err
			}()
			<-killed
			nodes[victim].Kill()
			nodes[victim].Restart()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			clustertest.Eventually(t, "the cluster is ok", func(ctx context.Context) error {
				for _, n := range nodes {
					if v, err := n.ClusterView(ctx); err != nil || !v.Info.OK {
						return fmt.Errorf("%s: %+v, %w", n.Addr, v.Info, err)
					}
				}
				return nil
			})
			w.check(t, client)
			checkOwners(t, nodes, third(nodes))
			checkFill(t, client, 50_000)
		})
	}
}

// TestBigKey: a hash of 64 MiB is moved alone and reported; where it is above the limit, its slot stays.
func TestBigKey(t *testing.T) {
	if v := clustertest.Version(t); v.MovesSlots() {
		t.Skipf("skipped: %s moves big keys like others", v)
	}
	nodes := formThree(t, nil, 0)
	client := clusterClient(t, nodes, "")
	fill(t, client, 2_000)
	value := strings.Repeat("v", 4096)
	const big = "{fill:1}big"
	for first := 0; first < 64<<20/4096; first += 512 {
		fields := make([]any, 0, 1024)
		for i := first; i < first+512; i++ {
			fields = append(fields, i, value)
		}
		if err := client.HSet(t.Context(), big, fields...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	slot := int(client.ClusterKeySlot(t.Context(), big).Val())
	from := nodes[slot/8192]
	moves := []v1alpha1.SlotMove{{From: from.ID, To: nodes[2].ID, Slots: v1alpha1.SlotsOf(v1alpha1.SlotRange{First: max(0, slot-20), Last: min(slot+20, 16383)})}}
	c := connect(t, nodes, migrate.Credentials{})

	report, err := migrate.Migrate(t.Context(), c, moves, migrate.Options{MaxKey: 32 << 20})
	if err != nil || len(report.Left) != 1 || report.Left[0].Slot != slot || report.Left[0].Key != big || len(report.BigKeys) != 0 {
		t.Fatalf("with a limit of 32 MiB: %+v, %v", report, err)
	}
	if v, err := from.ClusterView(t.Context()); err != nil || !v.Myself().Slots.Contains(slot) || len(v.Myself().Migrating) > 0 {
		t.Fatalf("the slot did not stay: %+v, %v", v.Myself(), err)
	}
	report, err = migrate.Migrate(t.Context(), c, moves, migrate.Options{})
	if err != nil || len(report.Left) != 0 || len(report.BigKeys) != 1 || report.BigKeys[0].Bytes < 64<<20 {
		t.Fatalf("%+v, %v", report, err)
	}
	t.Logf("%d MiB were moved in %s", report.BigKeys[0].Bytes>>20, report.BigKeys[0].Blocked)
	checkOwners(t, nodes, moves)
	if n := client.HLen(t.Context(), big).Val(); n != 64<<20/4096 {
		t.Errorf("the hash has %d fields", n)
	}
	checkFill(t, client, 2_000)
}

// TestConflict: a key that both sides hold is left to somebody who knows, unless both values are the same.
func TestConflict(t *testing.T) {
	nodes := formThree(t, nil, 0)
	client := clusterClient(t, nodes, "")
	fill(t, client, 1_000)
	slot := int(client.ClusterKeySlot(t.Context(), "{fill:1}").Val())
	from := nodes[slot/8192]
	moves := []v1alpha1.SlotMove{{From: from.ID, To: nodes[2].ID, Slots: v1alpha1.Slots(slot)}}
	// A master that has lost its last slot becomes a replica; this one keeps another.
	kept := []v1alpha1.SlotMove{{From: from.ID, To: nodes[2].ID, Slots: v1alpha1.Slots(slot/8192*8192 + (slot+1)%8192)}}
	if _, err := migrate.Migrate(t.Context(), connect(t, nodes, migrate.Credentials{}), kept, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	// What a source leaves that came back older: the key at the target, and again at the source.
	ask := func(value string) {
		direct := goredis.NewClient(&goredis.Options{Addr: nodes[2].Addr})
		defer direct.Close()
		if err := nodes[2].ClusterSetSlot(t.Context(), slot, "IMPORTING", from.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := direct.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
			p.Do(t.Context(), "ASKING")
			p.Set(t.Context(), "fill:1", value, 0)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	back := []v1alpha1.SlotMove{{From: nodes[2].ID, To: from.ID, Slots: v1alpha1.Slots(slot)}}
	for _, test := range []struct {
		there, want string
		on          migrate.OnConflict
		conflict    bool
	}{
		{"1", "1", migrate.ConflictStop, false},
		{"other", "1", migrate.ConflictKeepSource, false},
		{"other", "other", migrate.ConflictKeepTarget, false},
		{"third", "other", migrate.ConflictStop, true},
	} {
		ask(test.there)
		c := connect(t, nodes, migrate.Credentials{})
		_, err := migrate.Migrate(t.Context(), c, moves, migrate.Options{OnConflict: test.on})
		var conflict *migrate.ConflictError
		if errors.As(err, &conflict) != test.conflict || !test.conflict && err != nil || test.conflict && conflict.Key != "fill:1" {
			t.Errorf("%+v: %v", test, err)
		}
		if got := client.Get(t.Context(), "fill:1").Val(); got != test.want {
			t.Errorf("%+v: the key is %q", test, got)
		}
		if !test.conflict {
			if _, err := migrate.Migrate(t.Context(), c, back, migrate.Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMigrateRefuses(t *testing.T) {
	nodes := formThree(t, nil, 0)
	c := connect(t, nodes, migrate.Credentials{})
	a, b := nodes[0].ID, nodes[2].ID
	for want, moves := range map[string][]v1alpha1.SlotMove{
		"they have no owner":        {{To: b, Slots: v1alpha1.Slots(1)}},
		"the cluster has no node x": {{From: a, To: "x", Slots: v1alpha1.Slots(1)}},
		"moved twice":               {{From: a, To: b, Slots: v1alpha1.Slots(1)}, {From: a, To: nodes[1].ID, Slots: v1alpha1.Slots(1)}},
		"or to where they are":      {{From: a, To: a, Slots: v1alpha1.Slots(1)}},
	} {
		if _, err := migrate.Migrate(t.Context(), c, moves, migrate.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := migrate.Connect(t.Context(), []string{"127.0.0.1:1"}, migrate.Credentials{}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("a cluster that is not there: %v", err)
	}
}

// TestTargetWithoutOwner: the source was failed over and came back as a replica while a target was importing from it. The
// target is left with nobody as owner of the slots, and would refuse their keys for ever.
func TestTargetWithoutOwner(t *testing.T) {
	nodes := formThree(t, nil, 0)
	client := clusterClient(t, nodes, "")
	fill(t, client, 2_000)
	target := goredis.NewClient(&goredis.Options{Addr: nodes[2].Addr})
	defer target.Close()
	for slot := range 64 {
		if err := nodes[2].ClusterSetSlot(t.Context(), slot, "IMPORTING", nodes[0].ID); err != nil {
			t.Fatal(err)
		}
		if err := target.Do(t.Context(), "CLUSTER", "DELSLOTS", slot).Err(); err != nil {
			t.Fatal(err)
		}
	}
	moves := []v1alpha1.SlotMove{{From: nodes[0].ID, To: nodes[2].ID, Slots: v1alpha1.SlotSet{{First: 0, Last: 63}}}}
	if report, err := migrate.Migrate(t.Context(), connect(t, nodes, migrate.Credentials{}), moves, migrate.Options{Patience: 5 * time.Second}); err != nil {
		t.Fatalf("%+v, %v", report, err)
	}
	checkOwners(t, nodes, moves)
	checkFill(t, client, 2_000)
}
