package plan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"redstart.dev/redstart/api/v1alpha1"
)

var (
	seeds = flag.Int("seeds", 10000, "how many fault schedules the simulator runs")
	seed  = flag.Int64("seed", -1, "run this fault schedule alone, and tell its story")
)

const (
	faultsFor = 40 * second
	settleFor = 90 * second
)

// modeOf a schedule: of twenty, twelve are of mode Replication, seven of mode Sentinel and one Standalone.
func modeOf(seed int64) v1alpha1.Mode {
	switch i := seed % 20; {
	case i < 12:
		return v1alpha1.ModeReplication
	case i < 19:
		return v1alpha1.ModeSentinel
	}
	return v1alpha1.ModeStandalone
}

// apiFaultsAlone tells whether nothing but the API fails in a schedule.
func apiFaultsAlone(seed int64) bool { return seed/20%8 == 0 }

// mutant breaks the rules of one kind of agent: it may change a decision.
type mutant struct {
	member   func(*Observation, *Decision)
	unfenced bool // a server that follows is not fenced
	copied   bool // a server that was not opened can be copied
}

func newWorld(seed int64, trace func(string)) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(uint64(seed), 7)), mode: modeOf(seed), apiUp: true,
		handed: map[int64]handed{}, writing: true, trace: trace,
	}
	w.persist = persistence(w.rng.IntN(3))
	w.replicas = int32(1 + w.rng.IntN(5))
	if w.chance(0.5) {
		w.replicas = 3
	}
	if w.mode == v1alpha1.ModeStandalone {
		w.replicas = 1
	}
	for i := range 5 {
		n := &node{w: w, ord: i, index: i, name: fmt.Sprintf("cache-%d", i), disk: data{line: &line{}}, snapshot: data{line: &line{}}}
		n.srv.data = n.disk
		n.agent.n = n
		w.nodes = append(w.nodes, n)
	}
	if w.mode == v1alpha1.ModeSentinel {
		w.addSentinels()
	}
	w.after(0, w.pump)
	w.after(0, w.statefulSet)
	return w
}

// statefulSet keeps the pods that are wanted.
func (w *world) statefulSet() {
	for _, n := range w.nodes {
		want := int32(n.ord) < w.replicas
		switch {
		case want && !n.exists:
			n.create()
		case !want && n.exists && !n.agent.running:
			n.exists = false
		case !want && n.exists:
			n.terminate(w.between(5*second, 20*second))
		case n.exists && !n.agent.running && w.now-n.stableAt > 6*second:
			n.startAgent()
		}
	}
	w.after(second, w.statefulSet)
}

// simulate runs one schedule and returns the broken rule, or "".
func simulate(seed int64, broken mutant, trace func(string)) string {
	w := newWorld(seed, trace)
	w.mutant = broken
	w.apiPrompt = apiFaultsAlone(seed)
	w.run(w.between(2*second, 20*second))
	if apiFaultsAlone(seed) {
		return w.apiAlone()
	}
	end := w.now + faultsFor
	for w.now < end && w.violation == "" {
		w.fault()
		w.run(w.now + w.between(0, 6*second))
	}
	w.heal()
	return w.settle()
}

// settle is the liveness rule: within settleFor of the last fault there is one master, all others follow it, and so it stays.
func (w *world) settle() string {
	missing, before := "not tried", "not tried"
	for end := w.now + settleFor; w.now < end && (missing != "" || before != "") && w.violation == ""; {
		w.run(w.now + 3*second)
		before, missing = missing, w.unsettled()
	}
	if missing != "" {
		w.fail("not settled %s after the last fault: %s", settleFor, missing)
	}
	return w.violation
}

// apiAlone takes the API away for all, again and again: that changes no master, and stops none.
func (w *world) apiAlone() string {
	w.run(30 * second)
	var master *node
	for _, n := range w.nodes {
		if n.writable() {
			master = n
		}
	}
	opens := w.opens
	for range 3 {
		if w.violation != "" {
			return w.violation
		}
		w.apiUp = false
		w.log("FAULT", "the API goes away")
		w.run(w.now + w.between(second, 30*second))
		if master == nil || !master.writable() || w.opens != opens {
			w.fail("the API was away and nothing else failed, but the master changed or stopped: %s", w)
		}
		w.apiUp = true
		w.log("FAULT", "the API is back")
		w.run(w.now + w.between(second, 10*second))
		if master == nil || !master.writable() || w.opens != opens {
			w.fail("the API was away and nothing else failed, but the master changed or stopped: %s", w)
		}
	}
	return w.violation
}

func TestSimulator(t *testing.T) {
	if *seed >= 0 {
		if v := simulate(*seed, mutant{}, func(s string) { t.Log(s) }); v != "" {
			t.Fatalf("seed %d: %s", *seed, v)
		}
		return
	}
	first, v := firstViolation(0, *seeds, "", mutant{})
	if v != "" {
		t.Fatalf("seed %d: %s\nTo see its story: go test ./internal/plan -run TestSimulator -v -seed %d", first, v, first)
	}
	t.Logf("%d fault schedules, no rule broken", *seeds)
}

// firstViolation runs n schedules from one on, or those of them that are of one mode, on all processors.
func firstViolation(from int64, n int, mode v1alpha1.Mode, broken mutant) (int64, string) {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small and short-lived
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	next.Store(from)
	end := from + int64(n)
	first, violation := int64(-1), ""
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for s := next.Add(1) - 1; s < end; s = next.Add(1) - 1 {
				if mode != "" && modeOf(s) != mode {
					continue
				}
				if v := simulate(s, broken, nil); v != "" {
					mu.Lock()
					if first < 0 || s < first {
						first, violation = s, v
					}
					mu.Unlock()
					next.Store(end)
				}
			}
		}()
	}
	wg.Wait()
	return first, violation
}

// TestSimulatorReplays pins that a seed is a story that can be told again.
func TestSimulatorReplays(t *testing.T) {
	story := func(seed int64) string {
		var b strings.Builder
		simulate(seed, mutant{}, func(s string) { b.WriteString(s + "\n") })
		return b.String()
	}
	for seed := int64(160); seed < 180; seed++ {
		if a, b := story(seed), story(seed); a != b || len(a) == 0 {
			t.Fatalf("seed %d went differently the second time", seed)
		}
	}
}
