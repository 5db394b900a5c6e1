package objects

import (
	"fmt"
	"maps"
	"net"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// ExternalServices lead clients outside the cluster to one member each, master or replica; none unless spec.service.external
// asks for them. members is how many there are.
func ExternalServices(r *v1alpha1.Redis, members int32) []*corev1.Service {
	if r.Spec.Service == nil || r.Spec.Service.External == nil {
		return nil
	}
	e := r.Spec.Service.External
	var all []*corev1.Service
	for i := range members {
		pod := fmt.Sprintf("%s-%d", r.Name, i)
		s := service(r, v1alpha1.ExternalName(pod), v1alpha1.ComponentMember, port(portRedis, v1alpha1.PortRedis))
		s.Spec.Selector[appsv1.StatefulSetPodNameLabel] = pod
		s.Spec.Type = e.Type
		s.Spec.LoadBalancerClass, s.Spec.LoadBalancerSourceRanges = e.LoadBalancerClass, e.LoadBalancerSourceRanges
		s.Annotations = maps.Clone(e.Annotations)
		all = append(all, s)
	}
	return all
}

// ExternalAddress is HOST:PORT at which clients outside the cluster reach the member behind s, empty while it has none. node is an
// address of the node that its pod runs on, and host the one that the user gave instead.
func ExternalAddress(s *corev1.Service, host, node string) string {
	if len(s.Spec.Ports) == 0 {
		return ""
	}
	number := s.Spec.Ports[0].Port
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		if host == "" {
			host = balancer(s)
		}
	default:
		number = s.Spec.Ports[0].NodePort
		if host == "" {
			host = node
		}
	}
	if host == "" || number == 0 {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(int(number)))
}

// balancer is the address of a load balancer, preferably a number.
func balancer(s *corev1.Service) string {
	name := ""
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			return in.IP
		}
		name = in.Hostname
	}
	return name
}

// NodeAddress is where clients outside the cluster reach a node: its external address, or its internal one where it has none.
func NodeAddress(n *corev1.Node) string {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeExternalDNS, corev1.NodeInternalIP} {
		for _, a := range n.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
	}
	return ""
}
