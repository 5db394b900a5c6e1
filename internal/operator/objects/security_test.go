package objects_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"redstart.dev/redstart/internal/operator/objects"
)

// TestPodsAreRestricted asks the code that Kubernetes itself decides by: unless the user says otherwise every pod passes
// the Pod Security level restricted.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"testdata/sentinel.redis.yaml", "testdata/replication-cluster.redis.yaml", "testdata/standalone.redis.yaml"} {
		r := redis(t, file)
		for _, obj := range build(t, r, objects.Options{Replicas: *r.Spec.Replicas, AgentImage: "redstart:v1"}) {
			s, ok := obj.(*appsv1.StatefulSet)
			if !ok {
				continue
			}
			level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
			for _, result := range evaluator.EvaluatePod(level, &s.Spec.Template.ObjectMeta, &s.Spec.Template.Spec) {
				if !result.Allowed {
					t.Errorf("%s: StatefulSet %s: %s: %s", file, s.Name, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	}
}
