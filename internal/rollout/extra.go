package rollout

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// extraLabels select the pods of the second workload of a Rollout.
func extraLabels(ro *v1alpha1.Rollout) map[string]string {
	return map[string]string{v1alpha1.LabelTrack: v1alpha1.TrackCanary, v1alpha1.LabelRollout: ro.Name}
}

// getExtra reads the second workload; nil if there is none.
func (r *reconciler) getExtra(ctx context.Context, ro *v1alpha1.Rollout) (*appsv1.Deployment, error) {
	d := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: ro.Namespace, Name: v1alpha1.CanaryName(ro.Spec.WorkloadRef.Name)}
	err := r.live.Get(ctx, key, d)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Deployment %s: %w", key.Name, err)
	}
	if !metav1.IsControlledBy(d, ro) {
		return nil, blockedError{v1alpha1.ReasonNameTaken, fmt.Sprintf("Deployment %s exists and does not belong to this Rollout; rename or delete it", key.Name)}
	}
	return d, nil
}

func (r *reconciler) observeExtra(ctx context.Context, ro *v1alpha1.Rollout) (machine.Extra, error) {
	var x machine.Extra
	if ro.Spec.WorkloadRef.Kind != "Deployment" || ro.Status.Phase == "" {
		return x, nil
	}
	d, err := r.getExtra(ctx, ro)
	if err != nil {
		return x, err
	}
	if d == nil && ro.Status.CanaryRevision == "" {
		return x, nil
	}
	// Pods outlive their Deployment, and serve until they are told to stop.
	pods, err := podsOf(ctx, r.live, ro.Namespace, &metav1.LabelSelector{MatchLabels: extraLabels(ro)})
	if err != nil {
		return x, err
	}
	for i := range pods {
		if pods[i].DeletionTimestamp == nil {
			x.Exists = true
			x.Pods.Pods++
		}
		if podReady(&pods[i]) {
			x.Ready++
		}
	}
	if d != nil {
		x.Exists, x.Revision, x.Size = true, d.Annotations[annotationRevision], ptr.Deref(d.Spec.Replicas, 1)
	}
	if x.Ready < x.Pods.Pods {
		x.Problem = problemOf(pods)
	}
	return x, nil
}

// applyExtra makes, resizes or deletes the second workload.
func (r *reconciler) applyExtra(ctx context.Context, ro *v1alpha1.Rollout, w workload, kept *revisions, o machine.Observation, d machine.Desired) error {
	if !o.Extra.Exists && d.Extra == nil {
		return nil
	}
	have, err := r.getExtra(ctx, ro)
	if err != nil {
		return err
	}
	if d.Extra == nil {
		if have == nil {
			return nil
		}
		if err := r.client.Delete(ctx, have, client.PropagationPolicy(metav1.DeletePropagationBackground)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Deployment %s: %w", have.Name, err)
		}
		return nil
	}
	if have != nil {
		before := have.DeepCopy()
		have.Spec.Replicas = d.Extra
		if equality.Semantic.DeepEqual(before, have) {
			return nil
		}
		if err := r.client.Update(ctx, have, client.FieldOwner(name)); err != nil {
			return fmt.Errorf("resize Deployment %s: %w", have.Name, err)
		}
		return nil
	}
	stable, ok := w.(*deployment)
	if !ok {
		return nil // the workload is gone
	}
	template, err := kept.template(ctx, ro.Status.CanaryRevision)
	if err != nil {
		return err
	}
	if template == nil {
		return blockedError{v1alpha1.ReasonRevisionMissing, fmt.Sprintf("the template of revision %s is not kept any more", ro.Status.CanaryRevision)}
	}
	made := extraDeployment(ro, stable.d, template, *d.Extra)
	if err := r.client.Create(ctx, made, client.FieldOwner(name)); err != nil {
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return blockedError{v1alpha1.ReasonApplyFailed, fmt.Sprintf("the cluster refuses Deployment %s: %v", made.Name, err)}
		}
		return fmt.Errorf("create Deployment %s: %w", made.Name, err)
	}
	return nil
}

// extraDeployment is the second workload: the stable one with another template, and labels that tell its pods apart.
func extraDeployment(ro *v1alpha1.Rollout, stable *appsv1.Deployment, template *corev1.PodTemplateSpec, size int32) *appsv1.Deployment {
	template = template.DeepCopy()
	labels := extraLabels(ro)
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	if template.Annotations == nil {
		template.Annotations = map[string]string{}
	}
	if _, use := ro.Spec.Strategy.Use(); use != nil && use.PatchPodTemplateMetadata != nil {
		maps.Copy(template.Labels, use.PatchPodTemplateMetadata.Labels)
		maps.Copy(template.Annotations, use.PatchPodTemplateMetadata.Annotations)
	}
	maps.Copy(template.Labels, labels)
	selector := stable.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	maps.Copy(selector.MatchLabels, labels)
	maps.Copy(template.Labels, selector.MatchLabels)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name: v1alpha1.CanaryName(stable.Name), Namespace: stable.Namespace, OwnerReferences: ownedBy(ro),
			Labels: labels, Annotations: map[string]string{annotationRevision: ro.Status.CanaryRevision},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &size, Selector: selector, Template: *template, MinReadySeconds: stable.Spec.MinReadySeconds,
			RevisionHistoryLimit: ptr.To(int32(0)),
		},
	}
}
