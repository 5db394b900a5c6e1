package tree

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestDrawRollout(t *testing.T) {
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "frontend"}}
	r.Spec.Strategy.Canary = &v1alpha1.StrategySpec{Steps: []v1alpha1.RolloutStep{
		{Name: "some", Traffic: ptr.To("20%")}, {Matches: []v1alpha1.RouteMatch{{}}}, {Replicas: ptr.To(intstr.FromString("50%"))}, {Pause: &v1alpha1.RolloutPause{}},
	}}
	r.Status = v1alpha1.RolloutStatus{
		Strategy: "canary", Phase: v1alpha1.RolloutPaused, Progress: "2/4", Message: "step 2 waits for an approval", CurrentStep: 2,
		StableRevision: "aaa", CanaryRevision: "bbb", Traffic: "20% and matches", Route: &v1alpha1.RouteStatus{Weight: 20},
		Stable: &v1alpha1.VersionStatus{Wanted: 3, Pods: 3, Ready: 2}, Canary: &v1alpha1.VersionStatus{Wanted: 50, Pods: 2, Ready: 1},
		Analysis: []v1alpha1.AnalysisStatus{
			{Stage: "background", Name: "rate", Phase: v1alpha1.AnalysisRunning, Successful: 4, Inconclusive: 1, Value: "0.99"},
			{Stage: "step-1", Name: "slow", Phase: v1alpha1.AnalysisErrored, Failed: 1, ConsecutiveErrors: 5, Value: "no result", DryRun: true},
			{Stage: "step-2", Name: "smoke", Phase: v1alpha1.AnalysisRunning, Job: "frontend-check-1"},
		},
	}
	want := `Rollout frontend  canary  Paused 2/4  step 2 waits for an approval
├─ traffic  ████░░░░░░░░░░░░░░░░ 20% and matches to the new version
├─ stable   aaa  ●●◐  2/3 ready
├─ new      bbb  1/50 ready
├─ steps    ✓1 some 20%  ▶2 matches   3 50% pods   4 pause
├─ check    background rate: Running, 4 good, 0 bad, 1 inconclusive, last 0.99
├─ check    step-1 slow: Errored, 0 good, 1 bad, 5 errors in a row, last no result (dry run: changes nothing)
└─ check    step-2 smoke: Running, 0 good, 0 bad, Job frontend-check-1 runs
`
	draw := func() string {
		t.Helper()
		var b bytes.Buffer
		if err := DrawRollout(&b, r); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if diff := cmp.Diff(want, draw()); diff != "" {
		t.Error(diff)
	}
	// In place, a step says how many pods it replaces, and the old ones become fewer.
	r.Spec.Strategy = v1alpha1.RolloutStrategy{Partition: &v1alpha1.StrategySpec{Steps: []v1alpha1.RolloutStep{{Traffic: ptr.To("20%"), Replicas: ptr.To(intstr.FromInt32(1))}}}}
	r.Status = v1alpha1.RolloutStatus{
		Strategy: "partition", Phase: v1alpha1.RolloutPaused, Progress: "1/1", Message: "step 1 waits for an approval", CurrentStep: 1,
		StableRevision: "aaa", CanaryRevision: "bbb", Traffic: "20%", Route: &v1alpha1.RouteStatus{Weight: 20},
		Stable: &v1alpha1.VersionStatus{Wanted: 3, Pods: 3, Ready: 3}, Canary: &v1alpha1.VersionStatus{Wanted: 1, Pods: 1, Ready: 1},
	}
	if diff := cmp.Diff("Rollout frontend  partition  Paused 1/1  step 1 waits for an approval\n├─ traffic  ████░░░░░░░░░░░░░░░░ 20% to the new version\n"+
		"├─ stable   aaa  ●●●  3/3 ready\n├─ new      bbb  ●  1/1 ready\n└─ steps    ▶1 20% 1 pods\n", draw()); diff != "" {
		t.Error(diff)
	}
	// At rest there is no more to say than what serves.
	r.Status = v1alpha1.RolloutStatus{
		Strategy: "canary", Phase: v1alpha1.RolloutHealthy, Message: "revision aaa serves", StableRevision: "aaa",
		Stable: &v1alpha1.VersionStatus{Wanted: 4, Pods: 3, Ready: 3},
	}
	if diff := cmp.Diff("Rollout frontend  canary  Healthy  revision aaa serves\n└─ stable   aaa  ●●●·  3/4 ready\n", draw()); diff != "" {
		t.Error(diff)
	}
}
