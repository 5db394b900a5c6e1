package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

const (
	// starting is how often a server that was just started is looked at.
	starting = 10 * time.Millisecond
	// upTime is how long ago a server that is up answered at most.
	upTime = time.Second
	// noteTime is how often the replication offset is written down.
	noteTime = time.Second
	// leeway is how much time there must be left for what must not be late.
	leeway = 50 * time.Millisecond
	// actionTime bounds one action on the own server.
	actionTime = 500 * time.Millisecond
	// stopNotice is how long a member that has to stop waits before it looks for a successor.
	stopNotice = 100 * time.Millisecond
	// hungStop is how long a server that does not answer may take to end when it is told to.
	hungStop = 5 * time.Second
	// hurry is how many turns may follow on each other without a pause.
	hurry = 10
)

// member is the agent of one redis-server.
type member struct {
	*base
	client  *redis.Client
	memory  memory
	noted   memory
	notedAt time.Duration

	// What was last seen of the server, since its start.
	seen       v1alpha1.ServerStatus
	startedAt  time.Duration
	exitedAt   time.Duration
	answeredAt time.Duration
	pulse      pulse // in mode Cluster
	live       bool  // it was open or its link up
	fenced     bool
	lostAt     time.Duration // since when there is no master, as far as this member knows

	inForce  map[string]string
	pending  []string
	applied  *v1alpha1.AgentConfig
	rotation rotation

	decided        plan.Decision
	remembered     plan.Memory
	sentinelsSince time.Duration // since when a majority of the Sentinels answers
	configError    string
	failover       *v1alpha1.FailoverStatus
	openedFor      *takeoverCall

	// Of changes of master: the last master that is known; when this member was opened last, and whether it still is
	// as far as its server says; why its Lease was free; why this member leaves; and corrections of failover.
	former      string
	openedAt    time.Duration
	opened      bool
	released    string
	leaving     string
	handingOver bool
	corrected   chan v1alpha1.FailoverStatus

	stopping       bool
	stopAt         time.Duration   // when that began
	successor      string          // HOST:PORT of the server to which a member that stops handed over
	forwarded      <-chan struct{} // closed when that is over for the clients that come to a member that stops; nil before
	standIn        standIn
	handover       *handoverCall
	handoverFailed time.Duration
	handedOver     time.Duration // when it last told another to take over
	forcedAt       time.Duration // when somebody made it take over whatever it lacks; 0 once there was a master
	takeover       *takeoverCall
	labels         map[string]*labelled // by pod, the one that was begun last
	node           node                 // in mode Cluster
	calls          chan any             // *handoverCall, *candidateCall and *takeoverCall
	preparing      sync.Mutex           // held by the one handover to a named member in mode Sentinel
}

func newMember(b *base) (*member, error) {
	m := &member{base: b, client: redis.NewClient(b.opts.address(), ""), calls: make(chan any), labels: map[string]*labelled{}}
	if _, err := loadJSON(b.opts.Dir, memoryFile, &m.memory); err != nil {
		// Not to know what the data is would be taken for an empty member, and that for a loss.
		return nil, err
	}
	return m, nil
}

// run is the loop, until the member stopped. The end of stop is SIGTERM.
func (m *member) run(ctx context.Context, stop <-chan struct{}) error {
	defer m.client.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	quick := 0
	for {
		select {
		case call := <-m.calls: // first of all: who calls may have writers wait
			m.takeInTime(ctx, call)
			m.poke()
		default:
		}
		select {
		case <-timer.C:
		case <-m.wake:
		case <-m.server.done():
		case call := <-m.calls:
			m.takeInTime(ctx, call)
		case <-stop:
			m.log.Info("stopping")
			m.stopping, m.stopAt, stop = true, m.now(), nil
			m.refresh.Store(true)
			m.announceStop(ctx)
		}
		acted, err := m.turn(ctx)
		if errors.Is(err, errStop) {
			return m.shutDown(ctx)
		}
		wait := min(tick, max(m.decided.Next-m.now(), time.Millisecond))
		if m.decided.Next == 0 {
			wait = tick
		}
		if m.server.running() && m.answeredAt < m.startedAt {
			wait = min(wait, starting)
		}
		if quick++; !acted && err == nil {
			quick = 0
		} else if quick < hurry && err == nil {
			wait = 0
		} else {
			wait = min(wait, 5*starting)
		}
		timer.Reset(wait)
	}
}

// errStop ends the loop.
var errStop = errors.New("stop")

// turn observes, decides and acts once. acted tells whether there was anything to do.
func (m *member) turn(ctx context.Context) (acted bool, err error) {
	defer func() { m.turned.Store(int64(m.now())) }()
	m.noticeExit()
	m.dropHandover()
	v := m.cluster.View()
	if !m.takeConfig(v) {
		m.publish("waiting for the configuration: ConfigMap " + m.opts.Redis + " and its Secrets")
		if m.stopping {
			return false, errStop
		}
		return false, nil
	}
	if v.Lease != nil {
		m.lease.watched(*v.Lease, m.now())
	}
	m.peers.update(ctx, v, m.password)
	if m.config.Mode == v1alpha1.ModeCluster {
		return m.clusterTurn(ctx, v)
	}
	m.look(ctx)
	m.decided = plan.DecideMember(m.observe(v))
	m.remembered = m.decided.Memory
	m.noticeFormer()
	m.publish(m.decided.Why)
	m.tell(ctx, news{up: m.seen.Up && !m.seen.Loading, candidate: m.decided.Candidate, stopping: m.stopping})
	bounded, cancel := m.until(ctx, m.decided.Until)
	defer cancel()
	if err = m.carryOut(bounded); err != nil && !errors.Is(err, errStop) {
		m.complain("could not act", err)
	}
	m.answerTakeover(err)
	if !m.server.running() && !m.decided.StayDown && !errors.Is(err, errStop) && !time.Now().Before(m.server.notBefore) && !m.standsIn(ctx) {
		m.startServer()
		acted = true
	}
	m.note()
	if bounded.Err() == nil {
		m.rotatePassword(bounded)
		m.applyConfig(bounded)
	}
	return acted || len(m.decided.Actions) > 0, err
}

// look observes what has to be asked for. What the last decision gave the time to is over then, and so is this: a master
// whose Lease ends decides on what it has.
func (m *member) look(ctx context.Context) {
	bounded, cancel := m.until(ctx, m.decided.Until)
	defer cancel()
	if m.refresh.Swap(false) {
		m.lookAround(bounded)
	} else {
		m.peers.askSoon(ctx)
	}
	if bounded.Err() != nil {
		m.refresh.Store(true)
		return
	}
	m.lookAtServer(bounded)
}

// lookAround reads the Lease and asks everybody, at the same time.
func (m *member) lookAround(ctx context.Context) {
	read := make(chan struct{})
	m.working.Go(func() {
		defer close(read)
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if err := m.readLease(ctx); err != nil {
			m.log.Debug("the Lease was not read", "error", err)
		}
	})
	m.peers.ask(ctx)
	<-read
}

func (m *member) noticeExit() {
	exit, ended := m.server.reap()
	if !ended {
		return
	}
	m.exitedAt = m.now()
	m.note()
	if m.opened && m.opts.ServiceLag > 0 && !m.stopping && len(m.seen.Replicas) > 0 && m.config.Mode != v1alpha1.ModeCluster {
		m.standIn.until = m.now() + successorTime
	}
	// What it said last is kept: it is what the data on disk comes from.
	m.seen.Up, m.seen.Loading, m.seen.PID, m.live, m.fenced, m.opened = false, false, 0, false, true, false
	if m.leaving == "" {
		m.leaving, m.handingOver = fmt.Sprintf("the server of %s ended: %s", m.opts.Name, exit), false
	}
	m.decided.Why = "the server ended: " + exit.String()
	m.noticeNodeExit()
	if _, holds := m.lease.own(m.opts.Name, m.boot); !holds || m.config.Mode != v1alpha1.ModeReplication {
		m.refresh.Store(true)
	}
}

func (m *member) startServer() {
	m.rotation = rotation{has: m.password}
	m.client.SetPassword(m.password)
	m.inForce = map[string]string{}
	for name, value := range m.config.Config {
		if _, owned := v1alpha1.OwnedSetting(name); !owned {
			m.inForce[name] = value
		}
	}
	m.pending, m.configError, m.applied = nil, "", m.config
	conf := redis.MemberConf{
		IP: m.opts.IP, MoreIPs: m.opts.MoreIPs, Announce: m.announce(), Port: m.opts.Port, Dir: m.opts.Dir, Password: m.password,
		MaxLagSeconds: m.config.MaxLagSeconds, Settings: m.inForce,
	}
	if m.config.Mode == v1alpha1.ModeCluster {
		conf.Cluster = &redis.ClusterConf{BusPort: m.opts.BusPort, NodeTimeoutMS: m.config.NodeTimeoutMS, KeepReplicas: m.version.KeepsReplicas(), Hostname: m.hostname()}
		if err := m.noteRunning(); err != nil {
			m.complain("the server does not start", err)
			m.server.delay()
			return
		}
	}
	if err := m.server.start("redis.conf", conf.Render()); err != nil {
		m.complain("the server does not start", err)
		return
	}
	m.startedAt, m.fenced = m.now(), true
	m.pulse.silent = 0
}

// announce is HOST:PORT that clients are told: an address outside the cluster, where there is one. Nothing here goes by what is
// announced, except in mode Sentinel, where the Sentinels do and it is the pod's own address, and in mode Cluster, whose nodes
// announce host names: see hostname.
func (m *member) announce() string {
	a := m.config.Announce[m.opts.Name]
	if a == "" || m.config.Mode == v1alpha1.ModeSentinel || m.config.Mode == v1alpha1.ModeCluster {
		return m.opts.address()
	}
	return a
}

// hostname is what clients of mode Cluster are told instead of the address, empty for that. The nodes themselves use addresses.
func (m *member) hostname() string {
	switch host, _, err := net.SplitHostPort(m.config.Announce[m.opts.Name]); {
	case !m.version.AnnouncesHostnames():
		return ""
	case err == nil:
		return host
	case m.config.Domain != "":
		return m.opts.Name + "." + m.config.Domain
	}
	return ""
}

// lookAtServer asks the own server how it is.
func (m *member) lookAtServer(ctx context.Context) {
	if !m.server.running() {
		return
	}
	outer := ctx
	look, up := m.patience()
	ctx, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	before := m.seen
	s, err := m.client.Status(ctx)
	now := m.now()
	switch {
	case err == nil:
		m.seen, m.answeredAt = s, now
		m.opened = m.opened && s.Role == v1alpha1.RoleMaster
	case redis.IsLoading(err):
		m.seen.Up, m.seen.Loading, m.answeredAt = true, true, now
	default:
		if m.answeredAt >= m.startedAt {
			m.complain("the server does not answer", err)
		}
	}
	if m.config.Mode == v1alpha1.ModeCluster {
		m.feelPulse(outer, now)
	}
	m.seen.Up = m.answeredAt >= m.startedAt && now-m.answeredAt < up
	m.seen.PID, m.seen.Address = m.server.pid(), m.opts.address()
	open := m.seen.Up && m.seen.Role == v1alpha1.RoleMaster && !m.fenced
	if open || m.seen.LinkUp {
		m.live, m.lostAt = true, 0
	} else if m.lostAt == 0 && m.live {
		m.lostAt = now
	}
	if before.LinkUp && !m.seen.LinkUp {
		m.nudge()
	}
	if m.seen.LinkUp && !before.LinkUp {
		m.leaving, m.handingOver = "", false
	}
	if before.Role == v1alpha1.RoleReplica && m.seen.Role == v1alpha1.RoleMaster && m.fenced {
		// The Sentinels promoted it: what the others said before is no longer true.
		m.lookAround(outer)
	}
}

// self is this member as it reports itself.
func (m *member) self() v1alpha1.AgentStatus {
	lease := m.lease.observed(m.now(), m.leaseTime())
	s := v1alpha1.AgentStatus{
		Name: m.opts.Name, Boot: m.boot, Role: m.decided.Role, Fenced: m.fenced, Stopping: m.stopping,
		Server: m.seen, Term: m.memory.Term, Follows: m.decided.Follows, Candidate: m.decided.Candidate,
		APIReachable: lease.APIReachable, PendingRestart: m.pending, ConfigError: m.configError, LastFailover: m.failover,
		Leaving: m.leaving, HandingOver: m.handingOver,
	}
	if lease.APIReachable {
		s.APIReachableMS = (m.now() - lease.ReachableSince).Milliseconds()
	}
	if m.config != nil && m.config.Mode == v1alpha1.ModeSentinel && m.sentinelsSince != 0 {
		s.SentinelsReachableMS = (m.now() - m.sentinelsSince).Milliseconds()
	}
	if m.inForce != nil && m.applied != nil {
		s.ConfigHash, s.ConfigSeen = redis.SettingsHash(m.inForce), redis.SettingsHash(m.applied.Config)
	}
	// A server that loaded an append-only file lost its history, one that loaded a snapshot has it; one without any key
	// has none.
	if has := m.seen.Up && !m.seen.Loading && (m.seen.Offset > 0 || m.seen.Keys == 0); !m.live && !has {
		s.LastReplID, s.LastOffset = m.memory.ReplID, m.memory.Offset
	}
	up := m.seen.Up && !m.seen.Loading
	if m.config != nil && m.config.Mode == v1alpha1.ModeCluster {
		m.describeNode(&s)
		return s
	}
	switch s.Role {
	case v1alpha1.RoleMaster:
		s.Ready = up && m.seen.Role == v1alpha1.RoleMaster && !m.fenced
	case v1alpha1.RoleReplica:
		s.Ready = up && m.seen.Role == v1alpha1.RoleReplica && m.seen.LinkUp
	}
	return s
}

// publish makes the status what others are told from now on.
func (m *member) publish(message string) {
	s := m.self()
	s.Message = message
	m.status.Store(&s)
}

func (m *member) observe(v View) plan.Observation {
	now := m.now()
	members, sentinels := m.peers.observed()
	m.trackSentinels(sentinels, now)
	o := plan.Observation{
		Now: now, Config: *m.config, Peers: members, Sentinels: sentinels,
		Lease:         m.lease.observed(now, m.leaseTime()),
		ServerRunning: m.server.running(), ServerStartedAt: m.startedAt, ServerAnsweredAt: m.answeredAt,
		HandoverFailedAt: m.handoverFailed, HandedOverAt: m.handedOver, StopBy: m.stopBy(v), Memory: m.remembered,
		Self: plan.Member{AgentStatus: m.self(), Address: m.opts.address(), Reachable: true, AskedAt: now},
	}
	for _, p := range v.Pods {
		if p.Name == m.opts.Name {
			o.Self.Label = p.Label
		}
	}
	if o.Self.Open() || slices.ContainsFunc(members, func(p plan.Member) bool { return p.Reachable && p.Open() && p.AskedAt > m.forcedAt }) {
		m.forcedAt = 0 // what a member may lack of the next master's writes nobody has agreed to
	}
	o.HandoverForce = m.forcedAt != 0
	if m.handover != nil {
		o.HandoverWanted, o.HandoverTo = true, m.handover.To
	}
	if m.takeover != nil {
		t := &m.takeover.takeoverBody
		o.Takeover = &plan.Takeover{Term: t.Term, From: t.From, ReplID: t.ReplID, Offset: t.Offset, Since: time.Duration(t.ClockNS)}
	}
	return o
}

// trackSentinels keeps since when a majority of the Sentinels answers.
func (m *member) trackSentinels(all []plan.Sentinel, now time.Duration) {
	n := 0
	for _, s := range all {
		if s.Reachable {
			n++
		}
	}
	switch {
	case n*2 <= int(m.config.Sentinels):
		m.sentinelsSince = 0
	case m.sentinelsSince == 0:
		m.sentinelsSince = now
	}
}

// note writes the replication history down now and then, while the server lives it.
func (m *member) note() {
	if m.live && m.seen.ReplID != "" && m.seen.Up {
		m.memory.ReplID, m.memory.Offset = m.seen.ReplID, m.seen.Offset
	}
	if m.memory != m.noted && m.now()-m.notedAt >= noteTime && m.keepSoon(memoryFile, m.memory) {
		m.noted, m.notedAt = m.memory, m.now()
	}
}

// applyConfig brings a running server to the configuration wanted, as far as that goes without a restart.
func (m *member) applyConfig(ctx context.Context) {
	if m.applied == m.config || !m.seen.Up || m.seen.Loading {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*actionTime)
	defer cancel()
	wanted := map[string]string{}
	for name, value := range m.config.Config {
		if _, owned := v1alpha1.OwnedSetting(name); !owned {
			wanted[name] = value
		}
	}
	now, restart, err := m.client.ApplySettings(ctx, m.inForce, wanted)
	minReplicas := m.config.MinReplicasToWrite
	if m.fenced {
		minReplicas = redis.FenceReplicas
	}
	var refused error
	if redis.IsRefusal(err) {
		refused, err = err, nil
	}
	if err == nil {
		err = m.client.SetDurability(ctx, minReplicas, m.config.MaxLagSeconds)
	}
	if err == nil {
		err = m.client.SetAnnounce(ctx, m.announce())
	}
	if err == nil && m.config.Mode == v1alpha1.ModeCluster && m.version.AnnouncesHostnames() {
		err = m.client.SetHostname(ctx, m.hostname())
	}
	if err != nil && !redis.IsRefusal(err) {
		m.complain("the configuration is not applied yet", err)
		return
	}
	if err = errors.Join(refused, err); err != nil {
		m.complain("the configuration is not applied", err)
		m.configError = err.Error()
	} else {
		m.log.Info("configuration applied", "restartNeeded", restart)
		m.configError = ""
	}
	m.inForce, m.pending, m.applied = now, restart, m.config
}
