package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// followConfig makes a change of a ConfigMap or Secret that the pods use a change of the template, if that is asked for. The
// workload is held, so that this is a new version like any other.
func (r *reconciler) followConfig(ctx context.Context, ro *v1alpha1.Rollout, w workload) error {
	if !ro.Spec.WatchConfig || ro.Status.StableRevision == "" {
		return nil
	}
	hash, err := r.configHash(ctx, ro.Namespace, &w.template().Spec)
	if err != nil {
		return err
	}
	was := ro.Status.ConfigHash
	ro.Status.ConfigHash = hash
	if was == "" || was == hash || ro.Status.Phase == v1alpha1.RolloutWaiting || ro.Status.Phase == v1alpha1.RolloutDisabled {
		return nil
	}
	t := w.template()
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[v1alpha1.AnnotationConfigHash] = hash
	if err := r.client.Update(ctx, w.object(), client.FieldOwner(name)); err != nil {
		return fmt.Errorf("note the change of a ConfigMap or Secret at %s: %w", w.object().GetName(), err)
	}
	r.events.Event(ro, corev1.EventTypeNormal, "ConfigChanged", "a ConfigMap or Secret that the pods use was changed")
	return nil
}

// configHash is a hash of all ConfigMaps and Secrets that a pod refers to. Those that are absent count as empty.
func (r *reconciler) configHash(ctx context.Context, namespace string, pod *corev1.PodSpec) (string, error) {
	configMaps, secrets := configOf(pod)
	content := map[string]any{}
	for _, n := range slices.Sorted(maps.Keys(configMaps)) {
		cm := &corev1.ConfigMap{}
		if err := r.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: n}, cm); client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("read ConfigMap %s: %w", n, err)
		}
		content["configmap/"+n] = []any{cm.Data, cm.BinaryData}
	}
	for _, n := range slices.Sorted(maps.Keys(secrets)) {
		s := &corev1.Secret{}
		if err := r.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: n}, s); client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("read Secret %s: %w", n, err)
		}
		content["secret/"+n] = s.Data
	}
	b, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode the configuration of the pods: %w", err)
	}
	return shortHash(b), nil
}

// configOf are the names of the ConfigMaps and Secrets that a pod uses as volumes and in its environment.
func configOf(pod *corev1.PodSpec) (configMaps, secrets map[string]bool) {
	configMaps, secrets = map[string]bool{}, map[string]bool{}
	for _, v := range pod.Volumes {
		if v.ConfigMap != nil {
			configMaps[v.ConfigMap.Name] = true
		}
		if v.Secret != nil {
			secrets[v.Secret.SecretName] = true
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				configMaps[s.ConfigMap.Name] = true
			}
			if s.Secret != nil {
				secrets[s.Secret.Name] = true
			}
		}
	}
	for _, c := range append(slices.Clone(pod.InitContainers), pod.Containers...) {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				configMaps[e.ConfigMapRef.Name] = true
			}
			if e.SecretRef != nil {
				secrets[e.SecretRef.Name] = true
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
				configMaps[e.ValueFrom.ConfigMapKeyRef.Name] = true
			}
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				secrets[e.ValueFrom.SecretKeyRef.Name] = true
			}
		}
	}
	return configMaps, secrets
}
