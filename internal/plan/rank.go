package plan

import (
	"fmt"

	"redstart.dev/redstart/api/v1alpha1"
)

// Best ranks the members of a Redis without a master: those that can be reached, self included. ok is false when none of
// them may become master. The order is: holds data; highest term; an ordinal below replicas; of the history of the last
// holder (or else of the member that is furthest) the highest offset; last holder; lowest ordinal. The order of members
// does not matter: all that see the same choose the same.
//
// It does not compare with the Lease's term: see "a member of an older term" in docs/architecture.md.
func Best(members []*Member, lastHolder string, replicas int32) (best *Member, ok bool) {
	dataHeld := false
	for _, m := range members {
		dataHeld = dataHeld || !m.Empty()
		if eligible(m) && (best == nil || newer(m, best, replicas)) {
			best = m
		}
	}
	if best == nil || best.Empty() && dataHeld {
		return nil, false
	}
	// All that are as new as best compete by offset, as far as their offsets can be compared: start from the last holder,
	// or else from the one that is furthest.
	top := func(m *Member) bool {
		return eligible(m) && !newer(m, best, replicas) && !newer(best, m, replicas)
	}
	ref := best
	for _, m := range members {
		if top(m) && (m.Name == lastHolder || ref.Name != lastHolder && further(m, ref)) {
			ref = m
		}
	}
	// Who is ahead of ref may be so of another that is itself not ahead of ref, so all are asked about ref, before one of
	// them is chosen by an order that has no circles: every member must choose the same one.
	passed := false
	for _, m := range members {
		passed = passed || top(m) && sameHistory(m, ref) && ahead(m, ref)
	}
	best = ref
	for _, m := range members {
		if passed && top(m) && sameHistory(m, ref) && further(m, best) {
			best = m
		}
	}
	return best, true
}

// eligible members can become master at all, whatever they hold.
func eligible(m *Member) bool { return !m.Stopping && m.Loaded() && m.APIReachable }

// newer tells whether a comes before b for what it holds, offsets apart.
func newer(a, b *Member, replicas int32) bool {
	if a.Term != b.Term {
		return a.Term > b.Term
	}
	if a.Empty() != b.Empty() {
		return b.Empty()
	}
	return Ordinal(a.Name) < replicas && Ordinal(b.Name) >= replicas
}

// further orders by offset and then by ordinal.
func further(a, b *Member) bool {
	_, ao, _ := a.history()
	_, bo, _ := b.history()
	if ao != bo {
		return ao > bo
	}
	return Ordinal(a.Name) < Ordinal(b.Name)
}

// ahead tells whether a, of the same history, holds more than b. What an agent remembers from before a restart of its
// server is a lower bound, so two remembered offsets say nothing.
func ahead(a, b *Member) bool {
	_, ao, aRemembered := a.history()
	_, bo, bRemembered := b.history()
	return ao > bo && !(aRemembered && bRemembered)
}

// sameHistory tells whether the offsets of two members can be compared.
func sameHistory(a, b *Member) bool {
	aID, aOffset, _ := a.history()
	bID, bOffset, _ := b.history()
	switch {
	case aID == "" || bID == "":
		return false
	case aID == bID:
		return true
	case a.Server.ReplID2 == bID:
		return bOffset <= a.Server.SecondOffset
	case b.Server.ReplID2 == aID:
		return aOffset <= b.Server.SecondOffset
	}
	return a.Server.ReplID2 != "" && a.Server.ReplID2 == b.Server.ReplID2
}

// settledFor is how long a replica's link must have been up to be the first choice of a handover.
const settledFor = 2 * second

// ChooseCandidate is the member that a handover by the master goes to: the named one, or for an empty name the best, which
// is a settled one where there is one, with the highest offset, with the lowest ordinal. The error is for people and says
// what is wrong with the named one, or that there is none, or in mode Sentinel which other one they may choose to a loss.
func ChooseCandidate(o *Observation, name string) (*Member, error) {
	var best *Member
	var err error
	for i := range o.Peers {
		p := &o.Peers[i]
		if name != "" && p.Name != name {
			continue
		}
		if e := unfit(o, p); e != nil {
			err = e
			continue
		}
		if best == nil || better(o, p, best) {
			best = p
		}
	}
	switch {
	case best != nil && o.Config.Mode == v1alpha1.ModeSentinel:
		return best, allInStep(o)
	case best != nil:
		return best, nil
	case name == o.Self.Name:
		return nil, fmt.Errorf("%s is the master already", name)
	case name != "" && err == nil:
		return nil, fmt.Errorf("%s is no member of %s: expected the name of one of its pods", name, o.Config.Redis)
	case err == nil:
		return nil, fmt.Errorf("%s has no other member to hand over to", o.Config.Redis)
	}
	return nil, err
}

// unfit says why a peer cannot take over from this master without losing a write, nil when it can.
func unfit(o *Observation, p *Member) error {
	s := &p.Server
	switch {
	case Ordinal(p.Name) >= o.Config.Replicas:
		return fmt.Errorf("%s is being removed", p.Name)
	case !p.Reachable || p.Terminated:
		return fmt.Errorf("%s does not answer", p.Name)
	case p.Stopping:
		return fmt.Errorf("%s is stopping", p.Name)
	case !p.Loaded():
		return fmt.Errorf("the server of %s is not ready", p.Name)
	case s.Role != v1alpha1.RoleReplica || s.MasterAddress != o.Self.Address || !s.LinkUp:
		return fmt.Errorf("%s is not in step with %s", p.Name, o.Self.Name)
	case p.Term != o.Self.Term:
		return fmt.Errorf("%s has yet to confirm that it holds the data of term %d", p.Name, o.Self.Term)
	case !p.APIReachable && o.Config.Mode != v1alpha1.ModeSentinel:
		return fmt.Errorf("%s cannot reach the Kubernetes API", p.Name)
	}
	return nil
}

// allInStep says who of the other members is not in step with this master, though the Sentinels, who choose by what they
// heard up to ten seconds ago, may choose it in a handover. Who is dead cannot be chosen.
func allInStep(o *Observation) error {
	for i := range o.Peers {
		p := &o.Peers[i]
		dead := !p.Reachable && (p.Terminated || p.Refused)
		if s := &p.Server; !dead && !(p.Reachable && p.Loaded() && s.Role == v1alpha1.RoleReplica && s.MasterAddress == o.Self.Address && s.LinkUp) {
			return fmt.Errorf("%s is not in step with %s, and the Sentinels may choose it", p.Name, o.Self.Name)
		}
	}
	return nil
}

func better(o *Observation, a, b *Member) bool {
	if as, bs := settled(o, a), settled(o, b); as != bs {
		return as
	}
	return further(a, b)
}

func settled(o *Observation, p *Member) bool {
	return p.LinkUpSince > 0 && o.Now-p.LinkUpSince >= settledFor
}
