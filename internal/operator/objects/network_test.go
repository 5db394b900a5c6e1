package objects_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

// admits tells whether a policy lets peers of a label of their own namespace, or of the operator's, reach a port.
func admits(p *networkingv1.NetworkPolicy, matches func(networkingv1.NetworkPolicyPeer) bool, port int32) bool {
	for _, rule := range p.Spec.Ingress {
		for _, to := range rule.Ports {
			if to.Port.IntVal != port {
				continue
			}
			if len(rule.From) == 0 {
				return true
			}
			for _, from := range rule.From {
				if matches(from) {
					return true
				}
			}
		}
	}
	return false
}

// TestNetworkPolicyAdmitsWhoIsNeeded, and nobody else.
func TestNetworkPolicyAdmitsWhoIsNeeded(t *testing.T) {
	client := v1alpha1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}
	own := func(p networkingv1.NetworkPolicyPeer) bool {
		return p.NamespaceSelector == nil && p.PodSelector != nil && p.PodSelector.MatchLabels[v1alpha1.LabelName] == "cache"
	}
	operator := func(p networkingv1.NetworkPolicyPeer) bool {
		return p.NamespaceSelector != nil && p.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] == "redstart-system" &&
			p.PodSelector != nil && p.PodSelector.MatchLabels["app.kubernetes.io/component"] == "operator"
	}
	web := func(p networkingv1.NetworkPolicyPeer) bool {
		return p.PodSelector != nil && p.PodSelector.MatchLabels["app"] == "web"
	}
	stranger := func(networkingv1.NetworkPolicyPeer) bool { return false }
	for _, tc := range []struct {
		about string
		mode  v1alpha1.Mode
		spec  v1alpha1.NetworkPolicySpec
		who   func(networkingv1.NetworkPolicyPeer) bool
		want  map[int32]bool
	}{
		{"own pods", v1alpha1.ModeReplication, v1alpha1.NetworkPolicySpec{Enabled: true}, own, map[int32]bool{6379: true, 9379: true, 26379: false}},
		{"own pods and Sentinels", v1alpha1.ModeSentinel, v1alpha1.NetworkPolicySpec{Enabled: true}, own, map[int32]bool{6379: true, 9379: true, 26379: true}},
		{"operator", v1alpha1.ModeSentinel, v1alpha1.NetworkPolicySpec{Enabled: true}, operator, map[int32]bool{6379: false, 9379: true, 26379: false}},
		{"nobody else", v1alpha1.ModeSentinel, v1alpha1.NetworkPolicySpec{Enabled: true}, stranger, map[int32]bool{6379: false, 9379: false, 26379: false}},
		{"client", v1alpha1.ModeSentinel, v1alpha1.NetworkPolicySpec{Enabled: true, AllowFrom: []v1alpha1.NetworkPolicyPeer{client}}, web, map[int32]bool{6379: true, 9379: false, 26379: true}},
		{"Prometheus", v1alpha1.ModeSentinel, v1alpha1.NetworkPolicySpec{Enabled: true, AllowMetricsFrom: []v1alpha1.NetworkPolicyPeer{client}}, web, map[int32]bool{6379: false, 9379: true, 26379: false}},
	} {
		r := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: "cache", Namespace: "default"}, Spec: v1alpha1.RedisSpec{Mode: tc.mode, NetworkPolicy: &tc.spec}}
		r.Default()
		p := objects.NetworkPolicy(r, "redstart-system")
		for port, want := range tc.want {
			if got := admits(p, tc.who, port); got != want {
				t.Errorf("%s, port %d: admitted %v, want %v", tc.about, port, got, want)
			}
		}
	}
	if p := objects.NetworkPolicy(&v1alpha1.Redis{Spec: v1alpha1.RedisSpec{NetworkPolicy: &v1alpha1.NetworkPolicySpec{}}}, ""); p != nil {
		t.Errorf("a policy that nobody wants: %+v", p)
	}
}
