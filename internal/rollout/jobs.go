package rollout

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/analysis"
)

// annotationCheck is what a Job measures, STAGE/NAME.
const annotationCheck = "redstart.dev/check"

// measureJob makes a measurement by a Job: it starts the Job, or looks what has become of it. It returns false while that
// runs. Its name follows from what was measured before, so that a Job whose start could not be noted is found again.
func (r *reconciler) measureJob(ctx context.Context, ro *v1alpha1.Rollout, st *v1alpha1.AnalysisStatus, c *v1alpha1.JobCheck, target analysis.Target) (outcome analysis.Outcome, value string, ended bool) {
	spec, err := analysis.JobOf(c, target)
	if err != nil {
		return analysis.Broken, err.Error(), true
	}
	measurement := fmt.Appendf(nil, "%s %s %s %d", ro.UID, st.Stage, st.Name, st.StartedAt.UnixMicro())
	if st.MeasuredAt != nil {
		measurement = fmt.Appendf(measurement, " %d", st.MeasuredAt.UnixMicro())
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: ro.Name + "-check-" + shortHash(measurement), Namespace: ro.Namespace, OwnerReferences: ownedBy(ro),
			Labels: map[string]string{v1alpha1.LabelRollout: ro.Name}, Annotations: map[string]string{annotationCheck: st.Stage + "/" + st.Name},
		},
		Spec: *spec,
	}
	is := &batchv1.Job{}
	err = r.live.Get(ctx, client.ObjectKeyFromObject(job), is)
	switch {
	case apierrors.IsNotFound(err) && st.Job == job.Name:
		st.Job = ""
		return analysis.Broken, fmt.Sprintf("somebody deleted Job %s", job.Name), true
	case apierrors.IsNotFound(err):
		if err := r.client.Create(ctx, job, client.FieldOwner(name)); err != nil {
			return analysis.Broken, fmt.Sprintf("create Job %s: %v", job.Name, err), true
		}
		st.Job = job.Name
		return "", "", false
	case err != nil:
		return analysis.Broken, fmt.Sprintf("read Job %s: %v", job.Name, err), true
	}
	st.Job = job.Name
	if outcome, value, ended = analysis.JobOutcome(c, is, r.now()); ended {
		st.Job = ""
	}
	return outcome, value, ended
}

// endJobs deletes the Jobs of checks that nobody waits for any more.
func (r *reconciler) endJobs(ctx context.Context, ro *v1alpha1.Rollout, before []v1alpha1.AnalysisStatus, stages []string) error {
	for _, was := range before {
		if was.Job == "" {
			continue
		}
		i := slices.IndexFunc(ro.Status.Analysis, func(a v1alpha1.AnalysisStatus) bool { return a.Job == was.Job })
		if i >= 0 && slices.Contains(stages, was.Stage) {
			continue
		}
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: was.Job, Namespace: ro.Namespace}}
		if err := r.client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Job %s: %w", was.Job, err)
		}
		if i >= 0 {
			ro.Status.Analysis[i].Job = ""
		}
	}
	return nil
}

// servesJobs tells whether the cluster runs Jobs.
func (r *reconciler) servesJobs() bool {
	_, err := r.mapper.RESTMapping(batchv1.SchemeGroupVersion.WithKind("Job").GroupKind())
	return !meta.IsNoMatchError(err)
}
