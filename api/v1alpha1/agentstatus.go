package v1alpha1

// AgentStatus is what an agent answers to GET /status: what it saw of its own server, and what it does about it.
type AgentStatus struct {
	// Name of the pod and Boot, a random ID of this run of the agent: a pod that comes back has another one.
	Name string `json:"name"`
	Boot string `json:"boot"`
	// ClockNS is the clock of that run when it answered, in nanoseconds. It means something to that run alone: who gives it the
	// Lease after this answer says so, and the run knows since when it holds.
	ClockNS int64 `json:"clockNanoseconds,omitempty"`
	// Role is the role that the authority gave this member, empty while it is not known.
	Role Role `json:"role,omitempty"`
	// Fenced: the server refuses writes because the agent made it so.
	Fenced bool `json:"fenced"`
	// Stopping: SIGTERM was received; this member must not become master.
	Stopping bool `json:"stopping"`
	// Ready is what /readyz says, and Message why not, or what the agent is doing.
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"`
	// Server is what redis-server (or the Sentinel) says of itself.
	Server ServerStatus `json:"server"`
	// Term is the highest term (count of changes of master) under which this member held data, 0 for an empty one.
	Term int64 `json:"term"`
	// Follows is the member that this one takes for master, empty while it takes none.
	Follows string `json:"follows,omitempty"`
	// APIReachable: the Kubernetes API answered within the last three tenths of the lease's duration.
	APIReachable bool `json:"apiReachable"`
	// APIReachableMS is for how long that has held without a break in this run of the agent, in milliseconds.
	APIReachableMS int64 `json:"apiReachableMilliseconds,omitempty"`
	// SentinelsReachableMS is for how long this agent has reached a majority of the Sentinels without a break, in
	// milliseconds; 0 while it does not.
	SentinelsReachableMS int64 `json:"sentinelsReachableMilliseconds,omitempty"`
	// LastReplID and LastOffset are the replication history that the agent remembers of the data that its server loaded;
	// set from a restart of the server, which forgets them when it loads an append-only file, until the server has a
	// history again (its link is up, or it is open).
	LastReplID string `json:"lastReplID,omitempty"`
	LastOffset int64  `json:"lastOffset,omitempty"`
	// Leaving is why this member is giving up, or has just given up, being master, for people; HandingOver: by a handover.
	Leaving     string `json:"leaving,omitempty"`
	HandingOver bool   `json:"handingOver,omitempty"`
	// Candidate, in mode Sentinel: this member holds the Lease and wants the Sentinels to monitor it.
	Candidate bool `json:"candidate,omitempty"`
	// ConfigHash is the hash of the configuration in force; PendingRestart lists the settings that need a restart. Both
	// speak of the wanted configuration whose hash is ConfigSeen; who wants another one has to wait until it is seen.
	ConfigHash     string   `json:"configHash,omitempty"`
	ConfigSeen     string   `json:"configSeen,omitempty"`
	PendingRestart []string `json:"pendingRestart,omitempty"`
	// ConfigError is what the server refuses of the wanted configuration, and why; the rest is applied.
	ConfigError string `json:"configError,omitempty"`
	// LastFailover is the last change of master that this agent took part in as the new master.
	LastFailover *FailoverStatus `json:"lastFailover,omitempty"`
	// Cluster is what the server of a member of mode Cluster believes; nil while it has not answered.
	Cluster *ClusterView `json:"cluster,omitempty"`
	// ElectedMS is how long ago, in milliseconds, this server was last promoted in this run of the agent; 0 for never. A
	// server does not stand for another election for four times the cluster's node timeout.
	ElectedMS int64 `json:"electedMilliseconds,omitempty"`
	// Sentinel is set for Sentinels alone.
	Sentinel *SentinelView `json:"sentinel,omitempty"`
}

// ServerStatus is what a redis-server says of itself. Offsets are in bytes.
type ServerStatus struct {
	// Up: the process runs and answered PING lately. Loading: it reads its data set from disk.
	Up      bool `json:"up"`
	Loading bool `json:"loading,omitempty"`
	// PID of the server, 0 while there is none.
	PID     int    `json:"pid,omitempty"`
	Engine  string `json:"engine,omitempty"`
	Version string `json:"version,omitempty"`
	RunID   string `json:"runID,omitempty"`
	// Address that others reach the server at, HOST:PORT.
	Address string `json:"address,omitempty"`
	// Role as INFO has it.
	Role Role `json:"role,omitempty"`
	// MasterAddress and LinkUp are a replica's master and the state of the link to it. MasterAddress is empty while the
	// server is closed (a replica of nobody).
	MasterAddress string `json:"masterAddress,omitempty"`
	LinkUp        bool   `json:"linkUp,omitempty"`
	// LinkDownSeconds is master_link_down_since_seconds, -1 when unknown.
	LinkDownSeconds int64 `json:"linkDownSeconds,omitempty"`
	// ReplID and ReplID2 with SecondOffset tell the replication history (master_replid and friends).
	ReplID       string `json:"replID,omitempty"`
	ReplID2      string `json:"replID2,omitempty"`
	Offset       int64  `json:"offset"`
	SecondOffset int64  `json:"secondOffset,omitempty"`
	// Replicas connected to this server.
	Replicas []ReplicaStatus `json:"replicas,omitempty"`
	Keys     int64           `json:"keys"`
	Clients  int64           `json:"clients,omitempty"`
	Memory   int64           `json:"memory,omitempty"`
}

// ReplicaStatus is a replica as its master sees it (slaveN of INFO replication).
type ReplicaStatus struct {
	Address string `json:"address"`
	Online  bool   `json:"online"`
	Offset  int64  `json:"offset"`
	// LagSeconds is the time since its last acknowledgement.
	LagSeconds int64 `json:"lagSeconds"`
}

// SentinelView is what a Sentinel believes.
type SentinelView struct {
	// Monitoring: it watches a master under the name of this Redis.
	Monitoring bool `json:"monitoring"`
	// MasterAddress that it believes in, and ConfigEpoch, the age of that belief.
	MasterAddress string `json:"masterAddress,omitempty"`
	ConfigEpoch   int64  `json:"configEpoch,omitempty"`
	// MasterDown: s_down or o_down; FailoverInProgress: it is leading one.
	MasterDown         bool `json:"masterDown,omitempty"`
	FailoverInProgress bool `json:"failoverInProgress,omitempty"`
	// Promoting is the address of the replica that it chose in that failover, from the choice on.
	Promoting string `json:"promoting,omitempty"`
	// Replicas and Sentinels are the addresses of the others that it knows.
	Replicas  []string `json:"replicas,omitempty"`
	Sentinels []string `json:"sentinels,omitempty"`
}
