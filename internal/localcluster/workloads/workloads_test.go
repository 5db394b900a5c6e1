package workloads

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// pod makes a running pod, ready since a time before now.
func pod(name string, since time.Duration) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: "n"}}
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-since))}}
	return p
}

func with(p *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod { change(p); return p }

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func terminating(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(now)) }

func names(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestPlanReplicas(t *testing.T) {
	young, old := pod("young", time.Second), pod("old", time.Hour)
	broken := with(pod("broken", time.Hour), unready)
	going := with(pod("going", time.Hour), terminating)
	cheap := with(pod("cheap", time.Hour), func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"} })
	unplaced := with(pod("unplaced", time.Hour), func(p *corev1.Pod) { p.Spec.NodeName = "" })
	failed := with(pod("failed", time.Hour), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	for _, tt := range []struct {
		name   string
		want   int
		pods   []*corev1.Pod
		create int
		remove []string
	}{
		{"none yet", 3, nil, 3, nil},
		{"enough", 2, []*corev1.Pod{young, old}, 0, nil},
		{"pods that go or failed do not count", 2, []*corev1.Pod{old, going, failed}, 1, nil},
		{"the young before the old", 1, []*corev1.Pod{old, young}, 0, []string{"young"}},
		{"the broken before the young", 2, []*corev1.Pod{old, young, broken}, 0, []string{"broken"}},
		{"the cheap before the young", 2, []*corev1.Pod{old, young, cheap}, 0, []string{"cheap"}},
		{"the unplaced before all", 2, []*corev1.Pod{broken, young, unplaced}, 0, []string{"unplaced"}},
		{"all", 0, []*corev1.Pod{old, broken}, 0, []string{"broken", "old"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := planReplicas(tt.want, tt.pods)
			if got.create != tt.create || cmp.Diff(tt.remove, names(got.remove)) != "" {
				t.Errorf("create %d, remove %v; want %d, %v", got.create, names(got.remove), tt.create, tt.remove)
			}
		})
	}
}

func TestReplicaSetStatus(t *testing.T) {
	rs := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{MinReadySeconds: 10}}
	pods := []*corev1.Pod{pod("a", time.Minute), pod("b", 4*time.Second), with(pod("c", 0), unready), with(pod("d", time.Minute), terminating)}
	s := replicaSetStatus(rs, pods, errors.New("no room"), now)
	if s.Replicas != 3 || s.ReadyReplicas != 2 || s.AvailableReplicas != 1 || *s.TerminatingReplicas != 1 {
		t.Errorf("%+v", s)
	}
	if len(s.Conditions) != 1 || s.Conditions[0].Message != "no room" {
		t.Errorf("conditions: %+v", s.Conditions)
	}
	if next := nextAvailable(pods, 10*time.Second, now); next != 6*time.Second {
		t.Errorf("the next is available in %s, want 6s", next)
	}
	rs.Status = s
	if s := replicaSetStatus(rs, pods, nil, now); len(s.Conditions) != 0 {
		t.Errorf("the failure stays: %+v", s.Conditions)
	}
}

func TestDeploymentProgress(t *testing.T) {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](2), ProgressDeadlineSeconds: ptr.To[int32](60)}}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "d-1"}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](2)}}
	at := now
	step := func(replicas, available int32, after time.Duration, status corev1.ConditionStatus, reason string) {
		t.Helper()
		at = at.Add(after)
		rs.Status.Replicas, rs.Status.ReadyReplicas, rs.Status.AvailableReplicas = replicas, available, available
		d.Status = deploymentStatus(d, rs, []*appsv1.ReplicaSet{rs}, at)
		if c := condition(d.Status.Conditions, appsv1.DeploymentProgressing); c.Status != status || c.Reason != reason {
			t.Errorf("with %d of %d available: Progressing is %s, %s; want %s, %s", available, replicas, c.Status, c.Reason, status, reason)
		}
	}
	step(0, 0, 0, corev1.ConditionTrue, reasonUpdated)
	step(2, 0, 50*time.Second, corev1.ConditionTrue, reasonUpdated)
	step(2, 0, 50*time.Second, corev1.ConditionTrue, reasonUpdated)
	if got := untilDeadline(d, at); got != 11*time.Second {
		t.Errorf("the deadline is in %s, want 10s and one more", got)
	}
	step(2, 0, 11*time.Second, corev1.ConditionFalse, reasonTimedOut)
	step(2, 1, time.Second, corev1.ConditionTrue, reasonUpdated)
	step(2, 2, time.Second, corev1.ConditionTrue, reasonAvailable)
	step(2, 1, time.Hour, corev1.ConditionTrue, reasonAvailable) // a pod that fails later is no rollout
	// A quarter of two is rounded down to none: both have to be available.
	if c := condition(d.Status.Conditions, appsv1.DeploymentAvailable); c.Status != corev1.ConditionFalse {
		t.Errorf("Available is %s with 1 of 2", c.Status)
	}
}

func TestRevisions(t *testing.T) {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Annotations: map[string]string{
		"kubernetes.io/change-cause": "because", corev1.LastAppliedConfigAnnotation: "{}",
	}}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "d"}}
	d.Spec.Template.Labels = map[string]string{"app": "d"}
	first := newSet(d, nil)
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	second := newSet(d, []*appsv1.ReplicaSet{first})
	if first.Name == second.Name || revisionOf(first) != 1 || revisionOf(second) != 2 {
		t.Fatalf("%s is revision %d, %s is revision %d", first.Name, revisionOf(first), second.Name, revisionOf(second))
	}
	if second.Annotations["kubernetes.io/change-cause"] != "because" || second.Annotations[corev1.LastAppliedConfigAnnotation] != "" {
		t.Errorf("annotations: %v", second.Annotations)
	}
	if h := second.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; h == "" || second.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != h || d.Spec.Selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] != "" {
		t.Errorf("the hash %q is not in the selector %v, or in the Deployment's", h, second.Spec.Selector)
	}
	if current, old := splitSets(d, []*appsv1.ReplicaSet{first, second}); current != second || len(old) != 1 {
		t.Errorf("the current set is %v, the old are %v", current, old)
	}
	// Back to the first: it becomes the third revision, and remembers that it was the first.
	if !annotationsFor(d, first, []*appsv1.ReplicaSet{second}) || revisionOf(first) != 3 || first.Annotations[annotationHistory] != "1" {
		t.Errorf("after the rollback: %v", first.Annotations)
	}
	if got := beyondHistory([]*appsv1.ReplicaSet{first, second}, 1); len(got) != 1 || got[0] != second {
		t.Errorf("beyond a history of one is %v, want the second", got)
	}
}

func TestRevisionData(t *testing.T) {
	in := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	data, err := encodeTemplate(in)
	if err != nil {
		t.Fatal(err)
	}
	r := &appsv1.ControllerRevision{}
	r.Data.Raw = data
	out, err := decodeTemplate(r)
	if err != nil || !sameTemplate(in, out) {
		t.Errorf("%v, %+v", err, out)
	}
	if !sameJSON([]byte(`{"a":1,"b":2}`), []byte(`{"b":2, "a":1}`)) || sameJSON([]byte(`{"a":1}`), []byte(`{"a":2}`)) {
		t.Error("JSON texts are not compared by what they say")
	}
}

func TestOrdinalOf(t *testing.T) {
	for name, want := range map[string]int{"db-0": 0, "db-12": 12, "db-": -1, "db-01": -1, "db--1": -1, "db-x": -1, "other-0": -1, "db": -1} {
		n, ok := ordinalOf("db", name)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%s: %d, %t", name, n, ok)
		}
	}
}

func TestClaimOwners(t *testing.T) {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", UID: "set"}}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-1", UID: "pod"}}
	policy := func(deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType) {
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: deleted, WhenScaled: scaled}
	}
	const drop, retain = appsv1.DeletePersistentVolumeClaimRetentionPolicyType, appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	foreign := metav1.OwnerReference{Kind: "Backup", UID: "x"}
	owners := func(refs []metav1.OwnerReference) (out []types.UID) {
		for _, r := range refs {
			out = append(out, r.UID)
		}
		return out
	}
	check := func(name string, got []metav1.OwnerReference, want ...types.UID) {
		t.Helper()
		if d := cmp.Diff(want, owners(got)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	check("by default nobody owns it", claimOwners(s, nil, p))
	policy(drop, retain)
	check("deleted with the set", claimOwners(s, []metav1.OwnerReference{foreign}, nil), "x", "set")
	policy(retain, drop)
	scaled := claimOwners(s, nil, p)
	check("deleted with the pod", scaled, "pod")
	check("kept when the pod is wanted again", claimOwners(s, scaled, nil))
	policy(drop, drop)
	check("with the pod before the set", claimOwners(s, claimOwners(s, nil, nil), p), "pod")
}

func TestJudgeOwners(t *testing.T) {
	for _, tt := range []struct {
		owners []ownerState
		want   verdict
	}{
		{[]ownerState{ownerThere}, keep},
		{[]ownerState{ownerGone}, deleteBackground},
		{[]ownerState{ownerWaits}, deleteForeground},
		{[]ownerState{ownerWaits, ownerGone}, deleteForeground},
		{[]ownerState{ownerThere, ownerGone}, dropReferences},
		{[]ownerState{ownerThere, ownerWaits}, dropReferences},
	} {
		if got := judgeOwners(tt.owners); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.owners, got, tt.want)
		}
	}
}

func TestBudgetStatus(t *testing.T) {
	three := []*corev1.Pod{pod("a", 0), pod("b", 0), with(pod("c", 0), unready)}
	for _, tt := range []struct {
		name             string
		spec             policyv1.PodDisruptionBudgetSpec
		desired, allowed int32
	}{
		{"at most one away, and one is", policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromInt32(1))}, 2, 0},
		{"at least one", policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1))}, 1, 1},
		{"at least half, rounded up", policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromString("50%"))}, 2, 0},
	} {
		s, err := budgetStatus(&policyv1.PodDisruptionBudget{Spec: tt.spec}, three, 3)
		if err != nil || s.DesiredHealthy != tt.desired || s.DisruptionsAllowed != tt.allowed || s.CurrentHealthy != 2 || s.ExpectedPods != 3 {
			t.Errorf("%s: %+v, %v", tt.name, s, err)
		}
	}
}

func TestClaimOf(t *testing.T) {
	owner := &metav1.ObjectMeta{UID: "me"}
	by := func(uid types.UID) *metav1.ObjectMeta {
		return &metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: uid, Controller: ptr.To(true)}}}
	}
	for _, tt := range []struct {
		name string
		obj  *metav1.ObjectMeta
		fits bool
		want claim
	}{
		{"nobody's that fits", &metav1.ObjectMeta{}, true, claimAdopt},
		{"nobody's that does not fit", &metav1.ObjectMeta{}, false, claimNothing},
		{"nobody's that goes", &metav1.ObjectMeta{DeletionTimestamp: ptr.To(metav1.NewTime(now))}, true, claimNothing},
		{"mine", by("me"), true, claimKeep},
		{"mine no more", by("me"), false, claimRelease},
		{"another's", by("you"), true, claimNothing},
	} {
		if got := claimOf(owner, tt.obj, tt.fits); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
