package services

import (
	"net"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// Handler takes the connections to a port of a Service that is served inside this process, and not by pods.
type Handler interface {
	// ServeConn returns when it has closed c.
	ServeConn(c net.Conn)
}

// Port names a port of a Service.
type Port struct {
	Service types.NamespacedName
	Number  int32
}

// Upstream is what stands behind a port of a Service.
type Upstream struct {
	Port
	// Policy is the Service's annotation redstart.dev/upstream.
	Policy string
	// H2C says that the pods speak HTTP/2 without TLS, by the port's appProtocol.
	H2C bool
	// Endpoints are the pods that take new connections.
	Endpoints []Endpoint
}

// Endpoint is a ready pod behind a port of a Service.
type Endpoint struct {
	UID types.UID
	// Address is HOST:PORT, as it is reached on this machine.
	Address string
	// Weight is the pod's annotation redstart.dev/weight, as it was written.
	Weight string
}

// appProtocolH2C is how a port of a Service says that it speaks HTTP/2 without TLS.
const appProtocolH2C = "kubernetes.io/h2c"

// Handle gives connections to a port of a Service to h, from the next one on; nil gives them to pods again.
func (p *Proxy) Handle(port Port, h Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h == nil {
		delete(p.handlers, port)
	} else {
		p.handlers[port] = h
	}
	if s := p.services[port.Service]; s != nil && s.ports[port.Number] != nil {
		s.ports[port.Number].pool.handle(h)
	}
}

// Watch tells every port of a Service that there is, and from then on each that changes, before anything else is told
// of the change; gone says that there is no such port any more. changed must be quick, and must not call the Proxy.
func (p *Proxy) Watch(changed func(u Upstream, gone bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = changed
	for _, s := range p.services {
		p.refresh(s)
	}
}

// Leave takes a pod that is about to be stopped out of all Services, ahead of the watch that will tell so.
func (p *Proxy) Leave(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pod := range p.pods {
		if pod.UID == uid {
			p.leaving[uid] = true
			p.refreshFor(pod, pod)
			return
		}
	}
}

// tell reports the endpoints of a port of a Service.
func (p *Proxy) tell(svc *corev1.Service, port *corev1.ServicePort, backends []backend) {
	if p.changed == nil {
		return
	}
	u := Upstream{
		Port:   Port{types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, port.Port},
		Policy: svc.Annotations[routing.AnnotationUpstream],
		H2C:    port.AppProtocol != nil && *port.AppProtocol == appProtocolH2C,
	}
	for _, b := range backends {
		if b.ready {
			u.Endpoints = append(u.Endpoints, Endpoint{b.uid, b.address, b.pod.Annotations[routing.AnnotationWeight]})
		}
	}
	p.changed(u, false)
}

func (p *Proxy) tellGone(key types.NamespacedName, number int32) {
	if p.changed != nil {
		p.changed(Upstream{Port: Port{key, number}}, true)
	}
}
