package machine

import (
	"fmt"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// Checks are those of a stage, as a spec has them.
func Checks(s *v1alpha1.RolloutSpec, stage string) []v1alpha1.AnalysisCheck {
	a := s.Analysis
	if a == nil {
		a = &v1alpha1.RolloutAnalysis{}
	}
	switch stage {
	case StageBefore:
		return a.Before
	case StageBackground:
		return a.Background
	case StageAfter:
		return a.After
	}
	_, plan := s.Strategy.Use()
	var n int
	if _, err := fmt.Sscanf(stage, "step-%d", &n); err != nil || plan == nil || n < 1 || n > len(plan.Steps) {
		return nil
	}
	return plan.Steps[n-1].Analysis
}

type verdict int

const (
	verdictOpen verdict = iota
	verdictGood
	verdictBad
)

// judged is the verdict of a stage. A bad one has been acted upon.
func (m *machine) judged(stage string) verdict {
	result := verdictGood
	for _, c := range Checks(m.Spec, stage) {
		a := m.status(stage, c.Name)
		switch {
		case a == nil || a.Phase == v1alpha1.AnalysisRunning:
			if stage != StageBackground {
				result = verdictOpen
			}
		case c.DryRun || a.Phase == v1alpha1.AnalysisSuccessful:
		case a.Phase == v1alpha1.AnalysisInconclusive:
			m.pause(v1alpha1.PauseInconclusive, fmt.Sprintf("check %s is inconclusive: %s", c.Name, a.Value))
			return verdictBad
		default:
			m.fail(fmt.Sprintf("check %s %s: %s", c.Name, strings.ToLower(string(a.Phase)), a.Value))
			return verdictBad
		}
	}
	return result
}

func (m *machine) status(stage, name string) *v1alpha1.AnalysisStatus {
	for i := range m.st.Analysis {
		if a := &m.st.Analysis[i]; a.Stage == stage && a.Name == name {
			return a
		}
	}
	return nil
}
