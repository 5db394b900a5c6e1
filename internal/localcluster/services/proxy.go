package services

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/internal/localcluster/address"
)

// sharedAttempts is how many ports of the shared IP are tried for a port of a Service.
const sharedAttempts = 100

// Proxy forwards connections to the addresses of Services to ready pods, in turn.
type Proxy struct {
	log      *slog.Logger
	limit    *limiter
	sharedIP bool

	mu       sync.Mutex
	closed   bool
	services map[types.NamespacedName]*service
	pods     map[types.NamespacedName]*corev1.Pod
	retired  []*front // closed, with connections that may go on
	handlers map[Port]Handler
	changed  func(Upstream, bool) // see Watch; may be nil
	leaving  map[types.UID]bool   // pods that are being stopped
}

// service is a Service with its open ports.
type service struct {
	svc   *corev1.Service
	ports map[int32]*port
}

// port is one port of a Service: its backends, and where it listens.
type port struct {
	pool   *pool
	fronts map[string]*front // by the address that was asked for
}

func newProxy(log *slog.Logger, maxConnections int, sharedIP bool) *Proxy {
	return &Proxy{
		log: log, limit: newLimiter(maxConnections, log), sharedIP: sharedIP,
		services: map[types.NamespacedName]*service{}, pods: map[types.NamespacedName]*corev1.Pod{},
		handlers: map[Port]Handler{}, leaving: map[types.UID]bool{},
	}
}

// Close stops listening, resets all connections and waits until their goroutines have ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for key := range p.services {
		p.drop(key)
	}
	fronts := p.retired
	p.mu.Unlock()
	for _, f := range fronts {
		f.wait()
	}
}

// opened is what came of opening the ports of a Service.
type opened struct {
	// local maps Service ports to local ports where Services share an IP.
	local map[int32]int32
	// published has an address for every published port of the Service, in their order.
	published []string
	// conflicts are the published ports that could not be opened.
	conflicts []conflict
}

// conflict is a port of a Service that cannot be published.
type conflict struct {
	// port of the Service, and address that it cannot have.
	port    int32
	address string
	// instead is where it is published; empty if it is not.
	instead string
	err     error
}

// open makes the proxy serve svc as it is now: opens what is new, closes what is not wanted any more. The error is of
// a cluster address that cannot be opened; all else is in the result.
func (p *Proxy) open(svc *corev1.Service, local map[int32]int32) (opened, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return opened{}, errors.New("the Service proxy is closed")
	}
	key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	s := p.services[key]
	if s == nil {
		s = &service{ports: map[int32]*port{}}
		p.services[key] = s
	}
	if s.svc != nil && !maps.Equal(s.svc.Spec.Selector, svc.Spec.Selector) {
		s.letGo(selected(svc, slices.Collect(maps.Values(p.pods))))
	}
	s.svc = svc
	out := opened{local: map[int32]int32{}}
	var errs []error
	used := map[int32]bool{}
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		if cmp.Or(sp.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP {
			continue
		}
		used[sp.Port] = true
		pt := s.ports[sp.Port]
		if pt == nil {
			pt = &port{pool: &pool{}, fronts: map[string]*front{}}
			pt.pool.handle(p.handlers[Port{key, sp.Port}])
			s.ports[sp.Port] = pt
		}
		keep, err := p.openCluster(svc, sp, pt, local, &out)
		errs = append(errs, err)
		keep = append(keep, p.publish(svc, sp, pt, &out)...)
		for address, f := range pt.fronts {
			if !slices.Contains(keep, address) {
				p.retire(pt, address, f)
			}
		}
	}
	for n, pt := range s.ports {
		if !used[n] {
			p.dropPort(pt)
			p.tellGone(key, n)
			delete(s.ports, n)
		}
	}
	p.refresh(s)
	return out, errors.Join(errs...)
}

// letGo lets connections go on to pods that a new selector leaves out. Such pods did not change: a connection to one of them
// may be in the middle of an answer, and a cluster would not end it either.
func (s *service) letGo(now []*corev1.Pod) {
	kept := make(map[types.UID]bool, len(now))
	for _, pod := range now {
		kept[pod.UID] = true
	}
	for _, pt := range s.ports {
		pt.pool.letGo(kept)
	}
}

// openCluster opens the cluster IP's side of a port and returns the address to keep.
func (p *Proxy) openCluster(svc *corev1.Service, sp *corev1.ServicePort, pt *port, local map[int32]int32, out *opened) ([]string, error) {
	ip := svc.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, nil
	}
	if !p.sharedIP {
		own := net.JoinHostPort(ip, strconv.Itoa(int(sp.Port)))
		if err := p.listen(pt, own, own); err != nil {
			return nil, fmt.Errorf("listen for Service %s/%s: %w", svc.Namespace, svc.Name, err)
		}
		return []string{own}, nil
	}
	// The local port of an earlier run is kept if it is free, since running pods were told of it.
	const name = "shared"
	if pt.fronts[name] == nil {
		n := cmp.Or(local[sp.Port], address.RandomPort())
		err := p.listen(pt, name, net.JoinHostPort(ip, strconv.Itoa(int(n))))
		for range sharedAttempts {
			if err != nil {
				err = p.listen(pt, name, net.JoinHostPort(ip, strconv.Itoa(int(address.RandomPort()))))
			}
		}
		if err != nil {
			return nil, fmt.Errorf("listen for Service %s/%s: %w", svc.Namespace, svc.Name, err)
		}
	}
	out.local[sp.Port] = int32(pt.fronts[name].address().Port())
	return []string{name}, nil
}

// publish opens the addresses of a port on this machine's own address and returns those to keep.
func (p *Proxy) publish(svc *corev1.Service, sp *corev1.ServicePort, pt *port, out *opened) []string {
	var keep []string
	var failed []conflict
	for _, n := range publishedPorts(svc, sp) {
		address := net.JoinHostPort(publishedIP, strconv.Itoa(int(n)))
		if err := p.listen(pt, address, address); err != nil {
			failed = append(failed, conflict{port: sp.Port, address: address, err: err})
			continue
		}
		keep = append(keep, address)
	}
	if len(keep) > 0 {
		out.published = append(out.published, keep[0])
		for i := range failed {
			failed[i].instead = keep[0]
		}
	}
	out.conflicts = append(out.conflicts, failed...)
	return keep
}

// publishedPorts are the local ports where a port of a Service is to be reached, the one to tell people first: of a
// LoadBalancer the port itself, if an ordinary user may have it, and of both types the node port.
func publishedPorts(svc *corev1.Service, sp *corev1.ServicePort) []int32 {
	var out []int32
	switch svc.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		if sp.Port >= 1024 {
			out = append(out, sp.Port)
		}
	case corev1.ServiceTypeNodePort:
	default:
		return nil
	}
	if sp.NodePort != 0 && !slices.Contains(out, sp.NodePort) {
		out = append(out, sp.NodePort)
	}
	return out
}

// listen opens a front under a name unless there is one.
func (p *Proxy) listen(pt *port, name, address string) error {
	if pt.fronts[name] != nil {
		return nil
	}
	f, err := openFront(address, pt.pool, p.limit, p.log)
	if err != nil {
		return err
	}
	pt.fronts[name] = f
	return nil
}

// remove closes the ports of a Service that is gone, and resets its connections.
func (p *Proxy) remove(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(key)
}

func (p *Proxy) drop(key types.NamespacedName) {
	if s := p.services[key]; s != nil {
		for n, pt := range s.ports {
			p.dropPort(pt)
			p.tellGone(key, n)
		}
		delete(p.services, key)
	}
}

func (p *Proxy) dropPort(pt *port) {
	for name, f := range pt.fronts {
		p.retire(pt, name, f)
	}
	pt.pool.set(nil, 0)
}

func (p *Proxy) retire(pt *port, name string, f *front) {
	f.close()
	delete(pt.fronts, name)
	p.retired = slices.DeleteFunc(p.retired, (*front).idle)
	p.retired = append(p.retired, f)
}

// podChanged takes a pod in as it is now.
func (p *Proxy) podChanged(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	was := p.pods[key]
	p.pods[key] = pod
	p.refreshFor(was, pod)
}

func (p *Proxy) podGone(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	if p.pods[key] != nil && p.pods[key].UID == pod.UID {
		delete(p.pods, key)
		p.refreshFor(pod, nil)
	}
	delete(p.leaving, pod.UID)
}

// refreshFor recomputes the Services that select a pod as it was or as it is.
func (p *Proxy) refreshFor(was, is *corev1.Pod) {
	for key, s := range p.services {
		selector := labels.SelectorFromSet(s.svc.Spec.Selector)
		touches := func(pod *corev1.Pod) bool {
			return pod != nil && pod.Namespace == key.Namespace && selector.Matches(labels.Set(pod.Labels))
		}
		if len(s.svc.Spec.Selector) > 0 && (touches(was) || touches(is)) {
			p.refresh(s)
		}
	}
}

// refresh gives the ports of a Service their backends.
func (p *Proxy) refresh(s *service) {
	pods := slices.Collect(maps.Values(p.pods))
	for i := range s.svc.Spec.Ports {
		sp := &s.svc.Spec.Ports[i]
		if pt := s.ports[sp.Port]; pt != nil {
			backends := backendsOf(s.svc, sp, pods)
			for i := range backends {
				b := &backends[i]
				b.ready = b.ready && (!p.leaving[b.uid] || s.svc.Spec.PublishNotReadyAddresses)
			}
			pt.pool.set(backends, affinityOf(s.svc))
			p.tell(s.svc, sp, backends)
		}
	}
}

// affinityOf is how long a client stays with its backend; 0 for no affinity.
func affinityOf(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil {
		seconds = ptr.Deref(c.ClientIP.TimeoutSeconds, seconds)
	}
	return time.Duration(seconds) * time.Second
}
