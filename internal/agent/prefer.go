package agent

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"redstart.dev/redstart/internal/redis"
)

const (
	// preferTime bounds the time until a Sentinel knows whom to prefer: it looks at the replicas each ten seconds.
	preferTime = 15 * time.Second
	// preferEvery is how often the Sentinels are asked whether they know.
	preferEvery = 100 * time.Millisecond
	// preferred is the replica-priority of the member that the Sentinels shall choose, usual that of all others. 0 would
	// mean never.
	preferred, usual = 1, 100
)

// prefer makes a Sentinel choose a member at the next failover. It returns the address of the one that will; restore takes
// it back and has to be called in any case, once the failover is done or given up. It runs beside the loop: writers must not
// wait for it.
func (m *member) prefer(ctx context.Context, to string) (sentinel string, restore func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, preferTime, fmt.Errorf("no Sentinel knew of it within %s", preferTime))
	defer cancel()
	_, _, candidate, ok := m.peers.find(to)
	if !ok {
		return "", func() {}, fmt.Errorf("make the Sentinels prefer %s: it has no address", to)
	}
	restore = func() { m.unprefer(ctx, to, candidate) }
	wanted := map[string]int{}
	for _, c := range m.replicaClients() {
		priority := usual
		if c == candidate {
			priority = preferred
		}
		// Also for the others: an earlier handover may have ended before it could restore them.
		if err := setPriority(ctx, c, priority); err != nil {
			return "", restore, fmt.Errorf("make the Sentinels prefer %s: %w", to, err)
		}
		wanted[c.Address()] = priority
	}
	if wanted[candidate.Address()] != preferred {
		return "", restore, fmt.Errorf("make the Sentinels prefer %s: it is no replica of %s", to, m.opts.Name)
	}
	every := time.NewTicker(preferEvery)
	defer every.Stop()
	for {
		if sentinel = m.knows(ctx, wanted); sentinel != "" {
			return sentinel, restore, nil
		}
		select {
		case <-ctx.Done():
			return "", restore, fmt.Errorf("make the Sentinels prefer %s: %w; nothing was changed, and a handover to any member works at once", to, context.Cause(ctx))
		case <-every.C:
		}
	}
}

// knows is the address of a Sentinel that monitors this member and knows of these priorities of its replicas, empty when
// there is none.
func (m *member) knows(ctx context.Context, wanted map[string]int) string {
	_, sentinels := m.peers.observed()
	for _, s := range sentinels {
		if !s.Reachable || s.MasterAddress != m.opts.address() || s.MasterDown || s.FailoverInProgress {
			continue
		}
		replicas, err := m.sentinelReplicas(ctx, s.Address)
		if err != nil {
			m.log.Debug("a Sentinel does not tell its replicas", "sentinel", s.Name, "error", err)
			continue
		}
		known := 0
		for _, r := range replicas {
			if priority, ok := wanted[r.Address]; ok && r.Priority == priority {
				known++
			}
		}
		if known == len(wanted) {
			return s.Address
		}
	}
	return ""
}

func (m *member) sentinelReplicas(ctx context.Context, address string) ([]redis.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	s := redis.NewSentinel(address, *m.secret.Load())
	defer s.Close()
	return s.Replicas(ctx, m.opts.Redis)
}

// unprefer gives a member the priority of all others. A server that cannot be told has it again when it starts.
func (m *member) unprefer(ctx context.Context, name string, c *redis.Client) {
	if err := setPriority(context.WithoutCancel(ctx), c, usual); err != nil {
		m.log.Warn("the Sentinels go on to prefer a member", "member", name, "error", err)
	}
}

func setPriority(ctx context.Context, c *redis.Client, priority int) error {
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	return c.ConfigSet(ctx, "replica-priority", strconv.Itoa(priority))
}
