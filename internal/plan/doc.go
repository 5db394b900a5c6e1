// Package plan holds the decisions of one agent: an observation goes in, an ordered list of actions comes out.
//
// Nothing here reads a clock, the network or a file, so that the rules of docs/architecture.md, "How a master is chosen",
// can be read in one place, told as stories (testdata) and tried against random faults (the simulator of the tests).
//
// An agent calls DecideMember or DecideSentinel whenever something changed and at the latest at Decision.Next, carries
// out the actions in order, stops at the first that fails, observes again and decides again. Deciding is idempotent:
// when the effect of an action is part of the observation, the action is not asked for again.
package plan
