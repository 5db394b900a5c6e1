package v1alpha1

// ClusterView is what one node of a Redis Cluster believes: its CLUSTER INFO and CLUSTER NODES.
type ClusterView struct {
	Info  ClusterInfo   `json:"info"`
	Nodes []ClusterNode `json:"nodes"`
}

// ClusterInfo is CLUSTER INFO. Slots are counted.
type ClusterInfo struct {
	// OK: cluster_state is ok, so the node serves its slots.
	OK            bool `json:"ok"`
	SlotsAssigned int  `json:"slotsAssigned"`
	SlotsOK       int  `json:"slotsOK"`
	SlotsPFail    int  `json:"slotsPFail,omitempty"`
	SlotsFail     int  `json:"slotsFail,omitempty"`
	KnownNodes    int  `json:"knownNodes"`
	// Size is the number of masters with slots.
	Size         int   `json:"size"`
	CurrentEpoch int64 `json:"currentEpoch"`
	MyEpoch      int64 `json:"myEpoch"`
}

// ClusterNode is a node as another one (or itself) knows it: one line of CLUSTER NODES.
type ClusterNode struct {
	ID string `json:"id"`
	// Address that clients use, HOST:PORT; empty while it is not known. An unset IP (of a node that nobody has met yet,
	// as it sees itself) leaves ":PORT".
	Address string `json:"address,omitempty"`
	// BusPort is the port of the cluster bus, 0 where it is not told.
	BusPort int `json:"busPort,omitempty"`
	// Hostname is what the node announces as cluster-announce-hostname (Redis 7).
	Hostname string `json:"hostname,omitempty"`
	// ShardID is the same for a master and its replicas (Redis 7.2), empty where the server does not tell.
	ShardID string `json:"shardID,omitempty"`
	Myself  bool   `json:"myself,omitempty"`
	// Role is empty for a node in handshake.
	Role Role `json:"role,omitempty"`
	// Suspected: this node alone finds it unreachable (fail?). Failed: a majority of the masters did (fail).
	Suspected bool `json:"suspected,omitempty"`
	Failed    bool `json:"failed,omitempty"`
	// Handshake: it was met but has not answered. NoAddress: its address is not known.
	Handshake bool `json:"handshake,omitempty"`
	NoAddress bool `json:"noAddress,omitempty"`
	// NoFailover: a replica that does not want to be promoted.
	NoFailover bool `json:"noFailover,omitempty"`
	// MasterID is a replica's master.
	MasterID string `json:"masterID,omitempty"`
	// PingSentMS and PongReceivedMS are Unix times in milliseconds by the node's clock; PingSentMS is 0 where no
	// answer is awaited.
	PingSentMS     int64 `json:"pingSentMilliseconds,omitempty"`
	PongReceivedMS int64 `json:"pongReceivedMilliseconds,omitempty"`
	ConfigEpoch    int64 `json:"configEpoch"`
	// LinkUp: the connection of the bus to it is up.
	LinkUp bool    `json:"linkUp,omitempty"`
	Slots  SlotSet `json:"slots,omitempty"`
	// Migrating and Importing are open slots with the node at the other end. A node tells only its own.
	Migrating []OpenSlot `json:"migrating,omitempty"`
	Importing []OpenSlot `json:"importing,omitempty"`
}

// OpenSlot is a slot on its way to or from the node NodeID.
type OpenSlot struct {
	Slot   int    `json:"slot"`
	NodeID string `json:"nodeID"`
}

// Myself is the node whose view this is, nil where the view is empty.
func (v ClusterView) Myself() *ClusterNode {
	for i := range v.Nodes {
		if v.Nodes[i].Myself {
			return &v.Nodes[i]
		}
	}
	return nil
}

// Node is the node of that ID, nil where this view has none.
func (v ClusterView) Node(id string) *ClusterNode {
	for i := range v.Nodes {
		if v.Nodes[i].ID == id {
			return &v.Nodes[i]
		}
	}
	return nil
}

// Owner is the ID of the node that owns slot in this view, empty where none does.
func (v ClusterView) Owner(slot int) string {
	for i := range v.Nodes {
		if v.Nodes[i].Slots.Contains(slot) {
			return v.Nodes[i].ID
		}
	}
	return ""
}

// Owners are the slots of each master that has any, by node ID.
func (v ClusterView) Owners() map[string]SlotSet {
	owners := map[string]SlotSet{}
	for _, n := range v.Nodes {
		if len(n.Slots) > 0 {
			owners[n.ID] = n.Slots
		}
	}
	return owners
}

// Uncovered is the slots that no node owns in this view.
func (v ClusterView) Uncovered() SlotSet {
	free := AllSlots()
	for _, n := range v.Nodes {
		free = free.Minus(n.Slots)
	}
	return free
}
