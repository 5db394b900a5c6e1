package plan

import (
	"strconv"
	"strings"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// Observation is all that one member's agent knows when it decides. Every time is on the monotonic clock of that agent,
// counted from any fixed moment after which Now is positive; clocks of different agents are never compared.
type Observation struct {
	Now    time.Duration
	Config v1alpha1.AgentConfig
	// Self is this member; its Reachable is ignored. While its server is not Up, Self.Server is what it said last.
	Self Member
	// Peers are the other members, in any order: every pod that exists, and those that existed earlier in this run of
	// the agent (Terminated then).
	Peers []Member
	Lease Lease
	// Sentinels of the Redis, in mode Sentinel: one for each pod that exists.
	Sentinels []Sentinel

	// ServerRunning: the process of redis-server exists. ServerStartedAt is when it was last started, ServerAnsweredAt when
	// it last answered (an error such as LOADING is an answer too).
	ServerRunning    bool
	ServerStartedAt  time.Duration
	ServerAnsweredAt time.Duration

	// Handover is the step that a handover by this member has reached, HandoverNone while there is none.
	Handover HandoverStep
	// HandoverWanted asks for a handover, HandoverTo names the candidate or is empty for the best one.
	HandoverWanted bool
	HandoverTo     string
	// HandoverForce lets this member take the Lease although its data is of an older term.
	HandoverForce bool
	// HandoverFailedAt is when a handover by this member last failed, 0 for never.
	HandoverFailedAt time.Duration
	// HandedOverAt is when this member last told another to take over, answered or not, 0 for never.
	HandedOverAt time.Duration
	// Takeover is set when the old master's agent posted /takeover to this member and it is not answered yet. The agent
	// reads the Lease again before it decides.
	Takeover *Takeover
	// StopBy is when a stopping member must stop, handed over or not; it counts only while Self.Stopping.
	StopBy time.Duration

	// Memory is Decision.Memory of the decision before, zero at the start.
	Memory Memory
}

// Takeover is the body of POST /takeover: the authority has been moved to the receiver.
type Takeover struct {
	Term   int64
	From   string
	ReplID string
	Offset int64
	// Since is a moment of the receiver's clock that it told the sender before that moved the authority, in mode Sentinel right after.
	Since time.Duration
}

// Memory is what one decision leaves for the next. The agent hands it back unread and keeps it in memory only.
type Memory struct {
	// VacantSince is since when the Lease is seen vacant, or in mode Sentinel no master is named, or the own server is dead while
	// this member holds the Lease; 0 while it is not.
	VacantSince time.Duration
	// LiveRun is the run ID of the server when it was last seen open, or with its link up: what it holds is no leftover.
	LiveRun string
	// Settled: this run of the agent has seen an open master, so a vacancy is no cold start.
	Settled bool
	// Master is the member that was last seen open, OpenAt when the own server was.
	Master string
	OpenAt time.Duration
	// SentinelsAt is when it was last certain that no majority of the Sentinels named another master, NamedSince since when
	// a majority names this member.
	SentinelsAt, NamedSince time.Duration
	// Own is the role of the own server and whom it follows, and OwnSince since when, in mode Sentinel.
	Own      string
	OwnSince time.Duration
	// Opening is the term under which it tried to open last, in mode Sentinel: trying again takes no new one.
	Opening int64
	// PolledAt is when it last asked because it had not heard of the Sentinels for some time, or misses a member.
	PolledAt time.Duration
	// FailoverAskedAt is when a Sentinel was last asked for a failover.
	FailoverAskedAt time.Duration
	// DifferSince is since when a Sentinel believes in another master than the others do.
	DifferSince time.Duration
	// LabelsAt is from when on this master sees to the labels: before, the one that handed over to it does.
	LabelsAt time.Duration
	// MislabelledSince is since when the label of this member says master though it is none; 0 while it does not.
	MislabelledSince time.Duration
}

// Member is one member as the observer knows it.
type Member struct {
	// AgentStatus is the last answer of its agent; it is kept while the agent does not answer.
	v1alpha1.AgentStatus
	// Address at which its server is reached now, HOST:PORT; empty while its pod has none.
	Address string
	// Label is the value of the label redis-role on its pod, with what this agent itself wrote last.
	Label v1alpha1.Role
	// Reachable: its agent answered the last question. AskedAt is when the question was *sent* that AgentStatus answers.
	Reachable bool
	AskedAt   time.Duration
	// LinkUpSince is since when the observer has seen its link to its master up without a break, 0 while it is not.
	LinkUpSince time.Duration
	// Refused: its host refused a connection to its server's port, last at RefusedAt.
	Refused   bool
	RefusedAt time.Duration
	// Terminated: the API says that its container terminated or that its pod is gone; TerminatedAt is when the observer
	// learnt that. Both are reset when a new container runs.
	Terminated   bool
	TerminatedAt time.Duration
	// ServerOpen: its agent does not answer, but a direct look at its server found a master.
	ServerOpen bool
}

// Lease as the observer knows it.
type Lease struct {
	// Known: it was read at least once in this run of the agent; a Lease that does not exist is known and all zero.
	Known bool
	// Holder and Boot are the two halves of holderIdentity; empty when nobody holds it.
	Holder, Boot string
	// LastHolder is the member that held it last, from the annotation redstart.dev/last-holder: known after a release.
	LastHolder string
	// From is the member that gave it to the holder, in a handover or because its server died; empty when the holder took it.
	From string
	// Term counts the holders (annotation redstart.dev/term).
	Term int64
	// Members is how many members count for a majority (annotation redstart.dev/members), by ordinals 0 to Members-1.
	Members int32
	// Duration after which it is over without a renewal.
	Duration time.Duration
	// ResourceVersion for compare-and-swap; opaque, empty when the Lease does not exist.
	ResourceVersion string
	// ChangedAt is when the observer first saw this ResourceVersion.
	ChangedAt time.Duration
	// APIReachable: the API answered within the last APITimeout. ReachableSince is since when that holds without a break: it
	// is set anew by an answer that comes later than APITimeout after the one before.
	APIReachable   bool
	ReachableSince time.Duration
	// RenewedAt is when this agent *sent* its last AcquireLease or RenewLease that succeeded, 0 for never; or, of a Lease that was
	// given to it, a moment before the giver sent what gave it.
	RenewedAt time.Duration
}

// Sentinel is one Sentinel as the observer knows it.
type Sentinel struct {
	v1alpha1.SentinelView
	Name string
	// Address of the Sentinel, HOST:PORT.
	Address string
	// Reachable: it answered the last question. AskedAt is when the question was sent that the view answers.
	Reachable bool
	AskedAt   time.Duration
	// Gone: its host refused the connection, or the API says that its container terminated.
	Gone bool
	// Stopping: its pod is being deleted.
	Stopping bool
	// Askers are the runs of members' agents that have a connection to it, when it was asked about that together with its view;
	// else none.
	Askers []Asker
}

// Asker is a run of a member's agent. Silent is for how long at least it had asked the Sentinel nothing.
type Asker struct {
	Name, Boot string
	Silent     time.Duration
}

// SentinelObservation is all that the agent of one Sentinel knows when it decides.
type SentinelObservation struct {
	Now     time.Duration
	Config  v1alpha1.AgentConfig
	Self    Sentinel
	Others  []Sentinel
	Members []Member
	Lease   Lease
	Memory  Memory
}

// Ordinal of a pod of a StatefulSet, the number at the end of its name; -1 when there is none.
func Ordinal(name string) int32 {
	n, err := strconv.ParseInt(name[strings.LastIndexByte(name, '-')+1:], 10, 32)
	if err != nil || n < 0 {
		return -1
	}
	return int32(n)
}

// Open tells whether the member's server takes writes, as far as its agent knows.
func (m *Member) Open() bool {
	return m.Server.Up && !m.Server.Loading && m.Server.Role == v1alpha1.RoleMaster && !m.Fenced
}

// Shut tells whether the member's server answers and takes no writes, as far as its agent knows. A member that is neither
// Open nor Shut may do anything.
func (m *Member) Shut() bool {
	return m.Loaded() && (m.Server.Role == v1alpha1.RoleReplica || m.Fenced)
}

// Ended tells whether the member's agent says that its server does not run. The one that it starts next takes no writes.
func (m *Member) Ended() bool {
	return m.Reachable && m.Fenced && !m.Server.Up && m.Server.PID == 0
}

// Closed tells whether the member's server takes no writes, as far as its agent knows: it answers so, or it does not run.
func (m *Member) Closed() bool { return m.Shut() || m.Ended() }

// Empty tells whether the member holds no data: no keys, and its agent never saw it hold any under any master.
func (m *Member) Empty() bool { return m.Term == 0 && m.Server.Keys == 0 }

// Loaded tells whether the member's server is ready to take a role.
func (m *Member) Loaded() bool { return m.Server.Up && !m.Server.Loading }

// history is the replication history that the member holds: the server's own, or what its agent remembers.
func (m *Member) history() (replID string, offset int64, remembered bool) {
	if m.LastReplID != "" {
		return m.LastReplID, m.LastOffset, true
	}
	return m.Server.ReplID, m.Server.Offset, false
}
