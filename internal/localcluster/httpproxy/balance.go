package httpproxy

import (
	"time"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// load is what balancing knows of an endpoint.
type load struct {
	// weight is at least 1; credit is what it has saved up under policy weighted.
	weight, credit int
	// inflight is the number of requests that it has now.
	inflight int
	// latency is how long it took to begin its answers lately; 0 before the first.
	latency time.Duration
}

// choose picks one of loads, which is not empty, and counts the choice in turn and in the credits.
func choose(by routing.Balance, loads []*load, turn *int) int {
	switch by {
	case routing.Weighted:
		return chooseWeighted(loads)
	case routing.LeastResponseTime:
		return chooseFastest(loads, turn)
	default:
		*turn++
		return *turn % len(loads)
	}
}

// chooseWeighted takes each as often as its weight says, and spreads the turns of one evenly among those of others:
// all save their weight, the richest is chosen, and pays what all have saved.
func chooseWeighted(loads []*load) int {
	best, total := 0, 0
	for i, l := range loads {
		total += l.weight
		l.credit += l.weight
		if l.credit > loads[best].credit {
			best = i
		}
	}
	loads[best].credit -= total
	return best
}

// chooseFastest takes the one that would answer first: its latest time to answer, for all the requests that it has and
// this one. Equals are taken in turn, and one without an answer yet before all others, so that it is tried.
func chooseFastest(loads []*load, turn *int) int {
	*turn++
	first := *turn % len(loads)
	best, least := first, loads[first].expected()
	for n := 1; n < len(loads); n++ {
		i := (first + n) % len(loads)
		if e := loads[i].expected(); e < least {
			best, least = i, e
		}
	}
	return best
}

func (l *load) expected() time.Duration {
	return max(l.latency, time.Duration(1)) * time.Duration(l.inflight+1)
}

// answered takes the time of an answer in: a tenth of the new to nine of the old.
func (l *load) answered(d time.Duration) {
	if l.latency == 0 {
		l.latency = d
		return
	}
	l.latency += (d - l.latency) / 10
}
