package rollout

import (
	"context"
	"slices"
	"sync"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/analysis"
	"redstart.dev/redstart/internal/rollout/machine"
)

// measure makes the measurements of stages that are due, all at once, and tells how long it is until the next one.
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
			}
			switch left := analysis.Due(c, ro.Status.Analysis[i], now); {
			case left == 0:
				measurements = append(measurements, due{c, i})
			case left > 0:
				wait = soonest(wait, left)
			}
		}
	}
	target := targetOf(ro)
	var all sync.WaitGroup
	for _, m := range measurements {
		all.Go(func() {
			st := &ro.Status.Analysis[m.at]
			outcome, value := r.prober.Measure(ctx, m.check, target)
			*st = analysis.Record(m.check, *st, st.Stage == machine.StageBackground, outcome, value, r.now())
		})
	}
	all.Wait() // every measurement has its own bound
	if len(measurements) > 0 {
		return conflicted // the verdict may already let it go on
	}
	return wait
}

func targetOf(ro *v1alpha1.Rollout) analysis.Target {
	t := analysis.Target{Namespace: ro.Namespace}
	if len(ro.Status.TrafficRoutings) > 0 {
		first := ro.Status.TrafficRoutings[0]
		t.Service, t.CanaryService = first.Service, v1alpha1.CanaryName(first.Service)
		if first.Gateway != nil {
			t.Route = first.Gateway.HTTPRouteName
		}
	}
	return t
}
