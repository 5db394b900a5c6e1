package services

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"redstart.dev/redstart/api/v1alpha1"
)

// backend is a pod behind one port of a Service.
type backend struct {
	pod     *corev1.Pod
	uid     types.UID
	address string // HOST:PORT as it is reached on this machine
	// ready takes new connections. terminating and not-ready backends keep those that they have.
	ready, serving, terminating bool
}

// selected lists the pods that svc selects and that can have an address, by name. A Service without a selector
// selects none.
func selected(svc *corev1.Service, pods []*corev1.Pod) []*corev1.Pod {
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	s := labels.SelectorFromSet(svc.Spec.Selector)
	var out []*corev1.Pod
	for _, p := range pods {
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if p.Namespace == svc.Namespace && !ended && p.Status.PodIP != "" && s.Matches(labels.Set(p.Labels)) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// backendsOf lists the backends of one port of svc among pods.
func backendsOf(svc *corev1.Service, port *corev1.ServicePort, pods []*corev1.Pod) []backend {
	var out []backend
	for _, p := range selected(svc, pods) {
		n := targetPort(port, p)
		if n == 0 {
			continue
		}
		b := backend{pod: p, uid: p.UID, address: v1alpha1.PodAddress(p, n), serving: podReady(p), terminating: p.DeletionTimestamp != nil}
		b.ready = (b.serving && !b.terminating) || svc.Spec.PublishNotReadyAddresses
		out = append(out, b)
	}
	return out
}

// targetPort is the container port that port leads to in pod; 0 if it is named and the pod has no port of that name.
func targetPort(port *corev1.ServicePort, pod *corev1.Pod) int32 {
	t := port.TargetPort
	if t.Type == intstr.Int {
		return cmp.Or(t.IntVal, port.Port)
	}
	if t.StrVal == "" {
		return port.Port
	}
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.Name == t.StrVal && cmp.Or(p.Protocol, corev1.ProtocolTCP) == cmp.Or(port.Protocol, corev1.ProtocolTCP) {
				return p.ContainerPort
			}
		}
	}
	return 0
}

func podReady(p *corev1.Pod) bool {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// port is the port in the address, 0 if there is none.
func (b backend) port() int32 {
	_, s, err := net.SplitHostPort(b.address)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}
