package workloads

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of the condition Progressing; kubectl knows some of them.
const (
	reasonAvailable = "NewReplicaSetAvailable"
	reasonUpdated   = "ReplicaSetUpdated"
	reasonTimedOut  = "ProgressDeadlineExceeded"
	reasonPaused    = "DeploymentPaused"
	reasonResumed   = "DeploymentResumed"
)

// complete tells whether every wanted pod is of the newest revision and available, and no other is left.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := ptr.Deref(d.Spec.Replicas, 1)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

// deploymentStatus counts the pods of the sets of d, and judges the rollout. current is nil before there is a set of
// the newest template.
func deploymentStatus(d *appsv1.Deployment, current *appsv1.ReplicaSet, sets []*appsv1.ReplicaSet, now time.Time) appsv1.DeploymentStatus {
	s := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, CollisionCount: d.Status.CollisionCount,
		Conditions: slices.Clone(d.Status.Conditions),
	}
	var wanted, terminating int32
	for _, rs := range sets {
		wanted += ptr.Deref(rs.Spec.Replicas, 1)
		terminating += ptr.Deref(rs.Status.TerminatingReplicas, 0)
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
	}
	s.TerminatingReplicas = &terminating
	s.UnavailableReplicas = max(0, wanted-s.AvailableReplicas)
	if current != nil {
		s.UpdatedReplicas = current.Status.Replicas
	}
	s.Conditions = withAvailable(d, &s, now)
	s.Conditions = withProgress(d, &s, current, now)
	return s
}

func withAvailable(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) []appsv1.DeploymentCondition {
	b, err := rollingBounds(d)
	if err == nil && s.AvailableReplicas >= ptr.Deref(d.Spec.Replicas, 1)-int32(b.unavailable) {
		return setCondition(s.Conditions, appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", now, false)
	}
	return setCondition(s.Conditions, appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now, false)
}

func withProgress(d *appsv1.Deployment, s *appsv1.DeploymentStatus, current *appsv1.ReplicaSet, now time.Time) []appsv1.DeploymentCondition {
	set := func(status corev1.ConditionStatus, reason, message string, moved bool) []appsv1.DeploymentCondition {
		return setCondition(s.Conditions, appsv1.DeploymentProgressing, status, reason, message, now, moved)
	}
	if d.Spec.ProgressDeadlineSeconds == nil {
		return slices.DeleteFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentProgressing })
	}
	was := condition(s.Conditions, appsv1.DeploymentProgressing)
	if d.Spec.Paused {
		if was != nil && was.Reason == reasonTimedOut {
			return s.Conditions
		}
		return set(corev1.ConditionUnknown, reasonPaused, "Deployment is paused", false)
	}
	if was != nil && was.Reason == reasonPaused {
		return set(corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", true)
	}
	if current == nil {
		return s.Conditions
	}
	newRollout := was == nil || d.Status.ObservedGeneration < d.Generation && s.UpdatedReplicas < s.Replicas
	switch {
	case complete(d, s), was != nil && was.Reason == reasonAvailable && s.Replicas == s.UpdatedReplicas && !newRollout:
		return set(corev1.ConditionTrue, reasonAvailable, fmt.Sprintf("ReplicaSet %q has successfully progressed.", current.Name), false)
	case newRollout, was.Reason == reasonAvailable, progressed(&d.Status, s):
		return set(corev1.ConditionTrue, reasonUpdated, fmt.Sprintf("ReplicaSet %q is progressing.", current.Name), true)
	case was.Reason == reasonTimedOut || now.Sub(was.LastUpdateTime.Time) >= deadline(d):
		return set(corev1.ConditionFalse, reasonTimedOut, fmt.Sprintf("ReplicaSet %q has timed out progressing.", current.Name), false)
	}
	return s.Conditions
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(ptr.Deref(d.Spec.ProgressDeadlineSeconds, 600)) * time.Second
}

// progressed tells whether more pods are new, ready or available, or fewer are old.
func progressed(was, is *appsv1.DeploymentStatus) bool {
	return is.UpdatedReplicas > was.UpdatedReplicas || is.ReadyReplicas > was.ReadyReplicas ||
		is.AvailableReplicas > was.AvailableReplicas || is.Replicas-is.UpdatedReplicas < was.Replicas-was.UpdatedReplicas
}

// untilDeadline is when to look whether the rollout timed out; 0 when there is none to wait for.
func untilDeadline(d *appsv1.Deployment, now time.Time) time.Duration {
	c := condition(d.Status.Conditions, appsv1.DeploymentProgressing)
	if d.Spec.Paused || d.Spec.ProgressDeadlineSeconds == nil || c == nil || c.Reason == reasonAvailable || c.Reason == reasonTimedOut {
		return 0
	}
	return max(0, deadline(d)-now.Sub(c.LastUpdateTime.Time)) + time.Second
}

func condition(conds []appsv1.DeploymentCondition, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range conds {
		if conds[i].Type == t {
			return &conds[i]
		}
	}
	return nil
}

// setCondition sets a condition, leaving its times alone when nothing but the message changed; moved renews the
// update time all the same.
func setCondition(conds []appsv1.DeploymentCondition, t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time, moved bool) []appsv1.DeploymentCondition {
	c := condition(conds, t)
	if c == nil {
		conds = append(conds, appsv1.DeploymentCondition{Type: t, LastTransitionTime: metav1.NewTime(now), LastUpdateTime: metav1.NewTime(now)})
		c = &conds[len(conds)-1]
	}
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	if c.Status != status || c.Reason != reason || moved {
		c.LastUpdateTime = metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message = status, reason, message
	return conds
}
