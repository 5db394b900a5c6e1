package agent

import (
	"context"
	"fmt"
	"time"

	"redstart.dev/redstart/internal/plan"
)

// acquire makes this run of this agent the holder.
func (b *base) acquire(ctx context.Context, a plan.AcquireLease) error {
	if err := b.lease.lock(ctx); err != nil {
		return err
	}
	defer b.lease.unlock()
	_, err := b.writeLease(ctx, Lease{
		Holder: b.opts.Name, Boot: b.boot, LastHolder: b.opts.Name, Term: a.Term, Members: a.Members,
		Duration: b.leaseTime(), ResourceVersion: a.ResourceVersion,
	})
	return err
}

// renew renews in the background, one renewal at a time: an API that hangs must not keep the loop from fencing. It outlives
// the actions that it is one of.
func (b *base) renew(ctx context.Context, a plan.RenewLease) {
	select {
	case b.lease.writing <- struct{}{}:
	default:
		return
	}
	ctx = context.WithoutCancel(ctx)
	b.working.Go(func() {
		defer b.poke()
		defer b.lease.unlock()
		l, ok := b.lease.own(b.opts.Name, b.boot)
		if !ok || l.ResourceVersion != a.ResourceVersion {
			return
		}
		l.Members, l.Duration = a.Members, b.leaseTime()
		if _, err := b.writeLease(ctx, l); err != nil {
			b.lease.mu.Lock()
			b.lease.renewErrors++
			b.lease.mu.Unlock()
			b.log.Warn("the Lease was not renewed", "error", err)
		}
	})
}

// release takes the holder off.
func (b *base) release(ctx context.Context, a plan.ReleaseLease, why string) error {
	_, err := b.pass(ctx, func(l *Lease) {
		l.Holder, l.Boot, l.From, l.Unplanned, l.Reason, l.ResourceVersion = "", "", "", false, why, a.ResourceVersion
	})
	return err
}

// give moves the Lease to another member, under the next term, in a handover or because the own server died.
func (b *base) give(ctx context.Context, to, boot string, unplanned bool, why string) (Lease, error) {
	return b.pass(ctx, func(l *Lease) {
		l.Term++
		l.Holder, l.Boot, l.LastHolder = to, boot, to
		l.From, l.Unplanned, l.Reason = b.opts.Name, unplanned, why
	})
}

// pass changes the Lease that this agent holds. It waits for a renewal that is under way.
func (b *base) pass(ctx context.Context, change func(*Lease)) (Lease, error) {
	if err := b.lease.lock(ctx); err != nil {
		return Lease{}, err
	}
	defer b.lease.unlock()
	l, ok := b.lease.own(b.opts.Name, b.boot)
	if !ok {
		return Lease{}, fmt.Errorf("pass the Lease on: %w", errLeaseMoved)
	}
	l.Duration = b.leaseTime()
	change(&l)
	return b.writeLease(ctx, l)
}

// writeLease writes, and returns what was written; writing is held. When it is not known whether it was written, the loop reads it
// anew.
func (b *base) writeLease(ctx context.Context, l Lease) (Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	sent := b.now()
	written, err := b.cluster.WriteLease(ctx, l)
	if err != nil {
		b.nudge()
		return Lease{}, err
	}
	b.lease.saw(written, sent, b.now(), b.leaseTime())
	if l.Holder == b.opts.Name && l.Boot == b.boot {
		b.lease.mu.Lock()
		b.lease.renewedAt = sent
		b.lease.mu.Unlock()
	}
	return written, nil
}

// given takes the Lease of term that another gave to this run of this agent, as that one wrote it, after since on the own clock:
// no renewal then would prove more. It reports whether this run holds it so.
func (w *leaseWatch) given(l Lease, name, boot string, since, now time.Duration) bool {
	if since <= 0 || since > now || l.Holder != name || l.Boot != boot {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(l, now)
	if w.lease.Holder != name || w.lease.Boot != boot || w.lease.Term != l.Term {
		return false
	}
	w.renewedAt = max(w.renewedAt, since)
	return true
}

// newest is the Lease as it was last seen.
func (w *leaseWatch) newest() Lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lease
}

// own is the Lease if this run of this agent holds it.
func (w *leaseWatch) own(name, boot string) (Lease, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lease, w.known && w.lease.Holder == name && w.lease.Boot == boot
}

// followLease reads the Lease so often that the agent knows whether the API answers it.
func (b *base) followLease(ctx context.Context) {
	every := time.NewTicker(readEvery)
	defer every.Stop()
	for {
		if !b.leaseless.Load() {
			if err := b.readLease(ctx); err != nil && ctx.Err() == nil {
				b.log.Debug("the Lease was not read", "error", err)
			}
			b.poke()
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// readEvery is a quarter of plan.APITimeout for a Lease of five seconds.
const readEvery = 500 * time.Millisecond
