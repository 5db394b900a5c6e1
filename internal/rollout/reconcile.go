package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

const (
	// lookAgain is the pause before another look at something that is on its way, and of which no event tells; see patient.
	lookAgain = time.Second
	// retry is the pause after something that somebody has to mend; see patient.
	retry = 3 * time.Second
	// lookLate is what these two grow to.
	lookLate = 15 * time.Second
	// conflicted is the pause after a write that somebody else's came before.
	conflicted = 20 * time.Millisecond
)

// blockedError is what somebody has to mend before the Rollout goes on.
type blockedError struct{ reason, message string }

func (e blockedError) Error() string { return e.message }

// Reconcile takes one step of one Rollout.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ro := &v1alpha1.Rollout{}
	if err := r.live.Get(ctx, req.NamespacedName, ro); err != nil {
		if apierrors.IsNotFound(err) {
			r.metrics.forget(req.NamespacedName)
			r.config.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	result, err := r.step(ctx, ro)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ctrl.Result{RequeueAfter: conflicted}, nil
	}
	return result, err
}

func (r *reconciler) step(ctx context.Context, ro *v1alpha1.Rollout) (ctrl.Result, error) {
	deleting := !ro.DeletionTimestamp.IsZero()
	if !controllerutil.ContainsFinalizer(ro, v1alpha1.RolloutFinalizer) {
		if deleting {
			return ctrl.Result{}, nil
		}
		controllerutil.AddFinalizer(ro, v1alpha1.RolloutFinalizer)
		if err := r.client.Update(ctx, ro, client.FieldOwner(name)); err != nil {
			return ctrl.Result{}, fmt.Errorf("mark Rollout %s: %w", ro.Name, err)
		}
	}
	before := ro.Status.DeepCopy()
	ro.Default()
	errs := ro.Validate()
	if len(errs) == 0 && ro.Status.StepState == "" { // a release goes on, and can be aborted
		errs = r.prober.Validate(&ro.Spec, r.servesJobs)
	}
	if len(errs) > 0 && !deleting {
		r.block(ro, before, blockedError{v1alpha1.ReasonInvalidSpec, errs.ToAggregate().Error()})
		return ctrl.Result{}, r.writeStatus(ctx, ro, before, "")
	}
	kept := r.revisions(ro)
	w, o, err := r.observe(ctx, ro, kept)
	if err != nil {
		return r.blocked(ctx, ro, before, "", err)
	}
	d := machine.Next(o)
	ro.Status = d.Status
	image := imageOf(&o, &d.Status)
	for _, e := range d.Events {
		r.events.Event(ro, eventType(e.Warning), e.Reason, e.Message)
		r.log.Info("rollout", "rollout", ro.Namespace+"/"+ro.Name, "event", e.Reason, "message", e.Message)
	}
	if err := r.apply(ctx, ro, w, kept, o, d.Desired); err != nil {
		return r.blocked(ctx, ro, before, image, err)
	}
	if err := r.endJobs(ctx, ro, before.Analysis, d.Desired.Stages); err != nil {
		return ctrl.Result{}, err
	}
	due := r.measure(ctx, ro, d.Desired.Stages)
	if deleting && d.Desired.Done {
		if err := kept.forget(ctx, nil); err != nil {
			return ctrl.Result{}, err
		}
		controllerutil.RemoveFinalizer(ro, v1alpha1.RolloutFinalizer)
		if err := r.client.Update(ctx, ro, client.FieldOwner(name)); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("let Rollout %s go: %w", ro.Name, err)
		}
		return ctrl.Result{}, nil
	}
	if err := r.writeStatus(ctx, ro, before, image); err != nil {
		return ctrl.Result{}, err
	}
	r.metrics.observe(ro, before)
	if err := kept.forget(ctx, &ro.Status); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: soonest(d.Desired.Again, due, r.unwatched(ro))}, nil
}

// unwatched is when to look again at what no event tells of: pods that end.
func (r *reconciler) unwatched(ro *v1alpha1.Rollout) time.Duration {
	switch ro.Status.Phase {
	case v1alpha1.RolloutHealthy, v1alpha1.RolloutAborted, v1alpha1.RolloutDisabled:
		return 0
	}
	since := ro.Status.StepStateSince
	if since == nil {
		since = &ro.CreationTimestamp
	}
	return patient(lookAgain, *since, r.now())
}

// patient is the pause before another look at what has stood still since then: a tenth of that time, so that hundreds of releases that
// wait for somebody's approval cost nothing, and one that has just begun is followed closely.
func patient(least time.Duration, since metav1.Time, now time.Time) time.Duration {
	return max(least, min(now.Sub(since.Time)/10, lookLate))
}

// soonest is the shortest of times that are not zero.
func soonest(times ...time.Duration) time.Duration {
	var best time.Duration
	for _, t := range times {
		if t > 0 && (best == 0 || t < best) {
			best = t
		}
	}
	return best
}

// blocked tells people what is in the way, and keeps what was decided meanwhile.
func (r *reconciler) blocked(ctx context.Context, ro *v1alpha1.Rollout, before *v1alpha1.RolloutStatus, image string, err error) (ctrl.Result, error) {
	var b blockedError
	if !errors.As(err, &b) {
		return ctrl.Result{}, err
	}
	since := r.block(ro, before, b)
	if err := r.writeStatus(ctx, ro, before, image); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: patient(retry, since, r.now())}, nil
}

// block tells what is in the way, and returns since when something has been. before is what was told last: the decision that could
// not be carried out may have said meanwhile that all is well.
func (r *reconciler) block(ro *v1alpha1.Rollout, before *v1alpha1.RolloutStatus, b blockedError) metav1.Time {
	kind := v1alpha1.ConditionReady
	if b.reason == v1alpha1.ReasonRouteFailed {
		kind = v1alpha1.ConditionTrafficRouted
	}
	meta.SetStatusCondition(&ro.Status.Conditions, metav1.Condition{
		Type: kind, Status: metav1.ConditionFalse, Reason: b.reason, Message: b.message, ObservedGeneration: ro.Generation,
	})
	ro.Status.Message = b.message
	is, was := meta.FindStatusCondition(ro.Status.Conditions, kind), meta.FindStatusCondition(before.Conditions, kind)
	if was != nil && was.Status == is.Status {
		is.LastTransitionTime = was.LastTransitionTime
	}
	if was == nil || was.Status != is.Status || was.Reason != is.Reason || was.Message != is.Message {
		r.events.Event(ro, eventType(true), b.reason, b.message)
		r.log.Warn("rollout", "rollout", ro.Namespace+"/"+ro.Name, "reason", b.reason, "message", b.message)
	}
	return is.LastTransitionTime
}

// writeStatus writes the status, and with it the messages that its change gives: either both are written or none. image
// is that of the version that is being released, if that is known.
func (r *reconciler) writeStatus(ctx context.Context, ro *v1alpha1.Rollout, before *v1alpha1.RolloutStatus, image string) error {
	dropped := r.notifier.note(ro, before, image)
	if equality.Semantic.DeepEqual(before, &ro.Status) {
		return nil
	}
	if err := r.client.Status().Update(ctx, ro, client.FieldOwner(name)); err != nil {
		return fmt.Errorf("report the status of Rollout %s: %w", ro.Name, err)
	}
	r.notifier.drop(ro, dropped)
	return nil
}

// imageOf is the image of the version that a release is about; empty if it is not known.
func imageOf(o *machine.Observation, st *v1alpha1.RolloutStatus) string {
	revision := cmp.Or(st.CanaryRevision, o.Status.CanaryRevision)
	if o.Workload.Template == revision {
		return o.Workload.Image
	}
	for _, h := range st.History {
		if h.Revision == revision && h.Image != "" {
			return h.Image
		}
	}
	return ""
}

// apply makes the world as it is wanted. The order matters: nothing gets traffic before it is there, nothing goes before its
// traffic has gone, and pods are kept out of a Service before they begin.
func (r *reconciler) apply(ctx context.Context, ro *v1alpha1.Rollout, w workload, kept *revisions, o machine.Observation, d machine.Desired) error {
	holding := d.Hold == machine.Held
	if holding {
		if err := r.applyWorkload(ctx, ro, w, kept, o, d); err != nil {
			return err
		}
	}
	if err := r.applyServices(ctx, ro, o, d); err != nil {
		return err
	}
	if err := r.applyRoutes(ctx, ro, d); err != nil {
		return err
	}
	if err := r.applyExtra(ctx, ro, w, kept, o, d); err != nil {
		return err
	}
	if !holding {
		return r.applyWorkload(ctx, ro, w, kept, o, d)
	}
	return nil
}

// commandOf is the command that was given and not answered yet: as it was written, and without what follows a #.
func commandOf(ro *v1alpha1.Rollout) (text, command string) {
	text = ro.Annotations[v1alpha1.AnnotationRolloutCommand]
	if text == "" || ro.Status.LastCommand != nil && ro.Status.LastCommand.Command == text {
		return "", ""
	}
	command, _, _ = strings.Cut(text, "#")
	return text, strings.Join(strings.Fields(command), " ")
}
