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
	return b.writeLease(ctx, Lease{
		Holder: b.opts.Name, Boot: b.boot, LastHolder: b.opts.Name, Term: a.Term, Members: a.Members,
		Duration: b.leaseTime(), ResourceVersion: a.ResourceVersion,
	})
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
		if err := b.writeLease(ctx, l); err != nil {
			b.lease.mu.Lock()
			b.lease.renewErrors++
			b.lease.mu.Unlock()
			b.log.Warn("the Lease was not renewed", "error", err)
		}
	})
}

// release takes the holder off.
func (b *base) release(ctx context.Context, a plan.ReleaseLease, why string) error {
	return b.pass(ctx, func(l *Lease) {
		l.Holder, l.Boot, l.HandoverFrom, l.Reason, l.ResourceVersion = "", "", "", why, a.ResourceVersion
	})
}

// give moves the Lease to another member, under the next term.
func (b *base) give(ctx context.Context, to, boot, why string) (term int64, err error) {
	err = b.pass(ctx, func(l *Lease) {
		l.Term++
		l.Holder, l.Boot, l.LastHolder, term = to, boot, to, l.Term
		l.HandoverFrom, l.Reason = b.opts.Name, why
	})
	return term, err
}

// pass changes the Lease that this agent holds. It waits for a renewal that is under way.
func (b *base) pass(ctx context.Context, change func(*Lease)) error {
	if err := b.lease.lock(ctx); err != nil {
		return err
	}
	defer b.lease.unlock()
	l, ok := b.lease.own(b.opts.Name, b.boot)
	if !ok {
		return fmt.Errorf("pass the Lease on: %w", errLeaseMoved)
	}
	l.Duration = b.leaseTime()
	change(&l)
	return b.writeLease(ctx, l)
}

// writeLease writes; writing is held. When it is not known whether it was written, the loop reads it anew.
func (b *base) writeLease(ctx context.Context, l Lease) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	sent := b.now()
	written, err := b.cluster.WriteLease(ctx, l)
	if err != nil {
		b.nudge()
		return err
	}
	b.lease.saw(written, sent, b.now(), b.leaseTime())
	if l.Holder == b.opts.Name && l.Boot == b.boot {
		b.lease.mu.Lock()
		b.lease.renewedAt = sent
		b.lease.mu.Unlock()
	}
	return nil
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
