package address

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"
)

func loopbackAt(t *testing.T, path string) *loopback {
	t.Helper()
	l, err := Loopback(77, path)
	if err != nil {
		t.Fatal(err)
	}
	return l.(*loopback)
}

func TestLoopback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last")
	l := loopbackAt(t, path)
	seen := map[string]bool{}
	for range 300 {
		a, err := l.Allocate([]int32{6379})
		if err != nil {
			t.Fatal(err)
		}
		if seen[a.IP.String()] {
			t.Fatalf("%s twice", a.IP)
		}
		seen[a.IP.String()] = true
		if a.Port(6379) != 6379 {
			t.Fatalf("port %d", a.Port(6379))
		}
		l.Release(a)
	}
	if !seen["127.77.128.1"] || !seen["127.77.129.44"] || len(l.used) != 0 {
		t.Errorf("%d seen, %d in use", len(seen), len(l.used))
	}
	// Another run goes on where this one ended.
	a, err := loopbackAt(t, path).Allocate(nil)
	if err != nil || a.IP.String() != "127.77.129.45" {
		t.Errorf("after a restart: %s, %v", a.IP, err)
	}
}

func TestLoopbackWraps(t *testing.T) {
	l := loopbackAt(t, filepath.Join(t.TempDir(), "last"))
	held, err := l.Allocate(nil)
	if err != nil {
		t.Fatal(err)
	}
	l.next = podCount - 1
	last, err := l.Allocate(nil)
	if err != nil || last.IP.String() != "127.77.255.254" {
		t.Fatalf("%s, %v", last.IP, err)
	}
	again, err := l.Allocate(nil)
	if err != nil || again.IP == held.IP || again.IP.String() != "127.77.128.2" {
		t.Errorf("%s, %v", again.IP, err)
	}
	for n := range uint32(podCount) {
		l.used[n] = true
	}
	if a, err := l.Allocate(nil); err == nil {
		t.Errorf("%s from a full network", a.IP)
	}
}

func TestSharedIP(t *testing.T) {
	s := SharedIP()
	a, err := s.Allocate([]int32{6379, 9379})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Allocate([]int32{6379})
	if err != nil {
		t.Fatal(err)
	}
	ports := map[int32]bool{a.Port(6379): true, a.Port(9379): true, b.Port(6379): true}
	if len(ports) != 3 || ports[6379] {
		t.Errorf("ports %v", ports)
	}
	for p := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(a.IP.String(), strconv.Itoa(int(p))))
		if err != nil {
			t.Errorf("port %d is not free: %v", p, err)
			continue
		}
		_ = l.Close()
	}
	for p := range ports {
		if p < firstPort || p >= firstPort+portCount {
			t.Errorf("port %d may be that of a connection that goes out", p)
		}
	}
	s.Release(a)
	if n := len(s.(*shared).used); n != 1 {
		t.Errorf("%d in use after a release", n)
	}
}

func TestSharedIPWraps(t *testing.T) {
	s := &shared{next: firstPort + portCount - 1, used: map[int32]bool{}}
	a, err := s.Allocate([]int32{1, 2, 3})
	if err != nil || len(s.used) != 3 || s.next < firstPort || s.next >= firstPort+portCount {
		t.Errorf("%v, then %d, %v", a.Ports, s.next, err)
	}
	for p := range int32(portCount) {
		s.used[firstPort+p] = true
	}
	if a, err := s.Allocate([]int32{1}); err == nil {
		t.Errorf("%v when pods have all ports", a.Ports)
	}
}
