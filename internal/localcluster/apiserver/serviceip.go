package apiserver

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/storage"

	"redstart.dev/redstart/api/v1alpha1"
)

// serviceNetwork gives cluster IPs and node ports to Services. What is in use is found in the store at start.
type serviceNetwork struct {
	prefix    netip.Prefix
	firstPort int32
	lastPort  int32

	mu    sync.Mutex
	ips   map[netip.Addr]bool
	ports map[int32]bool
	next  netip.Addr
	port  int32
}

func newServiceNetwork(prefix netip.Prefix, ports [2]int32) (*serviceNetwork, error) {
	if !prefix.IsValid() {
		prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 1, 0}), 24)
	}
	if ports == [2]int32{} {
		ports = [2]int32{30000, 32767}
	}
	if ports[0] < 1 || ports[1] > 65535 || ports[0] > ports[1] {
		return nil, fmt.Errorf("node ports: expected a range within 1 to 65535, not %d to %d", ports[0], ports[1])
	}
	n := &serviceNetwork{
		prefix: prefix.Masked(), firstPort: ports[0], lastPort: ports[1],
		ips: map[netip.Addr]bool{}, ports: map[int32]bool{}, port: ports[0],
	}
	n.next = n.first()
	return n, nil
}

// shared tells whether all Services have the one address that there is.
func (n *serviceNetwork) shared() bool { return n.prefix.IsSingleIP() }

// first is the lowest address that is given out: the one after the network's own.
func (n *serviceNetwork) first() netip.Addr {
	if n.shared() {
		return n.prefix.Addr()
	}
	return n.prefix.Addr().Next()
}

// holding is what a Service has of the network.
type holding struct {
	ip    netip.Addr
	ports []int32
}

func held(s *corev1.Service) holding {
	var h holding
	if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil {
		h.ip = ip
	}
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			h.ports = append(h.ports, p.NodePort)
		}
	}
	return h
}

// keep marks what s has as in use.
func (n *serviceNetwork) keep(s *corev1.Service) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := held(s)
	if h.ip.IsValid() {
		n.ips[h.ip] = true
		if n.next.Compare(h.ip) <= 0 {
			n.next = h.ip.Next()
		}
	}
	for _, p := range h.ports {
		n.ports[p] = true
	}
}

// release gives back what h has and kept has not.
func (n *serviceNetwork) release(h, kept holding) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.ip.IsValid() && h.ip != kept.ip {
		delete(n.ips, h.ip)
	}
	still := map[int32]bool{}
	for _, p := range kept.ports {
		still[p] = true
	}
	for _, p := range h.ports {
		if !still[p] {
			delete(n.ports, p)
		}
	}
}

// assign completes s, which replaces old: it takes what s asks for, or what is free. On an error nothing is taken.
func (n *serviceNetwork) assign(s *corev1.Service, old holding) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.assignIP(s, old.ip); err != nil {
		return err
	}
	if s.Spec.Type != corev1.ServiceTypeNodePort && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	had := map[int32]bool{}
	for _, p := range old.ports {
		had[p] = true
	}
	var taken []int32
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if had[p.NodePort] {
			continue
		}
		if err := n.assignPort(p, field.NewPath("spec", "ports").Index(i).Child("nodePort")); err != nil {
			for _, t := range taken {
				delete(n.ports, t)
			}
			if ip := held(s).ip; ip.IsValid() && ip != old.ip {
				delete(n.ips, ip)
			}
			return invalidService(s, err)
		}
		taken = append(taken, p.NodePort)
	}
	return nil
}

func (n *serviceNetwork) assignIP(s *corev1.Service, old netip.Addr) error {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if s.Spec.ClusterIP != corev1.ClusterIPNone {
		ip, err := n.pickIP(s.Spec.ClusterIP, old)
		if err != nil {
			return invalidService(s, err)
		}
		n.ips[ip] = true
		s.Spec.ClusterIP = ip.String()
	}
	policy := corev1.IPFamilyPolicySingleStack
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	s.Spec.IPFamilyPolicy = &policy
	return nil
}

func (n *serviceNetwork) pickIP(asked string, old netip.Addr) (netip.Addr, *field.Error) {
	path := field.NewPath("spec", "clusterIP")
	if asked != "" {
		ip, err := netip.ParseAddr(asked)
		switch {
		case err != nil || !n.prefix.Contains(ip):
			return ip, field.Invalid(path, asked, fmt.Sprintf("must be in %s; leave it out and one is chosen", n.prefix))
		case n.ips[ip] && ip != old && !n.shared():
			return ip, field.Invalid(path, asked, "another Service has it; leave it out and one is chosen")
		}
		return ip, nil
	}
	if n.shared() {
		return n.first(), nil
	}
	// One round from the last one given: an address comes back as late as possible.
	start := n.next
	if !n.prefix.Contains(start) {
		start = n.first()
	}
	for ip := start; ; {
		next := ip.Next()
		if !n.prefix.Contains(next) {
			next = n.first()
		}
		if last := ip.As4()[3] == 255; !last && !n.ips[ip] {
			n.next = next
			return ip, nil
		}
		if next == start {
			return netip.Addr{}, field.Invalid(path, "", fmt.Sprintf("every address of %s is in use; delete a Service", n.prefix))
		}
		ip = next
	}
}

func (n *serviceNetwork) assignPort(p *corev1.ServicePort, path *field.Path) *field.Error {
	if p.NodePort > 0 {
		switch {
		case p.NodePort < n.firstPort || p.NodePort > n.lastPort:
			return field.Invalid(path, p.NodePort, fmt.Sprintf("must be from %d to %d; leave it out and one is chosen", n.firstPort, n.lastPort))
		case n.ports[p.NodePort]:
			return field.Invalid(path, p.NodePort, "another Service has it; leave it out and one is chosen")
		}
		n.ports[p.NodePort] = true
		return nil
	}
	for range n.lastPort - n.firstPort + 1 {
		candidate := n.port
		n.port++
		if n.port > n.lastPort {
			n.port = n.firstPort
		}
		if !n.ports[candidate] {
			n.ports[candidate], p.NodePort = true, candidate
			return nil
		}
	}
	return field.Invalid(path, 0, "every node port is in use; delete a Service")
}

func invalidService(s *corev1.Service, err *field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), s.Name, field.ErrorList{err})
}

// attach makes the registry of Services use the network.
func (n *serviceNetwork) attach(ctx context.Context, services *registry.Store) error {
	list, err := services.List(ctx, nil)
	if err != nil {
		return fmt.Errorf("find the addresses in use: %w", err)
	}
	var strangers []*corev1.Service
	err = eachItem(list, func(o runtime.Object) error {
		s := o.(*corev1.Service)
		if ip := held(s).ip; ip.IsValid() && !n.prefix.Contains(ip) {
			strangers = append(strangers, s)
		} else {
			n.keep(s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range strangers {
		if err := n.move(ctx, services, s); err != nil {
			return err
		}
	}
	inNamespace := services.BeginCreate
	services.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (registry.FinishFunc, error) {
		if _, err := inNamespace(ctx, obj, o); err != nil {
			return nil, err
		}
		return n.begin(obj.(*corev1.Service), holding{}, len(o.DryRun) > 0)
	}
	services.BeginUpdate = func(_ context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (registry.FinishFunc, error) {
		prepareService(obj.(*corev1.Service), old.(*corev1.Service))
		return n.begin(obj.(*corev1.Service), held(old.(*corev1.Service)), len(o.DryRun) > 0)
	}
	services.AfterDelete = func(obj runtime.Object, _ *metav1.DeleteOptions) {
		n.release(held(obj.(*corev1.Service)), holding{})
	}
	return nil
}

// move gives a Service of the store an address of the network. It had one of another: the network that the store was
// used with before was taken.
func (n *serviceNetwork) move(ctx context.Context, services *registry.Store, s *corev1.Service) error {
	key, err := services.KeyFunc(request.WithNamespace(ctx, s.Namespace), s.Name)
	if err != nil {
		return fmt.Errorf("give Service %s/%s a new address: %w", s.Namespace, s.Name, err)
	}
	update := storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
		s := in.(*corev1.Service)
		old := held(s)
		old.ip, s.Spec.ClusterIP = netip.Addr{}, ""
		delete(s.Annotations, v1alpha1.AnnotationPorts) // of the address that it had
		if err := n.assign(s, old); err != nil {
			return nil, err
		}
		n.keep(s)
		return s, nil
	})
	if err := services.Storage.GuaranteedUpdate(ctx, key, &corev1.Service{}, false, nil, update, false, nil); err != nil {
		return fmt.Errorf("give Service %s/%s a new address: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// begin assigns, and at the end gives back what is not needed: the old on success, the new otherwise.
func (n *serviceNetwork) begin(s *corev1.Service, old holding, dryRun bool) (registry.FinishFunc, error) {
	if err := n.assign(s, old); err != nil {
		return nil, err
	}
	now := held(s)
	return func(_ context.Context, success bool) {
		if success && !dryRun {
			n.release(old, now)
		} else {
			n.release(now, old)
		}
	}, nil
}
