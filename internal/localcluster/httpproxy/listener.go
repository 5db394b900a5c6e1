package httpproxy

import (
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"redstart.dev/redstart/internal/localcluster/routing"
)

const (
	headerTimeout = 10 * time.Second
	clientIdle    = 2 * time.Minute
	maxHeader     = 64 << 10 // bytes
)

// Listener serves the connections to one port of a Gateway. It is a services.Handler.
type Listener struct {
	proxy     *Proxy
	name      string
	table     atomic.Pointer[routing.Table]
	accessLog atomic.Pointer[accessLog]
	turns     atomic.Uint64 // requests that were shared out by weight
	inbox     *inbox
	server    *http.Server
	done      chan struct{}
}

// Listen makes a Listener, without routes: it answers everything with 404 until it gets a table. name is for its access log.
func (p *Proxy) Listen(name string) *Listener {
	l := &Listener{proxy: p, name: name, inbox: newInbox(), done: make(chan struct{})}
	l.server = serve(l, l.inbox, p.log, l.done)
	return l
}

// serve runs a server for the connections of in; done is closed when it has ended.
func serve(h http.Handler, in *inbox, log *slog.Logger, done chan struct{}) *http.Server {
	s := &http.Server{
		Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: headerTimeout, IdleTimeout: clientIdle, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		defer close(done)
		_ = s.Serve(in) // ends when the inbox is closed
	}()
	return s
}

// ServeConn implements services.Handler.
func (l *Listener) ServeConn(c net.Conn) { l.inbox.serve(c) }

// Route makes the listener serve the routes of t, from the next request on.
func (l *Listener) Route(t *routing.Table) { l.table.Store(t) }

// LogAccess turns the access log on or off.
func (l *Listener) LogAccess(on bool) {
	switch {
	case on && l.accessLog.Load() == nil:
		l.accessLog.Store(openAccessLog(l.proxy.logDir, l.name))
	case !on:
		l.accessLog.Swap(nil).close()
	}
}

// Close cuts all connections, and waits until the server has ended.
func (l *Listener) Close() {
	l.inbox.cut()
	_ = l.server.Close() // the inbox is closed already
	<-l.done
	l.LogAccess(false)
}

// inbox is a net.Listener of connections that others have accepted.
type inbox struct {
	ready  chan net.Conn
	closed chan struct{}

	mu    sync.Mutex
	ended bool
	conns map[*conn]struct{}
}

func newInbox() *inbox {
	return &inbox{ready: make(chan net.Conn), closed: make(chan struct{}), conns: map[*conn]struct{}{}}
}

// serve hands a connection to whoever accepts, and returns when it is closed.
func (in *inbox) serve(c net.Conn) {
	mine := &conn{Conn: c, closed: make(chan struct{})}
	in.mu.Lock()
	if in.ended {
		in.mu.Unlock()
		_ = c.Close()
		return
	}
	in.conns[mine] = struct{}{}
	in.mu.Unlock()
	select {
	case in.ready <- mine:
	case <-in.closed:
		_ = mine.Close()
	}
	<-mine.closed
	in.mu.Lock()
	delete(in.conns, mine)
	in.mu.Unlock()
}

// Accept implements net.Listener.
func (in *inbox) Accept() (net.Conn, error) {
	select {
	case c := <-in.ready:
		return c, nil
	case <-in.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: nothing is accepted any more, and connections go on.
func (in *inbox) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.ended {
		in.ended = true
		close(in.closed)
	}
	return nil
}

// Addr implements net.Listener.
func (in *inbox) Addr() net.Addr { return &net.TCPAddr{} }

// cut closes the inbox and all its connections, those that were upgraded among them.
func (in *inbox) cut() {
	_ = in.Close()
	in.mu.Lock()
	defer in.mu.Unlock()
	for c := range in.conns {
		_ = c.Close()
	}
}

// conn is a connection that tells when it is closed.
type conn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// MetricsServer serves the metrics of a Proxy to Prometheus. It is a services.Handler.
type MetricsServer struct {
	inbox  *inbox
	server *http.Server
	done   chan struct{}
}

// ServeMetrics makes a server of GET /metrics.
func (p *Proxy) ServeMetrics() *MetricsServer {
	m := &MetricsServer{inbox: newInbox(), done: make(chan struct{})}
	m.server = serve(p.metrics.handler(), m.inbox, p.log, m.done)
	return m
}

// ServeConn implements services.Handler.
func (m *MetricsServer) ServeConn(c net.Conn) { m.inbox.serve(c) }

// Close cuts all connections, and waits until the server has ended.
func (m *MetricsServer) Close() {
	m.inbox.cut()
	_ = m.server.Close() // the inbox is closed already
	<-m.done
}
