package plan

import (
	"fmt"
	"slices"

	"redstart.dev/redstart/api/v1alpha1"
)

// differFor is how long a Sentinel may believe in another master than the majority: a failover that it leads is known to
// the others after a second.
const differFor = 10 * second

// DecideSentinel decides for the agent of one Sentinel.
func DecideSentinel(o SentinelObservation) Decision {
	d := Decision{Memory: o.Memory, Next: o.Now + RenewEvery, Role: v1alpha1.RoleSentinel}
	d.Memory.DifferSince = 0
	all := append([]Sentinel{o.Self}, o.Others...)
	named := o.member(majority(all, o.Config.Sentinels, func(a string) bool { return o.member(a) != nil }))
	asking := o.asking()
	switch {
	case !o.Self.Reachable:
		d.Why = "the Sentinel does not answer"
	case !o.Self.Monitoring && named != nil:
		d.Why = fmt.Sprintf("the other Sentinels name %s", named.Name)
		d.Actions = []Action{Monitor{named.Name, named.Address}}
	case !o.Self.Monitoring && asking != nil:
		d.Why = fmt.Sprintf("%s asks to be monitored", asking.Name)
		d.Actions = []Action{Monitor{asking.Name, asking.Address}}
	case !o.Self.Monitoring:
		d.Why = "no master is known yet"
	case o.Self.FailoverInProgress:
		d.Why = "leading a failover"
	case asking != nil && asking.Candidate && o.Self.MasterAddress != asking.Address:
		d.Why = fmt.Sprintf("%s asks to be monitored", asking.Name)
		o.correct(&d, asking)
	case named != nil && named.Address != o.Self.MasterAddress:
		d.Why = fmt.Sprintf("the other Sentinels name %s, not %s", named.Name, o.Self.MasterAddress)
		o.correct(&d, named)
	case named != nil && o.stale(&o.Self) && o.mayReset(named):
		d.Why = "it knows replicas or Sentinels that are gone"
		d.Actions = []Action{ResetSentinel{}}
	case named != nil:
		d.Why = "monitors " + named.Name
	default:
		d.Why = "monitors " + o.Self.MasterAddress + ", and no majority of the Sentinels agrees"
	}
	if named != nil {
		d.Follows = named.Name
	}
	return d
}

// correct gives the Sentinel another master than the one it believes in: at once when no present member has that address;
// otherwise only after it has differed for long, because it may have learned of a failover before the others did.
func (o *SentinelObservation) correct(d *Decision, to *Member) {
	since := o.Memory.DifferSince
	if since == 0 {
		since = o.Now
	}
	d.Memory.DifferSince = since
	if o.member(o.Self.MasterAddress) == nil || o.Now-since >= differFor {
		d.Actions = []Action{Monitor{to.Name, to.Address}}
	}
}

// member at an address, nil when no present member has it.
func (o *SentinelObservation) member(address string) *Member {
	for i := range o.Members {
		if m := &o.Members[i]; m.Address == address && address != "" && !m.Terminated {
			return m
		}
	}
	return nil
}

// asking is the member that wants to be monitored: the open master of the newest term, or else the Lease's holder.
func (o *SentinelObservation) asking() *Member {
	var best *Member
	for i := range o.Members {
		m := &o.Members[i]
		if m.Reachable && m.Open() && m.Address != "" && (best == nil || m.Term > best.Term) {
			best = m
		}
	}
	if best != nil {
		return best
	}
	for i := range o.Members {
		m := &o.Members[i]
		if m.Reachable && m.Candidate && m.Address != "" && m.Name == o.Lease.Holder && m.Boot == o.Lease.Boot {
			return m
		}
	}
	return nil
}

// stale tells whether a Sentinel knows a replica or a Sentinel at an address where none is.
func (o *SentinelObservation) stale(s *Sentinel) bool {
	for _, a := range s.Replicas {
		if o.member(a) == nil {
			return true
		}
	}
	for _, a := range s.Sentinels {
		if a != o.Self.Address && !slices.ContainsFunc(o.Others, func(p Sentinel) bool { return p.Address == a && !p.Gone }) {
			return true
		}
	}
	return false
}

// mayReset tells whether it is this Sentinel's turn to forget what it knows: the master is fine, nobody fails over, all
// others answer, agree and know each other, and none of a lower ordinal is to go first.
func (o *SentinelObservation) mayReset(named *Member) bool {
	if o.Self.MasterDown || !named.Reachable || !named.Open() || int32(len(o.Others)) < o.Config.Sentinels-1 {
		return false
	}
	for i := range o.Others {
		s := &o.Others[i]
		switch {
		case !s.Reachable || s.FailoverInProgress || s.MasterDown || s.MasterAddress != named.Address:
			return false
		case int32(len(s.Sentinels)) < o.Config.Sentinels-1:
			return false
		case Ordinal(s.Name) < Ordinal(o.Self.Name) && o.stale(s):
			return false
		}
	}
	return true
}
