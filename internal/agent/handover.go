package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// Bounds of a handover. Clients are paused for the whole of it, at most for pauseTime.
const (
	pauseTime    = 6 * time.Second
	catchUpTime  = 2 * time.Second
	promoteTime  = 3 * time.Second
	takeoverTime = time.Second
	// glance is how often a candidate is looked at while writers wait.
	glance = time.Millisecond
)

// handoverRun is one handover in progress.
type handoverRun struct {
	to       plan.Member
	client   *redis.Client // of the candidate's server
	agent    string
	clock    int64 // of the candidate's agent: see plan.Takeover
	pausedAt time.Duration
	pauseEnd time.Duration
	lease    *Lease                // as it was given, in mode Replication
	history  v1alpha1.ServerStatus // of this server, after the pause
	labelled []*labelled           // the labels of both pods, once that was begun
	err      error
}

// handOver makes another member master. The steps, and what follows when one fails, are those of
// plan.NextHandoverStep.
func (m *member) handOver(ctx context.Context, a plan.HandOver) error {
	peer, pod, client, ok := m.peers.find(a.To)
	if !ok {
		return errors.New("it has no address")
	}
	h := &handoverRun{to: peer, client: client, agent: pod.Agent}
	// A connection made now is one that no writer waits for.
	warm, cancel := context.WithTimeout(ctx, askTime)
	status, err := m.peers.fetchStatus(warm, pod.Agent)
	if err == nil {
		_, err = client.Status(warm)
	}
	cancel()
	if h.clock = status.ClockNS; err == nil && status.Boot != peer.Boot {
		err = errors.New("its agent was started anew")
	}
	if err != nil {
		return m.endHandover(ctx, h, fmt.Errorf("the candidate does not answer: %w", err))
	}
	if m.config.Mode == v1alpha1.ModeSentinel {
		if err := m.sentinelsCan(ctx); err != nil {
			return m.endHandover(ctx, h, err)
		}
	}
	m.leaving, m.handingOver = m.handoverReason(), true
	state := plan.HandoverState{}
	for {
		state.Now, state.PauseEnd, state.Authority = m.now(), h.pauseEnd, m.now() < m.authorityEnd()
		step := plan.NextHandoverStep(state)
		if step == plan.HandoverDone {
			return m.endHandover(ctx, h, nil)
		}
		if step == plan.HandoverFailed {
			if h.err == nil {
				h.err = errors.New("it took too long")
			}
			return m.endHandover(ctx, h, h.err)
		}
		if step > plan.HandoverMove {
			// The bound of the actions ends what this member may do as master; the rest is to be done in any case.
			ctx = context.WithoutCancel(ctx)
		}
		begin := m.now()
		outcome, err := m.handoverStep(ctx, h, step)
		if err != nil {
			err = fmt.Errorf("%s: %w", step, err)
			m.log.Warn("handover", "to", h.to.Name, "error", err)
			if h.err == nil {
				h.err = err
			}
		}
		m.log.Debug("handover", "to", h.to.Name, "step", step.String(), "took", m.now()-begin)
		state.Step, state.Outcome = step, outcome
		m.publish("handing over to " + h.to.Name + ": " + step.String())
	}
}

// authorityEnd is until when this member may be master: 0 when it may not.
func (m *member) authorityEnd() time.Duration {
	if m.config.Mode == v1alpha1.ModeSentinel {
		return m.now() + actionTime
	}
	l := m.lease.observed(m.now(), m.leaseTime())
	if l.Holder != m.opts.Name || l.Boot != m.boot || m.decided.Until == 0 {
		return 0
	}
	return m.decided.Until
}

// handoverStep carries one step out.
func (m *member) handoverStep(ctx context.Context, h *handoverRun, step plan.HandoverStep) (plan.Outcome, error) {
	short, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	switch step {
	case plan.HandoverPause:
		h.pausedAt = m.now()
		h.pauseEnd = h.pausedAt + pauseTime
		return done(m.client.PauseWrites(short, pauseTime))
	case plan.HandoverWait:
		return done(m.awaitCandidate(ctx, h))
	case plan.HandoverFence:
		if err := m.fence(short); err != nil {
			return plan.Unknown, err
		}
		if !m.fenced {
			return plan.Unknown, errors.New("the server was killed")
		}
		return plan.Succeeded, nil
	case plan.HandoverMove:
		if m.config.Mode != v1alpha1.ModeSentinel {
			h.labelled = m.passLabel(h.to.Name)
		}
		outcome, err := m.move(ctx, h)
		if outcome == plan.Unknown {
			err = fmt.Errorf("%w; %s may have become master all the same", err, h.to.Name)
		}
		return outcome, err
	case plan.HandoverFollow:
		if h.labelled == nil {
			h.labelled = m.passLabel(h.to.Name) // whom the Sentinels promoted is known only now
		}
		return done(m.client.FollowFenced(short, h.to.Address))
	case plan.HandoverTakeover:
		long, cancel := context.WithTimeout(ctx, takeoverTime)
		defer cancel()
		body := takeoverBody{
			From: m.opts.Name, ReplID: h.history.ReplID, Offset: h.history.Offset,
			PausedMS: (m.now() - h.pausedAt).Milliseconds(), Reason: m.leaving, ClockNS: h.clock,
		}
		if h.lease != nil {
			body.Term, body.Lease = h.lease.Term, h.lease
		}
		err := m.peers.call(long, "POST", h.agent, "/takeover", body, nil)
		m.handedOver = m.now()
		return done(err)
	case plan.HandoverFinish:
		m.opened = false
		m.decided.Role = v1alpha1.RoleReplica
		var err error
		if m.stopping && m.opts.ServiceLag > 0 {
			// Whoever comes back to this member is passed on, whether the labels are moved or not.
			m.forwarded = m.forwardClients(context.WithoutCancel(ctx), h.to.Address)
			err = m.free(ctx)
		}
		// Else the label first: who is disconnected must not come back to this member. But no API that hangs keeps writers waiting.
		for _, l := range h.labelled {
			select {
			case <-l.done:
				err = errors.Join(err, l.err)
			case <-short.Done():
				err = errors.New("the label of a master is not moved yet")
			}
		}
		if m.forwarded == nil {
			err = errors.Join(err, m.free(ctx))
		}
		return done(err)
	case plan.HandoverUndo:
		if m.fenced {
			return done(m.unfence(short, m.authorityEnd()))
		}
		return done(m.client.Unpause(short))
	case plan.HandoverLeave:
		// It may be no master any more: the end of the pause must open nothing.
		if !m.fenced {
			if err := m.fence(short); err != nil {
				return plan.Unknown, err
			}
		}
		return done(m.client.Unpause(short))
	}
	return plan.Refused, fmt.Errorf("unknown step %d", step)
}

// free ends the connections of clients, and their pause.
func (m *member) free(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	return errors.Join(m.client.KillClients(ctx), m.client.Unpause(ctx))
}

func done(err error) (plan.Outcome, error) {
	if err != nil {
		return plan.Unknown, err
	}
	return plan.Succeeded, nil
}

// awaitCandidate waits until the candidate has all that this server ever acknowledged. In mode Sentinel every
// member that answers has to: the Sentinels may choose any of them.
func (m *member) awaitCandidate(ctx context.Context, h *handoverRun) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	var err error
	if h.history, err = m.client.Status(ctx); err != nil {
		return err
	}
	clients := []*redis.Client{h.client}
	if m.config.Mode == v1alpha1.ModeSentinel {
		clients = m.replicaClients()
	}
	every := time.NewTicker(glance)
	defer every.Stop()
	for _, c := range clients {
		for {
			s, err := c.Status(ctx)
			if err == nil && s.LinkUp && s.MasterAddress == m.opts.address() && s.ReplID == h.history.ReplID && s.Offset >= h.history.Offset {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s has %d of %d bytes, link up %v: %w", c.Address(), s.Offset, h.history.Offset, s.LinkUp, errors.Join(err, ctx.Err()))
			case <-every.C:
			}
		}
	}
	return nil
}

// replicaClients are those of all members that answer.
func (m *member) replicaClients() []*redis.Client {
	members, _ := m.peers.observed()
	var out []*redis.Client
	for _, peer := range members {
		if peer.Reachable {
			if _, _, client, ok := m.peers.find(peer.Name); ok {
				out = append(out, client)
			}
		}
	}
	return out
}

// move moves the authority.
func (m *member) move(ctx context.Context, h *handoverRun) (plan.Outcome, error) {
	if m.config.Mode == v1alpha1.ModeSentinel {
		return m.moveSentinels(ctx, h)
	}
	l, err := m.give(ctx, h.to.Name, h.to.Boot, false, m.leaving)
	switch {
	case err == nil:
		h.lease = &l
		return plan.Succeeded, nil
	case errors.Is(err, errLeaseMoved):
		return plan.Refused, err
	}
	return plan.Unknown, err
}

// moveSentinels makes a Sentinel fail over, and waits until a replica is promoted. A Sentinel that ends before it promoted one is
// replaced by another.
func (m *member) moveSentinels(ctx context.Context, h *handoverRun) (plan.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, promoteTime)
	defer cancel()
	asked := map[string]bool{}
	leader, outcome, err := m.askSentinel(ctx, asked)
	if err != nil {
		return outcome, err
	}
	every := time.NewTicker(glance)
	defer every.Stop()
	members, _ := m.peers.observed()
	for lookedAt := m.now(); ; {
		ended := false
		if m.now()-lookedAt >= leaderTime {
			lookedAt, ended = m.now(), refuses(ctx, leader)
		}
		for _, peer := range members {
			_, pod, client, ok := m.peers.find(peer.Name)
			if !ok || !peer.Reachable {
				continue
			}
			if s, err := client.Status(ctx); err == nil && s.Role == v1alpha1.RoleMaster {
				if s.ReplID2 != h.history.ReplID || s.SecondOffset < h.history.Offset {
					return plan.Unknown, fmt.Errorf("another failover came in between: %s was promoted, and lacks writes", peer.Name)
				}
				h.to, h.agent = peer, pod.Agent
				m.awaitSentinels(ctx, peer.Address, every.C)
				if asked, _, _, ok := m.peers.find(peer.Name); ok {
					h.clock = asked.ClockNS
				}
				return plan.Succeeded, nil
			}
		}
		if ended {
			m.log.Info("a Sentinel ended before it promoted a replica; another is asked", "sentinel", leader)
			if leader, _, err = m.askSentinel(ctx, asked); err != nil {
				return plan.Unknown, err
			}
		}
		select {
		case <-ctx.Done():
			return plan.Unknown, fmt.Errorf("no replica was promoted: %w", ctx.Err())
		case <-every.C:
		}
	}
}

// sentinelsCan tells whether any Sentinel would find a replica to promote: to be told otherwise while writers wait is too late.
func (m *member) sentinelsCan(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var errs []error
	for _, s := range m.peers.sentinelClients() {
		replicas, err := s.Replicas(ctx, m.opts.Redis)
		if slices.ContainsFunc(replicas, func(p redis.Peer) bool { return p.Eligible }) {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(append([]error{errors.New("no Sentinel knows a replica well enough yet to promote it")}, errs...)...)
}

// leaderTime is how often it is looked whether the Sentinel that leads a failover still runs.
const leaderTime = 50 * time.Millisecond

// askSentinel asks a Sentinel that was not asked yet for a failover, and says which took it up. Those that certainly did nothing are
// passed over.
func (m *member) askSentinel(ctx context.Context, asked map[string]bool) (leader string, outcome plan.Outcome, err error) {
	only := ""
	if m.handover != nil {
		only = m.handover.sentinel
	}
	_, sentinels := m.peers.observed()
	err = errors.New("no Sentinel that answers monitors this member")
	for {
		s := plan.ToAsk(sentinels, func(s *plan.Sentinel) bool {
			return !asked[s.Address] && s.MasterAddress == m.opts.address() && (only == "" || s.Address == only)
		})
		if s == nil {
			return "", plan.Refused, err
		}
		asked[s.Address] = true
		if err = m.askFailover(ctx, s.Address); err == nil {
			return s.Address, plan.Succeeded, nil
		}
		if !redis.IsRefusal(err) && !errors.Is(err, syscall.ECONNREFUSED) {
			return "", plan.Unknown, err
		}
	}
}

// refuses tells whether nobody listens at addr, HOST:PORT, and its host says so.
func refuses(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// awaitSentinels waits until a majority of the Sentinels names addr. That it takes too long is no error: they will.
func (m *member) awaitSentinels(ctx context.Context, addr string, every <-chan time.Time) {
	for {
		m.peers.ask(ctx)
		_, sentinels := m.peers.observed()
		n := int32(0)
		for _, s := range sentinels {
			if s.Reachable && s.MasterAddress == addr {
				n++
			}
		}
		if n > m.config.Sentinels/2 {
			return
		}
		select {
		case <-ctx.Done():
			m.log.Warn("the Sentinels do not agree yet on the new master", "master", addr, "agree", n)
			return
		case <-every:
		}
	}
}

// endHandover reports how a handover ended.
func (m *member) endHandover(ctx context.Context, h *handoverRun, err error) error {
	status := v1alpha1.HandoverStatus{Phase: v1alpha1.HandoverSucceeded, From: m.opts.Name, To: h.to.Name}
	if h.pausedAt != 0 {
		status.Milliseconds = (m.now() - h.pausedAt).Milliseconds()
		m.metrics.handoverSeconds.Observe(float64(status.Milliseconds) / 1000)
	}
	if err != nil {
		m.handoverFailed = m.now()
		m.leaving, m.handingOver = "", false
		status.Phase, status.To, status.Message = v1alpha1.HandoverFailed, "", err.Error()
	}
	if err == nil && m.stopping {
		m.successor = h.to.Address
	}
	m.log.Info("handover ended", "to", h.to.Name, "phase", status.Phase, "milliseconds", status.Milliseconds, "message", status.Message)
	if m.handover != nil {
		status.ID = m.handover.ID
		m.handover.reply <- status
		m.handover = nil
	}
	m.peers.nudge(ctx)
	m.refresh.Store(true)
	return err
}
