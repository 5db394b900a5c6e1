package plan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// The simulator: members with a redis-server, a disk and an agent with its own clock, a Lease behind an API, and a writer,
// in one thread and on one virtual clock. What an agent knows it learnt by messages that take time and get lost; what it
// decides comes from DecideMember alone. After every event the safety rules are checked against the truth.

const ms = time.Millisecond

// event is something that happens at a moment.
type event struct {
	at  time.Duration
	seq int
	fn  func()
}

// queue is a heap of events, by time and then by order of arrival.
type queue []event

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (q *queue) push(e event) {
	*q = append(*q, e)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			return
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *queue) pop() event {
	h := *q
	first, n := h[0], len(h)-1
	h[0], h[n] = h[n], event{}
	h = h[:n]
	*q = h
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			return first
		}
		if down+1 < n && h[down+1].before(&h[down]) {
			down++
		}
		if !h[down].before(&h[i]) {
			return first
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}

// line is a line of writes that began as a copy of another at some offset.
type line struct {
	parent *line
	at     int64
}

// data is what a server holds: the first off writes of a line.
type data struct {
	line *line
	off  int64
}

// has tells whether everything of other is in d.
func (d data) has(other data) bool {
	if other.off == 0 {
		return true
	}
	for other.line.parent != nil && other.off <= other.line.at {
		other.line = other.line.parent
	}
	for l, off := d.line, d.off; l != nil; l, off = l.parent, min(off, l.at) {
		if l == other.line {
			return off >= other.off
		}
	}
	return false
}

// persistence is what a restarted server of this world still has.
type persistence int

const (
	appendOnly persistence = iota // all data, but no replication history
	snapshots                     // older data with its history
	nothing                       // no data
)

type world struct {
	rng   *rand.Rand
	now   time.Duration
	queue queue
	seq   int

	mode      v1alpha1.Mode
	persist   persistence
	replicas  int32
	nodes     []*node // members
	sentinels []*node
	cut       [10]uint16 // by node.index: whom it cannot reach
	split     bool
	apiUp     bool
	lease     simLease
	handed    map[int64]handed // by the term that a handover made
	addrs     int
	ids       int
	writing   bool
	apiPrompt bool // the API answers at once, while it does
	mutant    mutant

	opens     int
	violation string
	trace     func(string)
}

// handed is a handover: from whom, and to which run of whose server.
type handed struct {
	from *node
	run  string
}

type simLease struct {
	holder, boot, last, from string
	term                     int64
	members                  int32
	rv                       int
}

func (w *world) after(d time.Duration, fn func()) {
	w.seq++
	w.queue.push(event{w.now + d, w.seq, fn})
}

// between is a random time from a to b.
func (w *world) between(a, b time.Duration) time.Duration {
	return a + time.Duration(w.rng.Int64N(int64(b-a)+1))
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) log(who, format string, args ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%9.3fs %-8s %s", w.now.Seconds(), who, fmt.Sprintf(format, args...)))
	}
}

func (w *world) fail(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf("at %.3fs: %s", w.now.Seconds(), fmt.Sprintf(format, args...))
		w.log("CHECK", "VIOLATED: %s", fmt.Sprintf(format, args...))
	}
}

// id is a fresh random identifier.
func (w *world) id(kind string) string {
	w.ids++
	return fmt.Sprintf("%s%d", kind, w.ids)
}

func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.violation == "" {
		e := w.queue.pop()
		w.now = e.at
		e.fn()
		w.checkOneMaster()
	}
	w.now = max(w.now, until)
}

func (w *world) linked(a, b *node) bool {
	return w.cut[a.index]&(1<<b.index) == 0
}

func (w *world) byName(name string) *node {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (w *world) byAddress(address string) *node {
	for _, n := range w.nodes {
		if n.exists && n.address == address {
			return n
		}
	}
	return nil
}

// node is one pod: a member with disk, server and agent, or a Sentinel and its agent.
type node struct {
	w     *world
	ord   int
	index int // among all pods
	name  string
	sen   *sentinel // nil for a member

	exists     bool
	address    string
	label      v1alpha1.Role
	terminated bool // as the API says
	apiCut     bool
	stableAt   time.Duration // since when nothing was done to its agent, network or server

	disk     data
	diskID   string
	snapshot data
	snapID   string
	srv      server
	agent    agent
	handed   *node         // it was promoted in a handover by that one
	seen     time.Duration // last write that its server took or received
}

// server is a redis-server.
type server struct {
	running, loading, hung, master, fenced, linkUp bool
	opened                                         bool // by its agent, since its start: it may be copied

	gen         int
	startedAt   time.Duration // true time
	run         string
	masterAddr  string
	pausedUntil time.Duration
	syncing     bool
	data        data
	id, id2     string // replication IDs as INFO has them
	second      int64
	base        int64    // INFO's offset is data.off - base
	later       []func() // commands that a hung server has yet to carry out
}

// writable is the truth of the first rule: a client's write would be acknowledged now.
func (n *node) writable() bool {
	s := &n.srv
	return s.running && !s.loading && s.master && !s.fenced && !s.hung && n.w.now >= s.pausedUntil
}

func (n *node) killServer(why string) {
	s := &n.srv
	if n.sen != nil {
		n.sen.kill(why)
		return
	}
	if !s.running {
		return
	}
	n.w.log(n.name, "server dies: %s", why)
	s.running = false
	s.gen++
	if n.w.persist == appendOnly {
		n.disk = s.data
	} else {
		n.disk, n.diskID = n.snapshot, n.snapID
	}
	n.stableAt = n.w.now
}

// startServer starts it closed; it loads for a while.
func (n *node) startServer() {
	w, s := n.w, &n.srv
	if n.sen != nil {
		n.sen.start()
		return
	}
	gen := s.gen + 1
	n.handed = nil
	*s = server{running: true, loading: true, fenced: true, gen: gen, run: w.id("run"), startedAt: w.now, data: n.disk}
	switch w.persist {
	case appendOnly:
		s.id, s.base = w.id("repl"), s.data.off
	case snapshots:
		s.id = n.diskID
		if s.id == "" {
			s.id = w.id("repl")
		}
	case nothing:
		s.data, s.id = data{line: &line{}}, w.id("repl")
	}
	w.after(w.between(5*ms, 300*ms), func() {
		if n.srv.gen == gen && n.srv.running {
			n.srv.loading = false
			n.stableAt = w.now
			w.log(n.name, "server is up, closed, %d writes", n.srv.data.off)
			n.agent.wake()
		}
	})
}

func (n *node) openServer() {
	n.promoteServer()
	n.srv.fenced, n.srv.opened = false, true
}

// promoteServer is REPLICAOF NO ONE alone.
func (n *node) promoteServer() {
	s := &n.srv
	if !s.master {
		s.id2, s.second, s.id = s.id, s.data.off-s.base, n.w.id("repl")
		s.data.line = &line{parent: s.data.line, at: s.data.off}
	}
	s.master, s.masterAddr, s.linkUp, s.syncing = true, "", false, false
}

// followServer makes it a fenced replica.
func (n *node) followServer(address string) {
	n.srv.fenced = !n.w.mutant.unfenced
	n.replicaOf(address)
}

// replicaOf is REPLICAOF alone.
func (n *node) replicaOf(address string) {
	s := &n.srv
	if !s.master && s.masterAddr == address {
		return
	}
	s.master, s.masterAddr, s.linkUp, s.syncing = false, address, false, false
	if address != "" {
		n.w.after(n.w.between(2*ms, 400*ms), n.tryLink(s.gen, address))
	}
}

// tryLink connects a replica with its master, by a full synchronisation if the histories differ.
func (n *node) tryLink(gen int, address string) func() {
	return func() {
		w, s := n.w, &n.srv
		if s.gen != gen || !s.running || s.master || s.masterAddr != address || s.linkUp || s.syncing {
			return
		}
		m := w.byAddress(address)
		again := func() { w.after(w.between(300*ms, 1000*ms), n.tryLink(gen, address)) }
		if m == nil || s.hung || !w.linked(n, m) || !m.srv.running || m.srv.loading || m.srv.hung || !m.srv.master && !m.srv.linkUp {
			again()
			return
		}
		ms := &m.srv
		off := s.data.off - s.base
		if s.id == ms.id && off <= ms.data.off-ms.base || s.id == ms.id2 && off <= ms.second {
			s.id, s.id2, s.second, s.base, s.linkUp = ms.id, ms.id2, ms.second, ms.base, true
			s.data.line = ms.data.line
			n.agent.wake()
			return
		}
		if ms.master && !ms.opened && !w.mutant.copied {
			again()
			return
		}
		if ms.data.off == 0 && s.data.off > 0 {
			w.fail("%s throws its data away for that of the empty %s", n.name, m.name)
			return
		}
		s.syncing = true
		from := ms.run
		w.after(w.between(50*time.Millisecond, 1500*time.Millisecond), func() {
			if s.gen != gen || s.masterAddr != address || !s.syncing {
				return
			}
			s.syncing = false
			if !m.srv.running || m.srv.run != from || !w.linked(n, m) {
				again()
				return
			}
			s.data, s.id, s.id2, s.second, s.base, s.linkUp = ms.data, ms.id, ms.id2, ms.second, ms.base, true
			n.snapshot, n.snapID = s.data, s.id
			n.seen = w.now
			n.agent.wake()
		})
	}
}

// pump writes to every writable server and moves the replication streams.
func (w *world) pump() {
	for _, n := range w.nodes {
		s := &n.srv
		if w.writing && n.exists && n.writable() {
			s.data.off++
			n.seen = w.now
		}
		if s.running && (s.master || s.linkUp) && w.chance(0.01) {
			n.snapshot, n.snapID = s.data, s.id
		}
		if !s.running || !s.linkUp || s.hung {
			continue
		}
		m := w.byAddress(s.masterAddr)
		if m == nil || !m.srv.running || !w.linked(n, m) || m.srv.id != s.id || !m.srv.master && !m.srv.linkUp {
			s.linkUp = false
			w.after(w.between(100*ms, 1000*ms), n.tryLink(s.gen, s.masterAddr))
			continue
		}
		if m.srv.data.off > s.data.off && !m.srv.hung && w.chance(0.8) {
			s.data = m.srv.data
			n.seen = w.now
		}
	}
	w.after(20*ms, w.pump)
}

// goOn ends a server's hang.
func (n *node) goOn() {
	s := &n.srv
	s.hung = false
	for _, command := range s.later {
		command()
	}
	s.later = nil
}

// String shows the truth of a world on one line.
func (w *world) String() string {
	var b strings.Builder
	for _, n := range w.nodes {
		state := "closed"
		switch s := &n.srv; {
		case !n.exists:
			state = "absent"
		case !s.running:
			state = "dead"
		case s.loading:
			state = "loading"
		case s.hung:
			state = "hung"
		case n.writable():
			state = "OPEN"
		case s.master:
			state = "fenced"
		case s.linkUp:
			state = "follows " + s.masterAddr
		case s.masterAddr != "":
			state = "wants " + s.masterAddr
		}
		fmt.Fprintf(&b, "%s(%s term %d %d writes) ", n.name, state, n.agent.term, n.srv.data.off)
	}
	fmt.Fprintf(&b, "lease(%s/%s term %d)", w.lease.holder, w.lease.boot, w.lease.term)
	return b.String()
}
