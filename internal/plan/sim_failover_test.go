package plan

import (
	"slices"
	"time"
)

// failoverState is how far a failover got that a Sentinel leads.
type failoverState struct {
	step     failoverStep
	forced   bool
	epoch    int64
	since    time.Duration
	promoted *watched
	told     bool
}

type failoverStep int

const (
	noFailover failoverStep = iota
	awaitElection
	sendNoOne
	awaitPromotion
	reconfigure
)

// askOthers is SENTINEL IS-MASTER-DOWN-BY-ADDR, with a request to vote during an election.
func (s *sentinel) askOthers(vote bool) {
	t, w := s.watch, s.n.w
	for i := range t.sentinels {
		o := &t.sentinels[i]
		if p := o.n; p.address != o.address || !w.linked(s.n, p) || !p.sen.running || p.sen.hung {
			o.down = false
			continue
		}
		who, epoch, address := o.n, s.epoch, t.master.address
		w.after(w.between(ms, 30*ms), func() {
			i := slices.IndexFunc(t.sentinels, func(o watchedSentinel) bool { return o.n == who })
			if s.watch != t || i < 0 || !who.sen.running {
				return
			}
			o, u := &t.sentinels[i], who.sen.watch
			o.down = u != nil && u.master.address == address && who.sen.down(u.master)
			if vote && u != nil && u.master.address == address {
				o.leader, o.epoch = who.sen.vote(s.n, epoch)
			}
		})
	}
}

// vote for a leader, once an epoch.
func (s *sentinel) vote(for_ *node, epoch int64) (*node, int64) {
	t := s.watch
	s.epoch = max(s.epoch, epoch)
	if t.leaderEpoch < epoch && s.epoch <= epoch {
		t.leader, t.leaderEpoch = for_, epoch
		if for_ != s.n {
			t.startedAt = s.n.w.now + s.n.w.between(0, second)
		}
	}
	return t.leader, t.leaderEpoch
}

func (s *sentinel) startFailover(forced bool) {
	t, w := s.watch, s.n.w
	s.epoch++
	t.failover = failoverState{step: awaitElection, forced: forced, epoch: s.epoch, since: w.now}
	t.startedAt = w.now + w.between(0, second)
	w.log(s.n.name, "starts a failover of %s, epoch %d, forced %v", t.master.address, s.epoch, forced)
	s.askOthers(true)
}

// askFailover is SENTINEL FAILOVER.
func (s *sentinel) askFailover() bool {
	if s.watch == nil || s.watch.failover.step != noFailover || s.choose() == nil {
		return false
	}
	s.startFailover(true)
	return true
}

// elected tells whether a majority of the Sentinels that it knows voted for this one.
func (s *sentinel) elected() bool {
	t := s.watch
	votes := map[*node]int{}
	for _, o := range t.sentinels {
		if o.leader != nil && o.epoch == s.epoch {
			votes[o.leader]++
		}
	}
	winner := s.n
	for _, o := range s.n.w.sentinels {
		if votes[o] > votes[winner] {
			winner = o
		}
	}
	if own, epoch := s.vote(winner, t.failover.epoch); epoch == t.failover.epoch && own != nil {
		votes[own]++
	}
	need := max((len(t.sentinels)+1)/2+1, s.quorum())
	return votes[s.n] >= need
}

// choose is the replica to promote.
func (s *sentinel) choose() *watched {
	t, w := s.watch, s.n.w
	var best *watched
	valid, longest := 3*infoEvery, 10*downAfter
	if s.down(t.master) {
		valid = 5 * second
	}
	for _, r := range t.replicas {
		if !r.seen || w.now-r.answeredAt > second || w.now-r.infoAt > valid || r.isMaster || !r.linkUp && w.now-r.confFrom > longest {
			continue
		}
		if best == nil || r.offset > best.offset || r.offset == best.offset && r.address < best.address {
			best = r
		}
	}
	return best
}

// failOver takes the failover that it leads one step further.
func (s *sentinel) failOver() {
	t, w := s.watch, s.n.w
	f := &t.failover
	late := w.now-f.since > failoverTimeout
	abort := func(why string) {
		w.log(s.n.name, "gives the failover up: %s", why)
		t.failover = failoverState{}
	}
	switch f.step {
	case awaitElection:
		if !f.forced && !s.elected() {
			if w.now-f.since > 10*second {
				abort("not elected")
			} else {
				s.askOthers(true)
			}
			return
		}
		if f.promoted = s.choose(); f.promoted == nil {
			abort("no good replica")
			return
		}
		f.step, f.since = sendNoOne, w.now
	case sendNoOne:
		p := s.reach(f.promoted.address)
		if p == nil {
			if late {
				abort("the replica does not answer")
			}
			return
		}
		w.log(s.n.name, "promotes %s", p.name)
		s.command(p, func() { p.promoteServer() })
		f.step, f.since = awaitPromotion, w.now
		s.spread(f.promoted.address, f.epoch)
	case awaitPromotion:
		if p := f.promoted; p.seen && p.isMaster && p.infoAt > f.since {
			t.configEpoch = f.epoch
			f.step, f.since = reconfigure, w.now
			s.hello()
		} else if late {
			abort("not promoted")
		}
	case reconfigure:
		done := true
		for _, r := range t.replicas {
			if r == f.promoted || s.down(r) {
				continue
			}
			if p := s.reach(r.address); p != nil && (!f.told || late) {
				to := f.promoted.address
				s.command(p, func() { p.replicaOf(to) })
			}
			done = done && r.follows == f.promoted.address && r.linkUp
		}
		f.told = true
		if done || late {
			s.switchTo(f.promoted.address)
		}
	}
}
