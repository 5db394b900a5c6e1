package workloads

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// statefulSets keeps the pods of StatefulSets, each under its own name and with its own claims.
type statefulSets struct{ base }

func (r *statefulSets) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("statefulset").
		For(&appsv1.StatefulSet{}).
		Owns(&corev1.Pod{}).
		Complete(r)
}

// setView is all that one look at a StatefulSet found, and what follows from it.
type setView struct {
	set       *appsv1.StatefulSet
	pods      map[int]*corev1.Pod
	revisions revisions
	wants     ordinals
	plan      ordinalPlan
	status    appsv1.StatefulSetStatus
	// next is when a pod that is ready becomes available; 0 for none.
	next time.Duration
}

func (r *statefulSets) look(ctx context.Context, from client.Reader, key client.ObjectKey) (*setView, error) {
	s := &appsv1.StatefulSet{}
	if err := from.Get(ctx, key, s); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	pods, err := r.podsOf(ctx, from, s, controllerRef(s, statefulSetKind), s.Spec.Selector, func(p *corev1.Pod) bool {
		_, ok := ordinalOf(s.Name, p.Name)
		return ok
	})
	if err != nil {
		return nil, err
	}
	v := &setView{set: s, pods: map[int]*corev1.Pod{}}
	for _, p := range pods {
		n, _ := ordinalOf(s.Name, p.Name)
		v.pods[n] = p
	}
	if s.DeletionTimestamp != nil {
		v.status = s.Status
		return v, nil
	}
	if v.revisions, err = r.revisionsOf(ctx, from, s); err != nil {
		return nil, err
	}
	now := time.Now()
	members := observe(s, pods, now)
	v.wants = ordinalsOf(s, v.revisions.current.Name, v.revisions.update.Name)
	v.plan = planOrdinals(v.wants, members)
	v.status = statefulSetStatus(s, v.wants, members, v.revisions.collisions)
	v.next = nextAvailable(pods, time.Duration(s.Spec.MinReadySeconds)*time.Second, now)
	return v, nil
}

// Reconcile takes the next steps of one StatefulSet.
func (r *statefulSets) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	v, err := r.look(ctx, r.Client, req.NamespacedName)
	if err == nil && v != nil && !v.plan.empty() {
		v, err = r.look(ctx, r.live, req.NamespacedName)
	}
	if err != nil || v == nil {
		return settle(ctrl.Result{}, err)
	}
	if v.set.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	failed := r.act(ctx, v)
	if !equality.Semantic.DeepEqual(v.status, v.set.Status) {
		v.set.Status = v.status
		if err := r.Status().Update(ctx, v.set); err != nil {
			return settle(ctrl.Result{}, err)
		}
	}
	if failed != nil {
		return settle(ctrl.Result{}, failed)
	}
	return ctrl.Result{RequeueAfter: v.next}, r.forget(ctx, v)
}

func (r *statefulSets) act(ctx context.Context, v *setView) error {
	s := v.set
	for _, o := range v.plan.create {
		if err := r.create(ctx, v, o); err != nil {
			return err
		}
	}
	if err := r.followRetention(ctx, v); err != nil {
		return err
	}
	for _, n := range v.plan.remove {
		p := v.pods[n]
		if err := r.remove(ctx, p); err != nil {
			r.events.Eventf(s, corev1.EventTypeWarning, "FailedDelete", "delete Pod %s in StatefulSet %s failed error: %v", p.Name, s.Name, err)
			return fmt.Errorf("delete pod %s of StatefulSet %s: %w", p.Name, s.Name, err)
		}
		r.events.Eventf(s, corev1.EventTypeNormal, "SuccessfulDelete", "delete Pod %s in StatefulSet %s successful", p.Name, s.Name)
	}
	return nil
}

func (r *statefulSets) create(ctx context.Context, v *setView, o ordinalRevision) error {
	s := v.set
	template := &s.Spec.Template
	if o.revision != v.revisions.update.Name {
		var err error
		if template, err = decodeTemplate(v.revisions.named(o.revision)); err != nil {
			return err
		}
	}
	for i := range s.Spec.VolumeClaimTemplates {
		if err := r.ensureClaim(ctx, s, &s.Spec.VolumeClaimTemplates[i], o.ordinal); err != nil {
			return err
		}
	}
	p := newMember(s, template, o)
	if err := r.Create(ctx, p); err != nil {
		r.events.Eventf(s, corev1.EventTypeWarning, "FailedCreate", "create Pod %s in StatefulSet %s failed error: %v", p.Name, s.Name, err)
		return fmt.Errorf("create pod %s of StatefulSet %s: %w", p.Name, s.Name, err)
	}
	r.events.Eventf(s, corev1.EventTypeNormal, "SuccessfulCreate", "create Pod %s in StatefulSet %s successful", p.Name, s.Name)
	return nil
}

// ensureClaim makes the claim of a member if it is not there. One that is being deleted has to go first.
func (r *statefulSets) ensureClaim(ctx context.Context, s *appsv1.StatefulSet, t *corev1.PersistentVolumeClaim, ordinal int) error {
	c := newClaim(s, t, ordinal)
	have := &corev1.PersistentVolumeClaim{}
	err := r.Get(ctx, client.ObjectKeyFromObject(c), have)
	if apierrors.IsNotFound(err) {
		// The cache may not have it yet.
		err = r.live.Get(ctx, client.ObjectKeyFromObject(c), have)
	}
	if err == nil && have.DeletionTimestamp != nil {
		return fmt.Errorf("claim %s is being deleted", have.Name)
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	c.OwnerReferences = claimOwners(s, nil, nil)
	if err := r.Create(ctx, c); err != nil {
		r.events.Eventf(s, corev1.EventTypeWarning, "FailedCreate", "create Claim %s for Pod %s in StatefulSet %s failed error: %v", c.Name, podName(s.Name, ordinal), s.Name, err)
		return fmt.Errorf("create claim %s: %w", c.Name, err)
	}
	r.events.Eventf(s, corev1.EventTypeNormal, "SuccessfulCreate", "create Claim %s Pod %s in StatefulSet %s success", c.Name, podName(s.Name, ordinal), s.Name)
	return nil
}

// followRetention writes the owners of the claims of all members as the retention policy has them. Members that are
// scaled away own their claims before they go.
func (r *statefulSets) followRetention(ctx context.Context, v *setView) error {
	for n, p := range v.pods {
		owner := p
		if v.wants.wants(n) {
			owner = nil
		}
		for _, t := range v.set.Spec.VolumeClaimTemplates {
			c := &corev1.PersistentVolumeClaim{}
			key := client.ObjectKey{Namespace: v.set.Namespace, Name: claimName(t.Name, v.set.Name, n)}
			if err := r.Get(ctx, key, c); apierrors.IsNotFound(err) {
				continue
			} else if err != nil {
				return fmt.Errorf("read claim %s: %w", key.Name, err)
			}
			if equality.Semantic.DeepEqual(c.OwnerReferences, claimOwners(v.set, c.OwnerReferences, owner)) {
				continue
			}
			err := patchOwners(ctx, r.Client, c, func(refs []metav1.OwnerReference) []metav1.OwnerReference { return claimOwners(v.set, refs, owner) })
			if err != nil {
				return fmt.Errorf("set the owners of claim %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

// forget deletes the revisions beyond revisionHistoryLimit.
func (r *statefulSets) forget(ctx context.Context, v *setView) error {
	pods := make([]*corev1.Pod, 0, len(v.pods))
	for _, p := range v.pods {
		pods = append(pods, p)
	}
	for _, x := range v.revisions.unused(pods, int(ptr.Deref(v.set.Spec.RevisionHistoryLimit, 10))) {
		if err := r.remove(ctx, x); err != nil {
			return fmt.Errorf("delete ControllerRevision %s: %w", x.Name, err)
		}
	}
	return nil
}
