package apiserver

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// What the proxy of Services does is accepted, and all else refused by the name of its field.
func TestServiceFields(t *testing.T) {
	seconds := func(n int32) *corev1.SessionAffinityConfig {
		return &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(n)}}
	}
	for name, c := range map[string]struct {
		change func(*corev1.ServiceSpec)
		want   []string
	}{
		"plain":    {func(*corev1.ServiceSpec) {}, nil},
		"affinity": {func(s *corev1.ServiceSpec) { s.SessionAffinity = corev1.ServiceAffinityClientIP }, nil},
		"affinity for a day": {func(s *corev1.ServiceSpec) {
			s.SessionAffinity, s.SessionAffinityConfig = corev1.ServiceAffinityClientIP, seconds(86400)
		}, nil},
		"affinity for longer": {func(s *corev1.ServiceSpec) {
			s.SessionAffinity, s.SessionAffinityConfig = corev1.ServiceAffinityClientIP, seconds(86401)
		}, []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds"}},
		"a time without affinity": {func(s *corev1.ServiceSpec) { s.SessionAffinityConfig = seconds(60) }, []string{"spec.sessionAffinityConfig"}},
		"affinity to what":        {func(s *corev1.ServiceSpec) { s.SessionAffinity = "Cookie" }, []string{"spec.sessionAffinity"}},
		"source ranges": {func(s *corev1.ServiceSpec) {
			s.Type, s.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{"10.0.0.0/8"}
		}, []string{"spec.loadBalancerSourceRanges"}},
		"external IPs": {func(s *corev1.ServiceSpec) { s.ExternalIPs = []string{"10.0.0.1"} }, []string{"spec.externalIPs"}},
		"UDP":          {func(s *corev1.ServiceSpec) { s.Ports[0].Protocol = corev1.ProtocolUDP }, []string{"spec.ports[0].protocol"}},
		"not here":     {func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeExternalName }, []string{"spec.type"}},
	} {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		defaultService(svc)
		c.change(&svc.Spec)
		var got []string
		for _, err := range validateService(svc) {
			got = append(got, err.Field)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: refused %v, want %v", name, got, c.want)
		}
	}
}
