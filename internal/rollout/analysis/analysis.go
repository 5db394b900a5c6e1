// Package analysis measures what a check of a Rollout asks for, and judges it. A measurement is a query to Prometheus or a
// request to a web address, bounded in time and size; conditions are CEL expressions over its result.
package analysis

import (
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// Outcome is what one measurement says.
type Outcome string

// The outcomes of a measurement.
const (
	Success      Outcome = "success"
	Failure      Outcome = "failure"
	Inconclusive Outcome = "inconclusive"
	Broken       Outcome = "error"
)

// Begin is the status of a check that was not measured yet.
func Begin(stage string, c v1alpha1.AnalysisCheck, now time.Time) v1alpha1.AnalysisStatus {
	return v1alpha1.AnalysisStatus{Stage: stage, Name: c.Name, Phase: v1alpha1.AnalysisRunning, DryRun: c.DryRun, StartedAt: metav1.NewMicroTime(now)}
}

// Due is how long it is until the next measurement; 0 if it is due now, and -1 if there is none any more.
func Due(c v1alpha1.AnalysisCheck, st v1alpha1.AnalysisStatus, now time.Time) time.Duration {
	if st.Phase != v1alpha1.AnalysisRunning {
		return -1
	}
	next := st.StartedAt.Add(c.InitialDelay.Duration)
	if st.MeasuredAt != nil {
		next = st.MeasuredAt.Add(c.Interval.Duration)
	}
	return max(0, next.Sub(now))
}

// Record adds a measurement to the status of a check, and gives the verdict when there is one. Without a count, a check in the
// background goes on until its stage ends, and any other is one measurement.
func Record(c v1alpha1.AnalysisCheck, st v1alpha1.AnalysisStatus, background bool, outcome Outcome, value string, now time.Time) v1alpha1.AnalysisStatus {
	at := metav1.NewMicroTime(now)
	st.MeasuredAt, st.Value = &at, shorten(value)
	if outcome != Broken {
		st.ConsecutiveErrors = 0
	}
	switch outcome {
	case Success:
		st.Successful++
	case Failure:
		st.Failed++
	case Inconclusive:
		st.Inconclusive++
	case Broken:
		st.ConsecutiveErrors++
	}
	count := int32(1)
	if background {
		count = math.MaxInt32
	}
	if c.Count != nil {
		count = *c.Count
	}
	switch {
	case st.Failed > *c.FailureLimit:
		st.Phase = v1alpha1.AnalysisFailed
	case st.ConsecutiveErrors > *c.ConsecutiveErrorLimit:
		st.Phase = v1alpha1.AnalysisErrored
	case st.Inconclusive > *c.InconclusiveLimit:
		st.Phase = v1alpha1.AnalysisInconclusive
	case st.Successful+st.Failed+st.Inconclusive >= count:
		st.Phase = v1alpha1.AnalysisSuccessful
	}
	return st
}

func shorten(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// Target is what a check is about.
type Target struct {
	Namespace, Service, CanaryService, Route string
	// For is how long the release has gone on. What came before was the new version of another one.
	For time.Duration
}
