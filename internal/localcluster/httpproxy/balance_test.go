package httpproxy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"redstart.dev/redstart/internal/localcluster/routing"
)

func loads(weights ...int) []*load {
	var out []*load
	for _, w := range weights {
		out = append(out, &load{weight: w})
	}
	return out
}

// Whatever the weights are, over one round of their sum each is chosen exactly as often as its weight says.
func TestWeightedIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 50), 1, 10).Draw(t, "weights")
		list, turn, total := loads(weights...), 0, 0
		for _, w := range weights {
			total += w
		}
		chosen := make([]int, len(weights))
		for range total {
			chosen[choose(routing.Weighted, list, &turn)]++
		}
		for i, w := range weights {
			if chosen[i] != w {
				t.Fatalf("weights %v are chosen %v times", weights, chosen)
			}
		}
	})
}

func TestRoundRobin(t *testing.T) {
	list, turn := loads(1, 1, 1), 0
	chosen := make([]int, 3)
	for range 30 {
		chosen[choose(routing.RoundRobin, list, &turn)]++
	}
	if chosen[0] != 10 || chosen[1] != 10 || chosen[2] != 10 {
		t.Errorf("chosen %v times", chosen)
	}
}

func TestLeastResponseTime(t *testing.T) {
	list, turn := loads(1, 1, 1), 0
	list[0].answered(10 * time.Millisecond)
	list[1].answered(time.Millisecond)
	if i := choose(routing.LeastResponseTime, list, &turn); i != 2 {
		t.Errorf("%d is chosen, and not the one that nobody has tried", i)
	}
	list[2].answered(5 * time.Millisecond)
	if i := choose(routing.LeastResponseTime, list, &turn); i != 1 {
		t.Errorf("%d is chosen, and not the fastest", i)
	}
	list[1].inflight = 9
	if i := choose(routing.LeastResponseTime, list, &turn); i != 2 {
		t.Errorf("%d is chosen while the fastest has 9 requests to answer", i)
	}
	for range 100 {
		list[2].answered(50 * time.Millisecond)
	}
	if l := list[2].latency; l < 45*time.Millisecond {
		t.Errorf("after 100 answers of 50 ms it is taken for one of %s", l)
	}
}

func TestHealth(t *testing.T) {
	c := &routing.HealthCheck{Failures: 3, Successes: 2}
	h := health{}
	var story string
	for _, ok := range []bool{true, false, false, true, false, false, false, false, true, false, true, true, true} {
		if h = h.after(ok, c); h.sick {
			story += "-"
		} else {
			story += "+"
		}
	}
	if story != "++++++-----++" {
		t.Errorf("its health was %s", story)
	}
}

func TestPassive(t *testing.T) {
	c := &routing.PassiveCheck{Failures: 2, Duration: metav1.Duration{Duration: time.Minute}}
	now := time.Unix(1_700_000_000, 0)
	s := passive{}.after(false, now, c).after(true, now, c).after(false, now, c)
	if s.out(now) {
		t.Error("it is out after two failures that were not in a row")
	}
	s = s.after(false, now, c)
	if !s.out(now.Add(59*time.Second)) || s.out(now.Add(time.Minute)) {
		t.Errorf("it is out until %s", s.until)
	}
	if s := (passive{}).after(false, now, nil).after(false, now, nil); s.out(now) {
		t.Error("it is out without a policy")
	}
}
