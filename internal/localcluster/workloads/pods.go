package workloads

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lookAgain is the pause before a second look after a conflicting write: long enough for the cache to catch up.
const lookAgain = 5 * time.Millisecond

// active tells whether a pod counts for its controller: it neither ended nor is being deleted.
func active(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// readySince is when the pod last became ready, and whether it is ready now.
func readySince(p *corev1.Pod) (time.Time, bool) {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}

func ready(p *corev1.Pod) bool {
	_, ok := readySince(p)
	return ok
}

// availableIn is how long it takes until p has been ready for minReady: 0 when it has, and false if it is not ready.
func availableIn(p *corev1.Pod, minReady time.Duration, now time.Time) (time.Duration, bool) {
	since, ok := readySince(p)
	if !ok {
		return 0, false
	}
	if minReady == 0 {
		return 0, true
	}
	return max(0, minReady-now.Sub(since)), true
}

func available(p *corev1.Pod, minReady time.Duration, now time.Time) bool {
	in, ok := availableIn(p, minReady, now)
	return ok && in == 0
}

// nextAvailable is when the next of the ready pods becomes available; 0 when none is waiting.
func nextAvailable(pods []*corev1.Pod, minReady time.Duration, now time.Time) time.Duration {
	var next time.Duration
	for _, p := range pods {
		if in, ok := availableIn(p, minReady, now); ok && in > 0 && (next == 0 || in < next) {
			next = in
		}
	}
	return next
}

// newPod makes a pod from a template, controlled by owner.
func newPod(t *corev1.PodTemplateSpec, namespace string, owner *metav1.OwnerReference) *corev1.Pod {
	t = t.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       namespace,
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*owner},
		},
		Spec: t.Spec,
	}
}

var phaseRank = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// compareForDeletion sorts the pods that are missed least first: not placed, not running, not ready, cheap to delete,
// ready for a short time, restarted often, young.
func compareForDeletion(a, b *corev1.Pod) int {
	aSince, aReady := readySince(a)
	bSince, bReady := readySince(b)
	return cmp.Or(
		cmp.Compare(rank(a.Spec.NodeName != ""), rank(b.Spec.NodeName != "")),
		cmp.Compare(phaseRank[a.Status.Phase], phaseRank[b.Status.Phase]),
		cmp.Compare(rank(aReady), rank(bReady)),
		cmp.Compare(deletionCost(a), deletionCost(b)),
		bSince.Compare(aSince),
		cmp.Compare(restarts(b), restarts(a)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(b.Name, a.Name),
	)
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func deletionCost(p *corev1.Pod) int64 {
	// The API server does not check the annotation; what is no number costs nothing.
	n, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return n
}

func restarts(p *corev1.Pod) int32 {
	var n int32
	for i := range p.Status.ContainerStatuses {
		n = max(n, p.Status.ContainerStatuses[i].RestartCount)
	}
	return n
}

// leastMissed returns the n pods to delete first.
func leastMissed(pods []*corev1.Pod, n int) []*corev1.Pod {
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, compareForDeletion)
	return sorted[:min(n, len(sorted))]
}
