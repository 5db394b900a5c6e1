package migrate_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sort"
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
// by this package, and by redis-cli. It reports seconds, and the writer's median, 99th percentile and maximum.
func BenchmarkScaleOut(b *testing.B) {
	for _, way := range []struct {
		name string
		run  func(b *testing.B, nodes []*clustertest.Node)
	}{
		{"redstart", scaleOut},
		{"redis-cli-rebalance", rebalance},
	} {
		b.Run(way.name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				nodes := clustertest.Start(b, 6, clustertest.Settings{"appendonly": "no", "cluster-node-timeout": "15000"})
				clustertest.Form(b, nodes, 6, append(plan.EvenSlots(3), nil, nil, nil)...)
				// Without a pause before it follows a redirection, which would be measured instead.
				client := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addrs(nodes), MaxRedirects: 16, MinRetryBackoff: -1})
				b.Cleanup(func() { _ = client.Close() })
				fillBytes(b, client, *benchKeys)
				w := startProbe(b, client)
				quiet := w.between(func() { time.Sleep(3 * time.Second) })
				b.StartTimer()
				began := time.Now()
				busy := w.between(func() { way.run(b, nodes) })
				took := time.Since(began)
				b.StopTimer()
				w.end()
				b.ReportMetric(took.Seconds(), "s/scale")
				b.ReportMetric(percentile(busy, 0.5), "p50-ms")
				b.ReportMetric(percentile(busy, 0.99), "p99-ms")
				b.ReportMetric(percentile(busy, 1), "max-ms")
				b.ReportMetric(percentile(quiet, 0.99), "p99-before-ms")
				if w.failed > 0 {
					b.Errorf("%d writes failed, the last by %v", w.failed, w.err)
				}
				checkEven(b, nodes)
				for _, n := range nodes {
					n.Kill()
				}
			}
		})
	}
}

func scaleOut(b *testing.B, nodes []*clustertest.Node) {
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
}

func rebalance(b *testing.B, nodes []*clustertest.Node) {
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		b.Skip("redis-cli is not on PATH")
	}
	ctx, cancel := context.WithTimeout(b.Context(), 15*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, cli, "--cluster", "rebalance", nodes[0].Addr, "--cluster-use-empty-masters").CombinedOutput()
	if err != nil {
		b.Fatalf("redis-cli: %v\n%s", err, out[max(0, len(out)-2000):])
	}
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

// probe writes a thousand times a second and remembers how long each took, as its client sees it.
type probe struct {
	stop   context.CancelFunc
	done   chan struct{}
	took   chan time.Duration
	failed int
	err    error
}

func startProbe(b *testing.B, c *goredis.ClusterClient) *probe {
	ctx, cancel := context.WithCancel(b.Context())
	p := &probe{stop: cancel, done: make(chan struct{}), took: make(chan time.Duration, 2_000_000)}
	value := strings.Repeat("w", 100)
	go func() {
		defer close(p.done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			began := time.Now()
			if err := c.Set(context.WithoutCancel(ctx), "key:"+strconv.Itoa(rand.IntN(*benchKeys)), value, 0).Err(); err != nil {
				p.failed++
				p.err = err
			}
			p.took <- time.Since(began)
		}
	}()
	b.Cleanup(p.end)
	return p
}

func (p *probe) end() {
	p.stop()
	<-p.done
}

// between is how long the writes took that ended while during ran.
func (p *probe) between(during func()) []time.Duration {
	for len(p.took) > 0 {
		<-p.took
	}
	during()
	var all []time.Duration
	for range len(p.took) {
		all = append(all, <-p.took)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
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
