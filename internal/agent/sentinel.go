package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

const (
	sentinelFile = "sentinel.conf"
	// discoverEvery is how often a Sentinel is made to look for replicas.
	discoverEvery = 3 * time.Second
)

// sentinel is the agent of one redis-sentinel.
type sentinel struct {
	*base
	client *redis.Sentinel

	view         v1alpha1.SentinelView
	status       v1alpha1.ServerStatus
	startedAt    time.Duration
	answeredAt   time.Duration
	askedAt      time.Duration
	remembered   plan.Memory
	discoveredAt time.Duration
	// set is what the Sentinel was told about its master last.
	set      redis.MonitorOptions
	stopping bool
	rotation rotation
	id       atomic.Pointer[string] // its sentinel myid
}

func newSentinel(b *base) *sentinel {
	s := &sentinel{base: b, client: redis.NewSentinel(b.opts.address(), "")}
	s.id.Store(new(string))
	return s
}

// run is the loop, until the Sentinel stopped. The end of stop is SIGTERM.
func (s *sentinel) run(ctx context.Context, stop <-chan struct{}) error {
	defer s.client.Close()
	defer s.subscribe(ctx, s.opts.address(), s.onEvent(ctx), redis.EventVote, redis.EventWaitPromotion, redis.EventSwitchMaster)()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.wake:
		case <-s.server.done():
		case <-stop:
			s.stopping = true
			return s.shutDown(ctx)
		}
		err := s.turn(ctx)
		if err != nil {
			s.complain("could not act", err)
		}
		wait := tick
		if err != nil || s.server.running() && s.answeredAt < s.startedAt {
			wait = 2 * starting
		}
		timer.Reset(wait)
	}
}

// turn observes, decides and acts once.
func (s *sentinel) turn(ctx context.Context) error {
	defer func() { s.turned.Store(int64(s.now())) }()
	if exit, ended := s.server.reap(); ended {
		s.status, s.view, s.answeredAt, s.set = v1alpha1.ServerStatus{}, v1alpha1.SentinelView{}, 0, redis.MonitorOptions{}
		s.publish("the Sentinel ended: " + exit.String())
	}
	v := s.cluster.View()
	if !s.takeConfig(v) {
		s.publish("waiting for the configuration: ConfigMap " + s.opts.Redis + " and its Secrets")
		return nil
	}
	if v.Lease != nil {
		s.lease.watched(*v.Lease, s.now())
	}
	if !s.server.running() && !time.Now().Before(s.server.notBefore) {
		s.start()
	}
	s.peers.update(ctx, v, s.password)
	fresh := s.refresh.Swap(false)
	if fresh {
		s.peers.ask(ctx)
	} else {
		s.peers.askSoon(ctx)
	}
	s.look(ctx)
	if err := s.label(ctx, v); err != nil {
		return err
	}
	if s.answeredAt < s.startedAt {
		s.publish("the Sentinel starts")
		return nil
	}
	members, others := s.peers.observed()
	d := plan.DecideSentinel(plan.SentinelObservation{
		Now: s.now(), Config: *s.config, Others: others, Members: members,
		Self:  plan.Sentinel{SentinelView: s.view, Name: s.opts.Name, Address: s.opts.address(), Reachable: s.status.Up, AskedAt: s.askedAt},
		Lease: s.lease.observed(s.now(), s.leaseTime()), Memory: s.remembered,
	})
	s.remembered = d.Memory
	s.publish(d.Why)
	s.tell(ctx, news{up: s.status.Up, monitoring: s.view.Monitoring})
	if len(d.Actions) > 0 && !fresh {
		// Around a failover what the others said a second ago may be wrong by now: ask, and decide again.
		s.nudge()
		return nil
	}
	for _, a := range d.Actions {
		if err := s.act(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		if _, poll := a.(plan.Poll); !poll {
			s.log.Info("did", "action", a.String(), "why", d.Why)
		}
		s.poke()
	}
	if err := s.discover(ctx, members); err != nil {
		return err
	}
	if err := s.rotatePassword(ctx); err != nil {
		return err
	}
	return s.applySettings(ctx)
}

func (s *sentinel) act(ctx context.Context, a plan.Action) error {
	switch a := a.(type) {
	case plan.Poll:
		s.peers.ask(ctx)
		return nil
	case plan.Nudge:
		s.peers.nudge(ctx)
		return nil
	case plan.SetRoleLabel:
		return s.setRole(ctx, a.Pod, a.Role)
	}
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	switch a := a.(type) {
	case plan.Monitor:
		return s.monitor(ctx, a.Address)
	case plan.ResetSentinel:
		return s.client.Reset(ctx, s.opts.Redis)
	case plan.AskSentinelFailover:
		return s.client.Failover(ctx, s.opts.Redis)
	}
	return fmt.Errorf("unknown action %T", a)
}

// monitor makes the Sentinel watch the master at addr, and no other.
func (s *sentinel) monitor(ctx context.Context, addr string) error {
	all, err := s.client.Masters(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := s.client.Remove(ctx, m.Name); err != nil {
			return err
		}
	}
	o := s.wanted()
	if err := s.client.Monitor(ctx, s.opts.Redis, addr, o); err != nil {
		return err
	}
	s.set = o
	return nil
}

// wanted are the settings of the configuration.
func (s *sentinel) wanted() redis.MonitorOptions {
	return redis.MonitorOptions{
		Quorum:          max(s.config.Quorum, 1),
		DownAfter:       time.Duration(s.config.DownAfterMS) * time.Millisecond,
		FailoverTimeout: time.Duration(s.config.FailoverTimeoutMS) * time.Millisecond,
		ParallelSyncs:   max(s.config.ParallelSyncs, 1),
		Password:        s.password,
	}
}

// applySettings brings a Sentinel that monitors to the configuration wanted.
func (s *sentinel) applySettings(ctx context.Context) error {
	o := s.wanted()
	if !s.view.Monitoring || s.set == o {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	if err := s.client.Set(ctx, s.opts.Redis, o); err != nil {
		return err
	}
	s.set = o
	return nil
}

// start starts the Sentinel afresh: without a master, but with an epoch above all that it may have voted in.
func (s *sentinel) start() {
	s.client.SetPassword(s.password)
	s.rotation = rotation{has: s.password}
	id := redis.SentinelID(s.config.UID, s.opts.Name)
	s.id.Store(&id)
	conf := redis.SentinelConf{
		IP: s.opts.IP, MoreIPs: s.opts.MoreIPs, Port: s.opts.Port, Dir: s.opts.Dir, Password: s.password,
		ID: id, Epoch: lastEpoch(filepath.Join(s.opts.Dir, sentinelFile)) + 1,
	}
	if err := s.server.start(sentinelFile, conf.Render(), "--sentinel"); err != nil {
		s.complain("the Sentinel does not start", err)
		return
	}
	s.startedAt = s.now()
}

// lastEpoch is the highest epoch that the Sentinel of the configuration file at path knew, -1 when there is none.
func lastEpoch(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil || len(b) > maxFileBytes {
		return -1
	}
	highest := int64(-1)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) >= 3 && f[0] == "sentinel" && strings.HasSuffix(f[1], "-epoch") {
			if n, err := strconv.ParseInt(f[len(f)-1], 10, 64); err == nil {
				highest = max(highest, n)
			}
		}
	}
	return highest
}

// look asks the own Sentinel what it believes.
func (s *sentinel) look(ctx context.Context) {
	if !s.server.running() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	sent := s.now()
	view, err := sentinelView(ctx, s.client, s.opts.Redis)
	if err == nil {
		var info redis.Info
		if info, err = s.client.Info(ctx); err == nil {
			s.status = info.ServerStatus()
			s.status.Role = v1alpha1.RoleSentinel
			s.view, s.askedAt, s.answeredAt = view, sent, s.now()
		}
	}
	if err != nil && s.answeredAt >= s.startedAt {
		s.complain("the Sentinel does not answer", err)
	}
	s.status.Up = s.answeredAt >= s.startedAt && s.now()-s.answeredAt < upTime
	s.status.PID, s.status.Address = s.server.pid(), s.opts.address()
}

// label keeps the own pod's label.
func (s *sentinel) label(ctx context.Context, v View) error {
	for _, p := range v.Pods {
		if p.Name == s.opts.Name && p.Label != v1alpha1.RoleSentinel {
			return s.setRole(ctx, p.Name, v1alpha1.RoleSentinel)
		}
	}
	return nil
}

// onEvent makes a failover that the own Sentinel leads known to the others as soon as the promoted server is master. By
// itself the leader looks once a second whether it is, and tells the others every two.
func (s *sentinel) onEvent(ctx context.Context) func(redis.SentinelEvent) {
	epoch := int64(0)
	return func(e redis.SentinelEvent) {
		switch f := e.Fields; {
		case e.Channel == redis.EventVote && len(f) == 2 && f[0] == *s.id.Load():
			epoch, _ = strconv.ParseInt(f[1], 10, 64)
		case e.Channel == redis.EventWaitPromotion && len(f) >= 4 && epoch > 0:
			if err := s.spread(ctx, net.JoinHostPort(f[2], f[3]), epoch); err != nil {
				s.log.Info("a promotion is not spread early", "error", err)
			}
		}
		s.nudge()
	}
}

// spread waits until the server at addr, which the own Sentinel promotes in a failover of that epoch, is master, and sends
// the other Sentinels the message that the own one will send.
func (s *sentinel) spread(ctx context.Context, addr string, epoch int64) error {
	ctx, cancel := context.WithTimeout(ctx, promoteTime)
	defer cancel()
	c := redis.NewClient(addr, *s.secret.Load())
	defer c.Close()
	every := time.NewTicker(glance)
	defer every.Stop()
	for {
		server, err := c.Status(ctx)
		if err == nil && server.Role == v1alpha1.RoleMaster {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was not promoted: %w", addr, errors.Join(err, ctx.Err()))
		case <-every.C:
		}
	}
	var errs []error
	for _, o := range s.peers.sentinelClients() {
		errs = append(errs, o.Hello(ctx, *s.id.Load(), s.opts.address(), redis.Master{Name: s.opts.Redis, Address: addr, ConfigEpoch: epoch}))
	}
	return errors.Join(errs...)
}

// discover makes a Sentinel that has just begun to monitor and knows no replica, although there are some, begin again: it
// looks when it begins, and then only every ten seconds. Without a replica it can fail over to nobody, so there is nothing to
// lose.
func (s *sentinel) discover(ctx context.Context, members []plan.Member) error {
	if !s.view.Monitoring || s.view.ConfigEpoch > 0 || len(s.view.Replicas) > 0 || s.view.FailoverInProgress || s.view.MasterDown || s.now()-s.discoveredAt < discoverEvery {
		return nil
	}
	for _, m := range members {
		if m.Reachable && m.Server.LinkUp && m.Server.MasterAddress == s.view.MasterAddress {
			s.discoveredAt = s.now()
			ctx, cancel := context.WithTimeout(ctx, actionTime)
			defer cancel()
			s.log.Info("the Sentinel knows no replica and begins again")
			return s.monitor(ctx, s.view.MasterAddress)
		}
	}
	return nil
}

func (s *sentinel) publish(message string) {
	view := s.view
	st := v1alpha1.AgentStatus{
		Name: s.opts.Name, Boot: s.boot, Role: v1alpha1.RoleSentinel, Stopping: s.stopping, Server: s.status, Sentinel: &view,
		Ready: s.status.Up && view.Monitoring, Message: message,
		APIReachable: s.lease.observed(s.now(), s.leaseTime()).APIReachable,
	}
	s.base.status.Store(&st)
}

// shutDown ends the Sentinel.
func (s *sentinel) shutDown(ctx context.Context) error {
	s.publish("stopping")
	if !s.server.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	exit := s.server.process.Stop(ctx, terminate)
	s.log.Info("Sentinel stopped", "exit", exit.String())
	if exit.Code != 0 {
		return errors.New("stop the Sentinel: " + exit.String())
	}
	return nil
}
