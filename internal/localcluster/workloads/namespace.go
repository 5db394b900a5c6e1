package workloads

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// namespaces gives every namespace its default ServiceAccount, and empties those that are being deleted.
type namespaces struct {
	base
	kinds []served
}

func (r *namespaces) setup(mgr ctrl.Manager) error {
	kinds, err := servedKinds(mgr)
	if err != nil {
		return err
	}
	r.kinds = slices.DeleteFunc(kinds, func(k served) bool { return !k.namespaced })
	b := ctrl.NewControllerManagedBy(mgr).Named("namespace").For(&corev1.Namespace{})
	deletions := builder.WithPredicates(predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	})
	for _, k := range r.kinds {
		if k.isEvent() {
			continue // goes with the rest, and holds nothing up
		}
		obj, err := k.object(r.scheme)
		if err != nil {
			return err
		}
		b = b.Watches(obj, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []ctrl.Request {
			return []ctrl.Request{{NamespacedName: client.ObjectKey{Name: o.GetNamespace()}}}
		}), deletions)
	}
	return b.Complete(r)
}

// Reconcile completes or empties one namespace.
func (r *namespaces) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	ns := &corev1.Namespace{}
	if err := r.live.Get(ctx, req.NamespacedName, ns); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if ns.DeletionTimestamp == nil {
		return settle(ctrl.Result{}, r.complete(ctx, ns))
	}
	left, err := r.empty(ctx, ns)
	if err != nil || left > 0 {
		return settle(ctrl.Result{}, err)
	}
	return settle(ctrl.Result{}, r.finalize(ctx, ns))
}

func (r *namespaces) complete(ctx context.Context, ns *corev1.Namespace) error {
	if ns.Status.Phase != corev1.NamespaceActive {
		ns.Status.Phase = corev1.NamespaceActive
		if err := r.Status().Update(ctx, ns); err != nil {
			return fmt.Errorf("activate namespace %s: %w", ns.Name, err)
		}
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: ns.Name}}
	if err := r.Get(ctx, client.ObjectKeyFromObject(account), &corev1.ServiceAccount{}); err == nil {
		return nil
	}
	if err := r.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ServiceAccount default of namespace %s: %w", ns.Name, err)
	}
	return nil
}

// empty deletes all that is in ns and counts what is left. Pods take their time; the end of each brings us back.
func (r *namespaces) empty(ctx context.Context, ns *corev1.Namespace) (int, error) {
	left := 0
	var errs []error
	for _, k := range r.kinds {
		l, err := k.list(r.scheme)
		if err != nil {
			return 0, err
		}
		if err := r.live.List(ctx, l, client.InNamespace(ns.Name)); err != nil {
			return 0, fmt.Errorf("list %s in namespace %s: %w", k.gvk.Kind, ns.Name, err)
		}
		n := meta.LenList(l)
		if n == 0 {
			continue
		}
		if !k.isEvent() {
			left += n
		}
		obj, err := k.object(r.scheme)
		if err != nil {
			return 0, err
		}
		if err := r.DeleteAllOf(ctx, obj, client.InNamespace(ns.Name), client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			errs = append(errs, fmt.Errorf("delete every %s in namespace %s: %w", k.gvk.Kind, ns.Name, err))
		}
	}
	return left, errors.Join(errs...)
}

// finalize lets an empty namespace go.
func (r *namespaces) finalize(ctx context.Context, ns *corev1.Namespace) error {
	if len(ns.Spec.Finalizers) == 0 {
		return nil
	}
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if err := r.SubResource("finalize").Update(ctx, ns); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("finish the deletion of namespace %s: %w", ns.Name, err)
	}
	return nil
}
