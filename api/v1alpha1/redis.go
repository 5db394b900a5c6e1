package v1alpha1

import (
	"maps"

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
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",message="metadata.name: expected at most 40 characters: lower case letters, digits and '-', beginning with a letter"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.service) || !has(self.spec.service.masterName) || !(self.spec.service.masterName in [self.metadata.name + '-members', self.metadata.name + '-sentinel'])",message="spec.service.masterName: another Service of this Redis has this name; choose another"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.service) || !has(self.spec.service.replicasName) || !(self.spec.service.replicasName in [self.metadata.name + '-members', self.metadata.name + '-sentinel'])",message="spec.service.replicasName: another Service of this Redis has this name; choose another"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.service) || (has(self.spec.service.masterName) ? self.spec.service.masterName : self.metadata.name) != (has(self.spec.service.replicasName) ? self.spec.service.replicasName : self.metadata.name + '-replicas')",message="spec.service.replicasName: the Service for writes has this name; choose another"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(oldSelf.spec) || quantity(has(self.spec.storage) && has(self.spec.storage.size) ? string(self.spec.storage.size) : '1Gi').compareTo(quantity(has(oldSelf.spec.storage) && has(oldSelf.spec.storage.size) ? string(oldSelf.spec.storage.size) : '1Gi')) >= 0 || has(self.status) && has(self.status.storageSize) && quantity(has(self.spec.storage) && has(self.spec.storage.size) ? string(self.spec.storage.size) : '1Gi').compareTo(quantity(string(self.status.storageSize))) >= 0",fieldPath=".spec.storage",message="size: volumes cannot shrink; write the size that they have, or more, or make another Redis"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Master",type=string,JSONPath=`.status.master`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
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
//
// The rules say the same as validate.go.
// +kubebuilder:validation:XValidation:rule="(has(self.mode) ? self.mode : 'Replication') == (has(oldSelf.mode) ? oldSelf.mode : 'Replication')",fieldPath=".mode",message="it cannot be changed; make another Redis"
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'Standalone' || !has(self.replicas) || self.replicas == 1",fieldPath=".replicas",message="mode Standalone is one member; write 1, or choose mode Replication or Sentinel"
// +kubebuilder:validation:XValidation:rule="!has(self.sentinel) || has(self.mode) && self.mode == 'Sentinel'",fieldPath=".sentinel",message="only mode Sentinel has Sentinels; write mode: Sentinel, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.durability) || !has(self.durability.minReplicasToWrite) || (has(self.mode) && self.mode == 'Cluster' ? self.durability.minReplicasToWrite <= (has(self.replicasPerShard) ? self.replicasPerShard : 1) : self.durability.minReplicasToWrite < (has(self.replicas) ? self.replicas : has(self.mode) && self.mode == 'Standalone' ? 1 : 3))",fieldPath=".durability",message="minReplicasToWrite: expected fewer than replicas, or at most replicasPerShard"
// +kubebuilder:validation:XValidation:rule="!has(self.shards) || has(self.mode) && self.mode == 'Cluster'",fieldPath=".shards",message="only mode Cluster has shards; write mode: Cluster, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.replicasPerShard) || has(self.mode) && self.mode == 'Cluster'",fieldPath=".replicasPerShard",message="only mode Cluster has shards; write mode: Cluster, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.replicas) || !has(self.mode) || self.mode != 'Cluster'",fieldPath=".replicas",message="mode Cluster counts its members by shards and replicasPerShard; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.service) || !has(self.service.replicasName) || !has(self.mode) || self.mode != 'Cluster'",fieldPath=".service.replicasName",message="mode Cluster has one Service, whose clients find every shard; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.users) || size(self.users) == 0",fieldPath=".users",message="not served yet; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.tls)",fieldPath=".tls",message="not served yet; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.service) || !has(self.service.external) || !has(self.mode) || self.mode != 'Sentinel'",fieldPath=".service.external",message="not served yet in mode Sentinel; remove it, or write mode: Replication"
// +kubebuilder:validation:XValidation:rule="!has(self.service) || !has(self.service.external) || !has(self.mode) || self.mode != 'Cluster' || self.service.external.type != 'NodePort'",fieldPath=".service.external.type",message="in mode Cluster clients are told one port for all members; write LoadBalancer, or remove external"
// +kubebuilder:validation:XValidation:rule="!has(self.service) || !has(self.service.external) || !has(self.mode) || self.mode != 'Cluster' || !has(self.service.external.host)",fieldPath=".service.external.host",message="in mode Cluster every member needs a name or an address of its own; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.service) || !has(self.service.announceHostnames) || !self.service.announceHostnames || has(self.mode) && self.mode == 'Cluster'",fieldPath=".service.announceHostnames",message="only members of mode Cluster announce host names; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.gateway)",fieldPath=".gateway",message="not served yet; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.backup)",fieldPath=".backup",message="not served yet; remove it"
// +kubebuilder:validation:XValidation:rule="(has(self.storage) && has(self.storage.ephemeral) && self.storage.ephemeral) == (has(oldSelf.storage) && has(oldSelf.storage.ephemeral) && oldSelf.storage.ephemeral)",fieldPath=".storage",message="apart from retain, and a larger size, it cannot be changed; make another Redis"
// +kubebuilder:validation:XValidation:rule="(has(self.storage) && has(self.storage.storageClassName) ? [self.storage.storageClassName] : []) == (has(oldSelf.storage) && has(oldSelf.storage.storageClassName) ? [oldSelf.storage.storageClassName] : [])",fieldPath=".storage",message="apart from retain, and a larger size, it cannot be changed; make another Redis"
// +kubebuilder:validation:XValidation:rule="(has(self.storage) && has(self.storage.accessModes) && size(self.storage.accessModes) > 0 ? self.storage.accessModes : ['ReadWriteOnce']) == (has(oldSelf.storage) && has(oldSelf.storage.accessModes) && size(oldSelf.storage.accessModes) > 0 ? oldSelf.storage.accessModes : ['ReadWriteOnce'])",fieldPath=".storage",message="apart from retain, and a larger size, it cannot be changed; make another Redis"
type RedisSpec struct {
	// How the members are arranged: Standalone, Replication, Sentinel or Cluster. It cannot be changed later.
	// Default: Replication.
	Mode Mode `json:"mode,omitempty"`

	// Image of the members: any Redis from 6.2 or Valkey from 7.2 on. The engine is found, not declared. On one
	// machine, the server found on PATH is run instead. Default: redis:7.2.
	// +kubebuilder:validation:Pattern=`^\S+$`
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`
	// When the image is pulled: Always, IfNotPresent or Never.
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// Secrets to pull the image with.
	// +listType=atomic
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Members, master and replicas together, in every mode but Cluster: 1 in Standalone, 1 to 32 otherwise.
	// Default: 1 in Standalone, 3 otherwise.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	Replicas *int32 `json:"replicas,omitempty"`
	// Masters of mode Cluster, 3 to 500. Default: 3.
	// +kubebuilder:validation:Minimum=3
	// +kubebuilder:validation:Maximum=500
	Shards *int32 `json:"shards,omitempty"`
	// Replicas of every master of mode Cluster, 0 to 5. Default: 1.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=5
	ReplicasPerShard *int32 `json:"replicasPerShard,omitempty"`

	// The Sentinels of mode Sentinel.
	Sentinel *SentinelSpec `json:"sentinel,omitempty"`

	// Settings of redis.conf by name, for example maxmemory: 512mb. What Redis can change while it runs is changed
	// live; the rest by a rolling restart, master last. Settings that Redstart owns (port, dir, replicaof, ...)
	// are refused by name.
	// +kubebuilder:validation:XValidation:rule="self.all(name, size(name) <= 64 && name.matches('^[a-z][a-z0-9-]*$'))",message="expected names of settings of redis.conf in lower case, for example maxmemory"
	// +kubebuilder:validation:XValidation:rule="!['aclfile', 'bind', 'bind-source-addr', 'daemonize', 'dir', 'enable-debug-command', 'enable-module-command', 'enable-protected-configs', 'include', 'loadmodule', 'logfile', 'masterauth', 'masteruser', 'min-replicas-max-lag', 'min-replicas-to-write', 'min-slaves-max-lag', 'min-slaves-to-write', 'pidfile', 'port', 'protected-mode', 'rename-command', 'replica-announced', 'replica-priority', 'replica-read-only', 'replicaof', 'requirepass', 'slave-priority', 'slave-read-only', 'slaveof', 'supervised', 'syslog-enabled', 'syslog-facility', 'syslog-ident', 'unixsocket', 'unixsocketperm', 'user'].exists(name, name in self)",message="Redstart sets port, bind, dir, logfile, daemonize, replicaof, requirepass, masterauth, user, aclfile, include, loadmodule and the like itself; use spec.auth, spec.storage and spec.durability, or leave them out"
	// +kubebuilder:validation:XValidation:rule="self.all(name, !name.matches('^(cluster-|replica-announce-|sentinel|slave-announce-|tls-)'))",message="Redstart sets cluster-, sentinel, tls-, replica-announce- and slave-announce- settings itself; use spec.mode, spec.sentinel and spec.tls, or leave them out"
	// +kubebuilder:validation:XValidation:rule="self.all(name, size(self[name]) <= 1024 && !self[name].matches('[\\n\\r\\x00]'))",message="expected values of one line of at most 1024 bytes"
	Config Settings `json:"config,omitempty"`

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
	// Containers that run beside the server in every member's pod, as in a pod: an exporter, a shipper of logs. Sentinels
	// have none. The names redis and agent and the ports 6379 and 9379 are taken.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, !(c.name in ['agent', 'redis', 'sentinel']))",message="agent, redis and sentinel are Redstart's own containers; choose another name"
	ExtraContainers []corev1.Container `json:"extraContainers,omitempty"`
	// Containers that run to their end before the server starts, in every member's pod, as in a pod. The name agent is taken.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(c, !(c.name in ['agent', 'redis', 'sentinel']))",message="agent, redis and sentinel are Redstart's own containers; choose another name"
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// Volumes for the containers above and for extraVolumeMounts, as in a pod. The names data and redstart are taken; data may
	// be mounted.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(v, !(v.name in ['data', 'redstart']))",message="data and redstart are Redstart's own volumes; choose another name"
	ExtraVolumes []corev1.Volume `json:"extraVolumes,omitempty"`
	// Where extraVolumes are mounted in the server's container, as in a container. Nothing can be mounted at /data and
	// /redstart, or below.
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:XValidation:rule="self.all(m, m.mountPath.startsWith('/') && m.mountPath != '/' && !(m.mountPath in ['/data', '/redstart']) && !m.mountPath.startsWith('/data/') && !m.mountPath.startsWith('/redstart/'))",message="expected an absolute path other than /, /data, /redstart and what is below them"
	ExtraVolumeMounts []corev1.VolumeMount `json:"extraVolumeMounts,omitempty"`
	// Seconds that a member may take to hand over and stop, 5 to 3600. Default: 60.
	// +kubebuilder:validation:Minimum=5
	// +kubebuilder:validation:Maximum=3600
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`
}

// Setting is the value of one setting of redis.conf.
// +kubebuilder:validation:MaxLength=1024
type Setting = string

// Settings are settings of redis.conf by name. It is a type of its own, with a copy function written by hand, because
// the bound on the values needs one in the CRD, and the generator of copy functions does not know such maps.
// +kubebuilder:object:generate=false
// +kubebuilder:validation:MaxProperties=128
type Settings map[string]Setting

// DeepCopy returns a copy that shares nothing with s.
func (s Settings) DeepCopy() Settings { return maps.Clone(s) }

// DeepCopyInto copies s to out.
func (s Settings) DeepCopyInto(out *Settings) { *out = s.DeepCopy() }

// SentinelSpec describes the Sentinels of mode Sentinel.
// +kubebuilder:validation:XValidation:rule="(has(self.quorum) ? self.quorum : 2) <= (has(self.replicas) ? self.replicas : 3)",fieldPath=".quorum",message="expected at most as many as there are Sentinels"
type SentinelSpec struct {
	// Sentinels, an odd number from 3 to 9. Default: 3.
	// +kubebuilder:validation:Minimum=3
	// +kubebuilder:validation:Maximum=9
	// +kubebuilder:validation:XValidation:rule="self % 2 == 1",message="expected an odd number, so that there is a majority: 3, 5, 7 or 9"
	Replicas *int32 `json:"replicas,omitempty"`
	// Sentinels that must agree that the master is down, 2 to replicas. Default: a majority.
	// +kubebuilder:validation:Minimum=2
	Quorum *int32 `json:"quorum,omitempty"`
	// How long a master must be silent before a Sentinel takes it for down (down-after-milliseconds),
	// 500ms to 5m. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('500ms') && duration(self) <= duration('5m')",message="expected a duration from 500ms to 5m"
	DownAfter *metav1.Duration `json:"downAfter,omitempty"`
	// How long a failover may take before it is tried again (failover-timeout), 2s to 30m. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('2s') && duration(self) <= duration('30m')",message="expected a duration from 2s to 30m"
	FailoverTimeout *metav1.Duration `json:"failoverTimeout,omitempty"`
	// Replicas that follow the new master at the same time (parallel-syncs), 1 to 32. Default: 1.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	ParallelSyncs *int32 `json:"parallelSyncs,omitempty"`
	// Compute resources of each Sentinel, as in a pod.
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`
}

// StorageSpec says where a member keeps its data. It is either a volume claim or ephemeral.
// +kubebuilder:validation:XValidation:rule="!has(self.ephemeral) || !self.ephemeral || !has(self.size) && !has(self.storageClassName) && (!has(self.accessModes) || size(self.accessModes) == 0) && !has(self.retain)",fieldPath=".ephemeral",message="data that lives and dies with the pod has no size, storageClassName, accessModes or retain; remove those, or ephemeral"
type StorageSpec struct {
	// Size of each member's volume. It can grow where the storage class allows it, without a restart, and cannot be less than what
	// the volumes have.
	// Default: 1Gi.
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).isGreaterThan(quantity('0'))",message="expected more than zero, for example 1Gi"
	Size *resource.Quantity `json:"size,omitempty"`
	// Storage class of the volumes. Default: the cluster's default class.
	// +kubebuilder:validation:MaxLength=253
	StorageClassName *string `json:"storageClassName,omitempty"`
	// Access modes of the volumes. Default: ReadWriteOnce.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=ReadWriteOnce;ReadOnlyMany;ReadWriteMany;ReadWriteOncePod
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
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +kubebuilder:validation:MaxLength=253
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
	// +kubebuilder:validation:Minimum=0
	MinReplicasToWrite *int32 `json:"minReplicasToWrite,omitempty"`
	// How long ago such a replica may have answered last (min-replicas-max-lag), whole seconds, 1s to 1h.
	// Default: 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h') && duration(self).getMilliseconds() % 1000 == 0",message="expected whole seconds from 1s to 1h, for example 10s"
	MaxLag *metav1.Duration `json:"maxLag,omitempty"`
}

// ServiceSpec describes the Services that clients use.
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerClass) || has(self.type) && self.type == 'LoadBalancer'",fieldPath=".loadBalancerClass",message="only for type LoadBalancer; write that, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0 || has(self.type) && self.type == 'LoadBalancer'",fieldPath=".loadBalancerSourceRanges",message="only for type LoadBalancer; write that, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.externalTrafficPolicy) || has(self.type) && self.type in ['NodePort', 'LoadBalancer']",fieldPath=".externalTrafficPolicy",message="only for types NodePort and LoadBalancer; write one of them, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.nodePorts) || has(self.type) && self.type in ['NodePort', 'LoadBalancer']",fieldPath=".nodePorts",message="only for types NodePort and LoadBalancer; write one of them, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.ipFamilies) || size(self.ipFamilies) < 2 || self.ipFamilies[0] != self.ipFamilies[1]",fieldPath=".ipFamilies",message="expected two different families, or one"
// +kubebuilder:validation:XValidation:rule="!has(self.ipFamilies) || size(self.ipFamilies) < 2 || has(self.ipFamilyPolicy) && self.ipFamilyPolicy != 'SingleStack'",fieldPath=".ipFamilies",message="two families need ipFamilyPolicy PreferDualStack or RequireDualStack"
type ServiceSpec struct {
	// Type of the Services for writes and reads: ClusterIP, NodePort or LoadBalancer. Default: ClusterIP.
	// +kubebuilder:validation:Enum=ClusterIP;NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type,omitempty"`
	// Annotations of the Services.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Name of the Service for writes. Default: the name of the Redis.
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	MasterName string `json:"masterName,omitempty"`
	// Name of the Service for reads. Default: the name of the Redis and "-replicas".
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	ReplicasName string `json:"replicasName,omitempty"`
	// Class of the load balancers, for type LoadBalancer. Kubernetes lets it be set once.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// Networks that may connect through the load balancers, for type LoadBalancer, where its provider can do that.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(e, isCIDR(e))",message="expected networks, for example 192.168.0.0/16"
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`
	// Whether nodes forward to pods on other nodes, for types NodePort and LoadBalancer: Cluster, or Local, which keeps the
	// clients' addresses. Default: Cluster.
	// +kubebuilder:validation:Enum=Cluster;Local
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`
	// Ports of the nodes, for types NodePort and LoadBalancer. Default: the cluster chooses.
	NodePorts *NodePortsSpec `json:"nodePorts,omitempty"`
	// Address families of all Services of the Redis: SingleStack, PreferDualStack or RequireDualStack. With the latter two the
	// members listen on all addresses of their pods. Default: SingleStack.
	// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
	IPFamilyPolicy corev1.IPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`
	// Families of all Services of the Redis, the first one first: IPv4 and IPv6. Default: as the cluster has it.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=IPv4;IPv6
	IPFamilies []corev1.IPFamily `json:"ipFamilies,omitempty"`
	// Whether the members of mode Cluster tell clients host names, POD.NAME-members.NAMESPACE.svc, instead of addresses
	// (cluster-announce-hostname): for clients that keep the names, which outlive the addresses. It needs Redis 7.0, or Valkey. Where
	// external is set its names are told. Default: false.
	AnnounceHostnames bool `json:"announceHostnames,omitempty"`
	// Addresses of single members for clients outside the cluster.
	External *ExternalSpec `json:"external,omitempty"`
}

// NodePortsSpec are ports of the nodes, in the cluster's range, which is 30000 to 32767 unless it was changed.
// +kubebuilder:validation:XValidation:rule="!has(self.master) || !has(self.replicas) || self.master != self.replicas",fieldPath=".replicas",message="the Service for writes has this port; choose another"
type NodePortsSpec struct {
	// Port of the Service for writes.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Master *int32 `json:"master,omitempty"`
	// Port of the Service for reads.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Replicas *int32 `json:"replicas,omitempty"`
}

// ExternalSpec gives every member an address of its own outside the cluster: a Service POD-external, whose address the member
// announces to clients (INFO, ROLE) and the status tells. In mode Cluster the members announce it as their host name
// (cluster-announce-hostname of Redis 7.0 and of Valkey), so it is for type LoadBalancer alone: the port is the same for all. It is not
// served yet in mode Sentinel, where the members know each other by what they announce.
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerClass) || self.type == 'LoadBalancer'",fieldPath=".loadBalancerClass",message="only for type LoadBalancer; write that, or remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.loadBalancerSourceRanges) || size(self.loadBalancerSourceRanges) == 0 || self.type == 'LoadBalancer'",fieldPath=".loadBalancerSourceRanges",message="only for type LoadBalancer; write that, or remove it"
type ExternalSpec struct {
	// Type of the Service of each member: NodePort or LoadBalancer.
	// +kubebuilder:validation:Enum=NodePort;LoadBalancer
	Type corev1.ServiceType `json:"type"`
	// Host that clients are told, for example a DNS name of all nodes. Default: the address of the load balancer, or of the node
	// that the member runs on.
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?$`
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`
	// Annotations of the Services.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Class of the load balancers. Kubernetes lets it be set once.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`
	// Networks that may connect through the load balancers, where their provider can do that.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(e, isCIDR(e))",message="expected networks, for example 192.168.0.0/16"
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`
}

// NetworkPolicySpec says who may connect. Nothing is said about what the pods themselves connect to.
type NetworkPolicySpec struct {
	// Whether a NetworkPolicy is made. The members, the Sentinels, the operator and the kubelets may then connect, and
	// nobody else but the peers below. On one machine it has no effect, and a warning and the condition SpecServed say so.
	Enabled bool `json:"enabled,omitempty"`
	// Peers that may connect to the members, and in mode Sentinel to the Sentinels.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	AllowFrom []NetworkPolicyPeer `json:"allowFrom,omitempty"`
	// Peers that may read the metrics, at port 9379: your Prometheus.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	AllowMetricsFrom []NetworkPolicyPeer `json:"allowMetricsFrom,omitempty"`
}

// NetworkPolicyPeer selects who may connect, as in a NetworkPolicy: pods, or a network.
// +kubebuilder:validation:XValidation:rule="has(self.podSelector) || has(self.namespaceSelector) || has(self.ipBlock)",message="expected podSelector, namespaceSelector or ipBlock; {podSelector: {}} is every pod of the namespace"
// +kubebuilder:validation:XValidation:rule="!has(self.ipBlock) || !has(self.podSelector) && !has(self.namespaceSelector)",fieldPath=".ipBlock",message="a network has no pods; write podSelector and namespaceSelector as another peer"
type NetworkPolicyPeer struct {
	// Labels of the pods, in the namespaces of namespaceSelector, or in that of the Redis.
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// Labels of the namespaces.
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// A network outside the cluster.
	IPBlock *IPBlock `json:"ipBlock,omitempty"`
}

// IPBlock is a network, but for some parts of it.
// +kubebuilder:validation:XValidation:rule="!isCIDR(self.cidr) || !has(self.except) || self.except.all(e, !isCIDR(e) || cidr(self.cidr).containsCIDR(e) && cidr(self.cidr).prefixLength() < cidr(e).prefixLength())",fieldPath=".except",message="expected parts of cidr"
type IPBlock struct {
	// The network, for example 192.168.0.0/16 or 2001:db8::/32.
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="expected a network, for example 192.168.0.0/16"
	CIDR string `json:"cidr"`
	// Parts of it that may not connect.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="self.all(e, isCIDR(e))",message="expected networks, for example 192.168.7.0/24"
	Except []string `json:"except,omitempty"`
}

// MetricsSpec describes Prometheus metrics.
type MetricsSpec struct {
	// Whether a PodMonitor is made, by which the Prometheus operator finds the pods. Where the cluster does not know the kind,
	// the condition SpecServed says so.
	PodMonitor bool `json:"podMonitor,omitempty"`
	// Labels of the PodMonitor, should your Prometheus select by them, for example release: prometheus.
	// +kubebuilder:validation:MaxProperties=32
	PodMonitorLabels map[string]string `json:"podMonitorLabels,omitempty"`
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
	// +kubebuilder:validation:MaxProperties=128
	// +kubebuilder:validation:XValidation:rule="self.all(name, name != 'redis-role' && !name.startsWith('redstart.dev/'))",message="Redstart sets redis-role and redstart.dev/ labels itself; choose another name"
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations to add.
	Annotations map[string]string `json:"annotations,omitempty"`
}
