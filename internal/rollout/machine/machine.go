// Package machine decides how a release goes on: observation in, next status and wanted state of the world out. It has
// no clock, no network and no Kubernetes client, so that every strategy can be told, and tested, as a story.
//
// Each call of Next moves at most one state forward. What it wants of the world is a function of the state alone, so a
// controller that was interrupted, or whose last write was lost, asks again and gets the same answer.
package machine

import (
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// Observation is everything that a decision is based on.
type Observation struct {
	Now time.Time
	// Spec of the Rollout, defaulted and valid; Generation is its generation.
	Spec       *v1alpha1.RolloutSpec
	Generation int64
	// Deleting tells that the Rollout is being deleted.
	Deleting bool
	// Status is what the last decision and the controller left.
	Status v1alpha1.RolloutStatus
	// Command that was given and not answered yet, without what follows a #; CommandText is all of it.
	Command, CommandText string
	Workload             Workload
	Extra                Extra
	// StepsHash is the hash of the steps of Spec.
	StepsHash string
}

// Pods counts pods of one version: those that exist, and those of them that are ready.
type Pods struct{ Pods, Ready int32 }

// Workload is the workload that is released.
type Workload struct {
	// NotServed is why there can be none; Taken is why it is not ours to hold.
	NotServed, Taken string
	Exists           bool
	// Settled tells that the cluster has seen its latest spec.
	Settled bool
	// Held tells that no pod of it moves to another template.
	Held bool
	// Size is the number of pods that is wanted, as the user or an autoscaler last said.
	Size int32
	// Template is the revision that it asks for, Image that of its first container.
	Template, Image string
	// Stable are its pods of Status.StableRevision, Updated those of Template, Canary those of Status.CanaryRevision; Total
	// are all.
	Stable, Updated, Canary Pods
	Total                   int32
	// Serving is the revision that all its pods are of, empty while they differ; ServingHash the label value that selects them.
	Serving, ServingHash string
	// UpdatedHash is the label value that selects the pods of Template; empty until the cluster has given it one.
	UpdatedHash string
	// Problem is what keeps a pod from becoming ready, if that is known.
	Problem string
}

// complete tells whether every wanted pod is of the template and ready, and no other is left.
func (w *Workload) complete() bool {
	return w.Exists && w.Settled && w.Updated.Ready >= w.Size && w.Updated.Pods == w.Size && w.Total == w.Size
}

// Extra is the second workload, which takes the new version beside the old one.
type Extra struct {
	Exists bool
	// Revision that it runs, and the size that it was last given.
	Revision string
	Size     int32
	Pods
	Problem string
}

// Hold is what is wanted of the workload.
type Hold string

// What is wanted of the workload.
const (
	// Leave touches nothing.
	Leave Hold = "leave"
	// Held keeps every pod at its version.
	Held Hold = "hold"
	// Batch moves Desired.Batch pods to the template, and keeps the others.
	Batch Hold = "batch"
	// Release lets the workload do what it would do without a Rollout.
	Release Hold = "release"
)

// Desired is the state of the world that a decision asks for.
type Desired struct {
	Hold Hold
	// Batch is how many pods have the new version, with Hold Batch.
	Batch int32
	// Template is the revision whose template the workload shall be given; empty leaves it.
	Template string
	// Extra is the size of the second workload; nil for none.
	Extra *int32
	// Pinned makes the Services select the pods of the stable version alone, and gives the new version Services of its own.
	Pinned bool
	// CanaryService keeps the Services of the new version, with Pinned or without.
	CanaryService bool
	// Route is what the routes say; nil is not to touch them.
	Route *Route
	// Stages of checks that are to be measured.
	Stages []string
	// Done tells that a Rollout that is being deleted has left everything as it should be.
	Done bool
	// Again is when to look again, even if nothing happens; 0 for never.
	Again time.Duration
}

// Route is what routes are told.
type Route struct {
	// Weight is the share of the new version, 0 to 100.
	Weight int32
	// MatchesOfStep is the step whose matches are used, from 1; 0 for none.
	MatchesOfStep int32
	// HeadersOfStep is the step whose header changes are used, from 1; 0 for none.
	HeadersOfStep int32
	// Restored makes the routes what they were before the release.
	Restored bool
}

// Event is something to tell people.
type Event struct {
	Warning         bool
	Reason, Message string
}

// Decision is what follows from an observation.
type Decision struct {
	Status  v1alpha1.RolloutStatus
	Desired Desired
	Events  []Event
}

// Stages of checks.
const (
	StageBefore     = "before"
	StageBackground = "background"
	StageAfter      = "after"
)

// Next decides. It changes nothing of o.
func Next(o Observation) Decision {
	m := &machine{Observation: o, st: *o.Status.DeepCopy()}
	m.strategy, m.plan = o.Spec.Strategy.Use()
	if m.releasing() && m.st.Strategy != "" {
		m.strategy = m.st.Strategy // a release ends as it began
	}
	m.st.ObservedGeneration = o.Generation
	m.learn()
	m.command()
	m.move()
	m.st.Strategy = m.strategy
	d := m.desired()
	m.report()
	d.Again = m.again()
	return Decision{Status: m.st, Desired: d, Events: m.events}
}

// machine is one decision in the making.
type machine struct {
	Observation
	strategy string
	plan     *v1alpha1.StrategySpec
	st       v1alpha1.RolloutStatus
	events   []Event
	moved    bool
}

// releasing tells whether a release goes on, or its remains are cleared away.
func (m *machine) releasing() bool {
	switch m.st.Phase {
	case v1alpha1.RolloutProgressing, v1alpha1.RolloutPaused, v1alpha1.RolloutPromoting, v1alpha1.RolloutRollingBack:
		return true
	case v1alpha1.RolloutDisabled, v1alpha1.RolloutTerminating:
		return m.st.StepState != ""
	}
	return false
}

func (m *machine) routed() bool   { return len(m.st.TrafficRoutings) > 0 }
func (m *machine) inPlace() bool  { return m.strategy == v1alpha1.StrategyPartition }
func (m *machine) shared() bool   { return m.inPlace() && m.routed() }
func (m *machine) followed() bool { return m.inPlace() && !m.routed() } // traffic follows the pods
func (m *machine) steps() int32   { return int32(len(m.plan.Steps)) }
func (m *machine) replaced() bool { return m.Workload.Template == m.st.CanaryRevision }

// leaving tells whether the Rollout lets go of its workload.
func (m *machine) leaving() bool { return m.Deleting || m.Spec.Disabled }

// enter is a move to another state.
func (m *machine) enter(phase v1alpha1.RolloutPhase, state v1alpha1.StepState) {
	m.st.Phase, m.st.StepState = phase, state
	now := stamp(m.Now)
	m.st.StepStateSince, m.st.DeadlineFrom = &now, &now
	m.moved = true
}

func (m *machine) event(warning bool, reason, message string) {
	m.events = append(m.events, Event{warning, reason, message})
}

// since is how long the machine has been in its state.
func (m *machine) since() time.Duration {
	if m.st.StepStateSince == nil {
		return 0
	}
	return m.Now.Sub(m.st.StepStateSince.Time)
}
