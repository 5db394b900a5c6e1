package agent

import (
	"context"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"redstart.dev/redstart/internal/relay"
)

// maxForwarded is how many clients are passed on at once: as many as a server takes (maxclients).
const maxForwarded = 10000

// forwardClients passes clients that Services go on to send to a member that stops on to the server at successor, HOST:PORT, from when
// the own server gives its port up; to none where that is empty. The channel is closed when that is over.
func (m *member) forwardClients(ctx context.Context, successor string) <-chan struct{} {
	// The labels may take an action's time. What comes after is for the server to end in.
	bound := min(m.opts.ServiceLag+actionTime, m.stopAt+m.grace(m.cluster.View())*3/4-m.now())
	if successor == "" || m.opts.ServiceLag == 0 || bound <= 0 {
		over := make(chan struct{})
		close(over)
		return over
	}
	setting, cancel := context.WithTimeout(ctx, actionTime)
	defer cancel()
	if err := m.client.ConfigSet(setting, "port", "0"); err != nil {
		m.log.Debug("the server keeps its port until it has ended, as those before Redis 7 do", "error", err)
	}
	return m.passOn(ctx, successor, bound)
}

// successorTime is how long the server of a master that died is not started, for its port to be free when another is master.
const successorTime = time.Second

// standIn takes the place of a master's server that died, for the clients that Services go on to send there: it waits until another
// member is master, and passes them on to it. The server is started after that.
type standIn struct {
	until time.Duration   // another member has to be master by then
	over  <-chan struct{} // closed when no clients are passed on any more; nil before
}

// standsIn keeps the server from being started. Without another member that is in step, or once the time is over, it does not: the
// data may be nowhere else.
func (m *member) standsIn(ctx context.Context) bool {
	s := &m.standIn
	if s.over != nil {
		select {
		case <-s.over:
			*s = standIn{}
			return false
		default:
			return true
		}
	}
	if m.now() >= s.until {
		return false
	}
	if to := m.decided.Successor; to != "" {
		s.over = m.passOn(ctx, to, m.opts.ServiceLag)
	}
	return true
}

// passOn passes clients of the own port on to another member's server for a time. The channel is closed when that is over.
func (m *member) passOn(ctx context.Context, to string, bound time.Duration) <-chan struct{} {
	over := make(chan struct{})
	var addresses []string
	for _, ip := range append([]string{m.opts.IP}, m.opts.MoreIPs...) {
		addresses = append(addresses, net.JoinHostPort(ip, strconv.Itoa(int(m.opts.Port))))
	}
	m.working.Go(func() {
		defer m.poke()
		defer close(over)
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		n := forward(ctx, addresses, to, m.isMember)
		m.log.Info("clients were passed on", "to", to, "connections", n)
	})
	return over
}

// isMember tells whether an address is that of a member or a Sentinel. What they say is meant for the server that was here: whoever
// wants it to follow the new master must not say so to that one.
func (m *member) isMember(ip string) bool {
	for _, p := range m.cluster.View().Pods {
		for _, address := range []string{p.Server, p.Agent} {
			if host, _, err := net.SplitHostPort(address); err == nil && host == ip {
				return true
			}
		}
	}
	return false
}

// forward passes connections to the addresses on to another, but for those from where except says so, until the context is over;
// then it ends them all. It tells how many there were. An address that is in use is tried again.
func forward(ctx context.Context, addresses []string, to string, except func(ip string) bool) (n int64) {
	f := forwarder{to: to, except: except, slots: make(chan struct{}, maxForwarded)}
	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() { f.listen(ctx, address) })
	}
	all.Wait()
	f.links.Wait()
	return f.count.Load()
}

type forwarder struct {
	to     string
	except func(ip string) bool
	slots  chan struct{}
	links  sync.WaitGroup
	count  atomic.Int64
}

func (f *forwarder) listen(ctx context.Context, address string) {
	every := time.NewTicker(starting)
	defer every.Stop()
	for {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			f.serve(ctx, l)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func (f *forwarder) serve(ctx context.Context, l net.Listener) {
	defer func() { _ = l.Close() }()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if f.except(c.RemoteAddr().(*net.TCPAddr).IP.String()) {
			relay.Reset(c.(*net.TCPConn))
			continue
		}
		select {
		case f.slots <- struct{}{}:
			f.links.Go(func() {
				f.pass(ctx, c.(*net.TCPConn))
				<-f.slots
			})
		default:
			relay.Reset(c.(*net.TCPConn))
		}
	}
}

// pass passes one connection on until it or the context is over.
func (f *forwarder) pass(ctx context.Context, c *net.TCPConn) {
	dialer := net.Dialer{Timeout: askTime}
	backend, err := dialer.DialContext(ctx, "tcp", f.to)
	if err != nil {
		relay.Reset(c)
		return
	}
	f.count.Add(1)
	link := relay.Link{Client: c, Backend: backend.(*net.TCPConn)}
	defer context.AfterFunc(ctx, link.Reset)()
	link.Forward()
}
