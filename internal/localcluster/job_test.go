//go:build unix

package localcluster

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func shellJob(name, script string, change func(*batchv1.JobSpec)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.Spec.BackoffLimit = ptr.To[int32](0)
	j.Spec.Template.Spec = corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever,
		Containers:    []corev1.Container{{Name: "task", Image: "none", Command: []string{"sh", "-c", script}}},
	}
	change(&j.Spec)
	return j
}

// TestJobs runs Jobs whose pods are processes to every end that there is.
func TestJobs(t *testing.T) {
	c := start(t, t.TempDir())
	jobs, pods := c.BatchV1().Jobs("default"), c.CoreV1().Pods("default")
	for _, j := range []*batchv1.Job{
		shellJob("good", "echo done by $HOSTNAME", func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = ptr.To[int32](3), ptr.To[int32](2) }),
		shellJob("bad", "echo no; exit 3", func(*batchv1.JobSpec) {}),
		shellJob("late", "exec sleep 600", func(s *batchv1.JobSpec) {
			s.ActiveDeadlineSeconds = ptr.To[int64](1)
			s.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
		}),
		// The second life of the container ends well: a restart within the pod is no failed pod.
		shellJob("again", "[ -e again ] || { touch again; exit 1; }", func(s *batchv1.JobSpec) {
			s.BackoffLimit = ptr.To[int32](5)
			s.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}),
		shellJob("brief", "true", func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = ptr.To[int32](0) }),
		shellJob("kept", "exec sleep 600", func(s *batchv1.JobSpec) { s.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1) }),
	} {
		must(jobs.Create(c.ctx, j, metav1.CreateOptions{}))(c)
	}
	ends := func(name string, kind batchv1.JobConditionType, reason string, succeeded, failed int32) {
		t.Helper()
		var j *batchv1.Job
		c.eventually(name+" has ended", func() bool {
			j = must(jobs.Get(c.ctx, name, metav1.GetOptions{}))(c)
			for _, cond := range j.Status.Conditions {
				if cond.Type == batchv1.JobComplete || cond.Type == batchv1.JobFailed {
					if cond.Type != kind || cond.Reason != reason {
						t.Fatalf("%s: %s, %s: %s; want %s, %s", name, cond.Type, cond.Reason, cond.Message, kind, reason)
					}
					return true
				}
			}
			return false
		})
		if s := j.Status; s.Succeeded != succeeded || s.Failed != failed || s.Active != 0 || (s.CompletionTime != nil) != (kind == batchv1.JobComplete) {
			t.Errorf("%s: %+v; want %d succeeded, %d failed", name, s, succeeded, failed)
		}
	}
	ends("good", batchv1.JobComplete, batchv1.JobReasonCompletionsReached, 3, 0)
	ends("bad", batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded, 0, 1)
	ends("late", batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded, 0, 1)
	ends("again", batchv1.JobComplete, batchv1.JobReasonCompletionsReached, 1, 0)
	gone := func(name string) {
		t.Helper()
		c.eventually(name+" and its pods are gone", func() bool {
			_, err := jobs.Get(c.ctx, name, metav1.GetOptions{})
			left := must(pods.List(c.ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name}))(c)
			return apierrors.IsNotFound(err) && len(left.Items) == 0
		})
	}
	gone("brief")

	// The pods that ended stay, with their logs, and count no more when somebody deletes them.
	left := must(pods.List(c.ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=good"}))(c)
	if len(left.Items) != 3 {
		t.Fatalf("%d pods of good are left, want 3", len(left.Items))
	}
	log := must(pods.GetLogs(left.Items[0].Name, &corev1.PodLogOptions{}).DoRaw(c.ctx))(c)
	if want := "done by " + left.Items[0].Name + "\n"; string(log) != want {
		t.Errorf("log %q, want %q", log, want)
	}
	for _, p := range left.Items {
		if len(p.Finalizers) > 0 {
			t.Errorf("pod %s has finalizers: %s", p.Name, strings.Join(p.Finalizers, ", "))
		}
	}

	// Deleted in each way, a Job leaves nothing, and no pod that cannot be deleted.
	c.eventually("kept runs", func() bool {
		return ptr.Deref(must(jobs.Get(c.ctx, "kept", metav1.GetOptions{}))(c).Status.Ready, 0) == 1
	})
	for name, policy := range map[string]metav1.DeletionPropagation{
		"kept": metav1.DeletePropagationBackground, "good": metav1.DeletePropagationForeground, "bad": metav1.DeletePropagationBackground,
	} {
		if err := jobs.Delete(c.ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		gone(name)
	}
	orphan := metav1.DeletePropagationOrphan
	if err := jobs.Delete(c.ctx, "late", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	c.eventually("late is gone", func() bool {
		_, err := jobs.Get(c.ctx, "late", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if err := pods.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	c.eventually("no pod is left", func() bool {
		return len(must(pods.List(c.ctx, metav1.ListOptions{}))(c).Items) == 0
	})
}
