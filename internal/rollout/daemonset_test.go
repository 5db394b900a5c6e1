package rollout

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// TestDaemonSet: a DaemonSet is held by OnDelete, moves one pod at a time, those first that are not ready, and is let go as it was.
// The test does what the cluster does: pods that were deleted come back with the newest template.
func TestDaemonSet(t *testing.T) {
	labels := map[string]string{"app": "agent"}
	rolling := appsv1.DaemonSetUpdateStrategy{
		Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: ptr.To(intstr.FromInt32(2))},
	}
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "agent", UID: "1", Generation: 2, Annotations: map[string]string{v1alpha1.AnnotationHeldBy: "agent"}},
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, UpdateStrategy: rolling},
		Status:     appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3},
	}
	owned := []metav1.OwnerReference{*metav1.NewControllerRef(ds, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))}
	pod := func(node, hash string, ready bool) *corev1.Pod {
		status := corev1.ConditionFalse
		if ready {
			status = corev1.ConditionTrue
		}
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: node, OwnerReferences: owned,
				Labels: map[string]string{"app": "agent", appsv1.ControllerRevisionHashLabelKey: hash},
			},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
		}
	}
	objects := []client.Object{pod("a", "old", true), pod("b", "old", true), pod("c", "old", false)}
	for i, hash := range []string{"old", "new"} {
		objects = append(objects, &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: hash, OwnerReferences: owned, Labels: map[string]string{"app": "agent", appsv1.ControllerRevisionHashLabelKey: hash}},
			Revision:   int64(i + 1),
		})
	}
	c := fake.NewClientBuilder().WithScheme(scheme.Scheme).WithObjects(objects...).Build()
	revisionOf := func(*corev1.PodTemplateSpec) (string, error) { return "", nil }
	look := func() (workload, machine.Workload) {
		t.Helper()
		w := workloadOf(ds)
		out := machine.Workload{Template: "v2", Size: w.size()}
		if err := w.observe(t.Context(), c, revisionOf, &v1alpha1.RolloutStatus{StableRevision: "v1"}, &out); err != nil {
			t.Fatal(err)
		}
		return w, out
	}
	ask := func(d machine.Desired) []string {
		t.Helper()
		w, seen := look()
		if err := w.set(d, seen); err != nil {
			t.Fatal(err)
		}
		pods, err := w.surplus(t.Context(), c, d, seen)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range pods {
			names = append(names, pods[i].Name)
			if err := c.Delete(t.Context(), &pods[i]); err != nil {
				t.Fatal(err)
			}
		}
		return names
	}
	comesBack := func(node string, ready bool) {
		t.Helper()
		if err := c.Create(t.Context(), pod(node, "new", ready)); err != nil {
			t.Fatal(err)
		}
	}

	if names := ask(machine.Desired{Hold: machine.Held}); len(names) > 0 || ds.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Fatalf("held, it loses %v and has the strategy %v", names, ds.Spec.UpdateStrategy)
	}
	if _, seen := look(); !seen.Held || seen.Serving != "v1" || seen.Stable != (machine.Pods{Pods: 3, Ready: 2}) {
		t.Fatalf("held, it is seen as %+v", seen)
	}
	batch := machine.Desired{Hold: machine.Batch, Batch: 2}
	if names := ask(batch); !slices.Equal(names, []string{"c"}) {
		t.Fatalf("the first to go is %v, want the one that is not ready", names)
	}
	if names := ask(batch); len(names) > 0 {
		t.Fatalf("%v goes before the first one is back", names)
	}
	comesBack("c", false)
	if names := ask(batch); len(names) > 0 {
		t.Fatalf("%v goes before the first one is ready", names)
	}
	if err := c.Delete(t.Context(), pod("c", "new", false)); err != nil {
		t.Fatal(err)
	}
	comesBack("c", true)
	if names := ask(batch); !slices.Equal(names, []string{"a"}) {
		t.Fatalf("the second to go is %v, want a", names)
	}
	comesBack("a", true)
	if names := ask(batch); len(names) > 0 {
		t.Fatalf("%v goes beyond the batch", names)
	}
	if _, seen := look(); seen.Serving != "" || seen.Updated != (machine.Pods{Pods: 2, Ready: 2}) || seen.Stable != (machine.Pods{Pods: 1, Ready: 1}) {
		t.Errorf("with two of three moved it is seen as %+v", seen)
	}
	if ask(machine.Desired{Hold: machine.Release}); fmt.Sprint(ds.Spec.UpdateStrategy) != fmt.Sprint(rolling) || ds.Annotations[v1alpha1.AnnotationHeldFields] != "" {
		t.Errorf("let go, it has the strategy %v and annotations %v, want it as it was", ds.Spec.UpdateStrategy, ds.Annotations)
	}
}
