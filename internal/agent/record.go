package agent

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
)

// lateTime is how long after this member was opened the old master may still tell that it handed over.
const lateTime = 2 * takeoverTime

// noticeFormer keeps who was master last, as far as this member knows.
func (m *member) noticeFormer() {
	if f := m.decided.Follows; f != "" && (f != m.opts.Name || m.decided.Role == v1alpha1.RoleMaster) {
		m.former = f
	}
}

// handoverReason says why this member hands over.
func (m *member) handoverReason() string {
	switch {
	case m.handover != nil:
		return "handover asked for"
	case m.stopping:
		return m.opts.Name + " is stopping"
	}
	return m.opts.Name + " is being removed"
}

// becameMaster records that this member was opened, if that is a change of master: the first master of a Redis, and one that
// comes back as what it was, are none.
func (m *member) becameMaster(ctx context.Context) {
	now := m.now()
	f := v1alpha1.FailoverStatus{Time: metav1.NowMicro(), From: m.former, To: m.opts.Name, Reason: m.decided.Why}
	if m.lostAt != 0 {
		f.Milliseconds = (now - m.lostAt).Milliseconds()
	}
	m.explain(&f)
	if t := m.takeover; t != nil {
		t.explain(&f, now)
	}
	m.lostAt, m.openedAt, m.opened = 0, now, true
	m.leaving, m.handingOver = "", false
	if f.From == "" || f.From == f.To {
		m.log.Info("this member is master", "why", f.Reason)
		return
	}
	m.failover = &f
	m.metrics.failovers.Add(1)
	m.log.Info("this member is master", "from", f.From, "milliseconds", f.Milliseconds, "planned", f.Planned, "why", f.Reason)
	m.corrected = make(chan v1alpha1.FailoverStatus, 1)
	m.tellFailover(ctx, f, m.takeover == nil && (f.Planned || m.config.Mode == v1alpha1.ModeSentinel))
}

// explain finds out why the former master is none any more, from what it left on the Lease or says of itself.
func (m *member) explain(f *v1alpha1.FailoverStatus) {
	if m.config.Mode != v1alpha1.ModeSentinel {
		l, mine := m.lease.own(m.opts.Name, m.boot)
		switch {
		case mine && l.From != "":
			f.From, f.Planned, f.Reason = l.From, !l.Unplanned, l.Reason
		case m.released != "":
			f.Reason = m.released
		}
		return
	}
	peer, _, _, ok := m.peers.find(f.From)
	switch {
	case ok && peer.Leaving != "" && m.now()-peer.AskedAt < lateTime:
		f.Planned, f.Reason = peer.HandingOver, peer.Leaving
	case f.From != "" && (!ok || !peer.Reachable):
		f.Reason = f.From + " does not answer, and the Sentinels chose " + f.To
	}
}

// explain makes a change of master, done at opened, what the old master says of it.
func (t *takeoverCall) explain(f *v1alpha1.FailoverStatus, opened time.Duration) {
	f.From, f.Planned, f.Reason = t.From, !t.Unplanned, t.Reason
	f.Milliseconds = max(t.PausedMS+(opened-t.at).Milliseconds(), 0)
}

// correct makes the change of master that was recorded a moment ago what the old master says of it: the member may find out from
// the authority that it is master before that.
func (m *member) correct(t *takeoverCall) {
	if !m.opened || m.fenced || m.failover == nil || m.corrected == nil || m.openedAt == 0 || t.at-m.openedAt > lateTime {
		return
	}
	f := *m.failover
	t.explain(&f, m.openedAt)
	m.failover = &f
	select {
	case m.corrected <- f:
	default: // it was corrected before
	}
}

// tellFailover makes an Event, and before that waits, where it may come, for a correction.
func (m *member) tellFailover(ctx context.Context, f v1alpha1.FailoverStatus, wait bool) {
	// It outlives the actions that it is part of.
	ctx, corrected := context.WithoutCancel(ctx), m.corrected
	m.working.Go(func() {
		if wait {
			late := time.NewTimer(lateTime)
			defer late.Stop()
			select {
			case f = <-corrected:
			case <-late.C:
			}
		}
		ctx, cancel := context.WithTimeout(ctx, apiTime)
		defer cancel()
		if err := m.cluster.RecordFailover(ctx, f); err != nil {
			m.log.Warn("no Event of the change of master", "error", err)
		}
	})
}

// acquireLease takes the Lease, and keeps who held it before and why not any more.
func (m *member) acquireLease(ctx context.Context, a plan.AcquireLease) error {
	before := m.lease.newest()
	if err := m.acquire(ctx, a); err != nil {
		return err
	}
	if before.LastHolder != "" {
		m.former = before.LastHolder
	}
	m.released = ""
	if before.Holder == "" {
		m.released = before.Reason
	}
	return nil
}

// whyReleased is what this member leaves on a Lease that it releases.
func (m *member) whyReleased() string {
	if m.leaving != "" {
		return m.leaving
	}
	return fmt.Sprintf("%s: %s", m.opts.Name, m.decided.Why)
}
