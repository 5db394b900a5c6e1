package plan

import (
	"slices"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// What redis-sentinel's source has, and the settings of the worlds.
const (
	downAfter       = 5 * second
	failoverTimeout = 30 * second
	sentinelTick    = 250 * ms
	helloEvery      = 2 * second
	infoEvery       = 10 * second
	convertAfter    = 4 * helloEvery
)

// sentinel is a redis-sentinel: it watches one master or none.
type sentinel struct {
	n             *node
	running, hung bool
	gen           int
	epoch         int64 // the current one; survives a restart with its directory
	diskLost      bool
	watch         *watch // nil without a master
	askedAt       map[who]time.Duration
}

// who is a run of an agent that asked a Sentinel; its connection stays there, whatever becomes of it.
type who struct{ name, boot string }

// watch is what a Sentinel knows of its master; SENTINEL REMOVE forgets it all, votes included.
type watch struct {
	master      *watched
	configEpoch int64
	leader      *node // its last vote
	leaderEpoch int64
	replicas    []*watched
	sentinels   []watchedSentinel
	failover    failoverState
	startedAt   time.Duration // last failover, own or another's
	helloAt     time.Duration
}

// watched is a server as a Sentinel knows it.
type watched struct {
	address             string
	answeredAt, infoAt  time.Duration
	isMaster, linkUp    bool
	roleSince, confFrom time.Duration
	follows             string
	offset              int64
	seen                bool // INFO was answered at least once
}

type watchedSentinel struct {
	n       *node
	address string
	down    bool // it says that the master is down
	leader  *node
	epoch   int64 // of its vote
}

func (s *sentinel) start() {
	w := s.n.w
	if s.diskLost {
		s.epoch, s.diskLost = 0, false
	} else {
		s.epoch++
	}
	s.running, s.hung, s.watch, s.askedAt = true, false, nil, map[who]time.Duration{}
	s.gen++
	gen := s.gen
	var tick func()
	tick = func() {
		if s.gen == gen && s.running {
			if !s.hung {
				s.tick()
			}
			w.after(time.Duration(float64(sentinelTick)*s.n.agent.rate), tick)
		}
	}
	w.after(w.between(0, sentinelTick), tick)
}

func (s *sentinel) kill(why string) {
	if s.running {
		s.n.w.log(s.n.name, "Sentinel dies: %s", why)
		s.running, s.watch = false, nil
		s.gen++
	}
}

// monitor is SENTINEL REMOVE and SENTINEL MONITOR.
func (s *sentinel) monitor(address string) {
	s.watch = &watch{master: s.see(address), startedAt: -2 * failoverTimeout}
	s.watch.master.isMaster = true
}

// reset is SENTINEL RESET.
func (s *sentinel) reset() {
	if t := s.watch; t != nil {
		t.replicas, t.sentinels, t.failover, t.leader = nil, nil, failoverState{}, nil
		m := s.see(t.master.address)
		m.isMaster = true
		t.master = m
	}
}

func (s *sentinel) see(address string) *watched {
	now := s.n.w.now
	return &watched{address: address, answeredAt: now, infoAt: -infoEvery, roleSince: now, confFrom: now}
}

// reach is the server at an address, if it answers this Sentinel.
func (s *sentinel) reach(address string) *node {
	w := s.n.w
	if p := w.byAddress(address); p != nil && p.srv.running && !p.srv.hung && w.linked(s.n, p) {
		return p
	}
	return nil
}

func (s *sentinel) tick() {
	t, now := s.watch, s.n.w.now
	if t == nil {
		return
	}
	s.look(t.master)
	for _, r := range t.replicas {
		s.look(r)
	}
	if now-t.helloAt >= helloEvery {
		s.hello()
	}
	down := s.down(t.master)
	if down {
		s.askOthers(false)
		if t.failover.step == noFailover && s.objectivelyDown() && now-t.startedAt > 2*failoverTimeout {
			s.startFailover(false)
		}
	}
	if t.failover.step != noFailover {
		s.failOver()
	} else if !down && t.master.seen && t.master.isMaster {
		s.convert()
	}
}

// down is s_down.
func (s *sentinel) down(i *watched) bool {
	now := s.n.w.now
	return now-i.answeredAt > downAfter || i == s.watch.master && i.seen && !i.isMaster && now-i.roleSince > downAfter+2*infoEvery
}

func (s *sentinel) objectivelyDown() bool {
	n := 1
	for _, o := range s.watch.sentinels {
		if o.down {
			n++
		}
	}
	return n >= s.quorum()
}

func (s *sentinel) quorum() int { return len(s.n.w.sentinels)/2 + 1 }

// look is PING, and INFO when it is due.
func (s *sentinel) look(i *watched) {
	t, now := s.watch, s.n.w.now
	p := s.reach(i.address)
	if p == nil {
		return
	}
	i.answeredAt = now
	every := infoEvery
	if i != t.master && (t.failover.step != noFailover || i.seen && !i.linkUp || s.down(t.master)) {
		every = second
	}
	if now-i.infoAt < every {
		return
	}
	srv := &p.srv
	if i.isMaster != srv.master || !i.seen {
		i.isMaster, i.roleSince = srv.master, now
	}
	if i.follows != srv.masterAddr {
		i.follows, i.confFrom = srv.masterAddr, now
	}
	i.infoAt, i.seen, i.linkUp, i.offset = now, true, srv.linkUp, srv.data.off-srv.base
	if i == t.master && srv.master {
		for _, r := range s.n.w.nodes {
			if r.exists && r.srv.running && r.srv.linkUp && r.srv.masterAddr == i.address && !t.knows(r.address) {
				t.replicas = append(t.replicas, s.see(r.address))
			}
		}
	}
}

func (t *watch) knows(address string) bool {
	return slices.ContainsFunc(t.replicas, func(r *watched) bool { return r.address == address })
}

// current is the master that it tells clients and other Sentinels.
func (t *watch) current() string {
	if t.failover.step == reconfigure {
		return t.failover.promoted.address
	}
	return t.master.address
}

// hello tells all who listen at a server that both know.
func (s *sentinel) hello() {
	t, w := s.watch, s.n.w
	t.helloAt = w.now
	for _, o := range w.sentinels {
		if o == s.n || !o.sen.running || o.sen.hung || o.sen.watch == nil {
			continue
		}
		for _, r := range append([]*watched{t.master}, t.replicas...) {
			p := s.reach(r.address)
			if p != nil && w.linked(o, p) && (o.sen.watch.master.address == r.address || o.sen.watch.knows(r.address)) {
				s.tell(o, t.configEpoch, t.current())
				break
			}
		}
	}
}

// tell delivers a hello message.
func (s *sentinel) tell(o *node, configEpoch int64, master string) {
	w, from, epoch, gen := s.n.w, s.n.address, s.epoch, o.sen.gen
	w.after(w.between(ms, 20*ms), func() {
		if o.sen.gen == gen && !o.sen.hung {
			o.sen.told(s.n, from, epoch, configEpoch, master)
		}
	})
}

func (s *sentinel) told(by *node, from string, epoch, configEpoch int64, master string) {
	t := s.watch
	if t == nil {
		return
	}
	i := slices.IndexFunc(t.sentinels, func(o watchedSentinel) bool { return o.n == by })
	if i < 0 {
		t.sentinels = append(t.sentinels, watchedSentinel{n: by})
		i = len(t.sentinels) - 1
	}
	t.sentinels[i].address = from
	s.epoch = max(s.epoch, epoch)
	if configEpoch > t.configEpoch {
		t.configEpoch = configEpoch
		if master != t.master.address {
			s.n.w.log(s.n.name, "  learns from %s of %s, epoch %d", by.name, master, configEpoch)
			s.switchTo(master)
		}
	}
}

// switchTo takes another server for the master; the old one becomes a replica.
func (s *sentinel) switchTo(address string) {
	t := s.watch
	var replicas []*watched
	for _, r := range append(t.replicas, t.master) {
		if r.address != address {
			replicas = append(replicas, s.see(r.address))
		}
	}
	t.master, t.replicas, t.failover = s.see(address), replicas, failoverState{}
	t.master.isMaster = true
	w := s.n.w
	for _, m := range w.nodes {
		if w.linked(s.n, m) && m.agent.running {
			m := m
			w.after(w.between(ms, 5*ms), func() { m.agent.lookAround() })
		}
	}
}

// spread is the agent's: it makes a promotion known to the other Sentinels at once.
func (s *sentinel) spread(address string, epoch int64) {
	w := s.n.w
	if w.chance(0.1) {
		return
	}
	s.n.agent.later(w.between(5*ms, 100*ms), func() {
		p := s.reach(address)
		if p == nil || !p.srv.master {
			return
		}
		for _, o := range w.sentinels {
			if o != s.n && o.sen.running && !o.sen.hung && w.linked(s.n, o) {
				s.tell(o, epoch, address)
			}
		}
	})
}

// command sends a command to a server that answers; fn is its effect.
func (s *sentinel) command(p *node, fn func()) {
	w, gen := s.n.w, p.srv.gen
	w.after(w.between(ms/5, 3*ms), func() {
		switch srv := &p.srv; {
		case srv.gen != gen || srv.loading:
		case srv.hung:
			srv.later = append(srv.later, fn)
		default:
			fn()
		}
		p.agent.later(w.between(ms, 200*ms), p.agent.lookAround)
	})
}

// convert sends servers back that have another role, or follow another master, than it believes.
func (s *sentinel) convert() {
	t, w := s.watch, s.n.w
	to := t.master.address
	for _, r := range t.replicas {
		p := s.reach(r.address)
		switch {
		case p == nil || !r.seen || w.now-t.master.infoAt > 2*infoEvery:
		case r.isMaster && w.now-r.roleSince > convertAfter,
			!r.isMaster && r.follows != to && w.now-max(r.confFrom, r.roleSince) > failoverTimeout:
			w.log(s.n.name, "makes %s a replica of %s", p.name, to)
			s.command(p, func() { p.replicaOf(to) })
			r.infoAt = -infoEvery
			r.roleSince, r.confFrom = w.now, w.now
		}
	}
}

// askers is what CLIENT LIST shows, which counts in whole seconds.
func (s *sentinel) askers() (all []Asker) {
	for w, at := range s.askedAt {
		idle := s.n.w.now.Truncate(second) - at.Truncate(second)
		all = append(all, Asker{w.name, w.boot, max(idle-second, 0)})
	}
	return all
}

// view is what its answers show.
func (s *sentinel) view() v1alpha1.SentinelView {
	t := s.watch
	if t == nil {
		return v1alpha1.SentinelView{}
	}
	v := v1alpha1.SentinelView{
		Monitoring: true, MasterAddress: t.current(), ConfigEpoch: t.configEpoch,
		MasterDown: s.down(t.master) && t.failover.step != reconfigure, FailoverInProgress: t.failover.step != noFailover,
	}
	if f := t.failover; f.step != noFailover && f.promoted != nil {
		v.Promoting = f.promoted.address
	}
	for _, r := range t.replicas {
		v.Replicas = append(v.Replicas, r.address)
	}
	for _, o := range t.sentinels {
		v.Sentinels = append(v.Sentinels, o.address)
	}
	return v
}
