package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestMetrics: a Rollout is in one phase at a time, a release is counted once, and of a Rollout that is gone nothing is left.
func TestMetrics(t *testing.T) {
	m, err := newMetrics()
	if err != nil {
		t.Fatal(err)
	}
	ro := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "metrics", Name: "web"}}
	next := func(change func(*v1alpha1.RolloutStatus)) {
		before := ro.Status.DeepCopy()
		change(&ro.Status)
		m.observe(ro, before)
	}
	want := func(when string, series ...string) {
		t.Helper()
		if got := seriesOf(t, "metrics"); strings.Join(got, "\n") != strings.Join(series, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(series, "\n"))
		}
	}
	next(func(s *v1alpha1.RolloutStatus) {
		s.Phase = v1alpha1.RolloutHealthy
		s.History = []v1alpha1.ReleaseStatus{{Number: 1, Outcome: v1alpha1.ReleaseInitial}}
	})
	next(func(s *v1alpha1.RolloutStatus) {
		s.Phase, s.Route = v1alpha1.RolloutPaused, &v1alpha1.RouteStatus{Weight: 20}
	})
	want("at a step",
		"redstart_rollout_phase{Paused} 1", "redstart_rollout_releases_total{Initial} 1", "redstart_rollout_traffic_percent{} 20")
	next(func(s *v1alpha1.RolloutStatus) {
		s.Phase, s.Route = v1alpha1.RolloutHealthy, nil
		s.History = append([]v1alpha1.ReleaseStatus{{Number: 2, Outcome: v1alpha1.ReleaseCompleted}}, s.History...)
	})
	next(func(*v1alpha1.RolloutStatus) {}) // another look
	want("after the release",
		"redstart_rollout_phase{Healthy} 1", "redstart_rollout_releases_total{Completed} 1", "redstart_rollout_releases_total{Initial} 1", "redstart_rollout_traffic_percent{} 0")
	m.forget(client.ObjectKeyFromObject(ro))
	want("when it is gone")
}

// seriesOf are the series of a namespace, without the labels that all have.
func seriesOf(t *testing.T, namespace string) []string {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["namespace"] == namespace && strings.HasPrefix(f.GetName(), "redstart_rollout_") {
				out = append(out, fmt.Sprintf("%s{%s} %v", f.GetName(), labels["phase"]+labels["outcome"], m.GetGauge().GetValue()+m.GetCounter().GetValue()))
			}
		}
	}
	slices.Sort(out)
	return out
}
