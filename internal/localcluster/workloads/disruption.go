package workloads

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

// budgets keeps the status of PodDisruptionBudgets.
type budgets struct{ base }

func (r *budgets) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("disruptionbudget").
		For(&policyv1.PodDisruptionBudget{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.inNamespace)).
		Complete(r)
}

// inNamespace asks for all budgets of the namespace: a pod that lost its labels matches none any more.
func (r *budgets) inNamespace(ctx context.Context, o client.Object) []ctrl.Request {
	var l policyv1.PodDisruptionBudgetList
	if r.List(ctx, &l, client.InNamespace(o.GetNamespace())) != nil {
		return nil
	}
	out := make([]ctrl.Request, len(l.Items))
	for i := range l.Items {
		out[i].NamespacedName = client.ObjectKeyFromObject(&l.Items[i])
	}
	return out
}

// Reconcile counts the pods under one budget.
func (r *budgets) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	b := &policyv1.PodDisruptionBudget{}
	if err := r.Get(ctx, req.NamespacedName, b); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("PodDisruptionBudget %s: spec.selector: %w", b.Name, err)
	}
	var l corev1.PodList
	if err := r.List(ctx, &l, client.InNamespace(b.Namespace), client.MatchingLabelsSelector{Selector: sel}); err != nil {
		return ctrl.Result{}, fmt.Errorf("list pods: %w", err)
	}
	pods := make([]*corev1.Pod, len(l.Items))
	for i := range l.Items {
		pods[i] = &l.Items[i]
	}
	scale, err := r.scaleOf(ctx, b.Namespace, pods)
	if err != nil {
		return ctrl.Result{}, err
	}
	status, err := budgetStatus(b, pods, scale)
	if err != nil {
		r.events.Event(b, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", err.Error())
		return ctrl.Result{}, nil
	}
	if equality.Semantic.DeepEqual(status, b.Status) {
		return ctrl.Result{}, nil
	}
	b.Status = status
	return settle(ctrl.Result{}, r.Status().Update(ctx, b))
}

// scaleOf is how many pods the controllers of pods want, together.
func (r *budgets) scaleOf(ctx context.Context, namespace string, pods []*corev1.Pod) (int, error) {
	want := map[types.UID]int{}
	for _, p := range pods {
		ref := metav1.GetControllerOf(p)
		if ref == nil {
			continue
		}
		if _, done := want[ref.UID]; done {
			continue
		}
		var n *int32
		key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
		switch ref.Kind {
		case replicaSetKind.Kind:
			rs := &appsv1.ReplicaSet{}
			if err := r.Get(ctx, key, rs); client.IgnoreNotFound(err) != nil {
				return 0, fmt.Errorf("read ReplicaSet %s: %w", key.Name, err)
			}
			n = rs.Spec.Replicas
			// Old and new sets of a rollout serve one Deployment, and it is the Deployment's size that counts.
			if d := metav1.GetControllerOf(rs); d != nil && d.Kind == deploymentKind.Kind {
				dep := &appsv1.Deployment{}
				if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: d.Name}, dep); client.IgnoreNotFound(err) != nil {
					return 0, fmt.Errorf("read Deployment %s: %w", d.Name, err)
				}
				want[d.UID], want[ref.UID] = int(ptr.Deref(dep.Spec.Replicas, 1)), 0
				continue
			}
		case statefulSetKind.Kind:
			s := &appsv1.StatefulSet{}
			if err := r.Get(ctx, key, s); client.IgnoreNotFound(err) != nil {
				return 0, fmt.Errorf("read StatefulSet %s: %w", key.Name, err)
			}
			n = s.Spec.Replicas
		}
		want[ref.UID] = int(ptr.Deref(n, 1))
	}
	sum := 0
	for _, n := range want {
		sum += n
	}
	return sum, nil
}

// budgetStatus counts pods against the budget b. scale is how many pods their controllers want.
func budgetStatus(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod, scale int) (policyv1.PodDisruptionBudgetStatus, error) {
	s := b.Status.DeepCopy()
	s.ObservedGeneration, s.CurrentHealthy = b.Generation, 0
	counted := 0
	for _, p := range pods {
		if !active(p) {
			continue
		}
		counted++
		if ready(p) {
			s.CurrentHealthy++
		}
	}
	expected, desired := counted, 0
	switch {
	case b.Spec.MaxUnavailable != nil:
		expected = scale
		n, err := intstr.GetScaledValueFromIntOrPercent(b.Spec.MaxUnavailable, expected, true)
		if err != nil {
			return *s, fmt.Errorf("spec.maxUnavailable: %w", err)
		}
		desired = max(0, expected-n)
	case b.Spec.MinAvailable != nil:
		if b.Spec.MinAvailable.Type == intstr.String {
			expected = scale
		}
		n, err := intstr.GetScaledValueFromIntOrPercent(b.Spec.MinAvailable, expected, true)
		if err != nil {
			return *s, fmt.Errorf("spec.minAvailable: %w", err)
		}
		desired = n
	}
	s.ExpectedPods, s.DesiredHealthy = int32(expected), int32(desired)
	s.DisruptionsAllowed = 0
	if expected > 0 {
		s.DisruptionsAllowed = max(0, s.CurrentHealthy-s.DesiredHealthy)
	}
	cond := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionTrue,
		Reason: policyv1.SufficientPodsReason, ObservedGeneration: b.Generation,
	}
	if s.DisruptionsAllowed == 0 {
		cond.Status, cond.Reason = metav1.ConditionFalse, policyv1.InsufficientPodsReason
	}
	meta.SetStatusCondition(&s.Conditions, cond)
	return *s, nil
}
