package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// Times of the loop.
const (
	// tick is how often the own server is looked at when nothing happens.
	tick = 200 * time.Millisecond
	// calm is how often others are asked when nothing happens.
	calm = time.Second
	// lookTime bounds one look at the own server.
	lookTime = 200 * time.Millisecond
	// askTime bounds one question to others.
	askTime = plan.PollTimeout
	// apiTime bounds one call of the Kubernetes API.
	apiTime = time.Second
)

// base is what the agents of members and Sentinels have in common. The loop owns all but the fields that lock.
type base struct {
	opts    Options
	log     *slog.Logger
	cluster Cluster
	boot    string
	version redis.Version
	began   time.Time
	server  server
	peers   *peers

	// wake makes the loop turn; refresh makes it read the Lease and ask the others before.
	wake    chan struct{}
	refresh atomic.Bool
	// leaseless: in mode Cluster nobody needs the Lease.
	leaseless atomic.Bool
	// working are the goroutines that the agent started beside the loop; all end with its context.
	working sync.WaitGroup
	turned  atomic.Int64 // when the loop turned last, by now()

	status  atomic.Pointer[v1alpha1.AgentStatus]
	token   atomic.Pointer[string]
	secret  atomic.Pointer[string] // password, for goroutines beside the loop
	metrics metrics

	config    *v1alpha1.AgentConfig // in force; nil until known
	password  string
	cached    copyOfConfig
	uncached  bool // cached is not written down yet
	lease     leaseWatch
	told      news
	lastError atomic.Pointer[string]
	disk      sync.Mutex // held by the one write of keepSoon that is under way
}

func newBase(o Options, c Cluster) (*base, error) {
	b := &base{opts: o, log: o.Log.With("pod", o.Name), cluster: c, began: time.Now().Add(-time.Second), wake: make(chan struct{}, 1)}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("make the ID of this run: %w", err)
	}
	b.boot = hex.EncodeToString(id)
	b.server.opts, b.server.log = &b.opts, b.log
	b.lease.writing = make(chan struct{}, 1)
	b.token.Store(new(string))
	b.secret.Store(new(string))
	b.metrics.handoverSeconds = newHandoverSeconds()
	b.status.Store(&v1alpha1.AgentStatus{Name: o.Name, Boot: b.boot})
	b.peers = newPeers(b)
	b.refresh.Store(true)
	if ok, err := loadJSON(o.Dir, cacheFile, &b.cached); err != nil {
		b.log.Warn("the copy of the configuration is of no use", "error", err)
	} else if ok && b.cached.Config.Redis == o.Redis {
		b.use(b.cached)
	}
	return b, nil
}

// news is what the others wait for while there is no master yet; the actions of internal/plan tell them the rest.
type news struct{ up, candidate, stopping, monitoring bool }

// tell nudges everybody when the news changed.
func (b *base) tell(ctx context.Context, n news) {
	if n != b.told {
		b.told = n
		b.peers.nudgeAll(ctx)
	}
}

// now is the agent's clock of internal/plan.
func (b *base) now() time.Duration { return time.Since(b.began) }

// poke makes the loop turn soon.
func (b *base) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// nudge makes the loop turn soon and look at everything anew.
func (b *base) nudge() {
	b.refresh.Store(true)
	b.poke()
}

func (b *base) use(c copyOfConfig) {
	b.config, b.password = &c.Config, c.Password
	b.token.Store(&c.Token)
	b.secret.Store(&c.Password)
}

// takeConfig takes the newest configuration and keeps a copy of it. It reports whether there is any.
func (b *base) takeConfig(v View) bool {
	if v.PasswordError != nil {
		b.complain("the Secret is not taken, the former password stays in force", v.PasswordError)
	}
	if v.Config != nil && v.PasswordKnown && v.Token != "" {
		c := copyOfConfig{Config: *v.Config, Password: v.Password, Token: v.Token}
		if b.config != v.Config || c.Password != b.cached.Password || c.Token != b.cached.Token {
			b.cached, b.config = c, v.Config
			b.password = v.Password
			b.token.Store(&c.Token)
			b.secret.Store(&c.Password)
			b.uncached = true
		}
	}
	if b.uncached && b.keepSoon(cacheFile, b.cached) {
		b.uncached = false
	}
	b.leaseless.Store(b.config != nil && b.config.Mode == v1alpha1.ModeCluster)
	return b.config != nil
}

// leaseTime is how long the Lease holds.
func (b *base) leaseTime() time.Duration {
	if b.config == nil || b.config.LeaseSeconds < 1 {
		return 5 * time.Second
	}
	return time.Duration(b.config.LeaseSeconds) * time.Second
}

// setRole labels a pod.
func (b *base) setRole(ctx context.Context, pod string, role v1alpha1.Role) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	if err := b.cluster.SetRole(ctx, pod, role); err != nil {
		return err
	}
	b.log.Info("labelled", "target", pod, "role", role)
	return nil
}

// until bounds ctx by a moment of the agent's clock, 0 for none.
func (b *base) until(ctx context.Context, t time.Duration) (context.Context, context.CancelFunc) {
	if t == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, b.began.Add(t))
}

// keepSoon writes v to file in the background: a disk that hangs must not keep the loop from fencing. It does nothing, and
// reports false, while an earlier write is under way.
func (b *base) keepSoon(file string, v any) bool {
	if !b.disk.TryLock() {
		return false
	}
	b.working.Go(func() {
		defer b.disk.Unlock()
		if err := saveJSON(b.opts.Dir, file, v); err != nil {
			b.complain("the data directory takes nothing", err)
		}
	})
	return true
}

// complain logs an error once, until another takes its place.
func (b *base) complain(what string, err error) {
	s := what + err.Error()
	if last := b.lastError.Swap(&s); last == nil || *last != s {
		b.log.Warn(what, "error", err)
	}
}

// subscribe calls fn with every event of the Sentinel at addr, until the subscription is stopped.
func (b *base) subscribe(ctx context.Context, addr string, fn func(redis.SentinelEvent), channels ...string) context.CancelFunc {
	ctx, cancel := context.WithCancel(ctx)
	b.working.Go(func() {
		retry := time.NewTicker(calm)
		defer retry.Stop()
		for {
			s := redis.NewSentinel(addr, *b.secret.Load())
			if err := s.Events(ctx, fn, channels...); ctx.Err() == nil {
				b.log.Debug("no events of a Sentinel", "error", err)
			}
			_ = s.Close()
			select {
			case <-ctx.Done():
				return
			case <-retry.C:
			}
		}
	})
	return cancel
}

// leaseWatch is the Lease as the loop knows it, from the watch, from reads and from its own writes.
type leaseWatch struct {
	mu        sync.Mutex
	known     bool
	lease     Lease
	changedAt time.Duration
	// okAt is when the last call that the API answered was sent, since is since when it answered without a break.
	okAt, since time.Duration
	renewedAt   time.Duration
	renewErrors int64
	// writing is held by the one write of the Lease that is under way.
	writing chan struct{}
}

// saw takes what was read of the Lease by a call sent at sent.
func (w *leaseWatch) saw(l Lease, sent, now, duration time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered(sent, duration)
	w.set(l, now)
}

// lock waits until no other write is under way.
func (w *leaseWatch) lock(ctx context.Context) error {
	select {
	case w.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("write the Lease after the write that is under way: %w", ctx.Err())
	}
}

func (w *leaseWatch) unlock() { <-w.writing }

func (w *leaseWatch) answered(sent, duration time.Duration) {
	if w.okAt == 0 || sent-w.okAt > plan.APITimeout(duration) {
		w.since = sent
	}
	w.okAt = max(w.okAt, sent)
}

// set leaves an older Lease out: the answer to a read may come after that to a later write.
func (w *leaseWatch) set(l Lease, now time.Duration) {
	if !w.known || l.ResourceVersion != w.lease.ResourceVersion && !older(l.ResourceVersion, w.lease.ResourceVersion) {
		w.known, w.lease, w.changedAt = true, l, now
	}
}

// watched takes what the watch delivered; it tells nothing of whether the API answers now.
func (w *leaseWatch) watched(l Lease, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(l, now)
}

// older compares resource versions; those that are no numbers are taken for newer.
func older(a, b string) bool {
	if len(a) != len(b) {
		return a != "" && len(a) < len(b)
	}
	return a < b
}

// observed is the Lease for internal/plan.
func (w *leaseWatch) observed(now, duration time.Duration) plan.Lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := plan.Lease{
		Known: w.known, Holder: w.lease.Holder, Boot: w.lease.Boot, LastHolder: w.lease.LastHolder, Term: w.lease.Term,
		Members: w.lease.Members, Duration: w.lease.Duration, ResourceVersion: w.lease.ResourceVersion, From: w.lease.From,
		ChangedAt: w.changedAt, RenewedAt: w.renewedAt,
		APIReachable: w.okAt > 0 && now-w.okAt < plan.APITimeout(duration),
	}
	if l.Duration == 0 {
		l.Duration = duration
	}
	if l.APIReachable {
		l.ReachableSince = w.since
	}
	return l
}

// readLease asks the API for the Lease.
func (b *base) readLease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	sent := b.now()
	l, err := b.cluster.ReadLease(ctx)
	if err != nil {
		return err
	}
	b.lease.saw(l, sent, b.now(), b.leaseTime())
	return nil
}
