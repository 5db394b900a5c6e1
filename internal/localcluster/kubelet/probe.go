package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// fastFor and fastEvery: a container that is not ready, or has not passed its startup probe, is probed this
	// often for its first seconds, whatever its period, and again when it stops being ready. Failures count no
	// faster for it: at most one a period.
	fastFor   = 10 * time.Second
	fastEvery = 100 * time.Millisecond
)

// tally counts the results of a probe. It is pure.
type tally struct {
	successThreshold, failureThreshold int
	period                             time.Duration

	successes, failures int
	lastFailure         time.Time
}

// verdict is what the results so far say.
type verdict int

const (
	undecided verdict = iota
	passed
	failed
)

func newTally(p *corev1.Probe) tally {
	return tally{
		successThreshold: max(int(p.SuccessThreshold), 1), failureThreshold: atLeast(p.FailureThreshold, 3),
		period: period(p),
	}
}

func period(p *corev1.Probe) time.Duration {
	return time.Duration(atLeast(p.PeriodSeconds, 10)) * time.Second
}

// atLeast is n, or what Kubernetes takes when it is not set.
func atLeast(n int32, otherwise int) int {
	if n < 1 {
		return otherwise
	}
	return int(n)
}

// add counts one result.
func (t *tally) add(ok bool, at time.Time) verdict {
	if ok {
		t.failures = 0
		if t.successes++; t.successes >= t.successThreshold {
			return passed
		}
		return undecided
	}
	t.successes = 0
	// A tenth less than a period, since no timer is exact.
	if t.failures > 0 && at.Sub(t.lastFailure) < t.period*9/10 {
		return undecided
	}
	t.lastFailure = at
	if t.failures++; t.failures >= t.failureThreshold {
		return failed
	}
	return undecided
}

// probes runs the probes of a container until living ends, and says on sick when it has to be restarted. The others
// wait for the startup probe. Once the pod is being stopped only readiness is still probed.
func (c *container) probes(living context.Context, r execution, sick chan<- string) {
	healthy, cancel := context.WithCancel(living)
	defer cancel()
	defer context.AfterFunc(c.w.stopping, cancel)()
	condemn := func(why string) {
		select {
		case sick <- why:
		default:
		}
	}
	if p := c.spec.StartupProbe; p != nil {
		result := undecided
		c.probe(healthy, r, p, "Startup", func(v verdict, message string) bool {
			result = v
			if v == failed {
				condemn("startup probe failed: " + message)
			}
			return v == undecided
		})
		if result != passed {
			return
		}
		c.set(func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	if p := c.spec.LivenessProbe; p != nil {
		tasks.Go(func() {
			c.probe(healthy, r, p, "Liveness", func(v verdict, message string) bool {
				if v == failed {
					condemn("liveness probe failed: " + message)
				}
				return v != failed
			})
		})
	}
	if p := c.spec.ReadinessProbe; p != nil {
		c.probe(living, r, p, "Readiness", func(v verdict, _ string) bool {
			if v != undecided {
				c.setReady(v == passed)
			}
			return true
		})
	}
}

func (c *container) setReady(ready bool) {
	c.w.mu.Lock()
	changed := c.ready != ready
	c.ready = ready
	c.w.mu.Unlock()
	if changed {
		c.w.touch()
	}
}

// probe runs one probe for as long as use wants it, and ctx lasts.
func (c *container) probe(ctx context.Context, r execution, p *corev1.Probe, name string, use func(verdict, string) bool) {
	if !sleep(ctx, time.Duration(p.InitialDelaySeconds)*time.Second) {
		return
	}
	results := newTally(p)
	state, fastUntil := undecided, time.Now().Add(fastFor)
	for {
		err := c.check(ctx, r, p)
		if ctx.Err() != nil {
			return
		}
		v, message := results.add(err == nil, time.Now()), ""
		if err != nil {
			message = err.Error()
		}
		if v == failed {
			c.w.k.events.Eventf(c.w.current(), corev1.EventTypeWarning, "Unhealthy", "%s probe of container %s failed: %s", name, c.spec.Name, message)
		}
		if v == failed && state == passed {
			fastUntil = time.Now().Add(fastFor)
		}
		if v != undecided {
			state = v
		}
		if !use(v, message) {
			return
		}
		every := results.period
		if state != passed && name != "Liveness" && time.Now().Before(fastUntil) {
			every = min(every, fastEvery)
		}
		if !sleep(ctx, every) {
			return
		}
	}
}
