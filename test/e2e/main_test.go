// Package e2e runs Redstart as its users do, under load and under faults, and prints how long writers waited and
// which acknowledged writes were lost.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"github.com/redis/go-redis/v9/logging"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

var (
	trials   = flag.Int("trials", 1, "how often each measured scenario is run")
	markdown = flag.String("markdown", "", "also write the table of results to this file, as Markdown")
	results  resultTable

	scenarioSet = flag.String("scenarios", "all", "core, for those that continuous integration runs on a real cluster, or all")
)

// onlyEmbedded skips what tests "redstart up" itself.
func onlyEmbedded(t *testing.T) {
	t.Helper()
	if *backendName != "embedded" {
		t.Skipf("skipped: it needs %s", needEmbedded)
	}
}

// beyondCore skips what is not of -scenarios=core.
func beyondCore(t *testing.T) {
	t.Helper()
	if *scenarioSet == "core" {
		t.Skip("skipped: it is not of -scenarios=core")
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	// It logs every dial that fails, which is what these tests are about.
	logging.Disable()
	ctrllog.SetLogger(logr.Discard())
	code := m.Run()
	stopBackend()
	results.print(os.Stdout, "")
	if *markdown != "" {
		f, err := os.Create(*markdown)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		results.print(f, "|")
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(code)
}

// result is one trial: the longest time between two acknowledged writes (of a creation: the time that it took), and the
// acknowledged writes that are gone.
type result struct {
	scenario, system string
	took             time.Duration
	lost             int
}

type resultTable struct {
	mu   sync.Mutex
	rows []result
}

func (r *resultTable) add(x result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, x)
}

// The systems that results are compared with, where they were measured in the same run.
var (
	plainUsual    = []string{"plain Sentinel, 5 s", "plain Cluster, 5 s"}
	plainDefaults = []string{"plain Cluster, 15 s"}
)

// print writes a line for each scenario and system, with the ratios of the medians to plain Redis; border is "|" for Markdown.
func (r *resultTable) print(f *os.File, border string) {
	type key struct{ scenario, system string }
	took, lost := map[key][]time.Duration{}, map[key]int{}
	var order []key
	for _, x := range r.rows {
		k := key{x.scenario, x.system}
		if took[k] == nil {
			order = append(order, k)
		}
		took[k] = append(took[k], x.took)
		lost[k] += x.lost
	}
	if len(order) == 0 {
		return
	}
	for _, t := range took {
		slices.Sort(t)
	}
	slices.SortStableFunc(order, func(a, b key) int { return strings.Compare(a.scenario, b.scenario) })
	w := tabwriter.NewWriter(f, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		s := strings.Join(cells, "\t"+border)
		if border != "" {
			s = border + s + "\t" + border
		}
		_, _ = fmt.Fprintln(w, s)
	}
	line("scenario", "system", "trials", "gap min ms", "median", "max", "lost writes", "to plain 5 s", "to plain 15 s")
	if border != "" {
		line("---", "---", "--:", "--:", "--:", "--:", "--:", "--:", "--:")
	}
	median := func(k key) time.Duration { return took[k][len(took[k])/2] }
	for _, k := range order {
		ratio := func(to []string) string {
			for _, system := range to {
				if base := (key{k.scenario, system}); len(took[base]) > 0 {
					return fmt.Sprintf("%.3f", float64(median(k))/float64(median(base)))
				}
			}
			return ""
		}
		ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
		t := took[k]
		line(k.scenario, k.system, fmt.Sprint(len(t)), ms(t[0]), ms(median(k)), ms(t[len(t)-1]), fmt.Sprint(lost[k]), ratio(plainUsual), ratio(plainDefaults))
	}
	_ = w.Flush()
}
