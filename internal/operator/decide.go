package operator

import (
	"fmt"
	"time"
)

// This file decides which member may be taken away next. Every function is pure.

// removal is the next step of a rolling restart. One that names no pod and waits for nothing is the end of it.
type removal struct {
	// pod to delete now.
	pod string
	// why it is restarted.
	why string
	// waits is what has to come first.
	waits string
	// stuck: it will not come by itself.
	stuck bool
	// soon: it will come in a moment.
	soon bool
}

// nextRestart is the next member to restart: replicas first, the highest ordinal first, each when all others
// are back and in sync, and the master last, whose agent hands over when its pod is deleted. A member that is down and
// outdated is replaced at once, since that may be the cure. members are those that are wanted.
func nextRestart(members []instance, now time.Time) removal {
	r, done := replaceable(members, now)
	if done {
		return r
	}
	m := master(members)
	if m == nil {
		return removal{waits: "a master"}
	}
	for i := len(members) - 1; i >= 0; i-- {
		if x := members[i]; x.outdated != "" && x.name != m.name {
			return removal{pod: x.name, why: x.outdated}
		}
	}
	return removal{pod: m.name, why: m.outdated}
}

// nextSentinelRestart is the same for Sentinels, which are all alike: one at a time leaves a majority of the others.
func nextSentinelRestart(sentinels []instance, now time.Time) removal {
	r, done := replaceable(sentinels, now)
	if done {
		return r
	}
	for i := len(sentinels) - 1; i >= 0; i-- {
		if x := sentinels[i]; x.outdated != "" {
			return removal{pod: x.name, why: x.outdated}
		}
	}
	return removal{}
}

// replaceable settles the cases in which no choice is left: nothing is outdated, something is down, somebody has yet to say
// whether it has to be restarted. It is not done when all are up and at least one is outdated.
func replaceable(all []instance, now time.Time) (_ removal, done bool) {
	rest, ignorant := 0, ""
	for _, x := range all {
		if x.outdated != "" {
			rest++
		} else if x.unaware {
			ignorant = x.name
		}
	}
	if rest == 0 && ignorant == "" {
		return removal{}, true
	}
	for i := len(all) - 1; i >= 0; i-- {
		if x := all[i]; x.outdated != "" && x.stuck(now) {
			return removal{pod: x.name, why: x.outdated}, true
		}
	}
	for _, x := range all {
		if x.settled() {
			continue
		}
		why := x.message()
		if why == "" {
			why = "not answering yet"
		}
		return removal{
			waits: fmt.Sprintf("%s (%s); %d still to restart", x.name, why, rest),
			stuck: x.stuck(now),
		}, true
	}
	if ignorant != "" {
		// Were the others restarted meanwhile, the master might be gone before a replica of which nobody knew.
		return removal{waits: ignorant + " (has not seen the wanted settings yet)", soon: true}, true
	}
	return removal{}, false
}

// size is how many members the StatefulSet is to have.
type size struct {
	replicas int32
	// handOverTo is the member that has to become master first, because the present one goes away.
	handOverTo string
	// waits is why it is not yet the wanted number.
	waits string
}

// nextSize goes from one number of members to another. More are made at once. Fewer need a master that stays, so that
// those that go are replicas; they are taken away together, since the others have all that they have.
func nextSize(have, want int32, members []instance) size {
	if want >= have {
		return size{replicas: want}
	}
	m := master(members)
	switch {
	case m == nil:
		return size{replicas: have, waits: "no member is master"}
	case m.ordinal < int(want):
		return size{replicas: want}
	}
	best := -1
	for i, x := range members {
		if x.ordinal >= int(want) || !x.settled() || x.agent.Follows != m.name {
			continue
		}
		if best < 0 || x.agent.Server.Offset > members[best].agent.Server.Offset {
			best = i
		}
	}
	if best < 0 {
		return size{replicas: have, waits: fmt.Sprintf("the master %s goes away and no member that stays can take over", m.name)}
	}
	return size{replicas: have, handOverTo: members[best].name, waits: fmt.Sprintf("the master %s goes away and hands over to %s first", m.name, members[best].name)}
}
