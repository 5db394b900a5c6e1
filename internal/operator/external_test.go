package operator

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestHostnamesNeedAnEngineThatAnnouncesThem(t *testing.T) {
	running := func(engine, version string) instance {
		return instance{name: "cache-0", agent: &v1alpha1.AgentStatus{Server: v1alpha1.ServerStatus{Engine: engine, Version: version}}}
	}
	external := &v1alpha1.ExternalSpec{Type: corev1.ServiceTypeLoadBalancer}
	for _, tc := range []struct {
		about   string
		service *v1alpha1.ServiceSpec
		member  instance
		want    string // the field that is not served
	}{
		{"nobody asks", &v1alpha1.ServiceSpec{}, running("redis", "6.2.14"), ""},
		{"no Service", nil, running("redis", "6.2.14"), ""},
		{"too old", &v1alpha1.ServiceSpec{AnnounceHostnames: true}, running("redis", "6.2.14"), "spec.service.announceHostnames"},
		{"too old for load balancers", &v1alpha1.ServiceSpec{External: external}, running("redis", "6.2.14"), "spec.service.external"},
		{"new enough", &v1alpha1.ServiceSpec{AnnounceHostnames: true}, running("redis", "7.0.15"), ""},
		{"another engine", &v1alpha1.ServiceSpec{AnnounceHostnames: true}, running("valkey", "8.0.1"), ""},
		{"not known yet", &v1alpha1.ServiceSpec{AnnounceHostnames: true}, instance{name: "cache-0"}, ""},
	} {
		got := withoutHostnames(&v1alpha1.Redis{Spec: v1alpha1.RedisSpec{Service: tc.service}}, []instance{tc.member})
		if tc.want == "" && got == nil {
			continue
		}
		if len(got) != 1 || got[0].field != tc.want || !strings.Contains(got[0].why, "cache-0 runs redis 6.2.14") {
			t.Errorf("%s: %+v, want %q", tc.about, got, tc.want)
		}
	}
}
