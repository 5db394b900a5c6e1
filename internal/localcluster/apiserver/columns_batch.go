package apiserver

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

var jobColumns = []column[*batchv1.Job]{
	name[*batchv1.Job](),
	{"Status", func(j *batchv1.Job) any { return jobStatus(j) }, false},
	{"Completions", func(j *batchv1.Job) any { return jobCompletions(j) }, false},
	{"Duration", func(j *batchv1.Job) any { return jobDuration(j) }, false},
	age[*batchv1.Job](),
	{"Containers", func(j *batchv1.Job) any { return containerNames(j.Spec.Template) }, true},
	{"Images", func(j *batchv1.Job) any { return containerImages(j.Spec.Template) }, true},
	{"Selector", func(j *batchv1.Job) any { return metav1.FormatLabelSelector(j.Spec.Selector) }, true},
}

// jobStatus is the word of kubectl for what a Job does.
func jobStatus(j *batchv1.Job) string {
	is := map[batchv1.JobConditionType]bool{}
	for _, c := range j.Status.Conditions {
		is[c.Type] = c.Status == corev1.ConditionTrue
	}
	switch {
	case is[batchv1.JobComplete]:
		return "Complete"
	case is[batchv1.JobFailed]:
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case is[batchv1.JobSuspended]:
		return "Suspended"
	case is[batchv1.JobFailureTarget]:
		return "FailureTarget"
	case is[batchv1.JobSuccessCriteriaMet]:
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobCompletions(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if p := wanted(j.Spec.Parallelism); p > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, p)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobDuration(j *batchv1.Job) string {
	if j.Status.StartTime == nil {
		return ""
	}
	end := time.Now()
	if j.Status.CompletionTime != nil {
		end = j.Status.CompletionTime.Time
	}
	return duration.HumanDuration(end.Sub(j.Status.StartTime.Time))
}
