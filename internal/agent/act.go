package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// carryOut does what was decided, as long as there is time. Labels are set beside it: each is a request of its own to the API, for
// which neither the opening of the server nor whoever asks this member meanwhile has to wait.
func (m *member) carryOut(ctx context.Context) error {
	for todo := m.decided.Actions; len(todo) > 0; {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: not in time", todo[0])
		}
		a := todo[0]
		var set []plan.SetRoleLabel
		switch a.(type) {
		case plan.SetRoleLabel:
			set, todo = cutLabels(todo)
			m.setLabels(m.decided.Until, set...)
			continue
		case plan.Open:
			set, todo = cutLabels(todo[1:])
			m.setLabels(m.decided.Until, set...)
		case plan.Stop:
			m.awaitLabels()
			return errStop
		default:
			todo = todo[1:]
		}
		if err := m.act(ctx, a); err != nil {
			return err
		}
		m.publish(m.decided.Why)
	}
	return nil
}

// act carries out one action of internal/plan, in bounded time.
func (m *member) act(ctx context.Context, a plan.Action) error {
	begin := m.now()
	err := m.do(ctx, a)
	if err != nil {
		return fmt.Errorf("%s: %w", a, err)
	}
	switch a.(type) {
	case plan.RenewLease, plan.Poll:
	default:
		m.log.Info("did", "action", a.String(), "took", (m.now() - begin).Round(time.Microsecond), "why", m.decided.Why)
	}
	return nil
}

func (m *member) do(ctx context.Context, a plan.Action) error {
	if m.config.Mode == v1alpha1.ModeCluster {
		if done, err := m.actNode(ctx, a); done {
			return err
		}
	}
	switch a := a.(type) {
	case plan.AcquireLease:
		return m.acquireLease(ctx, a)
	case plan.RenewLease:
		m.renew(ctx, a)
		return nil
	case plan.ReleaseLease:
		return m.release(ctx, a, m.whyReleased())
	case plan.Remember:
		return m.remember(a.Term)
	case plan.HandOver:
		return m.handOver(ctx, a)
	case plan.Bequeath:
		return m.bequeath(ctx, a)
	case plan.Poll:
		m.peers.ask(ctx)
		return nil
	case plan.Nudge:
		m.peers.nudge(ctx)
		return nil
	case plan.DemoteServer:
		return m.demote(ctx, a)
	case plan.AskSentinelFailover:
		return m.askFailover(ctx, a.Address)
	}
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	switch a := a.(type) {
	case plan.Open:
		return m.open(ctx, a)
	case plan.Fence:
		return m.fence(ctx)
	case plan.Unfence:
		return m.unfence(ctx, a.Before)
	case plan.Follow:
		return m.follow(ctx, a.Address)
	case plan.Close:
		return m.follow(ctx, redis.Nowhere(m.opts.IP))
	case plan.DropClients:
		return m.client.KillClients(ctx)
	case plan.KillServer:
		m.leaving, m.handingOver = m.whyReleased(), false
		m.log.Warn("killing the server", "why", m.decided.Why)
		return m.server.kill(ctx)
	}
	return fmt.Errorf("unknown action %T", a)
}

// remember writes the term down before anything else is done; 0 says that there is no data.
func (m *member) remember(term int64) error {
	next := m.memory
	next.Term = term
	if term == 0 {
		next = memory{}
	}
	return m.keepNow(next)
}

// keepNow writes redstart.json, after what may be under way.
func (m *member) keepNow(next memory) error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if err := saveJSON(m.opts.Dir, memoryFile, next); err != nil {
		return err
	}
	m.memory, m.noted = next, next
	return nil
}

// lift sends what lifts the fence, and nothing of it after a moment of the agent's clock. Where it fails the server is fenced
// again, and killed when it is not known what it got: it might still open when the time is over.
func (m *member) lift(ctx context.Context, before time.Duration, send func(context.Context) error) error {
	if before-m.now() < leeway {
		return errors.New("it is too late for that")
	}
	ctx, cancel := m.until(ctx, before)
	defer cancel()
	err := send(ctx)
	if err == nil {
		m.fenced = false
		return nil
	}
	after, done := context.WithTimeout(context.WithoutCancel(ctx), actionTime)
	defer done()
	if redis.IsRefusal(err) {
		return errors.Join(err, m.fence(after))
	}
	m.log.Warn("it is not known whether the server is open: it is killed", "error", err)
	return errors.Join(err, m.server.kill(after))
}

func (m *member) open(ctx context.Context, a plan.Open) error {
	err := m.lift(ctx, a.Before, func(ctx context.Context) error { return m.client.Open(ctx, m.config.MinReplicasToWrite, m.inForce) })
	if err != nil {
		return err
	}
	m.openedFor = m.takeover
	m.becameMaster(ctx)
	if m.config.Mode == v1alpha1.ModeSentinel {
		// Whoever made the Sentinels prefer this member may be gone.
		if err := setPriority(ctx, m.client, usual); err != nil {
			m.log.Warn("the Sentinels go on to prefer this member", "error", err)
		}
	}
	return nil
}

// fence makes the server refuse writes; one that does not answer at once is killed.
func (m *member) fence(ctx context.Context) error {
	quick, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := m.client.Fence(quick); err != nil {
		m.log.Warn("the server cannot be fenced and is killed", "error", err)
		return m.server.kill(ctx)
	}
	m.fenced = true
	return nil
}

func (m *member) unfence(ctx context.Context, before time.Duration) error {
	err := m.lift(ctx, before, func(ctx context.Context) error { return m.client.SetMinReplicas(ctx, m.config.MinReplicasToWrite) })
	if err != nil {
		return err
	}
	return m.client.Unpause(ctx)
}

// follow makes the server a fenced replica: whoever makes it a master behind the agent's back makes no writable one.
func (m *member) follow(ctx context.Context, addr string) error {
	if err := m.client.FollowFenced(ctx, addr); err != nil {
		return err
	}
	m.fenced, m.opened = true, false
	return nil
}

// demote makes another member's server a replica of this one, behind the back of its agent.
func (m *member) demote(ctx context.Context, a plan.DemoteServer) error {
	ctx, cancel := context.WithTimeout(ctx, plan.PollTimeout)
	defer cancel()
	_, _, client, ok := m.peers.find(a.Name)
	err := errors.New("it has no address")
	if ok {
		var s v1alpha1.ServerStatus
		if s, err = client.Status(ctx); err == nil && s.RunID == m.seen.RunID {
			return nil // its agent passes what it gets on to this member's server: see forwardClients
		}
	}
	if err == nil {
		err = client.FollowFenced(ctx, m.opts.address())
	}
	if err == nil {
		err = client.KillClients(ctx)
	}
	if err != nil && !a.Must {
		m.log.Info("a server is not demoted", "member", a.Name, "error", err)
		return nil
	}
	return err
}

func (m *member) askFailover(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	s := redis.NewSentinel(addr, m.password)
	defer s.Close()
	return s.Failover(ctx, m.opts.Redis)
}
