package workloads

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

var deploymentKind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// deployments rolls the template of every Deployment out over ReplicaSets.
type deployments struct{ base }

func (r *deployments) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("deployment").
		For(&appsv1.Deployment{}).
		Owns(&appsv1.ReplicaSet{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.recreating)).
		Complete(r)
}

// recreating finds the Deployment that waits for p to end before it starts new pods.
func (r *deployments) recreating(ctx context.Context, p client.Object) []ctrl.Request {
	ref := metav1.GetControllerOf(p)
	if ref == nil || ref.Kind != replicaSetKind.Kind {
		return nil
	}
	var rs appsv1.ReplicaSet
	if r.Get(ctx, client.ObjectKey{Namespace: p.GetNamespace(), Name: ref.Name}, &rs) != nil {
		return nil
	}
	owner := metav1.GetControllerOf(&rs)
	if owner == nil || owner.Kind != deploymentKind.Kind {
		return nil
	}
	var d appsv1.Deployment
	key := client.ObjectKey{Namespace: p.GetNamespace(), Name: owner.Name}
	if r.Get(ctx, key, &d) != nil || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []ctrl.Request{{NamespacedName: key}}
}

// Reconcile takes one step of one Deployment. ReplicaSets are read from the server itself, since each step builds on
// the sizes that the last one wrote.
func (r *deployments) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	d := &appsv1.Deployment{}
	if err := r.live.Get(ctx, req.NamespacedName, d); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	sets, err := r.setsOf(ctx, d)
	if err != nil {
		return settle(ctrl.Result{}, err)
	}
	if d.DeletionTimestamp == nil {
		if sets, err = r.step(ctx, d, sets); err != nil {
			return settle(ctrl.Result{}, err)
		}
	}
	current, _ := splitSets(d, sets)
	now := time.Now()
	status := deploymentStatus(d, current, sets, now)
	if !equality.Semantic.DeepEqual(status, d.Status) {
		d.Status = status
		if err := r.Status().Update(ctx, d); err != nil {
			return settle(ctrl.Result{}, err)
		}
	}
	return ctrl.Result{RequeueAfter: untilDeadline(d, now)}, nil
}

// setsOf lists the ReplicaSets of d, oldest first.
func (r *deployments) setsOf(ctx context.Context, d *appsv1.Deployment) ([]*appsv1.ReplicaSet, error) {
	sel, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("Deployment %s: spec.selector: %w", d.Name, err)
	}
	var l appsv1.ReplicaSetList
	if err := r.live.List(ctx, &l, client.InNamespace(d.Namespace)); err != nil {
		return nil, fmt.Errorf("list ReplicaSets: %w", err)
	}
	all := make([]*appsv1.ReplicaSet, len(l.Items))
	for i := range l.Items {
		all[i] = &l.Items[i]
	}
	sets, err := claimAll(ctx, r.Client, d, controllerRef(d, deploymentKind), all, func(rs *appsv1.ReplicaSet) bool {
		return sel.Matches(labels.Set(rs.Labels))
	})
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(revisionOf(a), revisionOf(b)), cmp.Compare(a.Name, b.Name))
	})
	return sets, err
}

// splitSets finds the set with the Deployment's template; nil when there is none yet.
func splitSets(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	for _, rs := range sets {
		if current == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			current = rs
		} else {
			old = append(old, rs)
		}
	}
	return current, old
}

// step does what is next: follow a change of the size, or roll out. It returns the sets as they are afterwards.
func (r *deployments) step(ctx context.Context, d *appsv1.Deployment, sets []*appsv1.ReplicaSet) ([]*appsv1.ReplicaSet, error) {
	b, err := rollingBounds(d)
	if err != nil {
		r.events.Event(d, corev1.EventTypeWarning, "InvalidStrategy", err.Error())
		return sets, nil
	}
	want := int(ptr.Deref(d.Spec.Replicas, 1))
	current, old := splitSets(d, sets)
	if current != nil {
		if err := r.annotate(ctx, d, current, old); err != nil {
			return sets, err
		}
	}
	if d.Spec.Paused || sizeChanged(sets, want) {
		ordered := old
		if current != nil {
			ordered = append(slices.Clone(old), current)
		}
		return sets, r.resize(ctx, d, sets, planScale(want, b, planned(ordered)), b)
	}
	if current == nil {
		if current, err = r.createSet(ctx, d, old); err != nil || current == nil {
			return sets, err
		}
		sets = append(sets, current)
		if err := r.annotate(ctx, d, current, old); err != nil {
			return sets, err
		}
	}
	var plan []scaling
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		n, err := r.podsLeft(ctx, d, old)
		if err != nil {
			return sets, err
		}
		plan = planRecreate(want, planned([]*appsv1.ReplicaSet{current})[0], planned(old), n)
	} else {
		plan = planRolling(want, b, planned([]*appsv1.ReplicaSet{current})[0], planned(old))
	}
	if err := r.resize(ctx, d, sets, plan, b); err != nil {
		return sets, err
	}
	return sets, r.forget(ctx, d, current, old)
}

// planned shows ReplicaSets to the planner.
func planned(sets []*appsv1.ReplicaSet) []set {
	out := make([]set, len(sets))
	for i, rs := range sets {
		out[i] = set{
			name: rs.Name, size: int(ptr.Deref(rs.Spec.Replicas, 1)),
			available: int(rs.Status.AvailableReplicas), maxAtScaling: number(rs.Annotations[annotationMax]),
		}
	}
	return out
}

// sizeChanged tells whether the Deployment's size changed since its sets were last scaled.
func sizeChanged(sets []*appsv1.ReplicaSet, want int) bool {
	return slices.ContainsFunc(sets, func(rs *appsv1.ReplicaSet) bool {
		a, ok := rs.Annotations[annotationDesired]
		return ok && ptr.Deref(rs.Spec.Replicas, 1) > 0 && number(a) != want
	})
}

// resize writes the planned sizes, and on every set in use the size that it was planned for.
func (r *deployments) resize(ctx context.Context, d *appsv1.Deployment, sets []*appsv1.ReplicaSet, plan []scaling, b bounds) error {
	want := int(ptr.Deref(d.Spec.Replicas, 1))
	desired, most := strconv.Itoa(want), strconv.Itoa(want+b.surge)
	for _, rs := range sets {
		i := slices.IndexFunc(plan, func(s scaling) bool { return s.name == rs.Name })
		fresh := rs.Annotations[annotationDesired] == desired && rs.Annotations[annotationMax] == most
		if i < 0 && (fresh || ptr.Deref(rs.Spec.Replicas, 1) == 0) {
			continue
		}
		setAnnotation(rs, annotationDesired, desired)
		setAnnotation(rs, annotationMax, most)
		if i >= 0 {
			rs.Spec.Replicas = ptr.To(int32(plan[i].to))
		}
		if err := r.Update(ctx, rs); err != nil {
			return fmt.Errorf("scale ReplicaSet %s: %w", rs.Name, err)
		}
		if i >= 0 {
			word := "up"
			if plan[i].to < plan[i].from {
				word = "down"
			}
			r.events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", word, rs.Name, plan[i].from, plan[i].to)
		}
	}
	return nil
}

// podsLeft counts the pods of old sets that have not ended, those being deleted included.
func (r *deployments) podsLeft(ctx context.Context, d *appsv1.Deployment, old []*appsv1.ReplicaSet) (int, error) {
	var pods corev1.PodList
	if err := r.live.List(ctx, &pods, client.InNamespace(d.Namespace)); err != nil {
		return 0, fmt.Errorf("list pods: %w", err)
	}
	n := 0
	for i := range pods.Items {
		p := &pods.Items[i]
		ref := metav1.GetControllerOf(p)
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if ref != nil && !ended && slices.ContainsFunc(old, func(rs *appsv1.ReplicaSet) bool { return rs.UID == ref.UID }) {
			n++
		}
	}
	return n, nil
}

// createSet makes the ReplicaSet of the current template, empty. It returns nil when the name was taken by another
// template: the next look tries another name.
func (r *deployments) createSet(ctx context.Context, d *appsv1.Deployment, old []*appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
	rs := newSet(d, old)
	err := r.Create(ctx, rs)
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			r.events.Eventf(d, corev1.EventTypeWarning, "ReplicaSetCreateError", "Failed to create new replica set %q: %v", rs.Name, err)
			return nil, fmt.Errorf("create ReplicaSet %s: %w", rs.Name, err)
		}
		return rs, nil
	}
	d.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
	if err := r.Status().Update(ctx, d); err != nil {
		return nil, fmt.Errorf("count a name collision of Deployment %s: %w", d.Name, err)
	}
	return nil, err
}

// forget deletes the oldest sets beyond revisionHistoryLimit, once the rollout is through.
func (r *deployments) forget(ctx context.Context, d *appsv1.Deployment, current *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	if !complete(d, &d.Status) || len(old) == 0 {
		return nil
	}
	for _, rs := range beyondHistory(old, int(ptr.Deref(d.Spec.RevisionHistoryLimit, 10))) {
		if rs.Status.Replicas != 0 || ptr.Deref(rs.Spec.Replicas, 1) != 0 || rs.DeletionTimestamp != nil || rs.UID == current.UID {
			continue
		}
		if err := r.remove(ctx, rs); err != nil {
			return fmt.Errorf("delete ReplicaSet %s, which is beyond the revision history: %w", rs.Name, err)
		}
	}
	return nil
}
