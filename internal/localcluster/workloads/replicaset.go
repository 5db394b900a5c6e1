package workloads

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

var replicaSetKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// replicaSets keeps the wanted number of pods for every ReplicaSet.
type replicaSets struct{ base }

func (r *replicaSets) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("replicaset").
		For(&appsv1.ReplicaSet{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &appsv1.ReplicaSet{}, handler.OnlyControllerOwner())).
		Complete(r)
}

// replicaPlan is how a ReplicaSet gets to its number of pods.
type replicaPlan struct {
	create int
	remove []*corev1.Pod
}

func (p replicaPlan) empty() bool { return p.create == 0 && len(p.remove) == 0 }

// planReplicas compares the pods that count with the number wanted.
func planReplicas(want int, pods []*corev1.Pod) replicaPlan {
	var counted []*corev1.Pod
	for _, p := range pods {
		if active(p) {
			counted = append(counted, p)
		}
	}
	if len(counted) <= want {
		return replicaPlan{create: want - len(counted)}
	}
	return replicaPlan{remove: leastMissed(counted, len(counted)-want)}
}

// replicaSetStatus counts the pods of rs.
func replicaSetStatus(rs *appsv1.ReplicaSet, pods []*corev1.Pod, failed error, now time.Time) appsv1.ReplicaSetStatus {
	s := appsv1.ReplicaSetStatus{ObservedGeneration: rs.Generation, Conditions: rs.Status.Conditions}
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	var terminating int32
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			terminating++
		}
		if !active(p) {
			continue
		}
		s.Replicas++
		if hasAll(p.Labels, rs.Spec.Template.Labels) {
			s.FullyLabeledReplicas++
		}
		if ready(p) {
			s.ReadyReplicas++
		}
		if available(p, minReady, now) {
			s.AvailableReplicas++
		}
	}
	s.TerminatingReplicas = &terminating
	s.Conditions = replicaFailure(s.Conditions, failed, now)
	return s
}

// replicaFailure sets or drops the condition ReplicaFailure.
func replicaFailure(conds []appsv1.ReplicaSetCondition, failed error, now time.Time) []appsv1.ReplicaSetCondition {
	var out []appsv1.ReplicaSetCondition
	since := metav1.NewTime(now)
	for _, c := range conds {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			out = append(out, c)
		} else if c.Status == corev1.ConditionTrue {
			since = c.LastTransitionTime
		}
	}
	if failed != nil {
		out = append(out, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			LastTransitionTime: since, Reason: "FailedCreate", Message: failed.Error(),
		})
	}
	return out
}

func hasAll(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// look reads a ReplicaSet and its pods; rs is nil when there is nothing to do.
func (r *replicaSets) look(ctx context.Context, from client.Reader, req ctrl.Request) (*appsv1.ReplicaSet, []*corev1.Pod, replicaPlan, error) {
	rs := &appsv1.ReplicaSet{}
	if err := from.Get(ctx, req.NamespacedName, rs); err != nil {
		return nil, nil, replicaPlan{}, client.IgnoreNotFound(err)
	}
	pods, err := r.podsOf(ctx, from, rs, controllerRef(rs, replicaSetKind), rs.Spec.Selector, nil)
	if err != nil {
		return nil, nil, replicaPlan{}, err
	}
	if rs.DeletionTimestamp != nil {
		return rs, pods, replicaPlan{}, nil
	}
	return rs, pods, planReplicas(int(ptr.Deref(rs.Spec.Replicas, 1)), pods), nil
}

// Reconcile brings one ReplicaSet nearer to what it wants.
func (r *replicaSets) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	rs, pods, plan, err := r.look(ctx, r.Client, req)
	if err == nil && rs != nil && !plan.empty() {
		rs, pods, plan, err = r.look(ctx, r.live, req)
	}
	if err != nil || rs == nil {
		return settle(ctrl.Result{}, err)
	}
	failed := r.act(ctx, rs, plan)
	now := time.Now()
	status := replicaSetStatus(rs, pods, failed, now)
	if !equality.Semantic.DeepEqual(status, rs.Status) {
		rs.Status = status
		if err := r.Status().Update(ctx, rs); err != nil {
			return settle(ctrl.Result{}, err)
		}
	}
	return ctrl.Result{RequeueAfter: nextAvailable(pods, time.Duration(rs.Spec.MinReadySeconds)*time.Second, now)}, failed
}

func (r *replicaSets) act(ctx context.Context, rs *appsv1.ReplicaSet, plan replicaPlan) error {
	for range plan.create {
		p := newPod(&rs.Spec.Template, rs.Namespace, controllerRef(rs, replicaSetKind))
		p.GenerateName = rs.Name + "-"
		if err := r.Create(ctx, p); err != nil {
			r.events.Eventf(rs, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			return fmt.Errorf("create a pod of ReplicaSet %s: %w", rs.Name, err)
		}
		r.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", p.Name)
	}
	for _, p := range plan.remove {
		if err := r.remove(ctx, p); err != nil {
			r.events.Eventf(rs, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
			return fmt.Errorf("delete pod %s of ReplicaSet %s: %w", p.Name, rs.Name, err)
		}
		r.events.Eventf(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", p.Name)
	}
	return nil
}
