package v1alpha1

// AgentConfig is what the operator tells every agent of a Redis, in the ConfigMap named like the Redis under the
// key agent.json. Agents watch it and keep a copy beside their data, so that they can restart while the API server
// is down. It never changes the pod template, and so never restarts a member by itself.
type AgentConfig struct {
	// Redis is the name of the Redis; it is also the name by which its Sentinels know the master.
	Redis string `json:"redis"`
	// UID of the Redis object: Sentinel IDs derive from it, so those of two Redises never collide.
	UID  string `json:"uid"`
	Mode Mode   `json:"mode"`
	// Replicas is the number of members wanted; ordinals at and above it are being removed and never become master.
	Replicas int32 `json:"replicas"`
	// Sentinels, Quorum and the times are those of spec.sentinel; zero in other modes. Times are in milliseconds.
	Sentinels         int32 `json:"sentinels,omitempty"`
	Quorum            int32 `json:"quorum,omitempty"`
	DownAfterMS       int64 `json:"downAfterMilliseconds,omitempty"`
	FailoverTimeoutMS int64 `json:"failoverTimeoutMilliseconds,omitempty"`
	ParallelSyncs     int32 `json:"parallelSyncs,omitempty"`
	// NodeTimeoutMS is cluster-node-timeout of mode Cluster, in milliseconds.
	NodeTimeoutMS int64 `json:"nodeTimeoutMilliseconds,omitempty"`
	// LeaseSeconds is how long the Lease of modes Standalone and Replication holds without being renewed.
	LeaseSeconds int32 `json:"leaseSeconds"`
	// AuthSecret is the Secret with the password; empty when auth is disabled.
	AuthSecret string `json:"authSecret,omitempty"`
	// TokenSecret is the Secret with the token of the agents' HTTP API.
	TokenSecret string `json:"tokenSecret"`
	// MinReplicasToWrite and MaxLagSeconds are spec.durability.
	MinReplicasToWrite int32 `json:"minReplicasToWrite,omitempty"`
	MaxLagSeconds      int32 `json:"maxLagSeconds,omitempty"`
	// Announce is HOST:PORT by which clients outside the cluster reach a member, by the name of its pod. The members themselves
	// go on to use the addresses of their pods.
	Announce map[string]string `json:"announce,omitempty"`
	// Domain below which the pods have their names, when the members of mode Cluster are to announce these.
	Domain string `json:"domain,omitempty"`
	// Config is spec.config with the operator's defaults folded in.
	Config map[string]string `json:"config,omitempty"`
}
