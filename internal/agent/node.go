package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// node is what the agent of a member of mode Cluster keeps beside what all members have. The cluster bus decides who is master of
// which slots; the agent opens its server when it knows that its place is its own, finds a successor when it dies, and tells
// it where the others are.
type node struct {
	// view is what the server believes, or believed last.
	view   *v1alpha1.ClusterView
	memory plan.NodeMemory
	ready  bool
	start  bool
	// crashedAt is when the server ended by itself, until the next one has its role; unclean, whether the one that runs follows
	// such an end.
	crashedAt time.Duration
	unclean   bool
	// electedAt is when this server was last promoted.
	electedAt time.Duration
	// watch is on the master's server, of a replica.
	watch *masterWatch
}

// clusterTurn is turn in mode Cluster.
func (m *member) clusterTurn(ctx context.Context, v View) (acted bool, err error) {
	if m.refresh.Swap(false) {
		m.peers.ask(ctx)
	} else {
		m.peers.askSoon(ctx)
	}
	m.lookAtServer(ctx)
	m.lookAtNode(ctx)
	m.watchMaster(ctx)
	d := plan.DecideNode(m.observeNode(v))
	m.node.memory, m.node.ready, m.node.start = d.Memory, d.Ready, d.Start
	m.decided = plan.Decision{Actions: d.Actions, Next: d.Next, Why: d.Why, Role: d.Role, Follows: d.Follows}
	m.noticeFormer()
	m.publish(d.Why)
	m.tell(ctx, news{up: m.seen.Up && !m.seen.Loading, stopping: m.stopping})
	if err = m.carryOut(ctx); err != nil && !errors.Is(err, errStop) {
		m.complain("could not act", err)
	}
	if !m.server.running() && m.node.start && !errors.Is(err, errStop) && !time.Now().Before(m.server.notBefore) {
		m.startServer()
		acted = true
	}
	m.note()
	if !errors.Is(err, errStop) {
		m.rotatePassword(ctx)
		m.applyConfig(ctx)
	}
	return acted || len(d.Actions) > 0, err
}

// lookAtNode asks the own server what it believes of the cluster.
func (m *member) lookAtNode(ctx context.Context) {
	if !m.server.running() || !m.seen.Up || m.seen.Loading || m.answeredAt < m.startedAt || m.pulse.silent > 0 {
		return
	}
	look, _ := m.patience()
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	v, err := m.client.ClusterView(ctx)
	if err != nil {
		m.complain("the server does not tell its view of the cluster", err)
		return
	}
	own, was := v.Myself(), &v1alpha1.ClusterNode{}
	if m.node.view != nil && m.node.view.Myself() != nil {
		was = m.node.view.Myself()
	}
	m.node.view = &v
	if own == nil {
		return
	}
	if was.Role == v1alpha1.RoleReplica && own.Role == v1alpha1.RoleMaster && len(own.Slots) > 0 {
		m.node.electedAt = m.now()
		m.promoted(ctx)
		m.peers.nudge(ctx)
	}
	if own.Role == v1alpha1.RoleReplica && m.seen.LinkUp || own.Role == v1alpha1.RoleMaster && !m.fenced {
		m.node.crashedAt, m.node.unclean = 0, false
	}
}

// observeNode is all that is known, for internal/plan.
func (m *member) observeNode(v View) plan.NodeObservation {
	now := m.now()
	members, _ := m.peers.observed()
	o := plan.NodeObservation{
		Now: now, Config: *m.config, Peers: members, Memory: m.node.memory,
		ServerRunning: m.server.running(), ServerStartedAt: m.startedAt, ServerAnsweredAt: m.answeredAt, ServerSilent: m.pulse.silent,
		CrashedAt: m.node.crashedAt, Unclean: m.node.unclean, Complete: m.inForce["appendonly"] == "yes",
		HandoverFailedAt: m.handoverFailed, StopBy: m.stopBy(v),
		Self: plan.Member{AgentStatus: m.self(), Address: m.opts.address(), Reachable: true, AskedAt: now},
	}
	for _, p := range v.Pods {
		if p.Name == m.opts.Name {
			o.Self.Label = p.Label
		}
	}
	if m.handover != nil {
		o.HandoverWanted, o.HandoverTo = true, m.handover.To
	}
	if m.node.watch != nil {
		o.MasterLost = m.node.watch.lost.Load()
	}
	return o
}

// describe adds to the status what only members of mode Cluster have.
func (m *member) describeNode(s *v1alpha1.AgentStatus) {
	s.Cluster, s.Ready = m.node.view, m.node.ready && m.seen.Up && !m.seen.Loading
	if m.node.electedAt != 0 {
		s.ElectedMS = max((m.now() - m.node.electedAt).Milliseconds(), 1)
	}
}

// noteRunning writes down that a server runs from now on, and finds out whether the last one ended in order.
func (m *member) noteRunning() error {
	m.node.unclean = m.node.unclean || m.memory.Running
	next := m.memory
	next.Running = true
	return m.keepNow(next)
}

// noteStopped writes down that the server ended in order, with all that it had.
func (m *member) noteStopped() error {
	if !m.memory.Running {
		return nil
	}
	next := m.memory
	next.Running = false
	return m.keepNow(next)
}

// noticeNodeExit keeps that the server ended without being told to.
func (m *member) noticeNodeExit() {
	m.node.crashedAt, m.node.unclean = m.now(), true
	m.node.memory = plan.NodeMemory{}
}

// actNode carries out what only mode Cluster has; done is false for other actions.
func (m *member) actNode(ctx context.Context, a plan.Action) (done bool, err error) {
	switch a := a.(type) {
	case plan.Elect:
		return true, m.elect(ctx, a)
	case plan.HandOver:
		return true, m.handOverShard(ctx, a.To)
	case plan.Meet:
		ctx, cancel := context.WithTimeout(ctx, actionTime)
		defer cancel()
		_, pod, _, ok := m.peers.find(a.Name)
		if !ok {
			return true, errors.New("it has no address")
		}
		return true, m.client.ClusterMeet(ctx, a.Address, int(pod.Bus))
	case plan.Unfence:
		ctx, cancel := m.until(ctx, a.Before)
		defer cancel()
		err := m.client.OpenNode(ctx, m.config.MinReplicasToWrite, m.inForce)
		// One that is not known to be open counts as fenced. It opens in a later turn, or is fenced for certain before another
		// takes its place: there is no moment after which it would have to be killed.
		m.fenced = m.fenced && err != nil
		return true, err
	case plan.Fence:
		ctx, cancel := context.WithTimeout(ctx, actionTime)
		defer cancel()
		return true, m.client.Fence(ctx)
	}
	return false, nil
}

const (
	// electTime is how long a replica may take to be promoted. An election takes some tenths of a second.
	electTime = 900 * time.Millisecond
	// shardTime bounds a handover of a shard: the old master lets writers wait for five seconds at most.
	shardTime = 5500 * time.Millisecond
)

// elect makes a replica stand for election, and waits until it is promoted.
func (m *member) elect(ctx context.Context, a plan.Elect) error {
	ctx, cancel := context.WithTimeout(ctx, electTime)
	defer cancel()
	client := m.client
	if a.Name != m.opts.Name {
		var ok bool
		if _, _, client, ok = m.peers.find(a.Name); !ok {
			return errors.New("it has no address")
		}
	}
	if err := client.ClusterFailover(ctx, redis.FailoverForce); err != nil {
		return err
	}
	if err := awaitMaster(ctx, client); err != nil {
		return err
	}
	m.peers.nudge(ctx)
	m.refresh.Store(true)
	return nil
}

// awaitMaster waits until a server is master.
func awaitMaster(ctx context.Context, c *redis.Client) error {
	every := time.NewTicker(glance)
	defer every.Stop()
	for {
		s, err := c.Status(ctx)
		if err == nil && s.Role == v1alpha1.RoleMaster {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was not promoted in time: %w", c.Address(), errors.Join(err, ctx.Err()))
		case <-every.C:
		}
	}
}

// handOverShard lets a replica take over while this master lets writers wait: CLUSTER FAILOVER. Where it fails this
// server goes on as master by itself.
func (m *member) handOverShard(ctx context.Context, to string) error {
	peer, pod, client, ok := m.peers.find(to)
	if !ok {
		return errors.New("it has no address")
	}
	h := &handoverRun{to: peer, client: client, agent: pod.Agent}
	m.leaving, m.handingOver = m.handoverReason(), true
	m.publish("handing over to " + to)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shardTime)
	defer cancel()
	// A connection made now is one that no writer waits for.
	if err := client.Ping(ctx); err != nil {
		return m.endHandover(ctx, h, fmt.Errorf("the candidate does not answer: %w", err))
	}
	h.pausedAt = m.now()
	err := client.ClusterFailover(ctx, redis.FailoverPlanned)
	if err == nil {
		err = awaitMaster(ctx, client)
	}
	if err == nil {
		err = m.awaitReplica(ctx)
	}
	if err == nil {
		m.fenced = false
		m.lookAtNode(ctx)
		m.decided.Role = v1alpha1.RoleReplica
		// The label follows in the next turn too, should the API be away.
		if lerr := m.setRole(ctx, m.opts.Name, v1alpha1.RoleReplica); lerr != nil {
			m.log.Warn("the label is not moved yet", "error", lerr)
		}
	}
	return m.endHandover(ctx, h, err)
}

// awaitReplica waits until the own server has heard of its successor.
func (m *member) awaitReplica(ctx context.Context) error {
	every := time.NewTicker(glance)
	defer every.Stop()
	for {
		if s, err := m.client.Status(ctx); err == nil && s.Role == v1alpha1.RoleReplica {
			m.seen.Role, m.seen.LinkUp = s.Role, s.LinkUp
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the own server has not become a replica: %w", ctx.Err())
		case <-every.C:
		}
	}
}

// canHandOverShard says what is wrong with a request for a handover.
func (m *member) canHandOverShard(to string) error {
	o := m.observeNode(m.cluster.View())
	_, err := plan.ChooseSuccessor(&o, to)
	return err
}

// promoted records that this member became master of its shard.
func (m *member) promoted(ctx context.Context) {
	now := m.now()
	f := v1alpha1.FailoverStatus{Time: metav1.NowMicro(), From: m.former, To: m.opts.Name, Reason: "the cluster promoted it"}
	if m.lostAt != 0 {
		f.Milliseconds = (now - m.lostAt).Milliseconds()
	}
	if peer, _, _, ok := m.peers.find(f.From); ok {
		switch {
		case peer.Leaving != "":
			f.Planned, f.Reason = peer.HandingOver, peer.Leaving
		case !peer.Reachable:
			f.Reason = f.From + " does not answer"
		}
	}
	m.lostAt, m.openedAt, m.opened = 0, now, true
	m.leaving, m.handingOver = "", false
	if f.From == "" || f.From == f.To {
		return
	}
	m.failover = &f
	m.metrics.failovers.Add(1)
	m.log.Info("this member is master", "from", f.From, "milliseconds", f.Milliseconds, "planned", f.Planned, "why", f.Reason)
	m.tellFailover(ctx, f, false)
}
