package agent

import (
	"context"
	"errors"
	"net/http"

	"redstart.dev/redstart/internal/plan"
)

// bequeath gives the Lease of this member, whose server ended, to another, and tells it. Once it is given the other finds out by
// itself, whatever fails.
func (m *member) bequeath(ctx context.Context, a plan.Bequeath) error {
	_, pod, _, ok := m.peers.find(a.To)
	if !ok {
		return errors.New("it has no address")
	}
	m.refresh.Store(true)
	m.passLabel(a.To)
	l, err := m.give(ctx, a.To, a.Boot, true, m.whyReleased())
	if err != nil {
		return err
	}
	told, cancel := context.WithTimeout(ctx, takeoverTime)
	defer cancel()
	return m.peers.call(told, http.MethodPost, pod.Agent, "/takeover", takeoverBody{
		Term: l.Term, From: m.opts.Name, ReplID: a.ReplID, Offset: a.Offset, PausedMS: (m.now() - m.exitedAt).Milliseconds(),
		Reason: m.leaving, Unplanned: true, Lease: &l, ClockNS: a.Clock.Nanoseconds(),
	}, nil)
}
