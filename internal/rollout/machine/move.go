package machine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

func stamp(t time.Time) metav1.Time { return metav1.NewTime(t) }

// move goes at most one state forward.
func (m *machine) move() {
	if m.moved {
		return // by a command
	}
	switch {
	case m.leaving():
		m.leave()
	case !m.Workload.Exists || m.Workload.Taken != "":
		m.missing()
	default:
		m.release()
	}
}

// release is the way of a workload that is there.
func (m *machine) release() {
	switch m.st.Phase {
	case v1alpha1.RolloutProgressing, v1alpha1.RolloutPaused:
		m.progress()
	case v1alpha1.RolloutPromoting:
		m.promote()
	case v1alpha1.RolloutRollingBack:
		m.rollBack()
	case v1alpha1.RolloutHealthy, v1alpha1.RolloutAborted:
		m.rest()
	default: // new, waiting for a workload, or enabled again
		m.adopt()
	}
}

// adopt takes the version that serves for the stable one, once it is up.
func (m *machine) adopt() {
	m.st.Phase = v1alpha1.RolloutWaiting
	if m.st.StableRevision != "" && m.Workload.Held {
		m.enter(v1alpha1.RolloutHealthy, "") // it was held all the time
		return
	}
	w := &m.Workload
	if w.Serving == "" || !w.complete() && !w.Held {
		return // a workload that another Rollout left held may ask for a version that it does not run
	}
	first := m.st.StableRevision == ""
	if m.st.StableRevision != w.Serving {
		m.record(w.Serving, v1alpha1.ReleaseInitial, "")
	}
	m.st.StableRevision, m.st.StablePodHash = w.Serving, w.ServingHash
	m.st.CanaryRevision, m.st.PendingRevision = "", ""
	if first {
		m.event(false, "Adopted", "holds "+m.Spec.WorkloadRef.Kind+" "+m.Spec.WorkloadRef.Name+" at revision "+m.st.StableRevision)
	}
	m.enter(v1alpha1.RolloutHealthy, "")
}

// rest waits for a change of the template.
func (m *machine) rest() {
	template := m.Workload.Template
	if m.st.PendingRevision != "" && m.st.PendingRevision == template {
		m.st.PendingRevision = ""
	}
	switch {
	case !m.Workload.Settled || m.st.PendingRevision != "":
	case template == m.st.StableRevision:
		if m.st.Phase == v1alpha1.RolloutAborted {
			m.enter(v1alpha1.RolloutHealthy, "")
			m.st.CanaryRevision, m.st.FailureReason = "", ""
		}
	case m.st.Phase == v1alpha1.RolloutAborted && template == m.st.CanaryRevision:
	case m.st.Phase == v1alpha1.RolloutHealthy && m.Workload.Held && template == m.givenUp():
		m.st.CanaryRevision = template
		m.enter(v1alpha1.RolloutAborted, "")
	default:
		m.start(template)
	}
}

// givenUp is the version that the last release gave up: asking for it again, as a GitOps tool does, is no new release.
func (m *machine) givenUp() string {
	if len(m.st.History) > 0 && m.st.History[0].Outcome == v1alpha1.ReleaseAborted {
		return m.st.History[0].Revision
	}
	return ""
}

// start begins the release of a version.
func (m *machine) start(revision string) {
	m.strategy, m.plan = m.Spec.Strategy.Use()
	now := stamp(m.Now)
	m.st.CanaryRevision, m.st.StartedAt, m.st.CurrentStep = revision, &now, 1
	m.st.FailureReason, m.st.PauseReason, m.st.Analysis = "", "", nil
	m.st.StepsHash = m.StepsHash
	m.st.TrafficRoutings = slices.Clone(m.plan.TrafficRoutings)
	m.st.Route, m.st.CanaryPodHash = nil, ""
	if m.recent(revision) {
		m.event(false, "Returning", "revision "+revision+" was released lately: its steps are skipped")
	} else {
		m.event(false, "Started", "release of revision "+revision+" begins")
	}
	m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepPreparing)
}

// recent tells whether a version is within the rollback window.
func (m *machine) recent(revision string) bool {
	left := *m.Spec.RollbackWindow
	for _, h := range m.st.History {
		if h.Outcome != v1alpha1.ReleaseCompleted && h.Outcome != v1alpha1.ReleaseInitial || h.Revision == m.st.StableRevision {
			continue
		}
		if left--; left < 0 {
			return false
		}
		if h.Revision == revision {
			return true
		}
	}
	return false
}

// superseded looks whether the workload asks for another version than the one that is being released.
func (m *machine) superseded() bool {
	template := m.Workload.Template
	if template == m.st.CanaryRevision || !m.Workload.Settled {
		return false
	}
	if m.st.PendingRevision == template {
		m.st.PendingRevision = ""
	}
	reason := "revision " + template + " is wanted instead"
	if template == m.st.StableRevision {
		reason = "the workload asks for the stable version again"
	}
	if m.followed() && template != m.st.StableRevision {
		m.record(m.st.CanaryRevision, v1alpha1.ReleaseSuperseded, reason)
		m.start(template) // whatever is not of this version is replaced, batch by batch
		return true
	}
	m.backOut(reason)
	return true
}

// backOut begins the way back.
func (m *machine) backOut(reason string) {
	m.st.FailureReason, m.st.PauseReason = reason, ""
	m.event(true, "RollingBack", "revision "+m.st.CanaryRevision+": "+reason)
	if m.followed() {
		m.enter(v1alpha1.RolloutRollingBack, v1alpha1.StepReverting)
		return
	}
	m.enter(v1alpha1.RolloutRollingBack, v1alpha1.StepStableFirst)
}

// fail is what follows a failure of the new version.
func (m *machine) fail(reason string) {
	if m.Spec.OnFailure == v1alpha1.FailurePause {
		m.pause(v1alpha1.PauseFailure, reason)
		return
	}
	m.backOut(reason)
}

// pause stays in the same step state until somebody decides.
func (m *machine) pause(why v1alpha1.PauseReason, reason string) {
	m.st.PauseReason, m.st.FailureReason = why, reason
	if m.st.Phase == v1alpha1.RolloutProgressing {
		m.st.Phase = v1alpha1.RolloutPaused
	}
	m.event(why != v1alpha1.PauseUser, "Paused", cmp.Or(reason, "somebody paused it"))
	m.moved = true
}

// rollBack is the way back: traffic to the stable version first, and only then the pods.
func (m *machine) rollBack() {
	last := v1alpha1.StepCleaning
	if m.inPlace() {
		last = v1alpha1.StepReverting
	}
	switch m.st.StepState {
	case v1alpha1.StepStableFirst:
		if !m.routed() || m.st.Route == nil || m.st.Route.Restored {
			m.enter(v1alpha1.RolloutRollingBack, last)
		} else if m.st.Route.Weight == 0 && m.st.Route.MatchesOfStep == 0 && m.arrived() {
			m.enter(v1alpha1.RolloutRollingBack, v1alpha1.StepDraining)
		}
	case v1alpha1.StepDraining:
		if m.st.Route.Restored && m.arrived() {
			m.enter(v1alpha1.RolloutRollingBack, last)
		}
	case v1alpha1.StepReverting:
		if t := m.Workload.Template; !m.routed() && m.Workload.Exists && m.Workload.Settled && t != m.st.StableRevision && t != m.st.CanaryRevision {
			m.record(m.st.CanaryRevision, v1alpha1.ReleaseSuperseded, m.st.FailureReason)
			m.start(t)
			return
		}
		if m.Workload.Template == m.st.StableRevision && m.Workload.complete() || !m.Workload.Exists {
			m.returned()
		}
	default: // cleaning
		if !m.Extra.Exists {
			m.returned()
		}
	}
}

// returned is the end of the way back.
func (m *machine) returned() {
	revision, reason := m.st.CanaryRevision, m.st.FailureReason
	template := m.Workload.Template
	if m.inPlace() && m.Workload.Exists {
		m.st.StablePodHash = m.Workload.ServingHash
	}
	waiting := m.shared() && m.st.PendingRevision != ""
	m.ended()
	if waiting || template != revision && template != m.st.StableRevision && !m.inPlace() {
		m.record(revision, v1alpha1.ReleaseSuperseded, reason)
		m.st.CanaryRevision = ""
		m.enter(v1alpha1.RolloutHealthy, "")
		return
	}
	m.record(revision, v1alpha1.ReleaseAborted, reason)
	m.event(true, "RolledBack", "revision "+revision+" was given up: "+reason)
	if template == m.st.StableRevision {
		m.st.CanaryRevision = ""
		m.enter(v1alpha1.RolloutHealthy, "")
		return
	}
	m.st.FailureReason = reason
	m.enter(v1alpha1.RolloutAborted, "")
}

// finished is the end of a release: the new version is the stable one.
func (m *machine) finished() {
	m.record(m.st.CanaryRevision, v1alpha1.ReleaseCompleted, "")
	m.event(false, "Completed", "revision "+m.st.CanaryRevision+" is released")
	m.st.StableRevision = m.st.CanaryRevision
	if m.replaced() {
		m.st.StablePodHash = m.Workload.ServingHash
	}
	m.st.CanaryRevision = ""
	m.ended()
	m.enter(v1alpha1.RolloutHealthy, "")
}

// ended forgets what belongs to one release.
func (m *machine) ended() {
	m.st.CurrentStep, m.st.StartedAt, m.st.Route, m.st.TrafficRoutings = 0, nil, nil, nil
	m.st.PauseReason, m.st.FailureReason, m.st.StepsHash, m.st.CanaryPodHash = "", "", "", ""
}

// record adds to the history.
func (m *machine) record(revision string, outcome v1alpha1.ReleaseOutcome, message string) {
	number := int64(1)
	if len(m.st.History) > 0 {
		number = m.st.History[0].Number + 1
	}
	r := v1alpha1.ReleaseStatus{
		Number: number, Revision: revision, Outcome: outcome, Message: message, StartedAt: m.st.StartedAt, EndedAt: stamp(m.Now),
	}
	if m.Workload.Template == revision {
		r.Image = m.Workload.Image
	}
	m.st.History = append([]v1alpha1.ReleaseStatus{r}, m.st.History...)
	if most := int(*m.Spec.HistoryLimit); len(m.st.History) > most {
		m.st.History = m.st.History[:most]
	}
}

// missing is without a workload: what a release made goes, and the next workload of the name is a new one.
func (m *machine) missing() {
	switch {
	case m.st.Phase == v1alpha1.RolloutRollingBack:
		m.rollBack()
	case m.releasing():
		m.backOut("the workload is gone")
		if m.routed() {
			m.st.StepState = v1alpha1.StepDraining // there are no stable pods to wait for
		}
	default:
		if m.st.Phase != v1alpha1.RolloutWaiting {
			m.enter(v1alpha1.RolloutWaiting, "")
		}
		if m.Workload.Taken == "" {
			m.st.StableRevision, m.st.StablePodHash, m.st.CanaryRevision, m.st.PendingRevision = "", "", "", ""
		}
	}
}

// leave lets go of the workload: a release that goes on is backed out of, or, when its old pods are being replaced
// already, brought to its end.
func (m *machine) leave() {
	if m.st.Phase == v1alpha1.RolloutPromoting && m.pastReturn() && m.Workload.Exists {
		m.promote()
		return
	}
	phase := v1alpha1.RolloutDisabled
	if m.Deleting {
		phase = v1alpha1.RolloutTerminating
	}
	active := m.releasing()
	if active && m.st.Phase != phase {
		m.st.PauseReason = ""
		m.st.FailureReason = "the Rollout is " + map[bool]string{true: "deleted", false: "disabled"}[m.Deleting]
		state := v1alpha1.StepStableFirst
		switch {
		case !m.Workload.Exists && m.routed():
			state = v1alpha1.StepDraining
		case m.shared():
			state = v1alpha1.StepRestoring
		case m.inPlace():
			state = "" // its pods stay as they are, or go on by themselves
			m.record(m.st.CanaryRevision, v1alpha1.ReleaseAborted, m.st.FailureReason)
		}
		m.enter(phase, state)
		return
	}
	if !active {
		if m.st.Phase != phase {
			m.enter(phase, "")
		}
		return
	}
	if m.shared() {
		m.left(phase)
		return
	}
	switch m.st.StepState {
	case v1alpha1.StepStableFirst, v1alpha1.StepDraining:
		m.rollBack()
		m.st.Phase = phase
	default:
		if !m.Extra.Exists {
			m.record(m.st.CanaryRevision, v1alpha1.ReleaseAborted, m.st.FailureReason)
			m.ended()
			m.enter(phase, "")
		}
	}
}

// pastReturn tells whether pods of the old version may be gone already.
func (m *machine) pastReturn() bool {
	switch m.st.StepState {
	case v1alpha1.StepReplacing, v1alpha1.StepRestoring, v1alpha1.StepDraining, v1alpha1.StepCleaning:
		return true
	}
	return false
}

// arrived tells whether the routes have taken what they were told, and the gateway has had its time to follow.
func (m *machine) arrived() bool {
	return m.st.Route != nil && m.st.Route.Applied && m.Now.Sub(m.st.Route.Since.Time) >= m.grace()
}

// grace is the longest grace period of all routings.
func (m *machine) grace() time.Duration {
	longest := int32(0)
	for _, t := range m.st.TrafficRoutings {
		if t.GracePeriodSeconds != nil {
			longest = max(longest, *t.GracePeriodSeconds)
		}
	}
	return time.Duration(longest) * time.Second
}

// overdue tells whether the pods of this state have had their time.
func (m *machine) overdue() bool {
	return m.st.DeadlineFrom != nil && m.Now.Sub(m.st.DeadlineFrom.Time) >= m.Spec.StepDeadline.Duration
}

func notReady(what string, p Pods, want int32, problem string) string {
	s := fmt.Sprintf("%s: %d of %d ready", what, p.Ready, want)
	if problem != "" {
		s += "; " + problem
	}
	return s
}
