// Package traffic remembers what went through the HTTP gateway of this machine in the last quarter of an hour, so that
// a release can be judged by it: how many requests, how many of them failed, how long they took.
//
//	source := cluster.Traffic()
//	w := source.Window(traffic.Selector{Namespace: "default", Service: "frontend-canary"}, time.Minute)
//	if w.Requests() >= 50 && w.SuccessRate() < 0.99 { ... }
//	p99, ok := w.Quantile(0.99)
package traffic

import (
	"math"
	"sync"
	"time"
)

const (
	// Step is the grain of time: a window is rounded up to whole steps, the one that is going on among them.
	Step = 5 * time.Second
	// Most is the longest window; longer ones are cut to it.
	Most  = 15 * time.Minute
	steps = int64(Most / Step)
)

// Key is where a request went. Service is the backend that the request was given to, also if that did not answer; it
// is empty where the gateway answered by itself (a redirect, or a rule without a valid backend).
type Key struct {
	// Namespace and Route of the HTTPRoute, and the name, or else the number, of its rule.
	Namespace, Route, Rule string
	Service                string
}

// Selector says which requests are meant; an empty field stands for all.
type Selector Key

func (s Selector) selects(k Key) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(s.Namespace, k.Namespace) && is(s.Route, k.Route) && is(s.Rule, k.Rule) && is(s.Service, k.Service)
}

// Source tells about the traffic. Its methods may be called from any goroutine.
type Source interface {
	// Window sums up the requests that s selects and that ended in the last d, which is at most Most. Requests that
	// stay open, such as server-sent events and WebSockets, count from when their answer began.
	Window(s Selector, d time.Duration) Window
}

// Window is a sum of requests. The zero value is of none.
type Window struct {
	// Classes counts requests by the first digit of their status code: Classes[5] those with 5xx. Classes[0] are those
	// that the client gave up before there was an answer; they are neither successes nor failures.
	Classes [6]uint64
	bins    [bins]uint64
}

// Requests is the number of requests that were answered.
func (w *Window) Requests() uint64 {
	var n uint64
	for _, c := range w.Classes[1:] {
		n += c
	}
	return n
}

// Failures is the number of requests that were answered with 5xx.
func (w *Window) Failures() uint64 { return w.Classes[5] }

// SuccessRate is the share of the answered requests that did not fail, 0 to 1; NaN if there were none.
func (w *Window) SuccessRate() float64 {
	n := w.Requests()
	if n == 0 {
		return math.NaN()
	}
	return float64(n-w.Failures()) / float64(n)
}

// Quantile is the time within which the share q (0 to 1) of the requests was answered, such as 0.99; false if there
// were none. It is exact to a fifth, and at most Longest.
func (w *Window) Quantile(q float64) (time.Duration, bool) {
	var total uint64
	for _, n := range w.bins {
		total += n
	}
	if total == 0 {
		return 0, false
	}
	rank := uint64(math.Ceil(min(max(q, 0), 1) * float64(total)))
	var below uint64
	for i, n := range w.bins {
		if n > 0 && below+n >= rank {
			// Within a bin the requests are taken to be spread evenly.
			lower, upper := edge(i-1), edge(i)
			share := float64(rank-below) / float64(n)
			return lower + time.Duration(share*float64(upper-lower)), true
		}
		below += n
	}
	return Longest, true
}

// The bins of times: four to an octave from 100 µs on.
const (
	shortest = 100 * time.Microsecond
	bins     = 80
)

// Longest is what all longer times are taken for.
var Longest = edge(bins - 1)

// edge is the upper edge of a bin.
func edge(bin int) time.Duration {
	if bin < 0 {
		return 0
	}
	return time.Duration(float64(shortest) * math.Exp2(float64(bin)/4))
}

// binOf is the bin of a time.
func binOf(d time.Duration) int {
	if d <= shortest {
		return 0
	}
	return min(int(math.Ceil(4*math.Log2(float64(d)/float64(shortest)))), bins-1)
}

// slot is the requests of one step of time.
type slot struct {
	step    int64
	classes [6]uint32
	bins    [bins]uint32
}

// Series counts the requests of one Key.
type Series struct {
	mu    sync.Mutex
	slots [steps]*slot // made when they are used first
}

// Add counts a request that ended at now with a status code, 0 if the client gave it up, after it took d.
func (s *Series) Add(now time.Time, code int, d time.Duration) {
	class := code / 100
	if class < 0 || class > 5 {
		class = 5
	}
	step := now.UnixNano() / int64(Step)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := &s.slots[step%steps]
	switch {
	case *at == nil:
		*at = &slot{step: step}
	case (*at).step != step:
		**at = slot{step: step}
	}
	(*at).classes[class]++
	if class > 0 {
		(*at).bins[binOf(d)]++
	}
}

func (s *Series) sum(w *Window, first, last int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.slots {
		if at == nil || at.step < first || at.step > last {
			continue
		}
		for i, n := range at.classes {
			w.Classes[i] += uint64(n)
		}
		for i, n := range at.bins {
			w.bins[i] += uint64(n)
		}
	}
}

// Recorder keeps the Series. It is a Source.
type Recorder struct {
	now    func() time.Time
	mu     sync.RWMutex
	series map[Key]*Series
}

var _ Source = (*Recorder)(nil)

// NewRecorder makes a Recorder that takes the time from now.
func NewRecorder(now func() time.Time) *Recorder {
	return &Recorder{now: now, series: map[Key]*Series{}}
}

// Series is the one of a key; it is made if there is none.
func (r *Recorder) Series(k Key) *Series {
	r.mu.RLock()
	s := r.series[k]
	r.mu.RUnlock()
	if s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s = r.series[k]; s == nil {
		s = &Series{}
		r.series[k] = s
	}
	return s
}

// Keep forgets the series whose route keep says no to.
func (r *Recorder) Keep(keep func(Key) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.series {
		if !keep(k) {
			delete(r.series, k)
		}
	}
}

// Window implements Source.
func (r *Recorder) Window(sel Selector, d time.Duration) Window {
	d = min(max(d, 0), Most)
	last := r.now().UnixNano() / int64(Step)
	first := max(last-int64((d+Step-1)/Step)+1, last-steps+1)
	var w Window
	r.mu.RLock()
	defer r.mu.RUnlock()
	for k, s := range r.series {
		if sel.selects(k) {
			s.sum(&w, first, last)
		}
	}
	return w
}
