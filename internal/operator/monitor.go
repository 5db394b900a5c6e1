package operator

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

const (
	// monitorEvery is how often a PodMonitor is applied although nothing changed: nobody watches it, since the kind may
	// come and go.
	monitorEvery = 10 * time.Minute
	// kindEvery is how often a kind that is not there is looked for.
	kindEvery = 2 * time.Minute
)

// kindCheck remembers for a while that the cluster has not got a kind: looking costs requests. It is safe for concurrent use.
type kindCheck struct {
	mu     sync.Mutex
	absent time.Time
}

// known tells whether the cluster has a kind.
func (k *kindCheck) known(m meta.RESTMapper, kind schema.GroupVersionKind, now time.Time) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.absent.IsZero() && now.Sub(k.absent) < kindEvery {
		return false, nil
	}
	k.absent = time.Time{}
	_, err := m.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		k.absent = now
		return false, nil
	}
	return err == nil, err
}

// podMonitor makes, or removes, the PodMonitor of a Redis. That it cannot be made is no error: it is why the field is not served.
func (c *redisController) podMonitor(ctx context.Context, r *v1alpha1.Redis, mem *memory) ([]unserved, error) {
	wanted, err := objects.PodMonitor(r)
	if err != nil {
		return nil, fmt.Errorf("build the PodMonitor: %w", err)
	}
	const none = "none"
	if wanted == nil && mem.monitor == none {
		return nil, nil
	}
	not := func(why string) ([]unserved, error) {
		if wanted == nil {
			mem.monitor = none
			return nil, nil
		}
		return []unserved{{"spec.metrics.podMonitor", v1alpha1.ReasonNoPodMonitor, why}}, nil
	}
	known, err := c.monitors.known(c.applier.client.RESTMapper(), objects.PodMonitorKind, c.now())
	if err != nil {
		return nil, fmt.Errorf("look for the kind PodMonitor: %w", err)
	}
	if !known {
		return not("the cluster has no kind PodMonitor (monitoring.coreos.com/v1); install the Prometheus operator, or remove the field")
	}
	if wanted == nil {
		err = c.removeMonitor(ctx, r)
		if err == nil {
			mem.monitor = none
		}
	} else {
		err = c.applyMonitor(ctx, r, wanted, mem)
	}
	switch {
	case apierrors.IsForbidden(err):
		return not("the operator may not manage PodMonitors: " + err.Error())
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil, nil
	}
	return nil, err
}

func (c *redisController) applyMonitor(ctx context.Context, r *v1alpha1.Redis, wanted *unstructured.Unstructured, mem *memory) error {
	want, err := toApply(wanted)
	if err != nil {
		return fmt.Errorf("encode the PodMonitor: %w", err)
	}
	hash := want.GetAnnotations()[annotationApplied]
	if mem.monitor == hash && c.now().Sub(mem.monitorAt) < monitorEvery {
		return nil
	}
	live, err := c.liveMonitor(ctx, r)
	if err != nil {
		return err
	}
	if live != nil {
		if err := checkOwner(r, "PodMonitor", live); err != nil {
			return err
		}
	}
	if err := c.applier.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), client.FieldOwner(name), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply PodMonitor %s: %w", r.Name, err)
	}
	mem.monitor, mem.monitorAt = hash, c.now()
	return nil
}

func (c *redisController) removeMonitor(ctx context.Context, r *v1alpha1.Redis) error {
	live, err := c.liveMonitor(ctx, r)
	if err != nil || live == nil || checkOwner(r, "PodMonitor", live) != nil {
		return err
	}
	uid := live.GetUID()
	if err := c.applier.client.Delete(ctx, live, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete PodMonitor %s: %w", r.Name, err)
	}
	return nil
}

// liveMonitor reads past the cache, which would need a watch; nil when there is none.
func (c *redisController) liveMonitor(ctx context.Context, r *v1alpha1.Redis) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(objects.PodMonitorKind)
	err := c.applier.direct.Get(ctx, client.ObjectKeyFromObject(r), live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read PodMonitor %s: %w", r.Name, err)
	}
	return live, nil
}
