package httpproxy

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
)

const (
	// dialTimeout bounds one attempt to reach a pod. On one machine an answer takes microseconds.
	dialTimeout = time.Second
	// idleConnections are kept to each pod, for idleTimeout.
	idleConnections = 256
	idleTimeout     = 90 * time.Second
	maxWeight       = 1000
)

// pool is the pods behind a port of a Service.
type pool struct {
	mu        sync.Mutex
	policy    routing.Policy
	endpoints []*endpoint
	turn      int
}

// endpoint is a pod that takes requests, from when it is ready until it is not.
type endpoint struct {
	address   string
	uid       types.UID
	h2c       bool
	transport *http.Transport
	idle      chan struct{} // closed when it has left, and its last request has ended

	// Guarded by the pool's mu.
	load
	health  health
	passive passive
	left    bool
}

func newEndpoint(e services.Endpoint, h2c bool) *endpoint {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: idleTimeout, DisableCompression: true,
		Protocols: new(http.Protocols), WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
	}
	t.Protocols.SetHTTP1(!h2c)
	t.Protocols.SetUnencryptedHTTP2(h2c)
	return &endpoint{address: e.Address, uid: e.UID, h2c: h2c, transport: t, idle: make(chan struct{}), load: load{weight: weightOf(e.Weight)}}
}

// weightOf reads the annotation of a pod; what makes no sense counts as nothing said.
func weightOf(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxWeight {
		return 1
	}
	return n
}

// set makes the pool have the endpoints of u, and answers with those that have left it.
func (p *pool) set(u services.Upstream, policy routing.Policy) []*endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy = policy
	before := p.endpoints
	p.endpoints = make([]*endpoint, 0, len(u.Endpoints))
	for _, e := range u.Endpoints {
		i := slices.IndexFunc(before, func(b *endpoint) bool {
			return b != nil && b.uid == e.UID && b.address == e.Address && b.h2c == u.H2C
		})
		if i < 0 {
			p.endpoints = append(p.endpoints, newEndpoint(e, u.H2C))
			continue
		}
		before[i].weight = weightOf(e.Weight)
		if policy.Health == nil {
			before[i].health = health{}
		}
		p.endpoints = append(p.endpoints, before[i])
		before[i] = nil
	}
	before = slices.DeleteFunc(before, func(e *endpoint) bool { return e == nil })
	for _, e := range before {
		e.left = true
		e.rest()
	}
	return before
}

// rest ends the connections of an endpoint that has left and has nothing to do any more.
func (e *endpoint) rest() {
	if e.left && e.inflight == 0 {
		close(e.idle)
		e.transport.CloseIdleConnections()
	}
}

// take chooses an endpoint for a request that was not tried yet; nil if there is none. Those that fail their active
// checks get no requests; those that failed requests get none unless all did. The caller gives it back with done.
func (p *pool) take(tried []*endpoint, now time.Time) *endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	var room [16]*endpoint
	fit, spare := room[:0], []*endpoint(nil)
	for _, e := range p.endpoints {
		switch {
		case e.health.sick || slices.Contains(tried, e):
		case e.passive.out(now):
			spare = append(spare, e)
		default:
			fit = append(fit, e)
		}
	}
	if len(fit) == 0 {
		fit = spare
	}
	if len(fit) == 0 {
		return nil
	}
	e := fit[0]
	if len(fit) > 1 {
		var loads [16]*load
		list := loads[:0]
		for _, f := range fit {
			list = append(list, &f.load)
		}
		e = fit[choose(p.policy.Balance, list, &p.turn)]
	}
	e.inflight++
	return e
}

// done gives an endpoint back.
func (p *pool) done(e *endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.inflight--
	e.rest()
}

// answered takes in how a request went: after which time the answer began, and whether it was one.
func (p *pool) answered(e *endpoint, took time.Duration, ok bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok {
		e.load.answered(took)
	}
	e.passive = e.passive.after(ok, now, p.policy.Passive)
}

// checks is the policy of active checks, nil for none, and the endpoints to check.
func (p *pool) checks() (*routing.HealthCheck, []*endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.policy.Health, slices.Clone(p.endpoints)
}

// checked takes in the result of an active check, and tells whether it changed anything.
func (p *pool) checked(e *endpoint, ok bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.policy.Health == nil {
		return false
	}
	before := e.health.sick
	e.health = e.health.after(ok, p.policy.Health)
	return e.health.sick != before
}
