package operator

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"redstart.dev/redstart/api/v1alpha1"
)

// redisOfPod is the Redis that a pod or a claim says it belongs to.
func redisOfPod(_ context.Context, pod client.Object) []reconcile.Request {
	name := pod.GetLabels()[v1alpha1.LabelName]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: pod.GetNamespace(), Name: name}}}
}

// claimChanged lets through what matters to storage that grows.
func claimChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.PersistentVolumeClaim)
		if !ok {
			return true
		}
		after, ok := e.ObjectNew.(*corev1.PersistentVolumeClaim)
		if !ok {
			return true
		}
		return !equality.Semantic.DeepEqual(before.Spec.Resources, after.Spec.Resources) ||
			!equality.Semantic.DeepEqual(before.Status.Capacity, after.Status.Capacity) ||
			!equality.Semantic.DeepEqual(before.OwnerReferences, after.OwnerReferences)
	}}
}

// podChanged lets through what may change the status of a Redis: the role, the readiness, the address of a pod, why it does
// not start, that it stops.
func podChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := e.ObjectOld.(*corev1.Pod)
		if !ok {
			return true
		}
		after, ok := e.ObjectNew.(*corev1.Pod)
		if !ok {
			return true
		}
		return !maps.Equal(before.Labels, after.Labels) ||
			podReady(before) != podReady(after) ||
			v1alpha1.PodAddress(before, v1alpha1.PortAgent) != v1alpha1.PodAddress(after, v1alpha1.PortAgent) ||
			podProblem(before) != podProblem(after) ||
			(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
	}}
}
