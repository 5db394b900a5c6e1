package redistest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Service forwards connections to one server at a time, as a Service with one endpoint does.
type Service struct {
	Addr string
	l    net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex
	target string
	conns  map[net.Conn]struct{}
	closed bool
}

// NewService forwards to target until the test ends.
func NewService(t testing.TB, target *Server) *Service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{Addr: l.Addr().String(), l: l, target: target.Addr, conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.Cut()
		s.wg.Wait()
	})
	return s
}

// Switch sends new connections to target. Connections that exist stay where they are.
func (s *Service) Switch(target *Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = target.Addr
}

// Cut closes all connections.
func (s *Service) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *Service) accept() {
	for {
		client, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		target := s.target
		s.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			continue
		}
		if !s.track(client, server) {
			return
		}
		s.wg.Go(func() { s.pipe(client, server) })
		s.wg.Go(func() { s.pipe(server, client) })
	}
}

// track remembers the connections; at the end of the test it closes them instead.
func (s *Service) track(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		if s.closed {
			c.Close()
		} else {
			s.conns[c] = struct{}{}
		}
	}
	return !s.closed
}

// pipe copies until either end closes, then closes both.
func (s *Service) pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, to)
	delete(s.conns, from)
}
