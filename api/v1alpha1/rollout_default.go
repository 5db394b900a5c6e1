package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The defaults of a Rollout; see RolloutSpec.
const (
	DefaultStepDeadline                = 10 * time.Minute
	DefaultHistoryLimit          int32 = 10
	DefaultGracePeriodSeconds    int32 = 3
	DefaultScaleDownDelay              = 30 * time.Second
	DefaultCheckInterval               = 30 * time.Second
	DefaultConsecutiveErrorLimit int32 = 4
	DefaultHTTPCheckTimeout            = 5 * time.Second
	DefaultJobTimeout                  = 10 * time.Minute
	DefaultIngressClass                = "nginx"
	DefaultNotificationTimeout         = 5 * time.Second
	DefaultNotificationKey             = "url"
	DefaultSessionMaxAge               = 24 * time.Hour
)

// Strategy names, as in spec.strategy.
const (
	StrategyCanary    = "canary"
	StrategyBlueGreen = "blueGreen"
	StrategyPartition = "partition"
)

// Use is the strategy that a Rollout uses and its name. It is nil for a spec that is not valid.
func (s *RolloutStrategy) Use() (name string, spec *StrategySpec) {
	switch {
	case s.Canary != nil:
		return StrategyCanary, s.Canary
	case s.BlueGreen != nil:
		return StrategyBlueGreen, s.BlueGreen
	case s.Partition != nil:
		return StrategyPartition, s.Partition
	}
	return "", nil
}

// Default fills in everything that the user left to Redstart. It changes nothing that is set, and calling it again
// changes nothing.
func (r *Rollout) Default() {
	s := &r.Spec
	if s.OnFailure == "" {
		s.OnFailure = FailureRollback
	}
	if s.DeletionPolicy == "" {
		s.DeletionPolicy = DeletionKeep
	}
	fill(&s.StepDeadline, metav1.Duration{Duration: DefaultStepDeadline})
	fill(&s.HistoryLimit, DefaultHistoryLimit)
	fill(&s.RollbackWindow, 0)
	if s.Analysis != nil {
		for _, checks := range [][]AnalysisCheck{s.Analysis.Before, s.Analysis.Background, s.Analysis.After} {
			defaultChecks(checks)
		}
	}
	for i := range s.Notifications {
		s.Notifications[i].defaults()
	}
	for _, strategy := range []*StrategySpec{s.Strategy.Canary, s.Strategy.BlueGreen, s.Strategy.Partition} {
		if strategy != nil {
			strategy.defaults()
		}
	}
	if b := s.Strategy.BlueGreen; b != nil {
		fill(&b.ScaleDownDelay, metav1.Duration{Duration: DefaultScaleDownDelay})
	}
}

func (s *StrategySpec) defaults() {
	fill(&s.FailureThreshold, intstr.FromInt32(0))
	for i := range s.Steps {
		step := &s.Steps[i]
		defaultChecks(step.Analysis)
		for j := range step.Matches {
			step.Matches[j].defaults()
		}
	}
	for i := range s.TrafficRoutings {
		t := &s.TrafficRoutings[i]
		fill(&t.GracePeriodSeconds, DefaultGracePeriodSeconds)
		if t.Ingress != nil && t.Ingress.ClassType == "" {
			t.Ingress.ClassType = DefaultIngressClass
		}
		if a := t.SessionAffinity; a != nil {
			if a.CookieName == "" {
				a.CookieName = t.Service + "-version"
			}
			fill(&a.MaxAge, metav1.Duration{Duration: DefaultSessionMaxAge})
		}
	}
}

func (m *RouteMatch) defaults() {
	if m.Path != nil && m.Path.Type == "" {
		m.Path.Type = "PathPrefix"
	}
	for _, values := range [][]ValueMatch{m.Headers, m.QueryParams} {
		for i := range values {
			if values[i].Type == "" {
				values[i].Type = "Exact"
			}
		}
	}
}

func (n *RolloutNotification) defaults() {
	if n.Format == "" {
		n.Format = NotificationJSON
	}
	if n.SecretRef != nil && n.SecretRef.Key == "" {
		n.SecretRef.Key = DefaultNotificationKey
	}
	fill(&n.Timeout, metav1.Duration{Duration: DefaultNotificationTimeout})
}

func defaultChecks(checks []AnalysisCheck) {
	for i := range checks {
		c := &checks[i]
		fill(&c.InitialDelay, metav1.Duration{})
		fill(&c.Interval, metav1.Duration{Duration: DefaultCheckInterval})
		fill(&c.FailureLimit, 0)
		fill(&c.InconclusiveLimit, 0)
		fill(&c.ConsecutiveErrorLimit, DefaultConsecutiveErrorLimit)
		if h := c.HTTP; h != nil {
			if h.Method == "" {
				h.Method = "GET"
			}
			fill(&h.Timeout, metav1.Duration{Duration: DefaultHTTPCheckTimeout})
		}
		if j := c.Job; j != nil {
			fill(&j.Timeout, metav1.Duration{Duration: DefaultJobTimeout})
		}
	}
}
