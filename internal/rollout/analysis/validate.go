package analysis

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"redstart.dev/redstart/api/v1alpha1"
)

var placeholder = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// placeholders are what a query or an address may say of what a check is about.
var placeholders = map[string]func(Target) string{
	"{{namespace}}":     func(t Target) string { return t.Namespace },
	"{{service}}":       func(t Target) string { return t.Service },
	"{{canaryService}}": func(t Target) string { return t.CanaryService },
	"{{route}}":         func(t Target) string { return t.Route },
}

// Validate names the conditions and placeholders of the checks of a Rollout that could never be measured. It is told when
// the Rollout is written, and not when its release fails of it. The spec is one after Default; jobs tells whether the cluster
// runs Jobs.
func (p *Prober) Validate(s *v1alpha1.RolloutSpec, jobs func() bool) field.ErrorList {
	var errs field.ErrorList
	validate := func(checks []v1alpha1.AnalysisCheck, path *field.Path) {
		for i := range checks {
			errs = append(errs, p.validate(&checks[i], path.Index(i))...)
			if checks[i].Job != nil && !jobs() {
				errs = append(errs, field.Forbidden(path.Index(i).Child("job"), "this cluster runs no Jobs (batch/v1); write prometheus or http, or use Kubernetes"))
			}
		}
	}
	if a, at := s.Analysis, field.NewPath("spec", "analysis"); a != nil {
		validate(a.Before, at.Child("before"))
		validate(a.Background, at.Child("background"))
		validate(a.After, at.Child("after"))
	}
	strategy, plan := s.Strategy.Use()
	if plan == nil {
		return errs
	}
	steps := field.NewPath("spec", "strategy", strategy, "steps")
	for i, step := range plan.Steps {
		validate(step.Analysis, steps.Index(i).Child("analysis"))
	}
	return errs
}

func (p *Prober) validate(c *v1alpha1.AnalysisCheck, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, condition := range map[string]string{"successCondition": c.SuccessCondition, "failureCondition": c.FailureCondition} {
		if condition == "" {
			continue
		}
		if _, err := p.compile(condition); err != nil {
			errs = append(errs, field.Invalid(path.Child(name), condition, err.Error()))
		}
	}
	if c.Prometheus != nil && c.Prometheus.Address == "" && p.gateway == nil {
		errs = append(errs, field.Required(path.Child("prometheus", "address"), noGateway))
	}
	if c.Prometheus != nil {
		errs = append(errs, unknown(c.Prometheus.Query, path.Child("prometheus", "query"))...)
	}
	if c.HTTP != nil {
		errs = append(errs, unknown(c.HTTP.URL, path.Child("http", "url"))...)
	}
	if c.Job != nil {
		errs = append(errs, validateJob(c.Job, path.Child("job", "spec"))...)
	}
	return errs
}

// unknown names placeholders that stand for nothing.
func unknown(text string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, p := range placeholder.FindAllString(text, -1) {
		if placeholders[p] == nil {
			expected := strings.Join(slices.Sorted(maps.Keys(placeholders)), ", ")
			errs = append(errs, field.Invalid(path, p, fmt.Sprintf("expected one of %s", expected)))
		}
	}
	return errs
}
