package httpproxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// healthAgent is what the active checks call themselves.
const healthAgent = "redstart-health-check"

// keepChecking starts or ends the active checks of a pool. It is called under p.mu.
func (p *Proxy) keepChecking(l *pool, on bool) {
	end := p.checks[l]
	switch {
	case on && end == nil:
		ctx, cancel := context.WithCancel(p.ctx)
		p.checks[l] = cancel
		p.tasks.Go(func() { p.check(ctx, l) })
	case !on && end != nil:
		end()
		delete(p.checks, l)
	}
}

// check asks all endpoints of a pool how they are, again and again, until ctx ends.
func (p *Proxy) check(ctx context.Context, l *pool) {
	for {
		policy, endpoints := l.checks()
		if policy == nil {
			return
		}
		var tasks sync.WaitGroup
		for _, e := range endpoints {
			tasks.Go(func() {
				err := ask(ctx, e, policy)
				if ctx.Err() == nil && l.checked(e, err == nil) {
					p.log.Info("The health of a pod has changed", "address", e.address, "well", err == nil, "error", err)
				}
			})
		}
		tasks.Wait()
		timer := time.NewTimer(policy.Interval.Duration)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ask is one check; nil is well.
func ask(ctx context.Context, e *endpoint, c *routing.HealthCheck) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Duration)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.address+c.Path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", healthAgent)
	resp, err := e.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return errors.New(resp.Status)
	}
	return nil
}
