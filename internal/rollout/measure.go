package rollout

import (
	"context"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/analysis"
	"redstart.dev/redstart/internal/rollout/machine"
)

// measure makes the measurements of stages that are due, all at once, and tells how long it is until the next one, or until
// a Job is to be looked at again.
func (r *reconciler) measure(ctx context.Context, ro *v1alpha1.Rollout, stages []string) time.Duration {
	type due struct {
		check v1alpha1.AnalysisCheck
		at    int // in the status
	}
	now := r.now()
	var measurements []due
	var wait time.Duration
	for _, stage := range stages {
		for _, c := range machine.Checks(&ro.Spec, stage) {
			i := slices.IndexFunc(ro.Status.Analysis, func(a v1alpha1.AnalysisStatus) bool { return a.Stage == stage && a.Name == c.Name })
			if i < 0 {
				i = len(ro.Status.Analysis)
				ro.Status.Analysis = append(ro.Status.Analysis, analysis.Begin(stage, c, now))
				if c.Job != nil {
					wait = soonest(wait, conflicted) // its Job is named after the beginning, which is noted first
					continue
				}
			}
			switch left := analysis.Due(c, ro.Status.Analysis[i], now); {
			case left == 0:
				measurements = append(measurements, due{c, i})
			case left > 0:
				wait = soonest(wait, left)
			}
		}
	}
	target := targetOf(ro, now)
	waits := make([]time.Duration, len(measurements))
	var all sync.WaitGroup
	for n, m := range measurements {
		all.Go(func() {
			st := &ro.Status.Analysis[m.at]
			outcome, value, ended := r.measureOne(ctx, ro, st, m.check, target)
			if !ended {
				waits[n] = patient(lookAgain, since(st), now)
				return
			}
			*st = analysis.Record(m.check, *st, st.Stage == machine.StageBackground, outcome, value, r.now())
			waits[n] = conflicted // the verdict may already let it go on
		})
	}
	all.Wait() // every measurement has its own bound
	return soonest(append(waits, wait)...)
}

// measureOne makes one measurement; false if it has not ended yet.
func (r *reconciler) measureOne(ctx context.Context, ro *v1alpha1.Rollout, st *v1alpha1.AnalysisStatus, c v1alpha1.AnalysisCheck, target analysis.Target) (outcome analysis.Outcome, value string, ended bool) {
	if c.Job != nil {
		return r.measureJob(ctx, ro, st, c.Job, target)
	}
	outcome, value = r.prober.Measure(ctx, c, target)
	return outcome, value, true
}

// since is when a check was measured last, or began.
func since(st *v1alpha1.AnalysisStatus) metav1.Time {
	if st.MeasuredAt != nil {
		return metav1.NewTime(st.MeasuredAt.Time)
	}
	return metav1.NewTime(st.StartedAt.Time)
}

func targetOf(ro *v1alpha1.Rollout, now time.Time) analysis.Target {
	t := analysis.Target{Namespace: ro.Namespace}
	if ro.Status.StartedAt != nil {
		t.For = now.Sub(ro.Status.StartedAt.Time)
	}
	if len(ro.Status.TrafficRoutings) > 0 {
		first := ro.Status.TrafficRoutings[0]
		t.Service, t.CanaryService = first.Service, v1alpha1.CanaryName(first.Service)
		if first.Gateway != nil {
			t.Route = first.Gateway.HTTPRouteName
		}
	}
	return t
}
