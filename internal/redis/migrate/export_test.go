package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis/clustertest"
	"redstart.dev/redstart/internal/redis/migrate"
)

// export is an export of slots as its source tells it.
type export struct{ name, state, slots string }

func (e export) running() bool {
	return e.state != "success" && e.state != "failed" && e.state != "cancelled"
}

// exportsOf are those that a node knows.
func exportsOf(ctx context.Context, node *clustertest.Node) ([]export, error) {
	c := goredis.NewClient(&goredis.Options{Addr: node.Addr, Protocol: 2})
	defer func() { _ = c.Close() }()
	list, err := c.Do(ctx, "CLUSTER", "GETSLOTMIGRATIONS").Slice()
	var out []export
	for _, item := range list {
		fields := map[any]any{}
		for pairs := item.([]any); len(pairs) > 1; pairs = pairs[2:] {
			fields[pairs[0]] = pairs[1]
		}
		if fields["operation"] == "EXPORT" {
			out = append(out, export{fmt.Sprint(fields["name"]), fmt.Sprint(fields["state"]), fmt.Sprint(fields["slot_ranges"])})
		}
	}
	return out, err
}

// fillFirst writes so much to one slot of the first of third's moves that its export takes a while, and returns how many keys.
func fillFirst(t *testing.T, nodes []*clustertest.Node) int {
	t.Helper()
	const keys = 300_000
	c := goredis.NewClient(&goredis.Options{Addr: nodes[0].Addr, Protocol: 2})
	t.Cleanup(func() { _ = c.Close() })
	tag := ""
	for i := 0; tag == ""; i++ {
		if slot, err := c.ClusterKeySlot(t.Context(), strconv.Itoa(i)).Result(); err != nil {
			t.Fatal(err)
		} else if third(nodes)[0].Slots.Contains(int(slot)) {
			tag = strconv.Itoa(i)
		}
	}
	value := strings.Repeat("v", 500)
	for first := 0; first < keys; first += 10_000 {
		if _, err := c.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
			for i := range 10_000 {
				p.Set(t.Context(), "{"+tag+"}"+strconv.Itoa(first+i), value, 0)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// holdExport stops the target in the middle of the first source's export.
func holdExport(t *testing.T, nodes []*clustertest.Node) {
	t.Helper()
	clustertest.Eventually(t, "slots are on their way", func(ctx context.Context) error {
		list, err := exportsOf(ctx, nodes[0])
		if err == nil && (len(list) == 0 || list[0].state != "snapshotting") {
			err = errors.New("not yet")
		}
		return err
	})
	if err := nodes[2].Process().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if list, err := exportsOf(t.Context(), nodes[0]); err != nil || len(list) != 1 || !list[0].running() {
		t.Fatalf("exports %+v, %v; want one that is not at its end", list, err)
	}
}

func release(t *testing.T, node *clustertest.Node) {
	t.Helper()
	if err := node.Process().Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// exporters is formThree of servers that move slots by themselves.
func exporters(t *testing.T) []*clustertest.Node {
	clustertest.UseValkey(t)
	// The target is stopped for a while, and is not to be failed over.
	return formThree(t, clustertest.Settings{"cluster-node-timeout": "30000"}, 0)
}

// TestExport: where the servers can, they move the slots by themselves, and clients see nothing but MOVED.
func TestExport(t *testing.T) {
	nodes := exporters(t)
	client := clusterClient(t, nodes, "")
	fill(t, client, 50_000)
	w := startWorkload(t, client, false)
	report, err := migrate.Migrate(t.Context(), connect(t, nodes, migrate.Credentials{}), third(nodes), migrate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.check(t, client)
	if len(w.errs) > 0 {
		t.Errorf("clients saw %v", w.errs)
	}
	checkOwners(t, nodes, third(nodes))
	checkFill(t, client, 50_000)
	t.Logf("report %+v", report.Progress)
	if p := report.Progress; p.Slots != 5462 || p.Keys < 16_000 || p.Bytes < 300_000 {
		t.Errorf("report %+v", p)
	}
	for i, m := range third(nodes) {
		if list, err := exportsOf(t.Context(), nodes[i]); err != nil || len(list) != 1 || list[0].state != "success" || list[0].slots != m.Slots.String() {
			t.Errorf("exports of %s: %+v, %v; want one of %s", nodes[i].Addr, list, err, m.Slots)
		}
		// The keys of a slot are counted once for all that there is to do, and once for the estimate of an export.
		if n := callsOf(t, nodes[i], "cluster|countkeysinslot"); n > 2*m.Slots.Len() {
			t.Errorf("%s was asked %d times for keys in %d slots", nodes[i].Addr, n, m.Slots.Len())
		}
	}
}

// callsOf is how often a server has done a command.
func callsOf(t *testing.T, node *clustertest.Node, command string) int {
	c := goredis.NewClient(&goredis.Options{Addr: node.Addr})
	defer c.Close()
	stats, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(stats, "cmdstat_"+command+":calls=")
	text, _, _ := strings.Cut(rest, ",")
	calls, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s does not say how often it did %s:\n%s", node.Addr, command, stats)
	}
	return calls
}

// TestExportIsCancelled: whoever ends a migration finds every slot where it was.
func TestExportIsCancelled(t *testing.T) {
	nodes := exporters(t)
	keys := fillFirst(t, nodes)
	c := connect(t, nodes, migrate.Credentials{})
	moves := third(nodes)[:1]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := migrate.Migrate(ctx, c, moves, migrate.Options{})
		ended <- err
	}()
	holdExport(t, nodes)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a migration that is ended says %v", err)
	}
	release(t, nodes[2])
	if list, err := exportsOf(t.Context(), nodes[0]); err != nil || len(list) != 1 || list[0].state != "cancelled" {
		t.Errorf("exports %+v, %v; want one that was cancelled", list, err)
	}
	checkOwners(t, nodes, []v1alpha1.SlotMove{{To: nodes[0].ID, Slots: v1alpha1.SlotSet{{First: 0, Last: 8191}}}})

	// As soon as it has begun, or not even that.
	for wait := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(wait*wait)*time.Millisecond)
		_, err := migrate.Migrate(ctx, c, moves, migrate.Options{})
		cancel()
		if list, errs := exportsOf(t.Context(), nodes[0]); err == nil || errs != nil || slices.ContainsFunc(list, export.running) {
			t.Errorf("after %d ms: %v; exports %+v, %v; want none that goes on", wait*wait, err, list, errs)
		}
	}

	report, err := migrate.Migrate(t.Context(), c, moves, migrate.Options{})
	if err != nil || report.Progress.Keys != int64(keys) {
		t.Errorf("the same again: %+v, %v; want %d keys", report.Progress, err, keys)
	}
	checkOwners(t, nodes, moves)
}

// TestExportGoesOn: a migration whose program is killed is taken up by the next one, and not begun anew.
func TestExportGoesOn(t *testing.T) {
	nodes := exporters(t)
	fillFirst(t, nodes)
	c := connect(t, nodes, migrate.Credentials{})
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), "MIGRATE_CHILD="+strings.Join(addrs(nodes), ","), "MIGRATE_IDS="+nodes[0].ID+","+nodes[1].ID+","+nodes[2].ID)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	holdExport(t, nodes)
	_ = child.Process.Kill()
	_ = child.Wait()
	release(t, nodes[2])
	if _, err := migrate.Migrate(t.Context(), c, third(nodes), migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	checkOwners(t, nodes, third(nodes))
	if list, err := exportsOf(t.Context(), nodes[0]); err != nil || len(list) != 1 || list[0].state != "success" {
		t.Errorf("exports %+v, %v; want the one that was begun first", list, err)
	}
}

// TestOpenSlotsAreNotExported: slots that another tool left open are moved as they were begun, and the others by themselves.
func TestOpenSlotsAreNotExported(t *testing.T) {
	nodes := exporters(t)
	client := clusterClient(t, nodes, "")
	fill(t, client, 5_000)
	ctx := t.Context()
	for node, state := range map[*clustertest.Node][]any{nodes[2]: {"IMPORTING", nodes[0].ID}, nodes[0]: {"MIGRATING", nodes[2].ID}} {
		c := goredis.NewClient(&goredis.Options{Addr: node.Addr, Protocol: 2})
		if err := c.Do(ctx, append([]any{"CLUSTER", "SETSLOT", 100}, state...)...).Err(); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	c := connect(t, nodes, migrate.Credentials{})
	if r, err := migrate.Resume(ctx, c, migrate.Options{}); err != nil || r.Progress.Slots != 1 {
		t.Errorf("resume: %+v, %v; want one slot", r.Progress, err)
	}
	if _, err := migrate.Migrate(ctx, c, third(nodes), migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	checkOwners(t, nodes, third(nodes))
	checkFill(t, client, 5_000)
	if list, err := exportsOf(ctx, nodes[0]); err != nil || len(list) != 1 || list[0].slots != "0-99 101-2730" {
		t.Errorf("exports %+v, %v; want one of all slots but 100", list, err)
	}
}
