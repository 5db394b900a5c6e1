package plan

import (
	"fmt"
	"slices"
	"time"
)

const second = time.Second

const (
	// RenewEvery is how often a holder renews its Lease.
	RenewEvery = second
	// PollTimeout is how long Poll and DemoteServer wait for answers.
	PollTimeout = 200 * time.Millisecond
	// fresh is how old the answers of peers may be when a member ranks itself or counts consents. It is longer than
	// PollTimeout and shorter than the margin of the Lease.
	fresh = 500 * time.Millisecond
	// silentFor and apartFor are how long a member that is known to hold more, and does not answer or does not reach the API, keeps
	// another from taking a vacant Lease.
	silentFor = 2 * second
	apartFor  = 10 * second
	// coldStart is how long agents wait for all members before they rank those that are there.
	coldStart = 10 * second
	// coldStartLast is how long they wait when the one that was master last is not among them: it may hold the last writes, and
	// a pod that is scheduled anew takes its time.
	coldStartLast = 60 * second
	// hungReplica is how long a server may be silent before it is killed, when nothing waits for that: a replica's, for one.
	hungReplica = 30 * second
)

// APITimeout is after how long without any answer an agent takes the API for unreachable (AgentStatus.APIReachable), for a
// Lease of that duration. It is shorter than what a holder lives on its last renewal: when the API goes away for all, the
// others say so before the holder has to fence. Agents ask the API for something at least every third of it.
func APITimeout(lease time.Duration) time.Duration { return lease * 3 / 10 }

// duration of the Lease.
func (o *Observation) duration() time.Duration {
	if o.Lease.Duration > 0 {
		return o.Lease.Duration
	}
	return time.Duration(o.Config.LeaseSeconds) * second
}

// margin by which the holder gives up before the others may take over; it covers drifting clocks and slow answers.
func (o *Observation) margin() time.Duration { return o.duration() / 5 }

// holds tells whether this run of this agent is the Lease's holder.
func (o *Observation) holds() bool {
	return o.Lease.Known && o.Lease.Holder == o.Self.Name && o.Lease.Boot == o.Self.Boot
}

// deadline is until when this holder may be open on its last renewal alone.
func (o *Observation) deadline() time.Duration {
	if o.Lease.RenewedAt == 0 {
		return 0
	}
	return o.Lease.RenewedAt + o.duration() - o.margin()
}

// leaseMembers is how many members count for a majority.
func (o *Observation) leaseMembers() int32 {
	if o.Lease.Members > 0 {
		return o.Lease.Members
	}
	return o.Config.Replicas
}

// backedUntil is until when a majority of the members is known to follow this holder, which counts itself, without reaching
// the API; 0 when there is no such majority. Each answer is good for as long as a renewal is, and those who can reach the API
// again wait for longer before they agree that the Lease is over (see consent): that a majority here and consents there
// never overlap is what makes it safe.
func (o *Observation) backedUntil() time.Duration {
	members, need := o.leaseMembers(), int(o.leaseMembers()/2+1)
	if Ordinal(o.Self.Name) < members {
		need--
	}
	if need == 0 {
		return o.Now + o.duration() - o.margin()
	}
	var buf [8]time.Duration
	asked := buf[:0]
	for i := range o.Peers {
		if p := &o.Peers[i]; Ordinal(p.Name) < members && p.AskedAt > 0 && !p.APIReachable && p.Follows == o.Self.Name {
			asked = append(asked, p.AskedAt)
		}
	}
	if len(asked) < need {
		return 0
	}
	slices.Sort(asked)
	return asked[len(asked)-need] + o.duration() - o.margin()
}

// consent tells whether so many members have not backed the holder for a whole lease period that it cannot have had a
// majority at its back lately.
func (o *Observation) consent() bool {
	members, d := o.leaseMembers(), o.duration()
	if !o.Lease.APIReachable || o.Now-o.Lease.ReachableSince < d {
		return false
	}
	// Pods that the API has not shown for all that time are no more: only those that it shows can be against it.
	against := int32(0)
	for i := range o.Peers {
		p := &o.Peers[i]
		switch {
		case Ordinal(p.Name) >= members:
		case p.Name != o.Lease.Holder && p.Reachable && o.Now-p.AskedAt <= fresh && p.APIReachable && p.APIReachableMS >= d.Milliseconds():
		case !p.Reachable && p.Terminated && o.Now-p.TerminatedAt >= d:
		default:
			against++
		}
	}
	return against <= members/2
}

// vacancy tells whether the Lease has no living holder, and why it is so, or what is missing.
func (o *Observation) vacancy() (why string, vacant bool) {
	l := &o.Lease
	switch {
	case !l.Known || !l.APIReachable:
		return "the Lease cannot be read", false
	case l.Holder == "":
		return "nobody holds the Lease", true
	case l.Holder == o.Self.Name:
		return "an earlier run of this agent held the Lease", l.Boot != o.Self.Boot
	}
	p := o.peer(l.Holder)
	// A proof of death counts only when it is younger than the last renewal that was seen: the holder renews while its
	// server answers, so it died after that renewal, and whatever it does later needs another one, which fails once the
	// Lease was taken by compare-and-swap.
	if p != nil {
		alive := p.Reachable && p.Boot == l.Boot
		switch {
		case p.Reachable && p.AskedAt >= l.ChangedAt && p.Boot != l.Boot:
			return fmt.Sprintf("the agent of %s was started anew", p.Name), true
		case p.Terminated && p.TerminatedAt >= l.ChangedAt && !(alive && p.AskedAt >= p.TerminatedAt):
			return fmt.Sprintf("the pod of %s is terminated", p.Name), true
		case p.Refused && p.RefusedAt >= l.ChangedAt:
			return fmt.Sprintf("the server of %s is dead: its host refuses connections", p.Name), true
		}
	}
	over := max(l.ChangedAt, l.ReachableSince) + o.duration()
	switch {
	case p == nil && o.Now >= over:
		return fmt.Sprintf("the pod of %s is gone", l.Holder), true
	case o.Now < over:
		return fmt.Sprintf("%s holds the Lease", l.Holder), false
	case p != nil && p.Reachable && p.Boot == l.Boot && p.AskedAt >= over && p.Closed():
		return fmt.Sprintf("the Lease of %s ran out and it is fenced", l.Holder), true
	case o.consent():
		return fmt.Sprintf("the Lease of %s ran out", l.Holder), true
	}
	return fmt.Sprintf("the Lease of %s ran out, but a majority of the members may still follow it without the API", l.Holder), false
}

// peer by name, nil when there is none.
func (o *Observation) peer(name string) *Member {
	for i := range o.Peers {
		if o.Peers[i].Name == name {
			return &o.Peers[i]
		}
	}
	return nil
}

// complete tells whether every wanted member, and every other that still exists, can be reached and has loaded its data:
// what none of them holds is gone for good.
func (o *Observation) complete() bool {
	n := int32(0)
	if Ordinal(o.Self.Name) < o.Config.Replicas && o.Self.Loaded() {
		n++
	}
	for i := range o.Peers {
		switch p := &o.Peers[i]; {
		case p.Reachable && p.Loaded():
			if Ordinal(p.Name) < o.Config.Replicas {
				n++
			}
		case !p.Terminated:
			return false
		}
	}
	return n >= o.Config.Replicas
}
