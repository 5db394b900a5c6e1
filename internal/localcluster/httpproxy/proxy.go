// Package httpproxy forwards HTTP requests to pods, as the tables of package routing say. The proxying itself is the
// standard library's; what is here is who gets a request: pools of ready pods, how requests are spread over them, how
// their health is told, and that no request is lost when a pod goes away.
package httpproxy

import (
	"context"
	"log/slog"
	"net/http/httputil"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
	"redstart.dev/redstart/internal/localcluster/traffic"
)

// Proxy is the pools, and what all listeners share.
type Proxy struct {
	log     *slog.Logger
	logDir  string
	metrics *metrics
	reverse *httputil.ReverseProxy
	mirrors *mirrors
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup // health checks

	mu      sync.RWMutex
	closed  bool
	pools   map[routing.Target]*pool
	checks  map[*pool]context.CancelFunc
	leaving map[types.UID][]*endpoint
}

// New makes a Proxy without pools; Changed fills them. Access logs are written to logDir.
func New(logDir string, log *slog.Logger) *Proxy {
	// The context ends with Close, whoever made the proxy.
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		log: log, logDir: logDir, metrics: newMetrics(), ctx: ctx, cancel: cancel,
		pools: map[routing.Target]*pool{}, checks: map[*pool]context.CancelFunc{}, leaving: map[types.UID][]*endpoint{},
	}
	p.reverse = newReverse(log, p.metrics)
	p.mirrors = newMirrors(ctx, p)
	return p
}

// Traffic tells what was served lately.
func (p *Proxy) Traffic() traffic.Source { return p.metrics.recorder }

// KeepRoutes forgets the figures of routes that are not known any more.
func (p *Proxy) KeepRoutes(known func(namespace, route string) bool) { p.metrics.keep(known) }

// Close ends health checks and copies, and waits for them. The listeners are closed before.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.tasks.Wait()
	p.mirrors.tasks.Wait()
}

func (p *Proxy) pool(t routing.Target) *pool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.pools[t]
}

// Changed takes in the pods behind a port of a Service; it is for services.Proxy.Watch.
func (p *Proxy) Changed(u services.Upstream, gone bool) {
	t := routing.Target{Namespace: u.Service.Namespace, Service: u.Service.Name, Port: u.Number}
	policy, err := routing.ParsePolicy(u.Policy)
	if err != nil { // the API server refuses such a Service; an older store may have one
		p.log.Warn("The annotation of a Service is not understood", "service", u.Service, "annotation", routing.AnnotationUpstream, "error", err)
		policy = routing.Policy{Balance: routing.RoundRobin}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	l := p.pools[t]
	if l == nil {
		l = &pool{}
		p.pools[t] = l
	}
	for uid, list := range p.leaving {
		if list = stillBusy(list); len(list) == 0 {
			delete(p.leaving, uid)
		} else {
			p.leaving[uid] = list
		}
	}
	for _, e := range l.set(u, policy) {
		p.leaving[e.uid] = append(p.leaving[e.uid], e)
	}
	if gone {
		delete(p.pools, t)
	}
	p.keepChecking(l, !gone && policy.Health != nil)
}

func stillBusy(list []*endpoint) []*endpoint {
	out := list[:0]
	for _, e := range list {
		select {
		case <-e.idle:
		default:
			out = append(out, e)
		}
	}
	return out
}

// Drain waits until the requests that a pod has, which gets no new ones, have been answered, but no longer than most
// and than ctx. Answers that stay open, such as events and WebSockets, are not waited for.
func (p *Proxy) Drain(ctx context.Context, uid types.UID, most time.Duration) {
	p.mu.RLock()
	list := append([]*endpoint(nil), p.leaving[uid]...)
	p.mu.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for _, e := range list {
		select {
		case <-e.idle:
		case <-ctx.Done():
			return
		}
	}
}
