package traffic

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindow(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := NewRecorder(func() time.Time { return now })
	stable := r.Series(Key{"default", "web", "0", "web"})
	canary := r.Series(Key{"default", "web", "0", "web-canary"})
	other := r.Series(Key{"other", "web", "0", "web"})
	stable.Add(now, 200, time.Millisecond)
	stable.Add(now, 404, time.Millisecond)
	canary.Add(now, 500, 10*time.Millisecond)
	canary.Add(now, 200, 20*time.Millisecond)
	canary.Add(now, 0, time.Hour) // given up by the client
	other.Add(now, 503, time.Millisecond)

	for _, c := range []struct {
		name               string
		sel                Selector
		requests, failures uint64
		rate               float64
	}{
		{"everything", Selector{}, 5, 2, 0.6},
		{"a namespace", Selector{Namespace: "default"}, 4, 1, 0.75},
		{"a backend", Selector{Namespace: "default", Service: "web-canary"}, 2, 1, 0.5},
		{"a route", Selector{Namespace: "other", Route: "web"}, 1, 1, 0},
	} {
		w := r.Window(c.sel, time.Minute)
		if w.Requests() != c.requests || w.Failures() != c.failures || w.SuccessRate() != c.rate {
			t.Errorf("%s: %d requests, %d failures, rate %v; expected %d, %d, %v", c.name, w.Requests(), w.Failures(), w.SuccessRate(), c.requests, c.failures, c.rate)
		}
	}
	none := r.Window(Selector{Service: "nobody"}, time.Minute)
	if _, ok := none.Quantile(0.99); ok || !math.IsNaN(none.SuccessRate()) {
		t.Error("a window without requests has a rate or a quantile")
	}

	now = now.Add(30 * time.Second)
	canary.Add(now, 200, time.Millisecond)
	if w := r.Window(Selector{Service: "web-canary"}, 10*time.Second); w.Requests() != 1 {
		t.Errorf("%d requests in the last 10 s, expected 1", w.Requests())
	}
	if w := r.Window(Selector{Service: "web-canary"}, time.Hour); w.Requests() != 3 {
		t.Errorf("%d requests in all, expected 3", w.Requests())
	}
	now = now.Add(Most)
	if w := r.Window(Selector{}, Most); w.Requests() != 0 {
		t.Errorf("%d requests are older than the longest window and still counted", w.Requests())
	}
	r.Keep(func(k Key) bool { return k.Namespace == "other" })
	if len(r.series) != 1 {
		t.Errorf("%d series are kept, expected 1", len(r.series))
	}
}

// A quantile lies within a fifth of the true one.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_700_000_000, 0)
		r := NewRecorder(func() time.Time { return now })
		s := r.Series(Key{})
		times := rapid.SliceOfN(rapid.Int64Range(int64(shortest), int64(time.Minute)), 1, 200).Draw(t, "times")
		for _, d := range times {
			s.Add(now, 200, time.Duration(d))
		}
		q := rapid.SampledFrom([]float64{0, 0.5, 0.9, 0.99, 1}).Draw(t, "q")
		w := r.Window(Selector{}, Step)
		got, ok := w.Quantile(q)
		if !ok {
			t.Fatal("no quantile")
		}
		// As many of the true times as the quantile says lie within a fifth above it.
		within := 0
		for _, d := range times {
			if float64(d) <= float64(got)*1.2 {
				within++
			}
		}
		if float64(within) < q*float64(len(times)) {
			t.Fatalf("the quantile %v of %d times is %v, which %d of them are within", q, len(times), got, within)
		}
		above := 0
		for _, d := range times {
			if float64(d) >= float64(got)/1.2 {
				above++
			}
		}
		if float64(above) < (1-q)*float64(len(times)) {
			t.Fatalf("the quantile %v of %d times is %v, which %d of them are above", q, len(times), got, above)
		}
	})
}
