package v1alpha1

import (
	"net/netip"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxPeers = 64

func (s *NetworkPolicySpec) validate(path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	for _, f := range []struct {
		peers []NetworkPolicyPeer
		path  *field.Path
	}{{s.AllowFrom, path.Child("allowFrom")}, {s.AllowMetricsFrom, path.Child("allowMetricsFrom")}} {
		if len(f.peers) > maxPeers {
			errs = append(errs, field.TooMany(f.path, len(f.peers), maxPeers))
		}
		for i := range f.peers {
			errs = append(errs, f.peers[i].validate(f.path.Index(i))...)
		}
	}
	return errs
}

// validate demands what Kubernetes demands of the peer of a NetworkPolicy. The syntax of the selectors is checked here
// alone: as a rule in the CRD it would cost too much.
func (p *NetworkPolicyPeer) validate(path *field.Path) field.ErrorList {
	pods := p.PodSelector != nil || p.NamespaceSelector != nil
	switch {
	case !pods && p.IPBlock == nil:
		return field.ErrorList{field.Required(path, "expected podSelector, namespaceSelector or ipBlock; {podSelector: {}} is every pod of the namespace")}
	case pods && p.IPBlock != nil:
		return field.ErrorList{field.Forbidden(path.Child("ipBlock"), "a network has no pods; write podSelector and namespaceSelector as another peer")}
	case p.IPBlock != nil:
		return p.IPBlock.validate(path.Child("ipBlock"))
	}
	var errs field.ErrorList
	opts := metav1validation.LabelSelectorValidationOptions{}
	if p.PodSelector != nil {
		errs = metav1validation.ValidateLabelSelector(p.PodSelector, opts, path.Child("podSelector"))
	}
	if p.NamespaceSelector != nil {
		errs = append(errs, metav1validation.ValidateLabelSelector(p.NamespaceSelector, opts, path.Child("namespaceSelector"))...)
	}
	return errs
}

func (b *IPBlock) validate(path *field.Path) field.ErrorList {
	network, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("cidr"), b.CIDR, "expected a network, for example 192.168.0.0/16")}
	}
	var errs field.ErrorList
	if len(b.Except) > 32 {
		errs = append(errs, field.TooMany(path.Child("except"), len(b.Except), 32))
	}
	for i, e := range b.Except {
		part, err := netip.ParsePrefix(e)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(path.Child("except").Index(i), e, "expected a network, for example 192.168.7.0/24"))
		case part.Bits() <= network.Bits() || !network.Masked().Contains(part.Addr()):
			errs = append(errs, field.Invalid(path.Child("except").Index(i), e, "expected a part of "+b.CIDR))
		}
	}
	return errs
}

// validateReach checks how the Services are reached from outside, and by which addresses.
func (s *ServiceSpec) validateReach(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	outside := s.Type == corev1.ServiceTypeNodePort || s.Type == corev1.ServiceTypeLoadBalancer
	for _, f := range []struct {
		misused bool
		name    string
		types   string
	}{
		{s.LoadBalancerClass != nil && s.Type != corev1.ServiceTypeLoadBalancer, "loadBalancerClass", "only for type LoadBalancer; write that, or remove it"},
		{len(s.LoadBalancerSourceRanges) > 0 && s.Type != corev1.ServiceTypeLoadBalancer, "loadBalancerSourceRanges", "only for type LoadBalancer; write that, or remove it"},
		{s.ExternalTrafficPolicy != "" && !outside, "externalTrafficPolicy", "only for types NodePort and LoadBalancer; write one of them, or remove it"},
		{s.NodePorts != nil && !outside, "nodePorts", "only for types NodePort and LoadBalancer; write one of them, or remove it"},
	} {
		if f.misused {
			errs = append(errs, field.Forbidden(path.Child(f.name), f.types))
		}
	}
	if s.LoadBalancerClass != nil && (*s.LoadBalancerClass == "" || len(*s.LoadBalancerClass) > 253) {
		errs = append(errs, field.Invalid(path.Child("loadBalancerClass"), *s.LoadBalancerClass, "expected the name of a class of load balancers"))
	}
	errs = append(errs, networks(s.LoadBalancerSourceRanges, path.Child("loadBalancerSourceRanges"))...)
	errs = append(errs, oneOf(s.ExternalTrafficPolicy, path.Child("externalTrafficPolicy"), corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	if n := s.NodePorts; n != nil {
		at := path.Child("nodePorts")
		errs = append(errs, between(n.Master, 1, 65535, at.Child("master"))...)
		errs = append(errs, between(n.Replicas, 1, 65535, at.Child("replicas"))...)
		if n.Master != nil && n.Replicas != nil && *n.Master == *n.Replicas {
			errs = append(errs, field.Invalid(at.Child("replicas"), *n.Replicas, "the Service for writes has this port; choose another"))
		}
	}
	errs = append(errs, oneOf(s.IPFamilyPolicy, path.Child("ipFamilyPolicy"), corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	families := path.Child("ipFamilies")
	for i, f := range s.IPFamilies {
		errs = append(errs, oneOf(f, families.Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)...)
	}
	switch {
	case len(s.IPFamilies) > 2 || len(slices.Compact(slices.Sorted(slices.Values(s.IPFamilies)))) < len(s.IPFamilies):
		errs = append(errs, field.Invalid(families, s.IPFamilies, "expected two different families, or one"))
	case len(s.IPFamilies) == 2 && !s.DualStack():
		errs = append(errs, field.Invalid(families, s.IPFamilies, "two families need ipFamilyPolicy PreferDualStack or RequireDualStack"))
	}
	return errs
}

// DualStack tells whether the Services, and so the members, have addresses of both families where the cluster has them. s may be nil.
func (s *ServiceSpec) DualStack() bool {
	return s != nil && (s.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack || s.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`)

func (e *ExternalSpec) validate(mode Mode, path *field.Path) field.ErrorList {
	if e == nil {
		return nil
	}
	if mode == ModeSentinel {
		return field.ErrorList{field.Forbidden(path, "not served yet in mode Sentinel; remove it, or write mode: Replication")}
	}
	var errs field.ErrorList
	balanced := e.Type == corev1.ServiceTypeLoadBalancer
	if mode == ModeCluster && e.Type == corev1.ServiceTypeNodePort {
		errs = append(errs, field.Invalid(path.Child("type"), e.Type, "in mode Cluster clients are told one port for all members; write LoadBalancer, or remove external"))
	}
	if mode == ModeCluster && e.Host != "" {
		errs = append(errs, field.Forbidden(path.Child("host"), "in mode Cluster every member needs a name or an address of its own; remove it"))
	}
	if !balanced && e.Type != corev1.ServiceTypeNodePort {
		errs = append(errs, field.NotSupported(path.Child("type"), e.Type, []corev1.ServiceType{corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer}))
	}
	if e.Host != "" && (!hostName.MatchString(e.Host) || len(e.Host) > 253) {
		errs = append(errs, field.Invalid(path.Child("host"), e.Host, "expected a host name or an address"))
	}
	if e.LoadBalancerClass != nil && !balanced {
		errs = append(errs, field.Forbidden(path.Child("loadBalancerClass"), "only for type LoadBalancer; write that, or remove it"))
	}
	if len(e.LoadBalancerSourceRanges) > 0 && !balanced {
		errs = append(errs, field.Forbidden(path.Child("loadBalancerSourceRanges"), "only for type LoadBalancer; write that, or remove it"))
	}
	return append(errs, networks(e.LoadBalancerSourceRanges, path.Child("loadBalancerSourceRanges"))...)
}

func networks(all []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, n := range all {
		if _, err := netip.ParsePrefix(n); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), n, "expected a network, for example 192.168.0.0/16"))
		}
	}
	return errs
}
