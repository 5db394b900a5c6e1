package apiserver

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxJobName is the length of a label: the pods of a Job carry its name in one.
const maxJobName = 63

// The labels of a Job's pods as they were before Kubernetes 1.27; it still sets them.
const (
	legacyJobName       = "job-name"
	legacyControllerUID = "controller-uid"
)

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		point(&s.Completions, 1)
	}
	point(&s.Parallelism, 1)
	point(&s.BackoffLimit, 6)
	point(&s.CompletionMode, batchv1.NonIndexedCompletion)
	point(&s.Suspend, false)
	point(&s.ManualSelector, false)
	point(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	defaultPodSpec(&s.Template.Spec)
}

// prepareJob gives a new Job the selector that makes its pods its own, and their labels.
func prepareJob(j, old *batchv1.Job) {
	if old.UID != "" {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	for label, value := range map[string]string{
		batchv1.JobNameLabel: j.Name, legacyJobName: j.Name,
		batchv1.ControllerUidLabel: string(j.UID), legacyControllerUID: string(j.UID),
	} {
		if _, given := j.Spec.Template.Labels[label]; !given {
			j.Spec.Template.Labels[label] = value
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: string(j.UID)}}
	}
}

func validateJob(j *batchv1.Job) field.ErrorList {
	path, s := field.NewPath("spec"), &j.Spec
	var errs field.ErrorList
	refuse(&errs, s.CompletionMode != nil && *s.CompletionMode != batchv1.NonIndexedCompletion, path.Child("completionMode"))
	refuse(&errs, s.BackoffLimitPerIndex != nil, path.Child("backoffLimitPerIndex"))
	refuse(&errs, s.MaxFailedIndexes != nil, path.Child("maxFailedIndexes"))
	refuse(&errs, s.PodFailurePolicy != nil, path.Child("podFailurePolicy"))
	refuse(&errs, s.SuccessPolicy != nil, path.Child("successPolicy"))
	refuse(&errs, s.PodReplacementPolicy != nil && *s.PodReplacementPolicy != batchv1.TerminatingOrFailed, path.Child("podReplacementPolicy"))
	refuse(&errs, s.ManagedBy != nil && *s.ManagedBy != batchv1.JobControllerName, path.Child("managedBy"))
	refuse(&errs, s.ManualSelector != nil && *s.ManualSelector, path.Child("manualSelector"))
	refuse(&errs, s.Scheduling != nil, path.Child("scheduling"))
	errs = append(errs, atLeast(s.Completions, 0, path.Child("completions"))...)
	errs = append(errs, atLeast(s.Parallelism, 0, path.Child("parallelism"))...)
	errs = append(errs, atLeast(s.BackoffLimit, 0, path.Child("backoffLimit"))...)
	errs = append(errs, atLeast(s.TTLSecondsAfterFinished, 0, path.Child("ttlSecondsAfterFinished"))...)
	if d := s.ActiveDeadlineSeconds; d != nil && *d < 1 {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d, "must be 1 or more"))
	}
	if len(j.Name) > maxJobName {
		errs = append(errs, field.TooLong(field.NewPath("metadata", "name"), j.Name, maxJobName))
	}
	errs = append(errs, validateSelector(s.Selector, s.Template.Labels, path.Child("selector"))...)
	// The uid is not known to who writes the file: a selector or a label that it has is of another Job.
	if s.Selector == nil || s.Selector.MatchLabels[batchv1.ControllerUidLabel] != string(j.UID) {
		errs = append(errs, field.Invalid(path.Child("selector"), s.Selector, "is made by the server; remove it"))
	}
	return append(errs, validateTemplate(&s.Template, s.Parallelism, path.Child("template"), corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure)...)
}

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	path := field.NewPath("spec")
	errs := apivalidation.ValidateImmutableField(j.Spec.Completions, old.Spec.Completions, path.Child("completions"))
	errs = append(errs, apivalidation.ValidateImmutableField(j.Spec.Selector, old.Spec.Selector, path.Child("selector"))...)
	return append(errs, apivalidation.ValidateImmutableField(j.Spec.Template, old.Spec.Template, path.Child("template"))...)
}
