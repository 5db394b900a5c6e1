package workloads

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

var jobKind = batchv1.SchemeGroupVersion.WithKind("Job")

// jobs runs the pods of Jobs to their end.
type jobs struct{ base }

func (r *jobs) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("job").
		For(&batchv1.Job{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &batchv1.Job{}, handler.OnlyControllerOwner())).
		Complete(r)
}

// look reads a Job, nil if there is none, and plans. Of pods whose Job is gone, no end is counted any more.
func (r *jobs) look(ctx context.Context, from client.Reader, req ctrl.Request) (*batchv1.Job, jobPlan, error) {
	j := &batchv1.Job{}
	err := from.Get(ctx, req.NamespacedName, j)
	if client.IgnoreNotFound(err) != nil {
		return nil, jobPlan{}, fmt.Errorf("read Job %s: %w", req.Name, err)
	}
	var plan jobPlan
	if err != nil {
		j = nil
	} else if plan, err = r.plan(ctx, from, j); err != nil {
		return nil, jobPlan{}, err
	}
	var all corev1.PodList
	if err := from.List(ctx, &all, client.InNamespace(req.Namespace)); err != nil {
		return nil, jobPlan{}, fmt.Errorf("list pods: %w", err)
	}
	for i := range all.Items {
		if stray(&all.Items[i], req.Name, j) {
			plan.release = append(plan.release, &all.Items[i])
		}
	}
	return j, plan, nil
}

func (r *jobs) plan(ctx context.Context, from client.Reader, j *batchv1.Job) (jobPlan, error) {
	pods, err := r.podsOf(ctx, from, j, controllerRef(j, jobKind), j.Spec.Selector, nil)
	if err != nil {
		return jobPlan{}, err
	}
	return planJob(j, pods, time.Now()), nil
}

// stray tells whether a pod is of a Job of this name that is gone, or of none any more. is the Job that there is.
func stray(p *corev1.Pod, name string, is *batchv1.Job) bool {
	c := metav1.GetControllerOf(p)
	return tracked(p) && (c == nil || c.Kind == jobKind.Kind && c.Name == name && (is == nil || c.UID != is.UID))
}

// Reconcile takes the next steps of one Job.
func (r *jobs) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	j, plan, err := r.look(ctx, r.Client, req)
	if err == nil && !plan.empty() {
		j, plan, err = r.look(ctx, r.live, req)
	}
	if err != nil {
		return settle(ctrl.Result{}, err)
	}
	failed := r.act(ctx, j, plan)
	if j == nil || plan.expired {
		return settle(ctrl.Result{}, failed)
	}
	if was := j.Status; !equality.Semantic.DeepEqual(plan.status, was) {
		j.Status = plan.status
		if err := r.Status().Update(ctx, j); err != nil {
			return settle(ctrl.Result{}, err)
		}
		r.tell(j, was.Conditions)
	}
	return settle(ctrl.Result{RequeueAfter: plan.next}, failed)
}

func (r *jobs) act(ctx context.Context, j *batchv1.Job, plan jobPlan) error {
	for _, p := range plan.release {
		before := p.DeepCopy()
		p.Finalizers = slices.DeleteFunc(p.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
		err := r.Patch(ctx, p, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("take the finalizer off pod %s: %w", p.Name, err)
		}
	}
	for _, p := range plan.remove {
		if err := r.remove(ctx, p); err != nil {
			r.events.Eventf(j, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
			return fmt.Errorf("delete pod %s of Job %s: %w", p.Name, j.Name, err)
		}
		r.events.Eventf(j, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", p.Name)
	}
	for range plan.create {
		p := newPod(&j.Spec.Template, j.Namespace, controllerRef(j, jobKind))
		p.GenerateName = j.Name + "-"
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
		if err := r.Create(ctx, p); err != nil {
			r.events.Eventf(j, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			return fmt.Errorf("create a pod of Job %s: %w", j.Name, err)
		}
		r.events.Eventf(j, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", p.Name)
	}
	if plan.expired {
		return r.remove(ctx, j, client.PropagationPolicy(metav1.DeletePropagationForeground))
	}
	return nil
}

// tell reports what a Job has become.
func (r *jobs) tell(j *batchv1.Job, before []batchv1.JobCondition) {
	for _, c := range j.Status.Conditions {
		if was := jobCondition(before, c.Type); was != nil && was.Status == c.Status {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			r.events.Event(j, corev1.EventTypeNormal, "Completed", "Job completed")
		case batchv1.JobFailed:
			r.events.Event(j, corev1.EventTypeWarning, c.Reason, c.Message)
		case batchv1.JobSuspended:
			r.events.Event(j, corev1.EventTypeNormal, c.Reason, c.Message)
		}
	}
}
