package operator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// prune deletes the Services and NetworkPolicies of a Redis that are no longer among the wanted objects: those of an
// older spec. Nothing else that a Redis has can cease to be wanted while it lives.
func (c *redisController) prune(ctx context.Context, r *v1alpha1.Redis, wanted []client.Object) error {
	keep := map[string]bool{}
	for _, o := range wanted {
		keep[fmt.Sprintf("%T/%s", o, o.GetName())] = true
	}
	for _, list := range []client.ObjectList{&corev1.ServiceList{}, &networkingv1.NetworkPolicyList{}} {
		err := c.applier.client.List(ctx, list, client.InNamespace(r.Namespace), client.MatchingLabels{v1alpha1.LabelName: r.Name})
		if err != nil {
			return fmt.Errorf("list the objects of Redis %s: %w", r.Name, err)
		}
		err = meta.EachListItem(list, func(item runtime.Object) error {
			o, ok := item.(client.Object)
			if !ok || keep[fmt.Sprintf("%T/%s", o, o.GetName())] || o.GetDeletionTimestamp() != nil {
				return nil
			}
			if owner := metav1.GetControllerOf(o); owner == nil || owner.UID != r.UID {
				return nil
			}
			uid := o.GetUID()
			err := c.applier.client.Delete(ctx, o, client.Preconditions{UID: &uid})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("delete %s, which is no longer wanted: %w", o.GetName(), err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
