//go:build unix

package rollout_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestJobCheck judges versions by a Job whose pod is a process: one passes its step, the other goes back.
func TestJobCheck(t *testing.T) {
	c := startCluster(t)
	bad := filepath.Join(t.TempDir(), "bad")
	c.create(deployment("web", 2))
	c.rollout("web", fmt.Sprintf(`
workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
strategy:
  partition:
    steps:
    - replicas: 1
      pause: {}
      analysis:
      - name: smoke
        job:
          timeout: 1m
          spec: {backoffLimit: 0, template: {spec: {containers: [{name: smoke, image: none, command: [sh, -c, "echo looking; test ! -e %s"]}]}}}`, bad))
	c.healthy("web", 1)
	d := deployment("web", 2)
	template := func() *corev1.PodTemplateSpec { return &d.Spec.Template }
	c.version(d, template, "v2")
	ro := c.phase("web", v1alpha1.RolloutPaused, 1)
	if a := ro.Status.Analysis; len(a) != 1 || a[0].Phase != v1alpha1.AnalysisSuccessful || !strings.Contains(a[0].Value, "is complete") {
		t.Fatalf("the check says %+v, want a success of a Job", a)
	}
	var jobs batchv1.JobList
	if err := c.List(c.ctx, &jobs, client.MatchingLabels{v1alpha1.LabelRollout: "web"}); err != nil || len(jobs.Items) != 1 || jobs.Items[0].Status.Succeeded != 1 {
		t.Fatalf("Jobs: %v %+v, want one that succeeded", err, jobs.Items)
	}
	c.command("web", "approve")
	c.healthy("web", 2)

	if err := os.WriteFile(bad, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.version(d, template, "v3")
	c.healthy("web", 3)
	if err := c.get("web", ro); err != nil {
		t.Fatal(err)
	}
	if h := ro.Status.History[0]; h.Outcome != v1alpha1.ReleaseAborted || !strings.Contains(h.Message, "smoke") || !strings.Contains(h.Message, "BackoffLimitExceeded") {
		t.Errorf("the release ended as %s: %s; want one that the Job ended", h.Outcome, h.Message)
	}
	if n := c.versions("web"); n["v2"] != 2 || n["v3"] != 0 {
		t.Errorf("after the check failed: %v, want 2 pods of v2", n)
	}
}
