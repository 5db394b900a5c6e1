package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// Commands are the words that a command may begin with.
func Commands() []string {
	return []string{"approve", "pause", "resume", "abort", "retry", "restart", "skip", "jump", "promote", "undo"}
}

// command follows a command, or says why not.
func (m *machine) command() {
	if m.st.StepState == v1alpha1.StepApproved && m.releasing() && m.st.Phase == v1alpha1.RolloutPaused {
		m.st.Phase, m.st.PauseReason = v1alpha1.RolloutProgressing, "" // written to the status by somebody
	}
	if m.CommandText == "" {
		return
	}
	message, err := m.follow()
	answer := v1alpha1.CommandStatus{Command: m.CommandText, Time: stamp(m.Now), Accepted: err == nil, Message: message}
	if err != nil {
		answer.Message = err.Error()
		m.event(true, "CommandRefused", m.Command+": "+err.Error())
	}
	m.st.LastCommand = &answer
}

// follow does what a command asks for, and says what it did.
func (m *machine) follow() (string, error) {
	verb, arg, _ := strings.Cut(m.Command, " ")
	arg = strings.TrimSpace(arg)
	if !slices.Contains(Commands(), verb) {
		return "", fmt.Errorf("unknown command: expected one of %s", strings.Join(Commands(), ", "))
	}
	if m.leaving() {
		return "", fmt.Errorf("the Rollout is deleted or disabled")
	}
	stepping := m.st.Phase == v1alpha1.RolloutProgressing || m.st.Phase == v1alpha1.RolloutPaused
	promoting := m.st.Phase == v1alpha1.RolloutPromoting
	notStepping := fmt.Errorf("no release is at a step; it is %s", m.st.Phase)
	switch verb {
	case "approve":
		if !stepping || m.st.StepState != v1alpha1.StepWaiting {
			return "", fmt.Errorf("nothing waits for an approval; it is %s", strings.TrimSpace(string(m.st.Phase)+" "+string(m.st.StepState)))
		}
		m.st.PauseReason = ""
		m.enter(v1alpha1.RolloutProgressing, v1alpha1.StepApproved)
		return fmt.Sprintf("step %d is approved", m.st.CurrentStep), nil
	case "pause":
		if !stepping && (!promoting || m.pastReturn()) {
			return "", notStepping
		}
		m.pause(v1alpha1.PauseUser, "")
		return "paused", nil
	case "resume":
		return m.followResume(stepping || promoting)
	case "retry":
		return m.followRetry(stepping || promoting)
	case "abort":
		if !stepping && !promoting {
			return "", notStepping
		}
		if promoting && m.pastReturn() && !m.followed() {
			return "", fmt.Errorf("the old pods are being replaced already; undo goes back when the release is through")
		}
		m.backOut("somebody aborted it")
		return "going back to revision " + m.st.StableRevision, nil
	case "undo":
		return m.followUndo(arg)
	case "restart":
		if m.st.Phase == v1alpha1.RolloutAborted {
			return m.followRetry(false)
		}
		if !stepping {
			return "", notStepping
		}
		m.goTo(1, v1alpha1.StepPreparing)
		return "starting again at step 1", nil
	case "promote":
		if !stepping {
			return "", notStepping
		}
		m.st.PauseReason, m.st.FailureReason = "", ""
		m.enter(v1alpha1.RolloutPromoting, v1alpha1.StepExpanding)
		return "the new version takes the place of the old one", nil
	}
	if !stepping {
		return "", notStepping
	}
	return m.followSkip(verb, arg)
}

func (m *machine) followResume(going bool) (string, error) {
	switch m.st.PauseReason {
	case v1alpha1.PauseUser:
		m.resume()
	case v1alpha1.PauseFailure, v1alpha1.PauseInconclusive:
		return m.followRetry(going)
	case v1alpha1.PauseSpec:
		return "", fmt.Errorf("spec.paused is set; remove it")
	default:
		return "", fmt.Errorf("it is not paused by a command or a failure; approve goes on at a step that waits")
	}
	return "going on", nil
}

func (m *machine) followRetry(going bool) (string, error) {
	if m.st.Phase == v1alpha1.RolloutAborted {
		m.start(m.Workload.Template)
		return "releasing revision " + m.st.CanaryRevision + " again", nil
	}
	if !going || m.st.PauseReason != v1alpha1.PauseFailure && m.st.PauseReason != v1alpha1.PauseInconclusive {
		return "", fmt.Errorf("nothing has failed; it is %s", m.st.Phase)
	}
	stage := stageOf(m.st.CurrentStep)
	m.st.Analysis = slices.DeleteFunc(m.st.Analysis, func(a v1alpha1.AnalysisStatus) bool {
		return a.Phase != v1alpha1.AnalysisSuccessful || a.Stage == stage
	})
	m.resume()
	m.moved = true
	return "trying again", nil
}

// followUndo asks for the template of an older release. The rest follows as if the user had written it.
func (m *machine) followUndo(arg string) (string, error) {
	revision := m.undoTo(arg)
	switch {
	case revision == "" && arg == "":
		return "", fmt.Errorf("there is no older version")
	case revision == "":
		return "", fmt.Errorf("revision %s is not in the history", arg)
	case revision == m.Workload.Template:
		return "", fmt.Errorf("the workload asks for revision %s already", revision)
	case m.st.Phase == v1alpha1.RolloutPromoting && m.pastReturn():
		m.st.PendingRevision = revision
		return "revision " + revision + " follows when this release is through", nil
	}
	m.st.PendingRevision = revision
	m.moved = true
	return "going to revision " + revision, nil
}

// undoTo finds a revision by its name or the number of its release; without either, it is the stable one while another is
// wanted, and else the one before it.
func (m *machine) undoTo(arg string) string {
	if arg == "" && m.Workload.Template != m.st.StableRevision {
		return m.st.StableRevision
	}
	for _, h := range m.st.History {
		switch {
		case arg != "" && (h.Revision == arg || strconv.FormatInt(h.Number, 10) == arg):
			return h.Revision
		case arg == "" && h.Revision != m.st.StableRevision && (h.Outcome == v1alpha1.ReleaseCompleted || h.Outcome == v1alpha1.ReleaseInitial):
			return h.Revision
		}
	}
	return ""
}

func (m *machine) followSkip(verb, arg string) (string, error) {
	to := m.st.CurrentStep + 1
	if m.st.StepState == v1alpha1.StepPreparing {
		to = m.st.CurrentStep // what is skipped is the checks before it
	}
	if verb == "jump" {
		n, err := strconv.ParseInt(arg, 10, 32)
		if err != nil || n < 1 || int32(n) > m.steps() {
			return "", fmt.Errorf("expected a step from 1 to %d", m.steps())
		}
		to = int32(n)
	}
	if to > m.steps() {
		m.st.PauseReason, m.st.FailureReason = "", ""
		m.enter(v1alpha1.RolloutPromoting, v1alpha1.StepExpanding)
		return "skipping the last step", nil
	}
	m.goTo(to, v1alpha1.StepUpgrading)
	return fmt.Sprintf("going to step %d", to), nil
}

// goTo goes to a step, whose checks are made anew.
func (m *machine) goTo(step int32, state v1alpha1.StepState) {
	if step == 1 && state == v1alpha1.StepPreparing {
		m.st.Analysis = nil
	}
	stage := stageOf(step)
	m.st.Analysis = slices.DeleteFunc(m.st.Analysis, func(a v1alpha1.AnalysisStatus) bool { return a.Stage == stage })
	m.st.CurrentStep, m.st.PauseReason, m.st.FailureReason = step, "", ""
	m.enter(v1alpha1.RolloutProgressing, state)
}
