package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

// growAgain is how long after a refusal the API server is asked again to enlarge a claim: its class may allow it by then.
const growAgain = 5 * time.Minute

// claims are those of the members, by ordinal or not: the order does not matter.
func (c *redisController) claims(ctx context.Context, r *v1alpha1.Redis) ([]corev1.PersistentVolumeClaim, error) {
	var list corev1.PersistentVolumeClaimList
	err := c.applier.client.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingLabels(objects.Selector(r, v1alpha1.ComponentMember)))
	if err != nil {
		return nil, fmt.Errorf("list the claims of Redis %s: %w", r.Name, err)
	}
	// By ordinal, and not as the cache has them, which is another way each time: they are named in the status.
	slices.SortFunc(list.Items, func(a, b corev1.PersistentVolumeClaim) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	return list.Items, nil
}

// grow takes the next step towards a larger storage, but for the last one, which waits until nothing else goes on.
func (c *redisController) grow(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, live *appsv1.StatefulSet) (growth, error) {
	if live == nil || r.Spec.Storage == nil || r.Spec.Storage.Size == nil {
		return growth{}, nil
	}
	claims, err := c.claims(ctx, r)
	if err != nil {
		return growth{}, err
	}
	g := nextGrowth(r, live, claims)
	o.storageSize = g.has
	if len(g.enlarge) == 0 {
		mem.growthRefused = ""
		return g, nil
	}
	return g, c.enlarge(ctx, r, mem, g)
}

// enlarge asks for more storage. Whether a class allows it is the API server's to say: a refusal is remembered and
// told, and the Redis goes on with what it has.
func (c *redisController) enlarge(ctx context.Context, r *v1alpha1.Redis, mem *memory, g growth) error {
	if mem.growthRefused != "" && mem.growthSize == g.size.String() && c.now().Sub(mem.growthAsked) < growAgain {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{
		"requests": map[string]any{string(corev1.ResourceStorage): g.size.String()},
	}}})
	if err != nil {
		return fmt.Errorf("encode the size of a claim: %w", err)
	}
	mem.growthRefused, mem.growthSize, mem.growthAsked = "", g.size.String(), c.now()
	for _, name := range g.enlarge {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: r.Namespace}}
		err := c.applier.client.Patch(ctx, claim, client.RawPatch(types.MergePatchType, patch))
		switch {
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
			mem.growthRefused = fmt.Sprintf("the API server refuses to enlarge PersistentVolumeClaim %s to %s (%s); the members keep what they have: write %s to leave it so",
				name, g.size.String(), shortReason(err), g.has.String())
			return nil
		case err != nil && !apierrors.IsNotFound(err):
			return fmt.Errorf("enlarge claim %s: %w", name, err)
		}
	}
	c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventStorageGrown, "asked for %s for each of %d claims", g.size.String(), len(g.enlarge))
	return nil
}

// shortReason is what an API server said without the name of the object, which the message has already.
func shortReason(err error) string {
	if s := apierrors.APIStatus(nil); errors.As(err, &s) && s.Status().Details != nil {
		for _, cause := range s.Status().Details.Causes {
			if cause.Message != "" {
				return cause.Message
			}
		}
	}
	return err.Error()
}

// remake deletes the StatefulSet of the members and leaves its pods; applyAll makes it anew.
func (c *redisController) remake(ctx context.Context, set *appsv1.StatefulSet) error {
	err := c.applier.client.Delete(ctx, set, client.PropagationPolicy(metav1.DeletePropagationOrphan),
		client.Preconditions{UID: &set.UID, ResourceVersion: &set.ResourceVersion})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("make StatefulSet %s anew: %w", set.Name, err)
	}
	return nil
}
