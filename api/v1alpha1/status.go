package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RedisStatus is what was last seen of a Redis.
type RedisStatus struct {
	// Generation of the spec that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// One word for people: Pending, Creating, Ready, Degraded, FailingOver, Updating, Scaling, Failed. Programs read
	// the conditions.
	Phase Phase `json:"phase,omitempty"`
	// Conditions: Ready, MasterAvailable, ReplicasInSync, ConfigApplied, SpecServed, Progressing.
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// Name of the pod that is master, empty while there is none.
	Master string `json:"master,omitempty"`
	// Members that are ready, as "2/3".
	Ready string `json:"ready,omitempty"`
	// Members that exist.
	Replicas int32 `json:"replicas,omitempty"`
	// Label selector of the members, for the scale subresource.
	Selector string `json:"selector,omitempty"`
	// Engine that was found: redis or valkey.
	Engine string `json:"engine,omitempty"`
	// Version of the engine of the master, for example 7.0.15.
	Version string `json:"version,omitempty"`
	// Every member, by ordinal.
	// +listType=map
	// +listMapKey=name
	Members []MemberStatus `json:"members,omitempty"`
	// Every Sentinel, by ordinal.
	// +listType=map
	// +listMapKey=name
	Sentinels []SentinelStatus `json:"sentinels,omitempty"`
	// Every shard of mode Cluster, by its lowest slot.
	// +listType=map
	// +listMapKey=name
	Shards []ShardStatus `json:"shards,omitempty"`
	// What mode Cluster has as a whole.
	Cluster *ClusterStatus `json:"cluster,omitempty"`
	// Size that every member's volume claim asks for at least, while members have volumes.
	StorageSize *resource.Quantity `json:"storageSize,omitempty"`
	// Where clients connect.
	Endpoints *Endpoints `json:"endpoints,omitempty"`
	// The last change of master.
	LastFailover *FailoverStatus `json:"lastFailover,omitempty"`
	// The last handover that was asked for with the annotation redstart.dev/handover.
	Handover *HandoverStatus `json:"handover,omitempty"`
}

// Phase is a Redis' state in one word.
type Phase string

// The phases of a Redis.
const (
	PhasePending     Phase = "Pending"
	PhaseCreating    Phase = "Creating"
	PhaseReady       Phase = "Ready"
	PhaseDegraded    Phase = "Degraded"
	PhaseFailingOver Phase = "FailingOver"
	PhaseUpdating    Phase = "Updating"
	PhaseScaling     Phase = "Scaling"
	PhaseFailed      Phase = "Failed"
)

// MemberStatus is one member.
type MemberStatus struct {
	// Name of the pod.
	Name string `json:"name"`
	// Role of the redis-server: master, replica or, while it is not known, empty.
	Role Role `json:"role,omitempty"`
	// Whether it serves.
	Ready bool `json:"ready"`
	// Address of the redis-server, HOST:PORT.
	Address string `json:"address,omitempty"`
	// Address for clients outside the cluster, HOST:PORT, where spec.service.external asks for one.
	External string `json:"external,omitempty"`
	// Node that it runs on.
	Node string `json:"node,omitempty"`
	// Replication offset, in bytes.
	Offset int64 `json:"offset,omitempty"`
	// Bytes that a replica is behind its master; absent for a master, -1 while the link is down.
	Lag *int64 `json:"lag,omitempty"`
	// Version of its engine.
	Version string `json:"version,omitempty"`
	// Connected clients.
	Clients int64 `json:"clients,omitempty"`
	// Used memory, in bytes (used_memory of INFO).
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// Keys in all databases.
	Keys int64 `json:"keys,omitempty"`
	// Its node ID in mode Cluster.
	NodeID string `json:"nodeID,omitempty"`
	// Its shard in mode Cluster.
	Shard string `json:"shard,omitempty"`
	// Hash of the configuration that it runs with.
	ConfigHash string `json:"configHash,omitempty"`
	// Why it is not ready, or what it is doing.
	Message string `json:"message,omitempty"`
}

// SentinelStatus is one Sentinel.
type SentinelStatus struct {
	// Name of the pod.
	Name string `json:"name"`
	// Whether it answers and watches the master.
	Ready bool `json:"ready"`
	// Address, HOST:PORT.
	Address string `json:"address,omitempty"`
	// Address of the master that it believes in.
	Master string `json:"master,omitempty"`
	// Replicas that it knows.
	Replicas int32 `json:"replicas,omitempty"`
	// Other Sentinels that it knows.
	Sentinels int32 `json:"sentinels,omitempty"`
	// Why it is not ready.
	Message string `json:"message,omitempty"`
}

// ShardStatus is one shard of mode Cluster.
type ShardStatus struct {
	// Name of the shard: 1 for the one with the lowest slot, and so on.
	Name string `json:"name"`
	// Name of the pod that is its master.
	Master string `json:"master,omitempty"`
	// Names of the pods that are its replicas.
	// +listType=atomic
	Replicas []string `json:"replicas,omitempty"`
	// Its slots, as ranges "0-5460".
	// +listType=atomic
	Slots []string `json:"slots,omitempty"`
	// How many slots that is.
	SlotCount int32 `json:"slotCount,omitempty"`
	// Keys of its master.
	Keys int64 `json:"keys,omitempty"`
	// Memory that its master uses, in bytes.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// What is wrong with it, for people.
	Message string `json:"message,omitempty"`
}

// ClusterStatus is what mode Cluster has as a whole.
type ClusterStatus struct {
	// Whether a majority of the masters is there and every slot is served: ok or fail.
	State string `json:"state,omitempty"`
	// Slots that a master serves, of 16384.
	SlotsAssigned int32 `json:"slotsAssigned,omitempty"`
	// The step that goes on: forming, joining, moving slots, and so on.
	Step string `json:"step,omitempty"`
	// Slots that are on their way from one master to another, while there are any.
	Migration *MigrationStatus `json:"migration,omitempty"`
}

// MigrationStatus is how far a migration of slots is.
type MigrationStatus struct {
	// Slots to move, and those that have moved.
	SlotsTotal int32 `json:"slotsTotal"`
	SlotsMoved int32 `json:"slotsMoved"`
	// Keys and bytes that have moved.
	KeysMoved  int64 `json:"keysMoved"`
	BytesMoved int64 `json:"bytesMoved"`
	// Seconds that it will take, as far as can be told; absent at first.
	SecondsLeft *int64 `json:"secondsLeft,omitempty"`
}

// Endpoints is where clients connect; each is HOST:PORT.
type Endpoints struct {
	// Writes: always the master.
	Write string `json:"write,omitempty"`
	// Reads: the replicas, or the master where there is no other member.
	Read string `json:"read,omitempty"`
	// The Sentinels.
	// +listType=atomic
	Sentinels []string `json:"sentinels,omitempty"`
	// Name by which the Sentinels know the master.
	SentinelMasterName string `json:"sentinelMasterName,omitempty"`
}

// FailoverStatus is a change of master.
type FailoverStatus struct {
	// When it was done.
	Time metav1.MicroTime `json:"time"`
	// Member that was master.
	From string `json:"from,omitempty"`
	// Member that became master.
	To string `json:"to"`
	// Whether it was planned: a handover, which loses no acknowledged write.
	Planned bool `json:"planned"`
	// Why, for people.
	Reason string `json:"reason,omitempty"`
	// How long no member accepted writes, in milliseconds, as the agents saw it.
	Milliseconds int64 `json:"milliseconds"`
}

// HandoverStatus answers the annotation redstart.dev/handover.
type HandoverStatus struct {
	// ID of the request.
	ID string `json:"id"`
	// Running, Succeeded or Failed.
	Phase HandoverPhase `json:"phase"`
	// Member that was master.
	From string `json:"from,omitempty"`
	// Member that became master.
	To string `json:"to,omitempty"`
	// Milliseconds for which writers waited.
	Milliseconds int64 `json:"milliseconds,omitempty"`
	// Why it failed.
	Message string `json:"message,omitempty"`
}

// HandoverPhase is how far a handover is.
type HandoverPhase string

// The phases of a handover.
const (
	HandoverRunning   HandoverPhase = "Running"
	HandoverSucceeded HandoverPhase = "Succeeded"
	HandoverFailed    HandoverPhase = "Failed"
)
