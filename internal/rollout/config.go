package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"redstart.dev/redstart/api/v1alpha1"
)

// configs knows what ConfigMaps and Secrets the pods of each Rollout with watchConfig use, as of the last look at it. Two
// watches, of metadata alone and begun with the first such Rollout, tell when one of them changes. Their content is read
// then, and is not kept.
type configs struct {
	// watch begins the watches, once.
	watch func() error

	mu sync.Mutex
	of map[types.NamespacedName]usedConfig
}

// usedConfig is the configuration of the pods of one Rollout.
type usedConfig struct {
	refs []configRef
	// hash is that of the content when the objects were of these versions.
	versions, hash string
}

// configRef is a ConfigMap or Secret of the namespace of a Rollout.
type configRef struct{ kind, name string }

func (c configRef) String() string { return c.kind + " " + c.name }

const (
	configMapKind = "ConfigMap"
	secretKind    = "Secret"
)

// syncTimeout bounds the wait for a watch that has just begun.
const syncTimeout = 20 * time.Second

func newConfigs(watch func() error) *configs {
	return &configs{watch: sync.OnceValue(watch), of: map[types.NamespacedName]usedConfig{}}
}

func (c *configs) get(key types.NamespacedName) usedConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[key]
}

func (c *configs) set(key types.NamespacedName, used usedConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[key] = used
}

func (c *configs) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, key)
}

// rolloutsWith are those whose pods use an object.
func (c *configs) rolloutsWith(_ context.Context, o *metav1.PartialObjectMetadata) []ctrl.Request {
	ref := configRef{o.Kind, o.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []ctrl.Request
	for key, used := range c.of {
		if key.Namespace == o.Namespace && slices.Contains(used.refs, ref) {
			out = append(out, ctrl.Request{NamespacedName: key})
		}
	}
	return out
}

// onlyVersion takes off the metadata of an object what nobody asks for: in an annotation kubectl keeps all of the content.
func onlyVersion(o any) (any, error) {
	if m, ok := o.(*metav1.PartialObjectMetadata); ok {
		m.ObjectMeta = metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	}
	return o, nil
}

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return m
}

// watchConfigs wakes a controller for the Rollouts whose pods use what was changed.
func (r *reconciler) watchConfigs(c controller.Controller, from cache.Cache) error {
	for _, kind := range []string{configMapKind, secretKind} {
		changed := source.Kind(from, metadataOf(kind), handler.TypedEnqueueRequestsFromMapFunc(r.config.rolloutsWith),
			predicate.TypedResourceVersionChangedPredicate[*metav1.PartialObjectMetadata]{})
		if err := c.Watch(changed); err != nil {
			return fmt.Errorf("watch every %s: %w", kind, err)
		}
	}
	return nil
}

// followConfig makes a change of a ConfigMap or Secret that the pods use a change of the template, if that is asked for. The
// workload is held, so that this is a new version like any other.
func (r *reconciler) followConfig(ctx context.Context, ro *v1alpha1.Rollout, w workload) error {
	if !ro.Spec.WatchConfig {
		r.config.forget(client.ObjectKeyFromObject(ro))
		return nil
	}
	if ro.Status.StableRevision == "" {
		return nil
	}
	hash, err := r.configHash(ctx, client.ObjectKeyFromObject(ro), &w.template().Spec)
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

// configHash is a hash of the content of all ConfigMaps and Secrets that a pod refers to. Those that are absent count as
// empty. While they are of the versions of the last time it is known, and nothing is asked of the API server.
func (r *reconciler) configHash(ctx context.Context, key types.NamespacedName, pod *corev1.PodSpec) (string, error) {
	if err := r.config.watch(); err != nil {
		return "", err
	}
	used := r.config.get(key)
	refs := configOf(pod)
	// Whoever changes one of them from here on wakes us.
	r.config.set(key, usedConfig{refs, used.versions, used.hash})
	versions, err := r.versions(ctx, key.Namespace, refs)
	if err != nil {
		return "", err
	}
	if used.versions == versions && used.hash != "" {
		return used.hash, nil
	}
	content := map[string]any{}
	for _, ref := range refs {
		if content[strings.ToLower(ref.kind)+"/"+ref.name], err = r.contentOf(ctx, key.Namespace, ref); err != nil {
			return "", fmt.Errorf("read %s: %w", ref, err)
		}
	}
	b, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode the configuration of the pods: %w", err)
	}
	hash := shortHash(b)
	r.config.set(key, usedConfig{refs, versions, hash})
	return hash, nil
}

// versions are those of ConfigMaps and Secrets as the watches last saw them.
func (r *reconciler) versions(ctx context.Context, namespace string, refs []configRef) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	var all strings.Builder
	for _, ref := range refs {
		m := metadataOf(ref.kind)
		if err := r.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.name}, m); client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("look for the version of %s: %w", ref, err)
		}
		fmt.Fprintf(&all, "%s %s %s\n", ref, m.UID, m.ResourceVersion)
	}
	return all.String(), nil
}

// contentOf is what a ConfigMap or Secret holds.
func (r *reconciler) contentOf(ctx context.Context, namespace string, ref configRef) (any, error) {
	key := client.ObjectKey{Namespace: namespace, Name: ref.name}
	if ref.kind == secretKind {
		s := &corev1.Secret{}
		err := r.live.Get(ctx, key, s)
		return s.Data, client.IgnoreNotFound(err)
	}
	cm := &corev1.ConfigMap{}
	err := r.live.Get(ctx, key, cm)
	return []any{cm.Data, cm.BinaryData}, client.IgnoreNotFound(err)
}

// configOf are the ConfigMaps and Secrets that a pod uses as volumes and in its environment, each once and in order.
func configOf(pod *corev1.PodSpec) []configRef {
	var refs []configRef
	add := func(kind, name string) { refs = append(refs, configRef{kind, name}) }
	for _, v := range pod.Volumes {
		if v.ConfigMap != nil {
			add(configMapKind, v.ConfigMap.Name)
		}
		if v.Secret != nil {
			add(secretKind, v.Secret.SecretName)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				add(configMapKind, s.ConfigMap.Name)
			}
			if s.Secret != nil {
				add(secretKind, s.Secret.Name)
			}
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				add(configMapKind, e.ConfigMapRef.Name)
			}
			if e.SecretRef != nil {
				add(secretKind, e.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
				add(configMapKind, e.ValueFrom.ConfigMapKeyRef.Name)
			}
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				add(secretKind, e.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	slices.SortFunc(refs, func(a, b configRef) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) })
	return slices.Compact(refs)
}
