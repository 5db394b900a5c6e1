// Package address gives every start of a pod on this machine an address of its own.
package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// Address is where a pod listens.
type Address struct {
	// IP of the pod.
	IP netip.Addr
	// Ports tells which local port stands for each container port, where pods share an IP; nil where the pod has
	// the IP for itself.
	Ports map[int32]int32
}

// Port is the port to use for the container port n.
func (a Address) Port(n int32) int32 {
	if p, ok := a.Ports[n]; ok {
		return p
	}
	return n
}

// Allocator gives addresses out. Its methods may be called from any goroutine.
type Allocator interface {
	// Allocate returns an address for a pod with these container ports.
	Allocate(ports []int32) (Address, error)
	// Release says that nobody listens there any more.
	Release(Address)
}

const (
	// firstPod and podCount: 127.N.128.1 to 127.N.255.254.
	firstPod = 128<<8 + 1
	podCount = 1<<15 - 2
)

// Loopback gives out 127.network.128.1 upwards, for systems where all of 127.0.0.0/8 is local. An address comes back
// only after all others, some 32,000, were used: nobody who remembers a pod by its address takes another for it.
// The last one is kept in the file path, so that this holds over restarts too.
func Loopback(network byte, path string) (Allocator, error) {
	l := &loopback{network: network, path: path, used: map[uint32]bool{}}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the last pod address: %w", err)
	default:
		// What cannot be read is as good as none: the file is a convenience.
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil {
			l.next = uint32(n) % podCount
		}
	}
	return l, nil
}

type loopback struct {
	network byte
	path    string

	mu   sync.Mutex
	next uint32
	used map[uint32]bool
}

func (l *loopback) Allocate([]int32) (Address, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range podCount {
		n := l.next
		l.next = (l.next + 1) % podCount
		if l.used[n] {
			continue
		}
		if err := os.WriteFile(l.path, strconv.AppendUint(nil, uint64(l.next), 10), 0o600); err != nil {
			return Address{}, fmt.Errorf("keep the last pod address: %w", err)
		}
		l.used[n] = true
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], 127<<24|uint32(l.network)<<16|(firstPod+n))
		return Address{IP: netip.AddrFrom4(ip)}, nil
	}
	return Address{}, fmt.Errorf("all %d pod addresses of 127.%d.128.0/17 are in use", podCount, l.network)
}

func (l *loopback) Release(a Address) {
	if !a.IP.Is4() {
		return
	}
	ip := a.IP.As4()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.used, binary.BigEndian.Uint32(ip[:])&0xffff-firstPod)
}

// firstPort and portCount: below the ports that Linux, macOS and Windows give to connections that go out, and below the
// node ports of Services. A connection that goes out can neither take such a port from a pod that is about to listen
// on it, nor, while nobody listens, connect to itself.
const (
	firstPort = 20000
	portCount = 10000
)

// RandomPort is a port that may be free, of those that are used on the shared IP.
func RandomPort() int32 { return firstPort + rand.Int32N(portCount) }

// SharedIP gives every pod 127.0.0.1 and a free local port for each of its container ports, for systems with one
// loopback address (macOS). A port comes back only after all others were used.
func SharedIP() Allocator { return &shared{next: RandomPort(), used: map[int32]bool{}} }

type shared struct {
	mu   sync.Mutex
	next int32
	used map[int32]bool
}

func (s *shared) Allocate(ports []int32) (Address, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := Address{IP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Ports: map[int32]int32{}}
	for _, p := range ports {
		if a.Ports[p] != 0 {
			continue
		}
		free, err := s.free()
		if err != nil {
			s.release(a)
			return Address{}, fmt.Errorf("find a free port for container port %d: %w", p, err)
		}
		a.Ports[p], s.used[free] = free, true
	}
	return a, nil
}

// free is the next port that no pod has and that can be listened on.
func (s *shared) free() (int32, error) {
	err := errors.New("pods have all")
	for range portCount {
		p := s.next
		if s.next++; s.next == firstPort+portCount {
			s.next = firstPort
		}
		if s.used[p] {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(int(p))); err == nil {
			return p, l.Close()
		}
	}
	return 0, fmt.Errorf("none from %d to %d is free: %w", firstPort, firstPort+portCount-1, err)
}

func (s *shared) Release(a Address) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(a)
}

func (s *shared) release(a Address) {
	for _, p := range a.Ports {
		delete(s.used, p)
	}
}
