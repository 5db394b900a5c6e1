package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Mode is how the members of a Redis are arranged, and who decides which of them is master.
// +kubebuilder:validation:Enum=Standalone;Replication;Sentinel;Cluster
type Mode string

const (
	// ModeStandalone is one member, a master.
	ModeStandalone Mode = "Standalone"
	// ModeReplication is one master and its replicas; a Lease decides which member is master.
	ModeReplication Mode = "Replication"
	// ModeSentinel is one master and its replicas; Redis Sentinels decide which member is master.
	ModeSentinel Mode = "Sentinel"
	// ModeCluster is Redis Cluster: shards of one master and its replicas each; the cluster bus decides.
	ModeCluster Mode = "Cluster"
)

// Redis is one highly available Redis or Valkey.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=rd,categories=all,path=redises
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Master",type=string,JSONPath=`.status.master`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Redis struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is wanted.
	Spec RedisSpec `json:"spec,omitempty"`
	// What was last seen.
	Status RedisStatus `json:"status,omitempty"`
}

// RedisList is a list of Redis.
// +kubebuilder:object:root=true
type RedisList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Redis `json:"items"`
}

// RedisSpec is what is wanted of a Redis.
type RedisSpec struct {
	// How the members are arranged: Standalone, Replication, Sentinel or Cluster. It cannot be changed later.
	// Default: Replication.
	Mode Mode `json:"mode,omitempty"`

	// Image of the members: any Redis from 6.2 or Valkey from 7.2 on. The engine is found, not declared. On one
	// machine, the server found on PATH is run instead. Default: redis:7.2.
	Image string `json:"image,omitempty"`
	// When the image is pulled: Always, IfNotPresent or Never.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Secrets to pull the image with.
	// +listType=atomic
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Members, master and replicas together, in every mode but Cluster: 1 in Standalone, 1 to 32 otherwise.
	// Default: 1 in Standalone, 3 otherwise.
	Replicas *int32 `json:"replicas,omitempty"`
	// Masters of mode Cluster, 3 to 500. Default: 3.
	Shards *int32 `json:"shards,omitempty"`
	// Replicas of every master of mode Cluster, 0 to 5. Default: 1.
	ReplicasPerShard *int32 `json:"replicasPerShard,omitempty"`

	// The Sentinels of mode Sentinel.
	Sentinel *SentinelSpec `json:"sentinel,omitempty"`

	// Settings of redis.conf by name, for example maxmemory: 512mb. What Redis can change while it runs is changed
	// live; the rest by a rolling restart, master last. Settings that Redstart owns (port, dir, replicaof, ...)
	// are refused by name.
	Config map[string]string `json:"config,omitempty"`

	// Where the data is kept. Default: 1Gi of the default storage class.
	Storage *StorageSpec `json:"storage,omitempty"`

	// The password of the default user. Default: enabled, with a generated password.
	Auth *AuthSpec `json:"auth,omitempty"`
	// Further ACL users.
	// +listType=map
	// +listMapKey=name
	Users []UserSpec `json:"users,omitempty"`
	// Encryption of all connections.
	TLS *TLSSpec `json:"tls,omitempty"`

	// When a master may acknowledge writes.
	Durability *DurabilitySpec `json:"durability,omitempty"`

	// The Services that clients use.
	Service *ServiceSpec `json:"service,omitempty"`
	// Who may connect.
	NetworkPolicy *NetworkPolicySpec `json:"networkPolicy,omitempty"`
	// Prometheus metrics.
	Metrics *MetricsSpec `json:"metrics,omitempty"`
	// The proxy in front of the members.
	Gateway *GatewaySpec `json:"gateway,omitempty"`
	// Scheduled backups.
	Backup *BackupSpec `json:"backup,omitempty"`

	// Compute resources of each member, as in a pod.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	// Labels of the nodes that members may run on, as in a pod.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Taints that members tolerate, as in a pod.
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity of the members, as in a pod. Default: members prefer different nodes.
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// Spread of the members, as in a pod. Default: over nodes and zones, as far as possible.
	// +listType=atomic
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	// Priority class of the members, as in a pod.
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// Security context of the pods. Default: non-root, seccomp RuntimeDefault.
	PodSecurityContext *corev1.PodSecurityContext `json:"podSecurityContext,omitempty"`
	// Labels and annotations that are added to every pod.
	PodMetadata *PodMetadata `json:"podMetadata,omitempty"`
	// Seconds that a member may take to hand over and stop, 5 to 3600. Default: 60.
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// SentinelSpec describes the Sentinels of mode Sentinel.
type SentinelSpec struct {
	// Sentinels, an odd number from 3 to 9. Default: 3.
	Replicas *int32 `json:"replicas,omitempty"`
	// Sentinels that must agree that the master is down, 2 to replicas. Default: a majority.
	Quorum *int32 `json:"quorum,omitempty"`
	// How long a master must be silent before a Sentinel takes it for down (down-after-milliseconds),
	// 500ms to 5m. Default: 5s.
	DownAfter *metav1.Duration `json:"downAfter,omitempty"`
	// How long a failover may take before it is tried again (failover-timeout), 2s to 30m. Default: 30s.
	FailoverTimeout *metav1.Duration `json:"failoverTimeout,omitempty"`
	// Replicas that follow the new master at the same time (parallel-syncs), 1 to 32. Default: 1.
	ParallelSyncs *int32 `json:"parallelSyncs,omitempty"`
	// Compute resources of each Sentinel, as in a pod.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
}

// StorageSpec says where a member keeps its data. It is either a volume claim or ephemeral.
type StorageSpec struct {
	// Size of each member's volume. Default: 1Gi.
	Size *resource.Quantity `json:"size,omitempty"`
	// Storage class of the volumes. Default: the cluster's default class.
	StorageClassName *string `json:"storageClassName,omitempty"`
	// Access modes of the volumes. Default: ReadWriteOnce.
	// +listType=atomic
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// Whether the volumes stay when the Redis is deleted: Retain or Delete. Default: Retain.
	// +kubebuilder:validation:Enum=Retain;Delete
	Retain RetainPolicy `json:"retain,omitempty"`
	// Data lives and dies with the pod; size, storageClassName, accessModes and retain must be absent.
	Ephemeral bool `json:"ephemeral,omitempty"`
}

// RetainPolicy says what happens to volumes when their Redis is deleted.
type RetainPolicy string

const (
	// RetainPolicyRetain keeps the volumes.
	RetainPolicyRetain RetainPolicy = "Retain"
	// RetainPolicyDelete deletes the volumes.
	RetainPolicyDelete RetainPolicy = "Delete"
)

// AuthSpec is the password of the default user.
type AuthSpec struct {
	// Whether clients need a password. Default: true.
	Enabled *bool `json:"enabled,omitempty"`
	// Secret whose key "password" is the password. Default: a Secret named like the Redis, with a generated one.
	SecretName string `json:"secretName,omitempty"`
}

// UserSpec is an ACL user.
type UserSpec struct {
	// Name of the user.
	Name string `json:"name"`
	// ACL rules as in ACL SETUSER, without passwords, for example "~app:* +@read".
	Rules string `json:"rules,omitempty"`
	// Secret whose key "password" is the user's password.
	SecretName string `json:"secretName,omitempty"`
}

// TLSSpec turns TLS on.
type TLSSpec struct {
	// Secret of type kubernetes.io/tls with tls.crt, tls.key and ca.crt.
	SecretName string `json:"secretName"`
	// Whether clients must show a certificate.
	ClientAuth bool `json:"clientAuth,omitempty"`
}

// DurabilitySpec says when a master may acknowledge a write.
type DurabilitySpec struct {
	// Replicas that must be connected for a master to accept writes (min-replicas-to-write), 0 to replicas-1.
	// Default: 0.
	MinReplicasToWrite *int32 `json:"minReplicasToWrite,omitempty"`
	// How long ago such a replica may have answered last (min-replicas-max-lag), whole seconds, 1s to 1h.
	// Default: 10s.
	MaxLag *metav1.Duration `json:"maxLag,omitempty"`
}

// ServiceSpec describes the Services that clients use.
type ServiceSpec struct {
	// Type of the Services for writes and reads: ClusterIP, NodePort or LoadBalancer. Default: ClusterIP.
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`
	// Annotations of the Services.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Name of the Service for writes. Default: the name of the Redis.
	MasterName string `json:"masterName,omitempty"`
	// Name of the Service for reads. Default: the name of the Redis and "-replicas".
	ReplicasName string `json:"replicasName,omitempty"`
	// Addresses of single members for clients outside the cluster.
	External *ExternalSpec `json:"external,omitempty"`
}

// ExternalSpec gives every member an address of its own outside the cluster.
type ExternalSpec struct {
	// Type of the Service of each member: NodePort or LoadBalancer.
	// +kubebuilder:validation:Enum=NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type"`
}

// NetworkPolicySpec says who may connect.
type NetworkPolicySpec struct {
	// Whether a NetworkPolicy is made.
	Enabled bool `json:"enabled,omitempty"`
	// Peers that may connect, besides the members, the Sentinels and the operator.
	// +listType=atomic
	AllowFrom []NetworkPolicyPeer `json:"allowFrom,omitempty"`
}

// NetworkPolicyPeer selects pods that may connect, as in a NetworkPolicy.
type NetworkPolicyPeer struct {
	// Labels of the pods.
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// Labels of the namespaces.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
}

// MetricsSpec describes Prometheus metrics.
type MetricsSpec struct {
	// Whether a PodMonitor is made.
	PodMonitor bool `json:"podMonitor,omitempty"`
}

// GatewaySpec describes the proxy in front of the members.
type GatewaySpec struct {
	// Proxies. Default: 2.
	Replicas *int32 `json:"replicas,omitempty"`
}

// BackupSpec describes scheduled backups.
type BackupSpec struct {
	// When to back up, as in cron.
	Schedule string `json:"schedule"`
	// Secret with the address and credentials of the store.
	SecretName string `json:"secretName"`
}

// PodMetadata is added to every pod.
type PodMetadata struct {
	// Labels to add.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations to add.
	Annotations map[string]string `json:"annotations,omitempty"`
}
