package plan

import (
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// Decision is what one agent shall do now.
type Decision struct {
	// Actions in order. When one fails the rest is dropped, and the agent observes and decides again.
	Actions []Action
	// Next is when to decide again at the latest, on the agent's clock.
	Next time.Duration
	// Until bounds the actions together: what is not done by then is given up, and the agent decides again at once. A
	// master whose Lease ends must not wait for an answer first. 0 means no bound of this kind.
	Until time.Duration
	// Why is one sentence for people.
	Why string
	// Role, Follows and Candidate are to be reported in AgentStatus.
	Role      v1alpha1.Role
	Follows   string
	Candidate bool
	// Successor is HOST:PORT of the open master that took over from this member, whose server has ended; "" while there is none.
	Successor string
	// StayDown: the server, which has ended, must not be started yet.
	StayDown bool
	// Memory goes into the next Observation.
	Memory Memory
}

// Action is one thing to do; the types below are all there are. String describes it to people.
type Action interface{ String() string }

// Actions on the Lease. Each is a compare-and-swap on ResourceVersion ("" creates the Lease) and fails when that moved.
type (
	// AcquireLease makes this run of this agent the holder, with a new term, and writes LastHolder too.
	AcquireLease struct {
		Term            int64
		Members         int32
		ResourceVersion string
	}
	// RenewLease renews it, and writes how many members count.
	RenewLease struct {
		Members         int32
		ResourceVersion string
	}
	// ReleaseLease takes the holder off and leaves the term.
	ReleaseLease struct{ ResourceVersion string }
)

// Actions on the own server.
type (
	// Remember writes the term into redstart.json before anything else is done; 0 says that the member is empty.
	Remember struct{ Term int64 }
	// Open makes the server a writable master: REPLICAOF NO ONE, fence lifted. It must not be sent after Before.
	Open struct {
		Term   int64
		Before time.Duration
	}
	// Fence makes a running master refuse writes. A server that does not answer at once is killed instead.
	Fence struct{}
	// Unfence lifts the fence, and a pause of a handover. It must not be sent after Before.
	Unfence struct{ Before time.Duration }
	// Follow makes the server a replica of a member, and fenced: whoever makes it a master behind its agent's back makes
	// no writable one.
	Follow struct{ Name, Address string }
	// Close makes the server a replica of nobody, and fenced. Every server is started so.
	Close struct{}
	// DropClients disconnects all ordinary clients.
	DropClients struct{}
	// KillServer kills the server by SIGKILL and waits until it is gone. The agent restarts it closed.
	KillServer struct{}
	// HandOver starts the handover to a member: see NextHandoverStep.
	HandOver struct{ To, Address string }
	// Bequeath gives the Lease of this member, whose server died, to a run of another's agent, under the next term and by
	// compare-and-swap, and tells it so with POST /takeover; ReplID and Offset are what it holds, Clock is its clock when it said so.
	Bequeath struct {
		To, Boot string
		Clock    time.Duration
		ReplID   string
		Offset   int64
	}
	// Stop ends the server and the agent: nothing is left to do.
	Stop struct{}
)

// Actions on others.
type (
	// Poll asks all peers (and Sentinels) for their status now, tries the port of those that do not answer, and waits at
	// most PollTimeout.
	Poll struct{}
	// Nudge posts /nudge to all peers.
	Nudge struct{}
	// DemoteServer makes the server of another member a replica of this one, directly, and drops its clients, within
	// PollTimeout. Its failure counts only when Must is set.
	DemoteServer struct {
		Name, Address string
		Must          bool
	}
	// SetRoleLabel sets the label redis-role of a pod.
	SetRoleLabel struct {
		Pod  string
		Role v1alpha1.Role
	}
	// AskSentinelFailover sends SENTINEL FAILOVER to one Sentinel.
	AskSentinelFailover struct{ Name, Address string }
)

// Actions of a Sentinel's agent on its own Sentinel.
type (
	// Monitor gives it the master: SENTINEL REMOVE of another one, then SENTINEL MONITOR and its settings.
	Monitor struct{ Name, Address string }
	// ResetSentinel makes it forget the replicas and Sentinels that it knows: SENTINEL RESET.
	ResetSentinel struct{}
)

func (a AcquireLease) String() string {
	return fmt.Sprintf("acquire the lease, term %d of %d members", a.Term, a.Members)
}
func (a RenewLease) String() string   { return "renew the lease" }
func (a ReleaseLease) String() string { return "release the lease" }
func (a Remember) String() string     { return fmt.Sprintf("remember term %d", a.Term) }
func (a Open) String() string         { return fmt.Sprintf("open, term %d", a.Term) }
func (a Fence) String() string        { return "fence" }
func (a Unfence) String() string      { return "unfence" }
func (a Follow) String() string       { return fmt.Sprintf("follow %s at %s", a.Name, a.Address) }
func (a Close) String() string        { return "close" }
func (a DropClients) String() string  { return "drop clients" }
func (a KillServer) String() string   { return "kill the server" }
func (a HandOver) String() string     { return "hand over to " + a.To }
func (a Bequeath) String() string     { return "give the lease to " + a.To }
func (a Stop) String() string         { return "stop" }
func (a Poll) String() string         { return "ask all peers now" }
func (a Nudge) String() string        { return "nudge all peers" }
func (a DemoteServer) String() string {
	return fmt.Sprintf("demote the server of %s at %s", a.Name, a.Address)
}
func (a SetRoleLabel) String() string        { return fmt.Sprintf("label %s %s", a.Pod, a.Role) }
func (a AskSentinelFailover) String() string { return "ask " + a.Name + " for a failover" }
func (a Monitor) String() string             { return fmt.Sprintf("monitor %s at %s", a.Name, a.Address) }
func (a ResetSentinel) String() string       { return "reset the Sentinel" }
