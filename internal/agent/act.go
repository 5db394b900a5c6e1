package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// carryOut does what was decided, as long as there is time. Labels are set while the server is opened: each is a request of
// its own to the API, and clients wait for the last of them.
func (m *member) carryOut(ctx context.Context) error {
	for todo := m.decided.Actions; len(todo) > 0; {
		if ctx.Err() != nil {
			return fmt.Errorf("%s: not in time", todo[0])
		}
		n := 1 + leadingLabels(todo[1:])
		switch todo[0].(type) {
		case plan.Open, plan.SetRoleLabel:
		default:
			n = 1
		}
		if err := m.actTogether(ctx, todo[:n]); err != nil {
			return err
		}
		m.publish(m.decided.Why)
		todo = todo[n:]
	}
	return nil
}

// actTogether carries out labels, and what may come before them, at the same time. Where Services lag the labels are set one
// after the other, the last one first, which is that of the master: a Service that selected nobody in between would be taken over
// as such, and stay so for as long.
func (m *member) actTogether(ctx context.Context, group []plan.Action) error {
	first := 1 - leadingLabels(group[:1])
	labels := make([]func() error, 0, len(group))
	for _, a := range slices.Backward(group[first:]) {
		labels = append(labels, func() error { return m.act(ctx, a) })
	}
	labelled := m.relabel(labels)
	var err error
	if first == 1 {
		err = m.act(ctx, group[0])
	}
	for range labels {
		err = errors.Join(err, <-labelled)
	}
	return err
}

// relabel sets labels beside the loop, all at once or, where Services lag, in their order. It tells how each went.
func (m *member) relabel(set []func() error) <-chan error {
	results := make(chan error, len(set))
	if m.opts.ServiceLag > 0 {
		m.working.Go(func() {
			for _, one := range set {
				results <- one()
			}
		})
		return results
	}
	for _, one := range set {
		m.working.Go(func() { results <- one() })
	}
	return results
}

// passLabel moves the label of the master from this member, which takes no writes any more, to another. Writers wait, so in mode
// Replication it is begun before that one is open, and before the authority has moved. What becomes of no change of master after all,
// or fails, the one who is master puts right. It outlives the actions that it is one of.
func (m *member) passLabel(ctx context.Context, to string) <-chan error {
	ctx = context.WithoutCancel(ctx)
	return m.relabel([]func() error{
		func() error { return m.setRole(ctx, to, v1alpha1.RoleMaster) },
		func() error { return m.setRole(ctx, m.opts.Name, v1alpha1.RoleReplica) },
	})
}

// leadingLabels is with how many labels actions begin.
func leadingLabels(actions []plan.Action) int {
	n := slices.IndexFunc(actions, func(a plan.Action) bool { _, is := a.(plan.SetRoleLabel); return !is })
	if n < 0 {
		return len(actions)
	}
	return n
}

// act carries out one action of internal/plan, in bounded time.
func (m *member) act(ctx context.Context, a plan.Action) error {
	begin := m.now()
	err := m.do(ctx, a)
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("%s: %w", a, err)
	}
	switch a.(type) {
	case plan.RenewLease, plan.Poll:
	default:
		m.log.Info("did", "action", a.String(), "took", (m.now() - begin).Round(time.Microsecond), "why", m.decided.Why)
	}
	return err
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
	case plan.Stop:
		return errStop
	case plan.Poll:
		m.peers.ask(ctx)
		return nil
	case plan.Nudge:
		m.peers.nudge(ctx)
		return nil
	case plan.SetRoleLabel:
		return m.setRole(ctx, a.Pod, a.Role)
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
	return m.keepNow(next, true)
}

// keepNow writes redstart.json, after what may be under way.
func (m *member) keepNow(next memory, durable bool) error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if err := saveJSON(m.opts.Dir, memoryFile, next, durable); err != nil {
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
