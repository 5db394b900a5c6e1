package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// kept is for how long a Job that has ended stays, with its pods and their logs, in seconds, and seen how long it stays at
	// least, so that its end is seen.
	kept, seen = 3600, 60
	// late is how much longer than its time a Job may take to be ended by the cluster.
	late = time.Minute
)

// JobOf is the spec of the Job that makes one measurement of a check.
func JobOf(c *v1alpha1.JobCheck, target Target) (*batchv1.JobSpec, error) {
	s := &batchv1.JobSpec{}
	d := json.NewDecoder(bytes.NewReader([]byte(fill(string(c.Spec.Raw), target))))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if s.Template.Spec.RestartPolicy == "" {
		s.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	s.TTLSecondsAfterFinished = ptr.To(max(seen, ptr.Deref(s.TTLSecondsAfterFinished, kept)))
	limit := int64(c.Timeout.Seconds())
	s.ActiveDeadlineSeconds = ptr.To(min(limit, ptr.Deref(s.ActiveDeadlineSeconds, limit)))
	return s, nil
}

// JobOutcome is what a Job says; false while it has not ended.
func JobOutcome(c *v1alpha1.JobCheck, j *batchv1.Job, now time.Time) (outcome Outcome, value string, ended bool) {
	for _, is := range j.Status.Conditions {
		switch {
		case is.Status != corev1.ConditionTrue:
		case is.Type == batchv1.JobComplete:
			return Success, "Job " + j.Name + " is complete", true
		case is.Type == batchv1.JobFailed:
			return Failure, fmt.Sprintf("Job %s failed: %s: %s", j.Name, is.Reason, is.Message), true
		}
	}
	if now.Sub(j.CreationTimestamp.Time) > c.Timeout.Duration+late {
		return Broken, fmt.Sprintf("Job %s has not ended within %s, and the cluster did not end it", j.Name, c.Timeout.Duration), true
	}
	return "", "", false
}

func validateJob(c *v1alpha1.JobCheck, path *field.Path) field.ErrorList {
	errs := unknown(string(c.Spec.Raw), path)
	s, err := JobOf(c, Target{})
	switch {
	case err != nil:
		errs = append(errs, field.Invalid(path, "", "expected the spec of a Job in batch/v1: "+err.Error()))
	case len(s.Template.Spec.Containers) == 0:
		errs = append(errs, field.Required(path.Child("template", "spec", "containers"), "expected what to run"))
	}
	return errs
}
