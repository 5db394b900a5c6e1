package rollout

import (
	"context"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestJobs: a measurement is a Job, which is started once, waited for, and not left behind.
func TestJobs(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	c := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithStatusSubresource(&batchv1.Job{}).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			o.SetCreationTimestamp(metav1.NewTime(now))
			return c.Create(ctx, o, opts...)
		},
	}).Build()
	r := &reconciler{client: c, live: c, now: func() time.Time { return now }}
	ro := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"}}
	if err := yaml.UnmarshalStrict([]byte(`
strategy: {canary: {steps: [{replicas: 1, analysis: [{name: smoke, count: 3, interval: 10s, failureLimit: 1, job: {timeout: 1m, spec: {backoffLimit: 0, template: {spec: {containers: [
  {name: smoke, image: curl, args: ["http://{{canaryService}}.{{namespace}}/"]}]}}}}}]}]}}`), &ro.Spec); err != nil {
		t.Fatal(err)
	}
	ro.Default()
	ro.Status.TrafficRoutings = []v1alpha1.TrafficRouting{{Service: "web"}}
	stages := []string{"step-1"}
	jobs := func() []batchv1.Job {
		t.Helper()
		var l batchv1.JobList
		if err := c.List(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
		return l.Items
	}
	look := func(wait bool) *v1alpha1.AnalysisStatus {
		t.Helper()
		if due := r.measure(t.Context(), ro, stages); due <= 0 && wait {
			t.Fatalf("the next look is in %s, want one", due)
		}
		return &ro.Status.Analysis[0]
	}
	end := func(kind batchv1.JobConditionType) {
		t.Helper()
		j := &jobs()[len(jobs())-1]
		for i := range jobs() {
			if jobs()[i].Name == ro.Status.Analysis[0].Job {
				j = &jobs()[i]
			}
		}
		j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: "BackoffLimitExceeded", Message: "it ended"}}
		if err := c.Status().Update(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}

	if look(true); len(jobs()) != 0 {
		t.Fatalf("%d Jobs before the beginning of the check is noted, want none", len(jobs()))
	}
	st := look(true)
	if len(jobs()) != 1 || st.Job != jobs()[0].Name || st.Phase != v1alpha1.AnalysisRunning {
		t.Fatalf("%d Jobs, and the status %+v, want one that runs", len(jobs()), st)
	}
	made := jobs()[0].Spec
	pod := made.Template.Spec
	if pod.Containers[0].Args[0] != "http://web-canary.default/" || pod.RestartPolicy != corev1.RestartPolicyNever || *made.ActiveDeadlineSeconds != 60 || *made.TTLSecondsAfterFinished != 3600 {
		t.Errorf("the Job is %+v", made)
	}
	st.Job = "" // the write of the status was lost
	if st = look(true); len(jobs()) != 1 || st.Job == "" {
		t.Fatalf("%d Jobs after a second look, want the same one", len(jobs()))
	}
	end(batchv1.JobComplete)
	if st = look(true); st.Successful != 1 || st.Job != "" || !strings.Contains(st.Value, "is complete") {
		t.Fatalf("after its end: %+v, want a success", st)
	}
	if look(true); len(jobs()) != 1 {
		t.Fatal("another Job before the interval is over")
	}

	now = now.Add(10 * time.Second)
	look(true)
	end(batchv1.JobFailed)
	if st = look(true); len(jobs()) != 2 || st.Failed != 1 || !strings.Contains(st.Value, "BackoffLimitExceeded: it ended") {
		t.Fatalf("%d Jobs, and %+v; want a second one that failed", len(jobs()), st)
	}

	// A Job that nobody waits for any more, as after an abort, is deleted; of those that ended the logs are kept.
	now = now.Add(10 * time.Second)
	before := look(true).DeepCopy()
	if err := r.endJobs(t.Context(), ro, []v1alpha1.AnalysisStatus{*before}, stages); err != nil || len(jobs()) != 3 {
		t.Fatalf("%d Jobs while the check goes on, want 3 (%v)", len(jobs()), err)
	}
	if err := r.endJobs(t.Context(), ro, []v1alpha1.AnalysisStatus{*before}, nil); err != nil || len(jobs()) != 2 || ro.Status.Analysis[0].Job != "" {
		t.Fatalf("%d Jobs after the check was given up, want 2 (%v)", len(jobs()), err)
	}

	// One that the cluster does not run, and does not end, is an error in the end.
	look(true)
	now = now.Add(3 * time.Minute)
	if st = look(true); st.ConsecutiveErrors != 1 || !strings.Contains(st.Value, "has not ended within 1m0s") {
		t.Errorf("%+v, want an error", st)
	}
}
