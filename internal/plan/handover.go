package plan

import "time"

// HandoverStep is a step of a handover, done by the old master's agent.
type HandoverStep int

// The steps, in order. Until HandoverMove the old master is the master and a failure is undone; from HandoverMove on it
// stays closed until the authority names it again.
const (
	// HandoverNone: no handover runs.
	HandoverNone HandoverStep = iota
	// HandoverPause: CLIENT PAUSE for HandoverState.Pause, WRITE.
	HandoverPause
	// HandoverWait: wait until the candidate has acknowledged the master's offset (WAIT), at most until PauseEnd.
	HandoverWait
	// HandoverFence: fence the old master, so that the end of the pause opens nothing.
	HandoverFence
	// HandoverMove: move the authority. Lease: one compare-and-swap that names the candidate's present boot and the next
	// term. Sentinel: SENTINEL FAILOVER, and wait until a replica is promoted.
	HandoverMove
	// HandoverFollow: REPLICAOF the new master.
	HandoverFollow
	// HandoverTakeover: POST /takeover to the new master.
	HandoverTakeover
	// HandoverFinish: labels, DropClients, CLIENT UNPAUSE.
	HandoverFinish
	// HandoverUndo: lift the fence, if it was reached, and the pause: the old master goes on as before.
	HandoverUndo
	// HandoverLeave: lift the pause but not the fence; DecideMember finds out from the authority how it goes on.
	HandoverLeave
	// HandoverDone and HandoverFailed end it.
	HandoverDone
	HandoverFailed
)

// Outcome of a step.
type Outcome int

const (
	// Succeeded: the step's effect was confirmed.
	Succeeded Outcome = iota
	// Refused: it certainly had no effect.
	Refused
	// Unknown: no answer, or one that does not tell; it may have had its effect or may still have it.
	Unknown
)

// HandoverState is how far a handover got.
type HandoverState struct {
	// Step last carried out, HandoverNone at the start, and how it went.
	Step    HandoverStep
	Outcome Outcome
	// Now, on the agent's clock, and PauseEnd, when the pause of the clients ends by itself.
	Now, PauseEnd time.Duration
	// Authority: this agent may still be master (its Lease is not over; or the Sentinels name it).
	Authority bool
}

// String is the step as the status shows it.
func (s HandoverStep) String() string {
	return [...]string{
		"none", "pausing clients", "waiting for the candidate", "fencing", "moving the authority", "becoming a replica",
		"telling the candidate", "finishing", "undoing", "leaving it to the authority", "done", "failed",
	}[s]
}

// NextHandoverStep is what to do after a step ended, and at the end of the pause's time.
func NextHandoverStep(s HandoverState) HandoverStep {
	switch s.Step {
	case HandoverNone:
		return HandoverPause
	case HandoverPause, HandoverWait, HandoverFence:
		// Nothing has been given away: a failure, or too little time left to finish, is undone.
		switch {
		case !s.Authority:
			return HandoverLeave
		case s.Outcome != Succeeded || s.Now >= s.PauseEnd:
			return HandoverUndo
		}
		return s.Step + 1
	case HandoverMove:
		switch {
		case s.Outcome == Succeeded:
			return HandoverFollow
		case s.Outcome == Refused && s.Authority:
			return HandoverUndo
		}
		return HandoverLeave
	case HandoverFollow, HandoverTakeover:
		// The old master is fenced and the authority has moved: whatever fails from here on, the new master finds out by
		// itself from the authority.
		return s.Step + 1
	case HandoverFinish:
		return HandoverDone
	}
	return HandoverFailed
}
