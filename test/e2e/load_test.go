package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	server "redstart.dev/redstart/internal/redis"
)

// attemptTimeout bounds one attempt of a client: what an impatient application would choose.
const attemptTimeout = 250 * time.Millisecond

// dialer makes a client that talks to the master, one connection, no retries of its own: every failed attempt is
// seen here.
type dialer func() redis.UniversalClient

func direct(addr, password string) dialer {
	return func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{
			Addr: addr, Password: password, MaxRetries: -1, PoolSize: 1, Protocol: 2, DialerRetries: 1,
			DialTimeout: attemptTimeout, ReadTimeout: attemptTimeout, WriteTimeout: attemptTimeout, ContextTimeoutEnabled: true,
			DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
	}
}

func throughSentinels(addrs []string, master, password string) dialer {
	return func() redis.UniversalClient {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: master, SentinelAddrs: addrs, SentinelPassword: password, Password: password,
			MaxRetries: -1, PoolSize: 1, Protocol: 2, DialerRetries: 1,
			DialTimeout: attemptTimeout, ReadTimeout: attemptTimeout, WriteTimeout: attemptTimeout, ContextTimeoutEnabled: true,
			DisableIdentity: true,
		})
	}
}

// clustered makes a cluster-aware client that follows redirections, as every one does, and tries nothing else again. With anywhere it
// reads from any member of a shard.
func clustered(password string, anywhere bool, addrs ...string) dialer {
	return func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: addrs, Password: password, MaxRedirects: 3, PoolSize: 2, Protocol: 2, RouteRandomly: anywhere, DialerRetries: 1,
			MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 5 * time.Millisecond,
			DialTimeout: attemptTimeout, ReadTimeout: 4 * attemptTimeout, WriteTimeout: attemptTimeout, ContextTimeoutEnabled: true,
			DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
	}
}

// writer writes numbered keys one after the other, about a thousand a second, and remembers each acknowledgement.
type writer struct {
	prefix string
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	acked    []ack
	failures int
	lastErr  error
}

type ack struct {
	n  int
	at time.Time
}

func startWriter(prefix string, dial dialer) *writer {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	w := &writer{prefix: prefix, cancel: cancel, done: make(chan struct{})}
	go w.run(ctx, dial)
	return w
}

func (w *writer) run(ctx context.Context, dial dialer) {
	defer close(w.done)
	c := dial()
	defer func() { _ = c.Close() }()
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		// A paused master answers when the pause is over: the attempt waits for that, as a patient client would.
		attempt, cancel := context.WithTimeout(ctx, 4*attemptTimeout)
		err := c.Set(attempt, w.key(n), n, 0).Err()
		cancel()
		if dialFailed(err) {
			// go-redis dials at most once a second after as many failures as its pool is large: start it anew.
			_ = c.Close()
			c = dial()
		}
		w.mu.Lock()
		if err == nil {
			w.acked = append(w.acked, ack{n, time.Now()})
		} else if ctx.Err() == nil {
			w.failures++
			w.lastErr = err
		}
		w.mu.Unlock()
	}
}

func dialFailed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (w *writer) key(n int) string { return w.prefix + ":" + strconv.Itoa(n) }

// count is how many writes were acknowledged since a moment.
func (w *writer) count(since time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := sort.Search(len(w.acked), func(i int) bool { return w.acked[i].at.After(since) })
	return len(w.acked) - i
}

func (w *writer) stop() {
	w.cancel()
	<-w.done
}

// gap is the longest time between two acknowledged writes from a moment on; the writer must have stopped.
func (w *writer) gap(since time.Time) time.Duration {
	var longest time.Duration
	for i := 1; i < len(w.acked); i++ {
		if d := w.acked[i].at.Sub(w.acked[i-1].at); w.acked[i].at.After(since) && d > longest {
			longest = d
		}
	}
	return longest
}

// lost counts what missing finds.
func (w *writer) lost(ctx context.Context, dial dialer) (int, error) {
	missing, err := w.missing(ctx, dial)
	return len(missing), err
}

// missing reads every acknowledged write back and returns those that are missing or wrong, in their order.
func (w *writer) missing(ctx context.Context, dial dialer) ([]ack, error) {
	c := dial()
	defer func() { _ = c.Close() }()
	var lost []ack
	for i := 0; i < len(w.acked); i += 500 {
		batch := w.acked[i:min(i+500, len(w.acked))]
		got := make([]*redis.StringCmd, len(batch))
		read := func() error {
			_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for j, a := range batch {
					got[j] = p.Get(ctx, w.key(a.n))
				}
				return nil
			})
			if errors.Is(err, redis.Nil) {
				return nil
			}
			return err
		}
		// A Service may just be changing over.
		err := read()
		for again := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(again); err = read() {
			time.Sleep(attemptTimeout)
		}
		if err != nil {
			return nil, fmt.Errorf("read back what was acknowledged: %w", err)
		}
		for j, g := range got {
			if g.Val() != strconv.Itoa(batch[j].n) {
				lost = append(lost, batch[j])
			}
		}
	}
	return lost, nil
}

// outcome is what those who wrote had of a fault or a change: the longest silence of the first writer and of all, and
// what is gone of all that was acknowledged; lostBefore is how long before the change the oldest of that was, not below 0.
type outcome struct {
	gap, anyGap, lostBefore time.Duration
	lost, acked, failures   int
	lastErr                 error
}

// underLoad lets a writer for each prefix write before, during and after change, which returns when its effect is there, and
// reads everything back.
func underLoad(t *testing.T, dial dialer, prefixes []string, change func()) outcome {
	t.Helper()
	var writers []*writer
	for _, prefix := range prefixes {
		w := startWriter(prefix, dial)
		defer w.stop()
		writers = append(writers, w)
	}
	written := func(since time.Time) func(context.Context) bool {
		return func(context.Context) bool {
			return !slices.ContainsFunc(writers, func(w *writer) bool { return w.count(since) <= 500 })
		}
	}
	eventually(t, time.Minute, "the first writes", written(time.Time{}))
	start := time.Now()
	change()
	eventually(t, time.Minute, "writes afterwards", written(time.Now()))
	var o outcome
	for i, w := range writers {
		w.stop()
		missing, err := w.missing(context.Background(), dial)
		if err != nil {
			t.Fatal(err)
		}
		if len(missing) > 0 {
			o.lostBefore = max(o.lostBefore, start.Sub(missing[0].at))
		}
		gap := w.gap(start)
		if i == 0 {
			o.gap = gap
		}
		o.anyGap = max(o.anyGap, gap)
		o.lost += len(missing)
		o.acked += len(w.acked)
		o.failures += w.failures
		if w.lastErr != nil {
			o.lastErr = w.lastErr
		}
	}
	return o
}

// reader reads through the Service for reads and remembers its longest silence.
type reader struct {
	cancel context.CancelFunc
	done   chan struct{}
	reads  int
	gap    time.Duration
}

func startReader(prefix string, dial dialer) *reader {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	r := &reader{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		c := dial()
		defer func() { _ = c.Close() }()
		last := time.Now()
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
			attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
			err := c.Get(attempt, prefix+":0").Err()
			cancel()
			if dialFailed(err) {
				_ = c.Close()
				c = dial()
			}
			if err == nil || errors.Is(err, redis.Nil) {
				r.gap = max(r.gap, time.Since(last))
				last = time.Now()
				r.reads++
			}
		}
	}()
	return r
}

func (r *reader) stop() {
	r.cancel()
	<-r.done
}

// mastersWatcher tries a write on every member itself each 20 ms: it sees a second writable master that no Service
// selects too.
type mastersWatcher struct {
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	samples []probe
}

// probe is one acknowledged write of the watcher: a server, known by its run ID, held itself for a writable master from start to
// end. At the address of a member that stops, another may answer: its agent passes clients on.
type probe struct {
	server     string
	start, end time.Time
}

// watchMasters starts one prober for each member; addresses gives the present address of every member, by name.
func watchMasters(addresses func() map[string]string, password string) *mastersWatcher {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	m := &mastersWatcher{cancel: cancel}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		running := map[string]context.CancelFunc{}
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for {
			now := addresses()
			for name, addr := range now {
				if id := name + "@" + addr; running[id] == nil {
					c, stop := context.WithCancel(ctx)
					running[id] = stop
					m.wg.Add(1)
					go m.probe(c, name, addr, password)
				}
			}
			for id, stop := range running {
				name, addr, _ := strings.Cut(id, "@")
				if now[name] != addr {
					stop()
					delete(running, id)
				}
			}
			select {
			case <-ctx.Done():
				for _, stop := range running {
					stop()
				}
				return
			case <-look.C:
			}
		}
	}()
	return m
}

func (m *mastersWatcher) probe(ctx context.Context, name, addr, password string) {
	defer m.wg.Done()
	c := direct(addr, password)()
	defer func() { _ = c.Close() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		start := time.Now()
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		var info *redis.StringCmd
		_, err := c.Pipelined(attempt, func(p redis.Pipeliner) error {
			p.Set(attempt, "watcher", name, 0)
			info = p.Info(attempt, "server")
			return nil
		})
		cancel()
		if err == nil {
			m.mu.Lock()
			m.samples = append(m.samples, probe{server.ParseInfo(info.Val())["run_id"], start, time.Now()})
			m.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *mastersWatcher) stop() {
	m.cancel()
	m.wg.Wait()
}

// overlaps counts the moments with two writable masters: a write that one server acknowledged between two writes that
// another acknowledged less than a second apart.
func (m *mastersWatcher) overlaps() int {
	by := map[string][]probe{}
	for _, p := range m.samples {
		by[p.server] = append(by[p.server], p)
	}
	n := 0
	for a, as := range by {
		for i := 1; i < len(as); i++ {
			before, after := as[i-1], as[i]
			if after.start.Sub(before.end) > time.Second {
				continue
			}
			for b, bs := range by {
				if a == b {
					continue
				}
				for _, p := range bs {
					if p.start.After(before.end) && p.end.Before(after.start) {
						n++
					}
				}
			}
		}
	}
	return n
}
