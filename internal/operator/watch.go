package operator

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
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

// labelsSettle is how long changes of the labels of pods are collected. A change of master is several of them within
// milliseconds, which the operator only reports: on a small machine its work would come between the agents and the clients.
const labelsSettle = 100 * time.Millisecond

// podNews enqueues the Redis of a pod; for a change of the labels alone a little later.
func podNews() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	add := func(ctx context.Context, q queue, pod client.Object, after time.Duration) {
		for _, r := range redisOfPod(ctx, pod) {
			q.AddAfter(r, after)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { add(ctx, q, e.Object, 0) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { add(ctx, q, e.Object, 0) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, okBefore := e.ObjectOld.(*corev1.Pod)
			after, okAfter := e.ObjectNew.(*corev1.Pod)
			if okBefore && okAfter && !stateChanged(before, after) {
				add(ctx, q, after, labelsSettle)
				return
			}
			add(ctx, q, e.ObjectNew, 0)
		},
	}
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
		return !maps.Equal(before.Labels, after.Labels) || stateChanged(before, after)
	}}
}

// stateChanged tells whether anything but the labels changed that matters.
func stateChanged(before, after *corev1.Pod) bool {
	return podReady(before) != podReady(after) ||
		v1alpha1.PodAddress(before, v1alpha1.PortAgent) != v1alpha1.PodAddress(after, v1alpha1.PortAgent) ||
		podProblem(before) != podProblem(after) ||
		(before.DeletionTimestamp == nil) != (after.DeletionTimestamp == nil)
}
