package scale_test

import (
	"fmt"
	"math"
	"os"
	"testing"
	"text/tabwriter"
	"time"
)

// table is what was measured, in phases.
type table struct {
	t     *testing.T
	title string
	rows  []string
}

func (b *table) begin(t *testing.T, title string) {
	t.Helper()
	b.t, b.title = t, title
	t.Cleanup(b.print) // also when the test fails
}

// add tells what an operator did between two readings; controller is the one that is looked at.
func (b *table) add(phase string, before, after reading, controller string) {
	b.t.Helper()
	d := after.at.Sub(before.at)
	seconds := max(d.Seconds(), 1e-9)
	n := after.reconciles(controller) - before.reconciles(controller)
	all, writes := after.requests()
	was, wrote := before.requests()
	mib := func(bytes int64) float64 { return float64(bytes) / (1 << 20) }
	rate := func(x float64) string {
		if d == 0 {
			return ""
		}
		return fmt.Sprintf("%.4g", x/seconds)
	}
	heap := after.sum("go_memstats_heap_inuse_bytes", nil) / (1 << 20)
	median, p99 := quantiles(before, after, controller, 0.5), quantiles(before, after, controller, 0.99)
	b.rows = append(b.rows, fmt.Sprintf("%s\t%.0f\t%.0f\t%s\t%s\t%s\t%.0f\t%s\t%.1f\t%s\t%.0f\t%.0f\t%.1f\t%.0f",
		phase, d.Seconds(), n, rate(n), median, p99, all-was, rate(all-was), (after.cpu-before.cpu).Seconds(), rate(100*(after.cpu-before.cpu).Seconds()),
		mib(after.rss), mib(after.file), heap, after.sum("go_goroutines", nil)))
	b.t.Logf("%s: %.0f s, %.0f reconciles, %.0f requests, %.0f of them writes, CPU %.1f s, RSS %.0f MiB, most ever %.0f MiB",
		phase, d.Seconds(), n, all-was, writes-wrote, (after.cpu - before.cpu).Seconds(), mib(after.rss), mib(after.peak))
}

// print shows it, once.
func (b *table) print() {
	if len(b.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "\n%s\nphase\ts\treconciles\t/s\tmedian\tp99\trequests\t/s\tCPU s\t%%\tRSS MiB\tof it program\theap MiB\tgoroutines\n", b.title)
	for _, row := range b.rows {
		_, _ = fmt.Fprintln(w, row)
	}
	_ = w.Flush()
	b.rows = nil
}

// quantiles is a quantile of the times of a controller's reconciles between two readings: the bound of the bucket that it is in.
func quantiles(before, after reading, controller string, q float64) string {
	const name = "controller_runtime_reconcile_time_seconds"
	count := func(r reading) map[float64]uint64 {
		n := map[float64]uint64{}
		for _, m := range r.matching(name, map[string]string{"controller": controller}) {
			for _, b := range m.GetHistogram().GetBucket() {
				n[b.GetUpperBound()] += b.GetCumulativeCount() // the last bound is infinite
			}
		}
		return n
	}
	was, is := count(before), count(after)
	total := is[math.Inf(1)] - was[math.Inf(1)]
	if total == 0 {
		return ""
	}
	best := math.Inf(1)
	for bound, n := range is {
		if bound < best && float64(n-was[bound]) >= q*float64(total) {
			best = bound
		}
	}
	if math.IsInf(best, 1) {
		return "more"
	}
	return "<" + time.Duration(best*float64(time.Second)).String()
}
