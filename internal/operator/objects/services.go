package objects

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// Names of the ports of pods and Services.
const (
	portRedis    = "redis"
	portAgent    = "agent"
	portSentinel = "sentinel"
	portBus      = "bus"
)

// Services are those of a Redis: writes, reads, the members' names and, in mode Sentinel, the Sentinels.
func Services(r *v1alpha1.Redis) []*corev1.Service {
	var all []*corev1.Service
	switch r.Spec.Mode {
	case v1alpha1.ModeCluster:
		all = []*corev1.Service{AccessService(r), MembersService(r)}
	case v1alpha1.ModeSentinel:
		all = []*corev1.Service{MasterService(r), ReplicasService(r), MembersService(r), SentinelService(r)}
	default:
		all = []*corev1.Service{MasterService(r), ReplicasService(r), MembersService(r)}
	}
	if c := r.Spec.Service; c != nil {
		for _, s := range all {
			s.Spec.IPFamilies = c.IPFamilies
			if c.IPFamilyPolicy != "" {
				s.Spec.IPFamilyPolicy = &c.IPFamilyPolicy
			}
		}
	}
	return all
}

// onOneMachine takes off a Service what one machine cannot do; OneMachineWarnings of the Redis tells of it.
func onOneMachine(s *corev1.Service) {
	s.Spec.LoadBalancerClass, s.Spec.LoadBalancerSourceRanges, s.Spec.ExternalTrafficPolicy = nil, nil, ""
	s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = nil, nil
}

// MasterService always leads to the master.
func MasterService(r *v1alpha1.Redis) *corev1.Service {
	return clientService(r, r.MasterServiceName(), v1alpha1.RoleMaster)
}

// ReplicasService leads to the replicas, or to the master of a Redis that has no replica.
func ReplicasService(r *v1alpha1.Redis) *corev1.Service {
	role := v1alpha1.RoleReplica
	if ptr.Deref(r.Spec.Replicas, 1) == 1 {
		role = v1alpha1.RoleMaster
	}
	return clientService(r, r.ReplicasServiceName(), role)
}

// AccessService leads a cluster's clients to any member that is ready: it tells them where every slot is.
func AccessService(r *v1alpha1.Redis) *corev1.Service {
	s := clientService(r, r.MasterServiceName(), v1alpha1.RoleMaster)
	s.Spec.Selector = Selector(r, v1alpha1.ComponentMember)
	return s
}

func clientService(r *v1alpha1.Redis, name string, role v1alpha1.Role) *corev1.Service {
	s := service(r, name, v1alpha1.ComponentMember, port(portRedis, v1alpha1.PortRedis))
	// The role alone selects: a Sentinel has another one, and the agents keep it true at every moment.
	s.Spec.Selector = map[string]string{v1alpha1.LabelName: r.Name, v1alpha1.LabelRole: string(role)}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	if c := r.Spec.Service; c != nil {
		if c.Type != "" {
			s.Spec.Type = c.Type
		}
		s.Annotations = maps.Clone(c.Annotations)
		s.Spec.LoadBalancerClass, s.Spec.LoadBalancerSourceRanges = c.LoadBalancerClass, c.LoadBalancerSourceRanges
		s.Spec.ExternalTrafficPolicy = c.ExternalTrafficPolicy
		if n := c.NodePorts; n != nil && name == r.MasterServiceName() {
			s.Spec.Ports[0].NodePort = ptr.Deref(n.Master, 0)
		} else if n != nil {
			s.Spec.Ports[0].NodePort = ptr.Deref(n.Replicas, 0)
		}
	}
	return s
}

// MembersService gives every member a DNS name of its own, from before it is ready: members find each other by it.
func MembersService(r *v1alpha1.Redis) *corev1.Service {
	s := service(r, v1alpha1.MembersName(r.Name), v1alpha1.ComponentMember,
		port(portRedis, v1alpha1.PortRedis), port(portAgent, v1alpha1.PortAgent))
	s.Spec.ClusterIP = corev1.ClusterIPNone
	s.Spec.PublishNotReadyAddresses = true
	return s
}

// SentinelService leads to any Sentinel.
func SentinelService(r *v1alpha1.Redis) *corev1.Service {
	return service(r, v1alpha1.SentinelName(r.Name), v1alpha1.ComponentSentinel,
		port(portSentinel, v1alpha1.PortSentinel))
}

func service(r *v1alpha1.Redis, name, component string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "Service"),
		ObjectMeta: objectMeta(r, name, component),
		Spec:       corev1.ServiceSpec{Selector: Selector(r, component), Ports: ports},
	}
}

func port(name string, number int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString(name)}
}
