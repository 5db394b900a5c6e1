package operator

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
)

// What Kubernetes tells in events alone is told of the member that it is about, while it is true.
func TestTroubleIsTold(t *testing.T) {
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	pod := func(uid types.UID, after time.Duration) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, CreationTimestamp: metav1.NewTime(start.Add(after))}}
	}
	event := func(after time.Duration, kind, name string, uid types.UID, reason, message string) corev1.Event {
		return corev1.Event{
			InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name, UID: uid}, Reason: reason, Message: message,
			LastTimestamp: metav1.NewTime(start.Add(after)),
		}
	}
	refused := func(after time.Duration, pod, why string) corev1.Event {
		return event(after, "StatefulSet", "cache", "", "FailedCreate", "create Pod "+pod+" in StatefulSet cache failed error: "+why)
	}
	const quota = `pods "cache-1" is forbidden: exceeded quota: few`
	unbound := pod("b", 0)
	unbound.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
	}}
	noClass := func(after time.Duration) corev1.Event {
		return event(after, "PersistentVolumeClaim", "data-cache-1", "c", "ProvisioningFailed", `storageclass "fast" not found`)
	}
	ready := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	for name, c := range map[string]struct {
		pod, other *corev1.Pod
		events     []corev1.Event
		want       string
	}{
		"nothing is said": {nil, nil, nil, "the pod does not exist yet"},
		"the last refusal": {
			nil, pod("a", 0),
			[]corev1.Event{refused(2*time.Second, "cache-1", quota), refused(time.Second, "cache-1", "older")},
			"the pod cannot be created: " + quota,
		},
		"of another pod":   {nil, nil, []corev1.Event{refused(time.Second, "cache-11", quota)}, "the pod does not exist yet"},
		"of a time before": {nil, pod("a", time.Minute), []corev1.Event{refused(time.Second, "cache-1", quota)}, "the pod does not exist yet"},
		"of another set":   {nil, nil, []corev1.Event{event(1, "StatefulSet", "other", "", "FailedCreate", "create Pod cache-1 in StatefulSet other failed error: x")}, "the pod does not exist yet"},
		"a volume":         {pod("b", time.Minute), nil, []corev1.Event{event(time.Second, "Pod", "cache-1", "b", "FailedMount", `secret "tls" not found`)}, `FailedMount: secret "tls" not found`},
		"of a pod before":  {pod("b", 0), nil, []corev1.Event{event(time.Second, "Pod", "cache-1", "a", "FailedMount", "x")}, "the pod is starting"},
		"a claim":          {unbound, nil, []corev1.Event{noClass(0)}, `PersistentVolumeClaim data-cache-1: storageclass "fast" not found`},
		"a claim before":   {unbound, nil, []corev1.Event{noClass(-time.Minute)}, "Unschedulable: " + unbound.Status.Conditions[0].Message},
		"other warnings":   {pod("b", 0), nil, []corev1.Event{event(time.Second, "Pod", "cache-1", "b", "Unhealthy", "x")}, "the pod is starting"},
		"one that has started": {
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "b"}, Status: ready}, nil,
			[]corev1.Event{event(time.Second, "Pod", "cache-1", "b", "FailedMount", "x")},
			"the pod is starting",
		},
	} {
		all := []instance{{name: "cache-0", pod: c.other}, {name: "cache-1", ordinal: 1, pod: c.pod}}
		tell("cache", all, c.events)
		if got := all[1].message(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.want != all[1].trouble {
			continue
		}
		// It is what the conditions say, and not only that something is missing.
		r := &v1alpha1.Redis{}
		r.Spec.Mode, r.Spec.Replicas = v1alpha1.ModeReplication, &two
		r.Default()
		for _, cond := range conditions(r, observation{members: all}, nil, doing{}) {
			if cond.Type == v1alpha1.ConditionReady && (cond.Reason != v1alpha1.ReasonPodCannotStart || cond.Message != "cache-1: "+c.want) {
				t.Errorf("%s: the condition Ready has reason %s and says %q", name, cond.Reason, cond.Message)
			}
		}
	}
}

var two int32 = 2
