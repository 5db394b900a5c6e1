package gateways

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// labelGateway is on the Service of a Gateway, with the Gateway's name.
const labelGateway = "gateway.networking.k8s.io/gateway-name"

// ServiceName is the name of the Service through which a Gateway is reached: gateway-NAME, as far as that can be the
// name of a Service.
func ServiceName(gateway string) string {
	name := "gateway-" + strings.ReplaceAll(gateway, ".", "-")
	if name == "gateway-"+gateway && len(name) <= 63 {
		return name
	}
	h := fnv.New32a()
	h.Write([]byte(gateway))
	return fmt.Sprintf("%s-%08x", strings.TrimRight(name[:min(len(name), 54)], "-"), h.Sum32())
}

// DesiredService is the Service of a Gateway: of type LoadBalancer, so that its ports are published on this machine,
// and without a selector, for this process serves it.
func DesiredService(g *gatewayv1.Gateway) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: ServiceName(g.Name), Labels: map[string]string{}, Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(g, gatewayKind)},
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	if i := g.Spec.Infrastructure; i != nil {
		for k, v := range i.Labels {
			svc.Labels[string(k)] = string(v)
		}
		for k, v := range i.Annotations {
			svc.Annotations[string(k)] = string(v)
		}
	}
	svc.Labels[labelGateway] = g.Name
	for _, n := range portsOf(g) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "http-" + strconv.Itoa(int(n)), Port: n, Protocol: corev1.ProtocolTCP})
	}
	return svc
}

var gatewayKind = schema.GroupVersion(gatewayv1.GroupVersion).WithKind("Gateway")

// portsOf are the ports of a Gateway's listeners, each once.
func portsOf(g *gatewayv1.Gateway) []int32 {
	ports := map[int32]bool{}
	for i := range g.Spec.Listeners {
		ports[g.Spec.Listeners[i].Port] = true
	}
	return slices.Sorted(maps.Keys(ports))
}

// change makes svc what want says, and tells whether anything was different. What others have put there stays.
func change(svc, want *corev1.Service) bool {
	before := svc.DeepCopy()
	for k, v := range want.Labels {
		metav1.SetMetaDataLabel(&svc.ObjectMeta, k, v)
	}
	for k, v := range want.Annotations {
		metav1.SetMetaDataAnnotation(&svc.ObjectMeta, k, v)
	}
	var ports []corev1.ServicePort
	for _, p := range want.Spec.Ports {
		if i := slices.IndexFunc(svc.Spec.Ports, func(have corev1.ServicePort) bool { return have.Port == p.Port }); i >= 0 {
			p = svc.Spec.Ports[i]
		}
		ports = append(ports, p)
	}
	svc.Spec.Ports, svc.Spec.Type = ports, want.Spec.Type
	return !maps.Equal(before.Labels, svc.Labels) || !maps.Equal(before.Annotations, svc.Annotations) ||
		!slices.Equal(portNumbers(before), portNumbers(svc)) || before.Spec.Type != svc.Spec.Type
}

func portNumbers(svc *corev1.Service) []int32 {
	var out []int32
	for _, p := range svc.Spec.Ports {
		out = append(out, p.Port)
	}
	return out
}
