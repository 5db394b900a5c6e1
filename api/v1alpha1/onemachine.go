package v1alpha1

// OneMachineWarning is a field that takes no effect on one machine.
type OneMachineWarning struct {
	// Field is its path, Why one clause for people.
	Field, Why string
}

// OneMachineWarnings are the fields of a Redis that take effect on Kubernetes, and cannot on one machine. They do not keep
// the same file from running there, but they are told of when it is applied, and in the condition SpecServed.
func (r *Redis) OneMachineWarnings() []OneMachineWarning {
	var all []OneMachineWarning
	if s := r.Spec.Service; s != nil {
		for _, f := range []struct {
			used       bool
			field, why string
		}{
			{s.LoadBalancerClass != nil, "loadBalancerClass", "one machine has no load balancers: ports are published on 127.0.0.1"},
			{len(s.LoadBalancerSourceRanges) > 0, "loadBalancerSourceRanges", "one machine has no load balancers: ports are published on 127.0.0.1, for this machine alone"},
			{s.ExternalTrafficPolicy != "", "externalTrafficPolicy", "one machine has no other nodes"},
			{s.AnnounceHostnames, "announceHostnames", "one machine has no DNS for pods: clients are told addresses"},
			{s.External != nil && r.Spec.Mode == ModeCluster, "external", "one machine has one address for ports that are published, and the members of mode Cluster share one port"},
			{s.IPFamilyPolicy != "" || len(s.IPFamilies) > 0, "ipFamilies", "on one machine all addresses are IPv4"},
		} {
			if f.used {
				all = append(all, OneMachineWarning{"spec.service." + f.field, f.why})
			}
		}
	}
	if s := r.Spec.Service; s != nil && s.External != nil && (s.External.LoadBalancerClass != nil || len(s.External.LoadBalancerSourceRanges) > 0) {
		all = append(all, OneMachineWarning{"spec.service.external", "one machine has no load balancers: ports are published on 127.0.0.1, for this machine alone"})
	}
	if n := r.Spec.NetworkPolicy; n != nil && n.Enabled {
		all = append(all, OneMachineWarning{"spec.networkPolicy", "one machine has no network to divide: every process on it can connect, and nobody else"})
	}
	return all
}
