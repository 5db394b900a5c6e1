package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// notYet stands for the label of pods that the cluster has not given one yet: it selects none.
const notYet = "none"

// pinLabel is what a Service selects besides, so that it selects the pods of one version alone.
func pinLabel(ro *v1alpha1.Rollout) string {
	if ro.Spec.WorkloadRef.Kind == "Deployment" {
		return appsv1.DefaultDeploymentUniqueLabelKey
	}
	return appsv1.ControllerRevisionHashLabelKey
}

// applyServices pins the Services of the workload to the stable version, and makes those of the new one; or undoes both.
// The decision that ends a release forgets its routings, of which o still knows.
func (r *reconciler) applyServices(ctx context.Context, ro *v1alpha1.Rollout, o machine.Observation, d machine.Desired) error {
	routings := ro.Status.TrafficRoutings
	if len(routings) == 0 {
		routings = o.Status.TrafficRoutings
	}
	for _, t := range routings {
		svc := &corev1.Service{}
		err := r.live.Get(ctx, client.ObjectKey{Namespace: ro.Namespace, Name: t.Service}, svc)
		if apierrors.IsNotFound(err) {
			if !d.Pinned {
				continue
			}
			return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("Service %s does not exist; create it, or correct trafficRoutings", t.Service)}
		}
		if err != nil {
			return fmt.Errorf("read Service %s: %w", t.Service, err)
		}
		if err := r.pin(ctx, ro, svc, d.Pinned); err != nil {
			return err
		}
		if err := r.applyCanaryService(ctx, ro, svc, d.CanaryService); err != nil {
			return err
		}
	}
	return nil
}

// pin makes a Service select the pods of the stable version alone, or all again.
func (r *reconciler) pin(ctx context.Context, ro *v1alpha1.Rollout, svc *corev1.Service, pinned bool) error {
	ours := svc.Annotations[v1alpha1.AnnotationHeldBy] == ro.Name
	label := pinLabel(ro)
	is, selected := svc.Spec.Selector[label]
	if pinned && len(svc.Spec.Selector) == 0 {
		return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("Service %s has no selector; name a Service that selects the pods of the workload", svc.Name)}
	}
	var hash, holder any
	switch {
	case pinned && selected && !ours:
		return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("Service %s selects %s already; remove it from the selector", svc.Name, label)}
	case pinned && (!ours || is != ro.Status.StablePodHash):
		hash, holder = ro.Status.StablePodHash, ro.Name
	case pinned || !ours:
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{v1alpha1.AnnotationHeldBy: holder}, "resourceVersion": svc.ResourceVersion},
		"spec":     map[string]any{"selector": map[string]any{label: hash}},
	})
	if err != nil {
		return fmt.Errorf("encode a patch: %w", err)
	}
	if err := r.client.Patch(ctx, svc, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner(name)); err != nil {
		return fmt.Errorf("change the selector of Service %s: %w", svc.Name, err)
	}
	return nil
}

func (r *reconciler) applyCanaryService(ctx context.Context, ro *v1alpha1.Rollout, stable *corev1.Service, wanted bool) error {
	have := &corev1.Service{}
	key := client.ObjectKey{Namespace: ro.Namespace, Name: v1alpha1.CanaryName(stable.Name)}
	err := r.live.Get(ctx, key, have)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return fmt.Errorf("read Service %s: %w", key.Name, err)
	case err != nil && !wanted:
		return nil
	case err == nil && !metav1.IsControlledBy(have, ro):
		if !wanted {
			return nil
		}
		return blockedError{v1alpha1.ReasonNameTaken, fmt.Sprintf("Service %s exists and does not belong to this Rollout; rename or delete it", key.Name)}
	case err == nil && !wanted:
		if err := r.client.Delete(ctx, have); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Service %s: %w", key.Name, err)
		}
		return nil
	case err == nil:
		want := canaryService(ro, stable).Spec.Selector
		if maps.Equal(want, have.Spec.Selector) {
			return nil
		}
		have.Spec.Selector = want
		if err := r.client.Update(ctx, have, client.FieldOwner(name)); err != nil {
			return fmt.Errorf("change the selector of Service %s: %w", key.Name, err)
		}
		return nil
	}
	if err := r.client.Create(ctx, canaryService(ro, stable), client.FieldOwner(name)); err != nil {
		return fmt.Errorf("create Service %s: %w", key.Name, err)
	}
	return nil
}

// canaryService is the Service of the new version: that of the workload, for the pods of the second one, or for those that
// were replaced in place.
func canaryService(ro *v1alpha1.Rollout, stable *corev1.Service) *corev1.Service {
	selector := maps.Clone(stable.Spec.Selector)
	delete(selector, pinLabel(ro))
	if ro.Status.Strategy == v1alpha1.StrategyPartition {
		selector[pinLabel(ro)] = cmp.Or(ro.Status.CanaryPodHash, notYet)
	} else {
		maps.Copy(selector, extraLabels(ro))
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: v1alpha1.CanaryName(stable.Name), Namespace: stable.Namespace, OwnerReferences: ownedBy(ro),
			Labels: map[string]string{v1alpha1.LabelRollout: ro.Name},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: selector, SessionAffinity: stable.Spec.SessionAffinity,
			SessionAffinityConfig: stable.Spec.SessionAffinityConfig.DeepCopy(), InternalTrafficPolicy: stable.Spec.InternalTrafficPolicy,
		},
	}
	if stable.Spec.ClusterIP == corev1.ClusterIPNone {
		s.Spec.ClusterIP = corev1.ClusterIPNone
	}
	for _, p := range stable.Spec.Ports {
		p.NodePort = 0
		s.Spec.Ports = append(s.Spec.Ports, p)
	}
	return s
}
