package services

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"redstart.dev/redstart/internal/relay"
)

const (
	// dialTimeout bounds one attempt to reach a backend. On one machine an answer takes microseconds.
	dialTimeout = time.Second
	// maxAttempts bounds how many backends are tried for one connection.
	maxAttempts = 8
	// acceptPause is how long a listener rests when the process is out of file descriptors.
	acceptPause = 50 * time.Millisecond
)

// limiter bounds the connections of all fronts together.
type limiter struct {
	slots chan struct{}
	warn  rate.Sometimes
	log   *slog.Logger
}

func newLimiter(n int, log *slog.Logger) *limiter {
	return &limiter{slots: make(chan struct{}, n), warn: rate.Sometimes{Interval: 10 * time.Second}, log: log}
}

// enter takes a slot, or refuses.
func (l *limiter) enter() bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
		l.warn.Do(func() {
			l.log.Warn("Connections through Services are refused: too many are open", "limit", cap(l.slots))
		})
		return false
	}
}

func (l *limiter) leave() { <-l.slots }

// front listens on one address and forwards to the backends of pool. It may share the pool with other fronts of the
// same Service port.
type front struct {
	listener *net.TCPListener
	pool     *pool
	limit    *limiter
	log      *slog.Logger
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
	open     atomic.Int32 // goroutines in tasks
}

// openFront listens on address (IP:PORT, port 0 for a free one) and serves until close.
func openFront(address string, p *pool, limit *limiter, log *slog.Logger) (*front, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	// The context ends with close, whoever opened the front.
	ctx, cancel := context.WithCancel(context.Background())
	f := &front{listener: l.(*net.TCPListener), pool: p, limit: limit, log: log, cancel: cancel}
	f.spawn(func() { f.accept(ctx) })
	return f, nil
}

func (f *front) spawn(task func()) {
	f.open.Add(1)
	f.tasks.Go(func() {
		defer f.open.Add(-1)
		task()
	})
}

// address that is listened on.
func (f *front) address() netip.AddrPort { return f.listener.Addr().(*net.TCPAddr).AddrPort() }

// close stops listening. Connections go on; closing the pool's links ends them.
func (f *front) close() {
	f.cancel()
	if err := f.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		f.log.Warn("Cannot close a Service's listener", "address", f.listener.Addr(), "error", err)
	}
}

func (f *front) wait() { f.tasks.Wait() }

// idle tells whether a closed front has no connection left.
func (f *front) idle() bool { return f.open.Load() == 0 }

func (f *front) accept(ctx context.Context) {
	for {
		c, err := f.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			f.limit.warn.Do(func() { f.log.Warn("Cannot accept a connection", "address", f.listener.Addr(), "error", err) })
			rest := time.NewTimer(acceptPause)
			select {
			case <-ctx.Done():
			case <-rest.C:
			}
			rest.Stop()
			continue
		}
		if !f.limit.enter() {
			relay.Reset(c)
			continue
		}
		f.spawn(func() {
			defer f.limit.leave()
			f.serve(ctx, c)
		})
	}
}

// serve connects a client to a backend. With no backend to connect to the client is reset at once.
func (f *front) serve(ctx context.Context, c *net.TCPConn) {
	if h := f.pool.handledBy(); h != nil {
		h.ServeConn(c)
		return
	}
	client := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	l := f.connect(ctx, c, client)
	if l == nil {
		relay.Reset(c)
		return
	}
	defer f.pool.done(l)
	l.Forward()
}

func (f *front) connect(ctx context.Context, c *net.TCPConn, client netip.Addr) *link {
	tried := map[string]bool{}
	dialer := net.Dialer{Timeout: dialTimeout}
	for range maxAttempts {
		b, ok := f.pool.pick(client, tried, time.Now())
		if !ok {
			return nil
		}
		tried[b.address] = true
		conn, err := dialer.DialContext(ctx, "tcp", b.address)
		if err != nil {
			f.log.Debug("A backend does not answer", "service", f.listener.Addr(), "backend", b.address, "error", err)
			continue
		}
		l := &link{Link: relay.Link{Client: c, Backend: conn.(*net.TCPConn)}, pod: b.uid}
		if f.pool.admit(l, client, time.Now()) {
			return l
		}
		relay.Reset(l.Backend)
	}
	return nil
}
