package machine

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// report fills in what is for people: counts, a message, conditions.
func (m *machine) report() {
	w := &m.Workload
	m.st.Stable, m.st.Canary, m.st.Progress, m.st.Traffic = nil, nil, "", ""
	if w.Exists {
		m.st.Stable = &v1alpha1.VersionStatus{Wanted: w.Size, Pods: w.Stable.Pods, Ready: w.Stable.Ready}
	}
	if m.releasing() && m.st.CanaryRevision != "" {
		p := m.newPods()
		want := m.target(m.st.CurrentStep)
		if !m.inPlace() && m.Extra.Exists {
			want = m.Extra.Size
		}
		m.st.Canary = &v1alpha1.VersionStatus{Wanted: want, Pods: p.Pods, Ready: p.Ready}
		if m.shared() && m.st.Stable != nil && (m.st.Phase == v1alpha1.RolloutProgressing || m.st.Phase == v1alpha1.RolloutPaused) {
			m.st.Stable.Wanted = max(0, w.Size-want)
		}
	}
	if m.st.CurrentStep > 0 {
		m.st.Progress = fmt.Sprintf("%d/%d", min(m.st.CurrentStep, m.steps()), m.steps())
	}
	if r := m.st.Route; r != nil && !r.Restored {
		m.st.Traffic = fmt.Sprintf("%d%%", r.Weight)
		if r.MatchesOfStep > 0 {
			m.st.Traffic += " and matches"
		}
	}
	m.st.Message = m.message()
	m.conditions()
}

// message is one line about what goes on.
func (m *machine) message() string {
	w, st := &m.Workload, &m.st
	switch st.Phase {
	case v1alpha1.RolloutWaiting:
		switch {
		case w.NotServed != "":
			return w.NotServed
		case w.Taken != "":
			return w.Taken
		case !w.Exists:
			return fmt.Sprintf("%s %s does not exist", m.Spec.WorkloadRef.Kind, m.Spec.WorkloadRef.Name)
		}
		return notReady("waiting for the first version", w.Updated, w.Size, w.Problem)
	case v1alpha1.RolloutHealthy:
		if st.PendingRevision != "" {
			return "giving the workload the template of revision " + st.PendingRevision
		}
		return "revision " + st.StableRevision + " serves"
	case v1alpha1.RolloutAborted:
		return fmt.Sprintf("revision %s was given up: %s; the pods of revision %s serve", st.CanaryRevision, m.lastMessage(), st.StableRevision)
	case v1alpha1.RolloutDisabled:
		return "spec.disabled is set"
	case v1alpha1.RolloutTerminating:
		return "letting go of the workload"
	case v1alpha1.RolloutRollingBack:
		return fmt.Sprintf("going back to revision %s: %s", st.StableRevision, st.FailureReason)
	case v1alpha1.RolloutPaused:
		return m.pauseMessage()
	}
	if st.PauseReason != "" {
		return m.pauseMessage()
	}
	return m.doing()
}

func (m *machine) lastMessage() string {
	if m.st.FailureReason != "" || len(m.st.History) == 0 {
		return m.st.FailureReason
	}
	return m.st.History[0].Message
}

func (m *machine) pauseMessage() string {
	switch m.st.PauseReason {
	case v1alpha1.PauseSpec:
		return "spec.paused is set"
	case v1alpha1.PauseUser:
		return "paused by a command; resume goes on"
	case v1alpha1.PauseFailure:
		return "paused, because it failed: " + m.st.FailureReason + "; retry or abort"
	case v1alpha1.PauseInconclusive:
		return "paused: " + m.st.FailureReason + "; retry, skip or abort"
	case v1alpha1.PauseDuration:
		p := m.plan.Steps[m.st.CurrentStep-1].Pause
		if p == nil || p.Duration == nil || m.st.StepStateSince == nil {
			return "waiting"
		}
		return "waiting until " + m.st.StepStateSince.Add(p.Duration.Duration).UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("step %d waits for an approval", m.st.CurrentStep)
}

// doing is what a release does at the moment.
func (m *machine) doing() string {
	switch m.st.StepState {
	case v1alpha1.StepPreparing:
		return "preparing; checks before the first step, if there are any, are made"
	case v1alpha1.StepUpgrading, v1alpha1.StepExpanding:
		want := m.target(m.st.CurrentStep)
		if m.st.StepState == v1alpha1.StepExpanding && m.routed() {
			want = m.most()
		}
		return notReady("starting pods of the new version", m.newPods(), want, m.problem())
	case v1alpha1.StepRouting:
		return "moving traffic"
	case v1alpha1.StepAnalyzing:
		return "checks are made"
	case v1alpha1.StepKeeping:
		return "the old pods are kept for a while; abort goes back at once"
	case v1alpha1.StepReplacing:
		if m.overdue() {
			return notReady("the old pods are being replaced, which takes long", m.Workload.Updated, m.Workload.Size, m.Workload.Problem)
		}
		return notReady("replacing the old pods", m.Workload.Updated, m.Workload.Size, m.Workload.Problem)
	case v1alpha1.StepRestoring, v1alpha1.StepDraining:
		return "moving traffic back to the Service of the workload"
	case v1alpha1.StepCleaning:
		return "removing what the release needed"
	}
	return "going on"
}

// conditions: Ready speaks of the workload, Progressing of the release. TrafficRouted is the controller's, which talks to
// the routes.
func (m *machine) conditions() {
	w := &m.Workload
	ready, progressing, reason := metav1.ConditionTrue, metav1.ConditionTrue, v1alpha1.ReasonReleasing
	readyReason := ""
	switch m.st.Phase {
	case v1alpha1.RolloutWaiting:
		ready, progressing, reason = metav1.ConditionFalse, metav1.ConditionFalse, v1alpha1.ReasonWorkloadNotReady
		switch {
		case w.NotServed != "":
			reason = v1alpha1.ReasonWorkloadNotServed
		case w.Taken != "":
			reason = v1alpha1.ReasonWorkloadTaken
		case !w.Exists:
			reason = v1alpha1.ReasonWorkloadMissing
		}
	case v1alpha1.RolloutHealthy:
		progressing, reason = metav1.ConditionFalse, v1alpha1.ReasonStable
	case v1alpha1.RolloutAborted:
		ready, progressing, reason = metav1.ConditionFalse, metav1.ConditionFalse, v1alpha1.ReasonAborted
	case v1alpha1.RolloutDisabled, v1alpha1.RolloutTerminating:
		progressing, reason = metav1.ConditionFalse, v1alpha1.ReasonDisabled
	case v1alpha1.RolloutRollingBack:
		ready, reason = metav1.ConditionFalse, v1alpha1.ReasonRollingBack
	case v1alpha1.RolloutPromoting:
		ready, reason, readyReason = metav1.ConditionFalse, v1alpha1.ReasonPromoting, v1alpha1.ReasonReleasing
	case v1alpha1.RolloutPaused:
		ready, reason, readyReason = metav1.ConditionFalse, v1alpha1.ReasonPaused, v1alpha1.ReasonReleasing
	default:
		ready = metav1.ConditionFalse
	}
	if readyReason == "" {
		readyReason = reason
	}
	set := func(t string, s metav1.ConditionStatus, reason string) {
		meta.SetStatusCondition(&m.st.Conditions, metav1.Condition{
			Type: t, Status: s, Reason: reason, Message: m.st.Message, ObservedGeneration: m.Generation, LastTransitionTime: stamp(m.Now),
		})
	}
	set(v1alpha1.ConditionReady, ready, readyReason)
	set(v1alpha1.ConditionProgressing, progressing, reason)
}
