package v1alpha1

import (
	"encoding/json"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Role is a member's role as its redis-server has it, or sentinel.
type Role string

// The roles of a member, and the values of the label redis-role.
const (
	RoleMaster   Role = "master"
	RoleReplica  Role = "replica"
	RoleSentinel Role = "sentinel"
)

// Labels and annotations.
const (
	// LabelRole is kept true by the agent on its own pod: master, replica or sentinel.
	LabelRole = "redis-role"
	// LabelName is the name of the Redis that an object belongs to.
	LabelName = "redstart.dev/redis"
	// LabelComponent is member or sentinel.
	LabelComponent = "redstart.dev/component"
	// ComponentMember and ComponentSentinel are the values of LabelComponent.
	ComponentMember   = "member"
	ComponentSentinel = "sentinel"

	// AnnotationHandover asks for a planned change of master; its value is a HandoverRequest as JSON.
	AnnotationHandover = "redstart.dev/handover"
	// AnnotationRestart asks for a rolling restart when its value changes (kubectl's rollout restart is for
	// workloads; this is the same for a Redis).
	AnnotationRestart = "redstart.dev/restartedAt"
	// AnnotationPorts on a pod tells which local port stands for each of its container ports, as a JSON object
	// {"6379": 40123}; on a Service, the same for its ports. The one-machine cluster sets it where all share one
	// address; elsewhere it is absent.
	AnnotationPorts = "redstart.dev/ports"
	// AnnotationTerm on the Lease counts the changes of master, in decimal.
	AnnotationTerm = "redstart.dev/term"
	// AnnotationMembers on the Lease is the number of members that count for a majority, in decimal; the holder writes it.
	AnnotationMembers = "redstart.dev/members"
	// AnnotationLastHolder on the Lease is the pod that holds it or held it last.
	AnnotationLastHolder = "redstart.dev/last-holder"
	// AnnotationHandoverFrom on the Lease is the pod that handed over to the holder; the next one who takes it takes it off.
	AnnotationHandoverFrom = "redstart.dev/handover-from"
	// AnnotationBequeathedBy on the Lease is the pod whose server died, and which gave the Lease to the holder for that.
	AnnotationBequeathedBy = "redstart.dev/bequeathed-by"
	// AnnotationReason on the Lease is why its last holder handed over or released it, for people.
	AnnotationReason = "redstart.dev/reason"
)

// Ports of the pods and Services.
const (
	PortRedis    int32 = 6379
	PortSentinel int32 = 26379
	PortAgent    int32 = 9379
	// PortBus is the cluster bus of mode Cluster.
	PortBus int32 = 16379
)

// Keys of the Secret and of the ConfigMap of a Redis.
const (
	// SecretKeyPassword is the password of the default user.
	SecretKeyPassword = "password"
	// SecretKeyAgentToken is the bearer token of the agents' HTTP API, in the operator's own Secret.
	SecretKeyAgentToken = "agent-token"
	// ConfigMapKeyAgent is the AgentConfig of a Redis, as JSON.
	ConfigMapKeyAgent = "agent.json"
)

// Conditions of a Redis.
const (
	// ConditionReady: a master accepts writes and every wanted member is ready.
	ConditionReady = "Ready"
	// ConditionMasterAvailable: a master accepts writes.
	ConditionMasterAvailable = "MasterAvailable"
	// ConditionReplicasInSync: every replica's link to the master is up.
	ConditionReplicasInSync = "ReplicasInSync"
	// ConditionConfigApplied: every member runs with the wanted configuration.
	ConditionConfigApplied = "ConfigApplied"
	// ConditionSpecServed: every field of the spec takes effect; otherwise the message names those that do not, and why.
	ConditionSpecServed = "SpecServed"
	// ConditionProgressing: the operator is changing something.
	ConditionProgressing = "Progressing"
)

// HandoverRequest is the value of AnnotationHandover.
type HandoverRequest struct {
	// ID tells one request from the next; any string.
	ID string `json:"id"`
	// To is the member that shall become master; empty for the best one.
	To string `json:"to,omitempty"`
	// Shard whose master shall change, in mode Cluster, where To is empty.
	Shard string `json:"shard,omitempty"`
	// Force takes a member of an older term too, and loses what only newer members hold. In mode Cluster it gives the slots
	// of lost masters to replicas without the votes of a majority.
	Force bool `json:"force,omitempty"`
}

// MembersName is the headless Service of the members of the Redis named name.
func MembersName(name string) string { return name + "-members" }

// ExternalName is the Service that leads clients outside the cluster to one member.
func ExternalName(pod string) string { return pod + "-external" }

// SentinelName is the StatefulSet and the Service of the Sentinels of the Redis named name.
func SentinelName(name string) string { return name + "-sentinel" }

// MemberCount is the number of members that the spec asks for. The Redis must have its defaults.
func (r *Redis) MemberCount() int32 {
	if r.Spec.Mode == ModeCluster {
		return deref(r.Spec.Shards, DefaultShards) * (1 + deref(r.Spec.ReplicasPerShard, DefaultReplicasPerShard))
	}
	return deref(r.Spec.Replicas, 1)
}

func deref(p *int32, otherwise int32) int32 {
	if p == nil {
		return otherwise
	}
	return *p
}

// MasterServiceName is the Service for writes; in mode Cluster, that for clients that find the shards themselves.
func (r *Redis) MasterServiceName() string {
	if r.Spec.Service != nil && r.Spec.Service.MasterName != "" {
		return r.Spec.Service.MasterName
	}
	return r.Name
}

// ReplicasServiceName is the Service for reads.
func (r *Redis) ReplicasServiceName() string {
	if r.Spec.Service != nil && r.Spec.Service.ReplicasName != "" {
		return r.Spec.Service.ReplicasName
	}
	return r.Name + "-replicas"
}

// AuthSecretName is the Secret with the password, whether or not auth is enabled.
func (r *Redis) AuthSecretName() string {
	if r.Spec.Auth != nil && r.Spec.Auth.SecretName != "" {
		return r.Spec.Auth.SecretName
	}
	return r.Name
}

// AuthEnabled tells whether clients need a password.
func (r *Redis) AuthEnabled() bool {
	return r.Spec.Auth == nil || r.Spec.Auth.Enabled == nil || *r.Spec.Auth.Enabled
}

// PodAddress is HOST:PORT at which port of a pod is reached, or "" while the pod has no address. It honours
// AnnotationPorts.
func PodAddress(pod *corev1.Pod, port int32) string {
	if pod.Status.PodIP == "" {
		return ""
	}
	if local, ok := localPort(pod.Annotations, port); ok {
		port = local
	}
	return net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(port)))
}

// sharedIP is the cluster IP of all Services where they share one.
const sharedIP = "127.0.0.1"

// ServiceAddress is HOST:PORT at which pods reach port of a Service, or "" while the Service has no cluster IP, or
// shares it and was not given a local port yet. It honours AnnotationPorts.
func ServiceAddress(svc *corev1.Service, port int32) string {
	ip := svc.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone {
		return ""
	}
	local, ok := localPort(svc.Annotations, port)
	switch {
	case ok:
		port = local
	case ip == sharedIP:
		return ""
	}
	return net.JoinHostPort(ip, strconv.Itoa(int(port)))
}

// localPort is what AnnotationPorts says of port.
func localPort(annotations map[string]string, port int32) (int32, bool) {
	m := map[string]int32{}
	if json.Unmarshal([]byte(annotations[AnnotationPorts]), &m) != nil {
		return 0, false
	}
	local, ok := m[strconv.Itoa(int(port))]
	return local, ok
}
