package analysis

import (
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
)

// checkOf reads a check as a user writes it, with its defaults.
func checkOf(t *testing.T, text string) v1alpha1.AnalysisCheck {
	t.Helper()
	ro := &v1alpha1.Rollout{}
	ro.Spec.Analysis = &v1alpha1.RolloutAnalysis{Before: make([]v1alpha1.AnalysisCheck, 1)}
	if err := yaml.UnmarshalStrict([]byte(text), &ro.Spec.Analysis.Before[0]); err != nil {
		t.Fatal(err)
	}
	ro.Default()
	return ro.Spec.Analysis.Before[0]
}

// TestRecord tells measurements by their first letters, and expects a verdict after the last of them and none before.
func TestRecord(t *testing.T) {
	outcomes := map[rune]Outcome{'s': Success, 'f': Failure, 'i': Inconclusive, 'e': Broken}
	for _, c := range []struct {
		about, limits, measured string
		background              bool
		want                    v1alpha1.AnalysisPhase
	}{
		{about: "one is enough", measured: "s", want: v1alpha1.AnalysisSuccessful},
		{about: "one failure is too many", measured: "f", want: v1alpha1.AnalysisFailed},
		{about: "a count", limits: "count: 3", measured: "sss", want: v1alpha1.AnalysisSuccessful},
		{about: "failures that are put up with", limits: "{count: 4, failureLimit: 1}", measured: "sfss", want: v1alpha1.AnalysisSuccessful},
		{about: "a failure too many", limits: "{count: 4, failureLimit: 1}", measured: "sfsf", want: v1alpha1.AnalysisFailed},
		{about: "inconclusive", measured: "i", want: v1alpha1.AnalysisInconclusive},
		{about: "inconclusive ones that are put up with", limits: "{count: 3, inconclusiveLimit: 2}", measured: "isi", want: v1alpha1.AnalysisSuccessful},
		{about: "errors are no measurements", limits: "count: 2", measured: "ees" + "es", want: v1alpha1.AnalysisSuccessful},
		{about: "errors in a row", measured: "eeeee", want: v1alpha1.AnalysisErrored},
		{about: "errors that are not in a row", limits: "{count: 3, consecutiveErrorLimit: 1}", measured: "eseses", want: v1alpha1.AnalysisSuccessful},
		{about: "no error is put up with", limits: "consecutiveErrorLimit: 0", measured: "e", want: v1alpha1.AnalysisErrored},
		{about: "the background has no end", background: true, measured: "ssssssss", want: v1alpha1.AnalysisRunning},
		{about: "but it fails", background: true, measured: "sssf", want: v1alpha1.AnalysisFailed},
		{about: "and a count ends it", limits: "count: 2", background: true, measured: "ss", want: v1alpha1.AnalysisSuccessful},
	} {
		limits := strings.Trim(c.limits, "{}")
		if limits != "" {
			limits += ", "
		}
		check := checkOf(t, `{`+limits+`name: a, interval: 10s, initialDelay: 5s, http: {url: "http://x"}}`)
		now := time.Unix(1000, 0)
		st := Begin("step-1", check, now)
		if due := Due(check, st, now); due != 5*time.Second {
			t.Errorf("%s: the first measurement is due in %s, want 5s", c.about, due)
		}
		now = now.Add(5 * time.Second)
		for i, m := range c.measured {
			if due := Due(check, st, now); due != 0 {
				t.Fatalf("%s: measurement %d is due in %s, want now", c.about, i+1, due)
			}
			st = Record(check, st, c.background, outcomes[m], "0.5", now)
			if last := i == len(c.measured)-1; !last && st.Phase != v1alpha1.AnalysisRunning {
				t.Fatalf("%s: %s after %q", c.about, st.Phase, c.measured[:i+1])
			}
			now = now.Add(10 * time.Second)
		}
		if st.Phase != c.want || st.Value != "0.5" {
			t.Errorf("%s: %s with value %s, want %s with 0.5", c.about, st.Phase, st.Value, c.want)
		}
		if due := Due(check, st, now); (due < 0) == (c.want == v1alpha1.AnalysisRunning) {
			t.Errorf("%s: the next measurement is due in %s", c.about, due)
		}
	}
}

func TestValidate(t *testing.T) {
	p, err := NewProber(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ check, want string }{
		{check: `{http: {url: "http://{{canaryService}}.{{namespace}}/"}, successCondition: "result.status == 200 && result.json.ok"}`},
		{check: `{prometheus: {address: "http://p", query: "up{service=\"{{service}}\"}"}, successCondition: "result[0] > 1 || result.all(x, x > 0)", failureCondition: "result < 0.9"}`},
		{check: `{http: {url: "http://x"}, successCondition: "result.status = 200"}`, want: `steps[1].analysis[0].successCondition: Invalid value: "result.status = 200": result.status = 200: Syntax error`},
		{check: `{http: {url: "http://x"}, failureCondition: "value > 1"}`, want: `steps[1].analysis[0].failureCondition: Invalid value: "value > 1": value > 1: undeclared reference to 'value'`},
		{check: `{http: {url: "http://x"}, failureCondition: "1 + 1"}`, want: `1 + 1 is of type int; expected true or false`},
		{check: `{http: {url: "http://{{canary}}/"}}`, want: `steps[1].analysis[0].http.url: Invalid value: "{{canary}}": expected one of {{canaryService}}, {{namespace}}, {{route}}, {{service}}`},
		{check: `{prometheus: {template: p99}}`, want: `steps[1].analysis[0].prometheus.address: Required value: expected the address of a Prometheus`},
		{check: `{prometheus: {address: "http://p", query: "up{{ns}}"}, successCondition: "true"}`, want: `steps[1].analysis[0].prometheus.query: Invalid value: "{{ns}}"`},
		{check: `{job: {spec: {template: {spec: {containers: [{name: a, image: b, args: ["{{service}}"]}]}}}}}`},
		{check: `{job: {spec: {template: {spec: {containers: [{name: a, image: b, args: ["{{servise}}"]}]}}}}}`, want: `steps[1].analysis[0].job.spec: Invalid value: "{{servise}}"`},
		{check: `{job: {spec: {template: {spec: {containers: [{name: a, imag: b}]}}}}}`, want: `steps[1].analysis[0].job.spec: Invalid value: "": expected the spec of a Job in batch/v1: json: unknown field "imag"`},
		{check: `{job: {spec: {backoffLimit: 1}}}`, want: `steps[1].analysis[0].job.spec.template.spec.containers: Required value: expected what to run`},
		{check: `{job: {spec: {template: {spec: {containers: [{name: a}]}}}}}`, want: `steps[1].analysis[0].job: Forbidden: this cluster runs no Jobs (batch/v1)`},
	} {
		s := &v1alpha1.RolloutSpec{}
		text := `strategy: {canary: {steps: [{replicas: 1}, {replicas: 1, analysis: [` + c.check + `]}]}}`
		if err := yaml.UnmarshalStrict([]byte(text), s); err != nil {
			t.Fatal(err)
		}
		ro := &v1alpha1.Rollout{Spec: *s}
		ro.Default()
		errs := p.Validate(&ro.Spec, func() bool { return !strings.Contains(c.want, "Jobs") })
		switch {
		case c.want == "" && len(errs) > 0:
			t.Errorf("%s: %v", c.check, errs)
		case c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), "spec.strategy.canary.steps[1].analysis[0]") || !strings.Contains(errs[0].Error(), c.want)):
			t.Errorf("%s: %v, want one error with %s", c.check, errs, c.want)
		}
	}
	s := &v1alpha1.RolloutSpec{Analysis: &v1alpha1.RolloutAnalysis{}}
	bad := []v1alpha1.AnalysisCheck{{SuccessCondition: "("}}
	s.Analysis.Before, s.Analysis.Background, s.Analysis.After = bad, bad, bad
	if errs := p.Validate(s, func() bool { return true }); len(errs) != 3 || errs[2].Field != "spec.analysis.after[0].successCondition" {
		t.Errorf("%v, want one error for each of before, background and after", errs)
	}
}
