package httpproxy

import (
	"time"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// health is what active checks say of an endpoint. The zero value is well, for the pod's readiness probe said so.
type health struct {
	sick bool
	// row is how many answers in a row spoke against sick.
	row int
}

// after is the health after a check.
func (h health) after(ok bool, c *routing.HealthCheck) health {
	if ok != h.sick {
		return health{sick: h.sick} // as expected
	}
	h.row++
	if !h.sick && h.row >= c.Failures || h.sick && h.row >= c.Successes {
		return health{sick: !h.sick}
	}
	return h
}

// passive is what the answers to requests say of an endpoint.
type passive struct {
	failures int // in a row
	until    time.Time
}

// after is the state after a request.
func (s passive) after(ok bool, now time.Time, c *routing.PassiveCheck) passive {
	if c == nil || ok {
		return passive{until: s.until}
	}
	s.failures++
	if s.failures >= c.Failures {
		return passive{until: now.Add(c.Duration.Duration)}
	}
	return s
}

// out tells whether the endpoint is to be left alone.
func (s passive) out(now time.Time) bool { return now.Before(s.until) }
