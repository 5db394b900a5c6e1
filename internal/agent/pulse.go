package agent

import (
	"context"
	"sync/atomic"
	"time"

	"redstart.dev/redstart/internal/redis"
)

const (
	// nodeLook bounds one look at the own server in mode Cluster, where no Lease runs out meanwhile.
	nodeLook = time.Second
	// pulseTime is how long a question waits for its answer. It is longer than any server may be silent.
	pulseTime = time.Minute
	// stoodStill is how much of the time between two looks counts at most: an agent that stood still for longer did not listen.
	stoodStill = 1500 * time.Millisecond
)

// pulse tells a server that hangs from one that is slow. On a busy machine one look after the other may be given up, and each
// begins again with a connection of its own; a question that waits for as long as it takes has its answer in the end.
type pulse struct {
	asking     atomic.Bool
	answeredAt atomic.Int64 // by the agent's clock

	// Of the loop: when it looked last, and for how long it has looked in vain.
	lookedAt, silent time.Duration
}

// patience is how long a look at the own server may take, and how long ago a server that is up answered at most.
func (m *member) patience() (look, up time.Duration) {
	if m.config.NodeTimeoutMS == 0 {
		return lookTime, upTime
	}
	// The look that ends the server's time ends with it.
	timeout := time.Duration(m.config.NodeTimeoutMS) * time.Millisecond
	return min(max(timeout-m.pulse.silent, lookTime), nodeLook), timeout
}

// feelPulse takes note of whether the server answered, and asks it for longer where it did not.
func (m *member) feelPulse(ctx context.Context, now time.Duration) {
	m.answeredAt = max(m.answeredAt, time.Duration(m.pulse.answeredAt.Load()))
	if m.answeredAt > m.pulse.lookedAt {
		m.pulse.silent = 0
	} else {
		m.pulse.silent += min(now-m.pulse.lookedAt, stoodStill)
	}
	m.pulse.lookedAt = now
	if m.pulse.silent == 0 || m.pulse.asking.Swap(true) {
		return
	}
	m.working.Go(func() {
		defer m.pulse.asking.Store(false)
		if err := m.client.PingPatiently(ctx, pulseTime); err == nil || redis.IsLoading(err) {
			m.pulse.answeredAt.Store(int64(m.now()))
			m.poke()
		}
	})
}
