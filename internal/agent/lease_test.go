package agent

import (
	"testing"
	"time"
)

// A Lease that was given counts from before it was given, and only while it is the newest that this run of the agent knows of.
func TestGivenLease(t *testing.T) {
	const second = time.Second
	mine := Lease{Holder: "cache-1", Boot: "b", Term: 4, ResourceVersion: "40"}
	for _, tt := range []struct {
		name  string
		known *Lease // already
		given Lease
		since time.Duration
		want  time.Duration // RenewedAt, 0 for not taken
	}{
		{"at first", nil, mine, 9 * second, 9 * second},
		{"the watch was faster", &mine, mine, 9 * second, 9 * second},
		{"it is newer than what is known", &Lease{Holder: "cache-0", Boot: "a", Term: 3, ResourceVersion: "39"}, mine, 9 * second, 9 * second},
		{"another took it since", &Lease{Holder: "cache-2", Boot: "c", Term: 5, ResourceVersion: "41"}, mine, 9 * second, 0},
		{"this run released it since, and has it again", &Lease{Holder: "cache-1", Boot: "b", Term: 6, ResourceVersion: "42"}, mine, 9 * second, 0},
		{"it is another member's", nil, Lease{Holder: "cache-2", Boot: "b", Term: 4, ResourceVersion: "40"}, 9 * second, 0},
		{"it is an earlier run's", nil, Lease{Holder: "cache-1", Boot: "a", Term: 4, ResourceVersion: "40"}, 9 * second, 0},
		{"a moment that has yet to come", nil, mine, 11 * second, 0},
		{"no moment", nil, mine, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w leaseWatch
			if tt.known != nil {
				w.watched(*tt.known, 8*second)
			}
			if ok := w.given(tt.given, "cache-1", "b", tt.since, 10*second); ok != (tt.want > 0) || w.renewedAt != tt.want {
				t.Errorf("given: %v, RenewedAt %s; want %s", ok, w.renewedAt, tt.want)
			}
		})
	}
	w := leaseWatch{renewedAt: 9500 * time.Millisecond}
	w.given(mine, "cache-1", "b", 9*second, 10*second)
	if w.renewedAt != 9500*time.Millisecond {
		t.Errorf("an own renewal is forgotten: %s", w.renewedAt)
	}
}
