package objects

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// NetworkPolicy lets the pods of a Redis be reached by each other, by the operator, and by the peers of the spec; nil
// where none is wanted. Kubelets need no rule: a node always reaches its own pods.
//
// It says nothing of what the pods connect to. They need the API server, whose address no rule can name, and each
// other by addresses that outlive no pod; a namespace whose owner denies egress has to allow these by itself.
func NetworkPolicy(r *v1alpha1.Redis, operatorNamespace string) *networkingv1.NetworkPolicy {
	s := r.Spec.NetworkPolicy
	if s == nil || !s.Enabled {
		return nil
	}
	server := []int32{v1alpha1.PortRedis}
	if r.Spec.Mode == v1alpha1.ModeSentinel {
		server = append(server, v1alpha1.PortSentinel)
	}
	between, operator := append(server[:len(server):len(server)], v1alpha1.PortAgent), []int32{v1alpha1.PortAgent}
	if r.Spec.Mode == v1alpha1.ModeCluster {
		// The members speak over the cluster bus, and the operator tells the servers what to do.
		between, operator = append(between, v1alpha1.PortBus), append(operator, v1alpha1.PortRedis)
	}
	rules := []networkingv1.NetworkPolicyIngressRule{
		ingress([]networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{
			MatchLabels: map[string]string{v1alpha1.LabelName: r.Name},
		}}}, between...),
		ingress([]networkingv1.NetworkPolicyPeer{operatorPeer(operatorNamespace)}, operator...),
	}
	// A rule without peers would let everybody in.
	if len(s.AllowFrom) > 0 {
		rules = append(rules, ingress(peers(s.AllowFrom), server...))
	}
	if len(s.AllowMetricsFrom) > 0 {
		rules = append(rules, ingress(peers(s.AllowMetricsFrom), v1alpha1.PortAgent))
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   typeMeta(networkingv1.SchemeGroupVersion, "NetworkPolicy"),
		ObjectMeta: objectMeta(r, r.Name, ""),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelName: r.Name}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     rules,
		},
	}
}

func ingress(from []networkingv1.NetworkPolicyPeer, ports ...int32) networkingv1.NetworkPolicyIngressRule {
	rule := networkingv1.NetworkPolicyIngressRule{From: from}
	for _, p := range ports {
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{
			Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(intstr.FromInt32(p)),
		})
	}
	return rule
}

// operatorPeer is the operator's pods in its namespace, or in any when it does not run in a pod and cannot know: the
// agents ask for a token besides.
func operatorPeer(namespace string) networkingv1.NetworkPolicyPeer {
	p := networkingv1.NetworkPolicyPeer{
		PodSelector:       &metav1.LabelSelector{MatchLabels: OperatorSelector()},
		NamespaceSelector: &metav1.LabelSelector{},
	}
	if namespace != "" {
		p.NamespaceSelector.MatchLabels = map[string]string{corev1.LabelMetadataName: namespace}
	}
	return p
}

func peers(all []v1alpha1.NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for _, p := range all {
		peer := networkingv1.NetworkPolicyPeer{PodSelector: p.PodSelector, NamespaceSelector: p.NamespaceSelector}
		if b := p.IPBlock; b != nil {
			peer.IPBlock = &networkingv1.IPBlock{CIDR: b.CIDR, Except: b.Except}
		}
		out = append(out, peer)
	}
	return out
}
