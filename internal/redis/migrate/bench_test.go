package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis/clustertest"
	"redstart.dev/redstart/internal/redis/migrate"
)

var (
	benchKeys = flag.Int("migrate.keys", 1_000_000, "keys of 100 bytes in BenchmarkScaleOut")
	benchOpen = flag.Int("migrate.open", 0, "Options.OpenSlots in BenchmarkScaleOut")
)

// BenchmarkScaleOut scales a cluster from three masters to six, with a client that writes a thousand times a second:
// by this package, and by redis-cli. It reports seconds, the writer's median, 99th percentile and maximum, and the CPU time of all
// servers and of the program that moves the slots, which mean something on a busy machine too.
func BenchmarkScaleOut(b *testing.B) {
	for _, way := range []struct {
		name string
		run  func(b *testing.B, nodes []*clustertest.Node) (cpu time.Duration)
	}{
		{"redstart", scaleOut},
		{"redis-cli-rebalance", rebalance},
	} {
		b.Run(way.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				nodes := clustertest.Start(b, 6, clustertest.Settings{"appendonly": "no", "cluster-node-timeout": "15000"})
				clustertest.Form(b, nodes, 6, append(plan.EvenSlots(3), nil, nil, nil)...)
				client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addrs(nodes)})
				fillBytes(b, client, *benchKeys)
				_ = client.Close()
				w := startProbe(b, nodes)
				quiet := time.Now()
				time.Sleep(3 * time.Second)
				servers := serversCPU(b, nodes)
				b.StartTimer()
				began := time.Now()
				engine := way.run(b, nodes)
				ended := time.Now()
				b.StopTimer()
				servers = serversCPU(b, nodes) - servers
				writes := w.end()
				busy := writes.between(began, ended)
				b.ReportMetric(ended.Sub(began).Seconds(), "s/scale")
				b.ReportMetric(percentile(busy, 0.5), "p50-ms")
				b.ReportMetric(percentile(busy, 0.99), "p99-ms")
				b.ReportMetric(percentile(busy, 1), "max-ms")
				b.ReportMetric(percentile(writes.between(quiet, began), 0.99), "p99-before-ms")
				b.ReportMetric(servers.Seconds(), "servers-cpu-s")
				b.ReportMetric(engine.Seconds(), "engine-cpu-s")
				checkEven(b, nodes)
				for _, n := range nodes {
					n.Kill()
				}
			}
		})
	}
}

func scaleOut(b *testing.B, nodes []*clustertest.Node) time.Duration {
	before := cpuOf(b, os.Getpid())
	c := connect(b, nodes, migrate.Credentials{})
	l := plan.SlotLayout{Owners: map[string]v1alpha1.SlotSet{}}
	for _, n := range nodes {
		l.Masters = append(l.Masters, n.ID)
	}
	for _, v := range c.Views() {
		l.Owners[v.ID] = v.View.Myself().Slots
	}
	p, err := plan.PlanSlots(l)
	if err != nil {
		b.Fatal(err)
	}
	report, err := migrate.Migrate(b.Context(), c, p.Moves, migrate.Options{OpenSlots: *benchOpen})
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%+v", report.Progress)
	return cpuOf(b, os.Getpid()) - before
}

func rebalance(b *testing.B, nodes []*clustertest.Node) time.Duration {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		b.Skip("redis-cli is not on PATH")
	}
	ctx, cancel := context.WithTimeout(b.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, "--cluster", "rebalance", nodes[0].Addr, "--cluster-use-empty-masters")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("redis-cli: %v\n%s", err, out[max(0, len(out)-2000):])
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func fillBytes(b *testing.B, c *goredis.ClusterClient, n int) {
	value := strings.Repeat("v", 100)
	for first := 0; first < n; first += 10_000 {
		if _, err := c.Pipelined(b.Context(), func(p goredis.Pipeliner) error {
			for i := first; i < min(first+10_000, n); i++ {
				p.Set(b.Context(), "key:"+strconv.Itoa(i), value, 0)
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// cpuOf is the CPU time that a process has used, 0 where the system has no /proc.
func cpuOf(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	// Behind the name in brackets, which may hold anything, utime and stime are the 12th and 13th field, in hundredths of a second.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if err != nil || len(fields) < 13 {
		b.Fatalf("/proc/%d/stat: %q, %v", pid, stat, err)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func serversCPU(b *testing.B, nodes []*clustertest.Node) time.Duration {
	var sum time.Duration
	for _, n := range nodes {
		sum += cpuOf(b, n.Process().Pid)
	}
	return sum
}

// probe is a process of its own, as clients are, that writes a thousand times a second.
type probe struct {
	b   *testing.B
	cmd *exec.Cmd
	in  io.Closer
	out bytes.Buffer
}

// write is one of its writes.
type write struct {
	ended time.Time
	took  time.Duration
}

type writes []write

func startProbe(b *testing.B, nodes []*clustertest.Node) *probe {
	p := &probe{b: b, cmd: exec.Command(os.Args[0], "-test.run=^TestProbe$")}
	p.cmd.Env = append(os.Environ(), "PROBE_ADDRS="+strings.Join(addrs(nodes), ","), "PROBE_KEYS="+strconv.Itoa(*benchKeys))
	p.cmd.Stdout, p.cmd.Stderr = &p.out, os.Stderr
	in, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	p.in = in
	b.Cleanup(func() { _ = in.Close() })
	return p
}

// end stops it, and returns what it has written.
func (p *probe) end() writes {
	_ = p.in.Close()
	err := p.cmd.Wait()
	var all writes
	for line := range strings.Lines(p.out.String()) {
		var ended, took int64
		if n, _ := fmt.Sscanf(line, "wrote %d %d", &ended, &took); n == 2 {
			all = append(all, write{time.Unix(0, ended), time.Duration(took)})
		}
	}
	if err != nil || len(all) == 0 {
		p.b.Fatalf("the writer: %v, %d writes\n%s", err, len(all), p.out.String()[max(0, p.out.Len()-1000):])
	}
	return all
}

// TestProbe is no test: it is the writer of BenchmarkScaleOut, until its input ends.
func TestProbe(t *testing.T) {
	if os.Getenv("PROBE_ADDRS") == "" {
		return
	}
	keys, err := strconv.Atoi(os.Getenv("PROBE_KEYS"))
	if err != nil {
		t.Fatal(err)
	}
	// Without a pause before it follows a redirection, which would be measured instead.
	c := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: strings.Split(os.Getenv("PROBE_ADDRS"), ","), MaxRedirects: 16, MinRetryBackoff: -1})
	defer c.Close()
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	value := strings.Repeat("w", 100)
	var all writes
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		began := time.Now()
		if err := c.Set(t.Context(), "key:"+strconv.Itoa(rand.IntN(keys)), value, 0).Err(); err != nil {
			t.Errorf("a write failed: %v", err)
		}
		ended := time.Now()
		all = append(all, write{ended, ended.Sub(began)})
	}
	for _, w := range all {
		fmt.Printf("wrote %d %d\n", w.ended.UnixNano(), w.took.Nanoseconds())
	}
}

// between is how long the writes took that ended between two moments, in ascending order.
func (w writes) between(from, to time.Time) []time.Duration {
	var all []time.Duration
	for _, x := range w {
		if x.ended.After(from) && x.ended.Before(to) {
			all = append(all, x.took)
		}
	}
	slices.Sort(all)
	return all
}

func percentile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(q*float64(len(sorted)-1))].Microseconds()) / 1000
}

func checkEven(b *testing.B, nodes []*clustertest.Node) {
	clustertest.Eventually(b, "all know six even masters", func(ctx context.Context) error {
		for _, n := range nodes {
			v, err := n.ClusterView(ctx)
			if err != nil {
				return err
			}
			for id, slots := range v.Owners() {
				if len(v.Owners()) != 6 || slots.Len() < 2700 || slots.Len() > 2760 {
					return fmt.Errorf("%s says that %s has %d slots of %d masters", n.Addr, id, slots.Len(), len(v.Owners()))
				}
			}
		}
		return nil
	})
}
