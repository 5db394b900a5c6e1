package services

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// maxAffinity bounds the clients that one Service port remembers; the rest are balanced as if they were new.
const maxAffinity = 16384

// pool chooses a backend for every new connection of one Service port, and cuts the connections to backends that left.
type pool struct {
	mu       sync.Mutex
	ready    []backend
	known    map[types.UID]bool
	next     int
	affinity time.Duration // 0: none
	clients  map[netip.Addr]affine
	links    map[*link]struct{}
	handler  Handler // takes the connections instead of the backends, unless it is nil
}

// affine is the backend that a client had last.
type affine struct {
	pod  types.UID
	last time.Time
}

// set replaces the backends. Connections to a pod that is not among them any more are reset: a writer must not stay
// with a master that was demoted. Those to a pod that is merely not ready, or terminating, go on, and those let go before.
func (p *pool) set(backends []backend, affinity time.Duration) {
	p.mu.Lock()
	p.ready = p.ready[:0:0]
	p.known = make(map[types.UID]bool, len(backends))
	for _, b := range backends {
		p.known[b.uid] = true
		if b.ready {
			p.ready = append(p.ready, b)
		}
	}
	p.affinity = affinity
	var cut []*link
	for l := range p.links {
		if !p.known[l.pod] && !l.free {
			cut = append(cut, l)
		}
	}
	p.mu.Unlock()
	for _, l := range cut {
		l.Reset()
	}
}

// letGo lets the connections to all pods but those of kept go on until they end by themselves.
func (p *pool) letGo(kept map[types.UID]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.free = !kept[l.pod] && (l.free || p.known[l.pod])
	}
}

func (p *pool) handle(h Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = h
}

func (p *pool) handledBy() Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handler
}

// pick chooses a ready backend that was not tried yet: the one that the client had, else the next in turn.
func (p *pool) pick(client netip.Addr, tried map[string]bool, now time.Time) (backend, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.clients[client]; ok && p.affinity > 0 && now.Sub(a.last) < p.affinity {
		i := slices.IndexFunc(p.ready, func(b backend) bool { return b.uid == a.pod && !tried[b.address] })
		if i >= 0 {
			return p.ready[i], true
		}
	}
	for range p.ready {
		b := p.ready[p.next%len(p.ready)]
		p.next = (p.next + 1) % len(p.ready)
		if !tried[b.address] {
			return b, true
		}
	}
	return backend{}, false
}

// admit takes a connection in, unless its backend left or stopped being ready while it was dialled.
func (p *pool) admit(l *link, client netip.Addr, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.ready, func(b backend) bool { return b.uid == l.pod }) {
		return false
	}
	if p.links == nil {
		p.links = map[*link]struct{}{}
	}
	p.links[l] = struct{}{}
	if p.affinity > 0 {
		p.remember(client, l.pod, now)
	}
	return true
}

func (p *pool) remember(client netip.Addr, pod types.UID, now time.Time) {
	if p.clients == nil {
		p.clients = map[netip.Addr]affine{}
	}
	if len(p.clients) >= maxAffinity {
		for c, a := range p.clients {
			if now.Sub(a.last) >= p.affinity {
				delete(p.clients, c)
			}
		}
	}
	if _, known := p.clients[client]; known || len(p.clients) < maxAffinity {
		p.clients[client] = affine{pod: pod, last: now}
	}
}

func (p *pool) done(l *link) {
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}
