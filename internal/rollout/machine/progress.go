package machine

import (
	"fmt"

	"redstart.dev/redstart/api/v1alpha1"
)

// progress goes through the steps.
func (m *machine) progress() {
	m.st.CurrentStep = max(1, min(m.st.CurrentStep, m.steps()))
	if m.superseded() || m.held() {
		return
	}
	if m.st.StepsHash != m.StepsHash {
		m.st.StepsHash = m.StepsHash
		if m.st.StepState != v1alpha1.StepPreparing {
			m.st.PauseReason = ""
			m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepUpgrading) // the step may ask for something else now
			return
		}
	}
	if d := m.Spec.MaxDuration; d != nil && m.st.StartedAt != nil && m.Now.Sub(m.st.StartedAt.Time) >= d.Duration {
		m.fail(fmt.Sprintf("it is not through after %s (maxDuration)", d.Duration))
		return
	}
	if m.st.StepState != v1alpha1.StepPreparing && m.judged(StageBackground) == verdictBad {
		return
	}
	m.step()
}

// held tells whether somebody has paused the release.
func (m *machine) held() bool {
	switch {
	case m.Spec.Paused:
		if m.st.PauseReason != v1alpha1.PauseFailure && m.st.PauseReason != v1alpha1.PauseInconclusive && m.st.PauseReason != v1alpha1.PauseUser {
			m.st.PauseReason = v1alpha1.PauseSpec
		}
		m.st.Phase = v1alpha1.RolloutPaused
		return true
	case m.st.PauseReason == v1alpha1.PauseSpec:
		m.resume()
	}
	switch m.st.PauseReason {
	case v1alpha1.PauseUser, v1alpha1.PauseFailure, v1alpha1.PauseInconclusive:
		m.st.Phase = v1alpha1.RolloutPaused
		return true
	}
	return false
}

// resume goes on where it was; what was waited for gets its whole time again.
func (m *machine) resume() {
	m.st.PauseReason, m.st.FailureReason = "", ""
	now := stamp(m.Now)
	m.st.DeadlineFrom = &now
	if m.st.Phase == v1alpha1.RolloutPaused {
		m.st.Phase = v1alpha1.RolloutProgressing
	}
}

// step is the way through one step.
func (m *machine) step() {
	switch m.st.StepState {
	case v1alpha1.StepPreparing:
		// Nothing moves before the workload is held, the Services know the stable pods alone, and the checks before the
		// first step have passed.
		if !m.Workload.Held || !m.Workload.Settled || m.routed() && !m.arrived() {
			return
		}
		switch {
		case m.judged(StageBefore) != verdictGood:
		case m.recent(m.st.CanaryRevision):
			m.enter(v1alpha1.RolloutPromoting, v1alpha1.StepExpanding)
		default:
			m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepUpgrading)
		}
	case v1alpha1.StepUpgrading:
		pods, want := m.newPods(), m.target(m.st.CurrentStep)
		switch {
		case pods.Ready >= m.enough(want) && m.known() && !m.alone():
			m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepRouting)
		case m.overdue():
			m.fail(notReady(fmt.Sprintf("step %d: pods of the new version are not up after %s", m.st.CurrentStep, m.Spec.StepDeadline.Duration), pods, want, m.problem()))
		}
	case v1alpha1.StepRouting:
		if !m.routed() || m.routeIsAt(m.st.CurrentStep) && m.arrived() {
			m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepAnalyzing)
		}
	case v1alpha1.StepAnalyzing:
		if m.judged(stageOf(m.st.CurrentStep)) == verdictGood {
			m.analyzed()
		}
	case v1alpha1.StepWaiting:
		m.wait()
	default: // approved
		m.advance()
	}
}

func stageOf(step int32) string { return fmt.Sprintf("step-%d", step) }

func (m *machine) analyzed() {
	p := m.plan.Steps[m.st.CurrentStep-1].Pause
	if p == nil {
		m.advance()
		return
	}
	m.enter(v1alpha1.RolloutPaused, v1alpha1.StepWaiting)
	m.st.PauseReason = v1alpha1.PauseApproval
	if p.Duration != nil {
		m.st.PauseReason = v1alpha1.PauseDuration
	} else {
		m.event(false, "ApprovalNeeded", fmt.Sprintf("step %d of %d waits for an approval", m.st.CurrentStep, m.steps()))
	}
}

// wait is the pause of a step.
func (m *machine) wait() {
	p := m.plan.Steps[m.st.CurrentStep-1].Pause
	switch {
	case p == nil, p.Duration != nil && m.since() >= p.Duration.Duration:
		m.advance()
	case p.Duration != nil:
		m.st.Phase, m.st.PauseReason = v1alpha1.RolloutPaused, v1alpha1.PauseDuration
	default:
		m.st.Phase, m.st.PauseReason = v1alpha1.RolloutPaused, v1alpha1.PauseApproval
	}
}

// advance goes to the next step, or to the promotion after the last.
func (m *machine) advance() {
	m.st.PauseReason = ""
	if m.st.CurrentStep < m.steps() {
		m.st.CurrentStep++
		m.event(false, "Step", fmt.Sprintf("step %d of %d", m.st.CurrentStep, m.steps()))
		m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepUpgrading)
		return
	}
	m.event(false, "Promoting", "revision "+m.st.CanaryRevision+" takes the place of the old one")
	m.enter(v1alpha1.RolloutPromoting, v1alpha1.StepExpanding)
}

// newPods are the pods of the new version.
func (m *machine) newPods() Pods {
	if !m.inPlace() {
		if !m.Extra.Exists || m.Extra.Revision != m.st.CanaryRevision {
			return Pods{}
		}
		return m.Extra.Pods
	}
	if m.routed() {
		return m.Workload.Canary
	}
	if !m.replaced() {
		return Pods{}
	}
	return m.Workload.Updated
}

func (m *machine) problem() string {
	if m.alone() {
		return "the workload has one pod, and partition with trafficRoutings needs one of each version"
	}
	if m.inPlace() {
		return m.Workload.Problem
	}
	return m.Extra.Problem
}

// promote puts the new version in the place of the old one. With routes, the extra pods take all traffic while the
// workload itself is replaced behind them.
func (m *machine) promote() {
	if !m.pastReturn() || m.followed() {
		if m.superseded() || m.held() && m.st.StepState != v1alpha1.StepReplacing {
			if m.st.Phase == v1alpha1.RolloutPaused {
				m.st.Phase = v1alpha1.RolloutPromoting // it goes on from here, not from a step
			}
			return
		}
		if m.st.Phase == v1alpha1.RolloutProgressing {
			m.st.Phase = v1alpha1.RolloutPromoting
		}
	}
	next := func(s v1alpha1.StepState) { m.enter(v1alpha1.RolloutPromoting, s) }
	switch m.st.StepState {
	case v1alpha1.StepExpanding:
		switch pods := m.newPods(); {
		case !m.routed() || m.alone():
			next(v1alpha1.StepAnalyzing)
		case pods.Ready >= m.most() && m.known():
			next(v1alpha1.StepRouting)
		case m.overdue():
			m.fail(notReady(fmt.Sprintf("promotion: pods of the new version are not up after %s", m.Spec.StepDeadline.Duration), pods, m.most(), m.problem()))
		}
	case v1alpha1.StepRouting:
		if m.st.Route != nil && m.st.Route.Weight == 100 && m.arrived() {
			next(v1alpha1.StepAnalyzing)
		}
	case v1alpha1.StepAnalyzing:
		if m.judged(StageAfter) == verdictGood {
			next(v1alpha1.StepKeeping)
		}
	case v1alpha1.StepKeeping:
		if m.strategy != v1alpha1.StrategyBlueGreen || m.plan.ScaleDownDelay == nil || m.since() >= m.plan.ScaleDownDelay.Duration {
			next(v1alpha1.StepReplacing)
		}
	case v1alpha1.StepReplacing:
		if m.replaced() && m.Workload.complete() && m.Workload.ServingHash != "" {
			m.st.StablePodHash = m.Workload.ServingHash
			next(v1alpha1.StepRestoring)
		}
	case v1alpha1.StepRestoring: // the Services select the new pods of the workload; endpoints follow within the grace period
		if !m.routed() {
			next(v1alpha1.StepCleaning)
		} else if m.since() >= m.grace() {
			next(v1alpha1.StepDraining)
		}
	case v1alpha1.StepDraining:
		if m.st.Route.Restored && m.arrived() {
			next(v1alpha1.StepCleaning)
		}
	default: // cleaning
		if !m.Extra.Exists {
			m.finished()
		}
	}
}
