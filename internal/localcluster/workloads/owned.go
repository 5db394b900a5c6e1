package workloads

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// controllerRef is the reference by which owner controls what it makes.
func controllerRef(owner metav1.Object, gvk schema.GroupVersionKind) *metav1.OwnerReference {
	return metav1.NewControllerRef(owner, gvk)
}

// claim tells what to do with an object of the kind that an owner makes.
type claim int

const (
	claimNothing claim = iota // not ours
	claimKeep                 // ours
	claimAdopt                // nobody's, and fits: becomes ours
	claimRelease              // ours, but its labels no longer fit: becomes nobody's
)

// claimOf decides on obj: by its controller and by whether it fits the owner (selector, and for a StatefulSet the name).
func claimOf(owner, obj metav1.Object, fits bool) claim {
	c := metav1.GetControllerOf(obj)
	switch {
	case c == nil && fits && obj.GetDeletionTimestamp() == nil && owner.GetDeletionTimestamp() == nil:
		return claimAdopt
	case c == nil || c.UID != owner.GetUID():
		return claimNothing
	case fits:
		return claimKeep
	case obj.GetDeletionTimestamp() == nil && owner.GetDeletionTimestamp() == nil:
		return claimRelease
	}
	return claimNothing
}

// claimAll returns those of objs that owner controls, after adopting those that fit and have no controller and
// releasing those that do not fit any more.
func claimAll[T client.Object](ctx context.Context, c client.Client, owner client.Object, ref *metav1.OwnerReference, objs []T, fits func(T) bool) ([]T, error) {
	var mine []T
	for _, o := range objs {
		switch claimOf(owner, o, fits(o)) {
		case claimKeep:
			mine = append(mine, o)
		case claimAdopt:
			if err := patchOwners(ctx, c, o, func(refs []metav1.OwnerReference) []metav1.OwnerReference { return append(refs, *ref) }); err != nil {
				return nil, fmt.Errorf("adopt %s: %w", o.GetName(), err)
			}
			mine = append(mine, o)
		case claimRelease:
			if err := patchOwners(ctx, c, o, without(owner)); err != nil {
				return nil, fmt.Errorf("release %s: %w", o.GetName(), err)
			}
		}
	}
	return mine, nil
}

// without drops the references to owner.
func without(owner metav1.Object) func([]metav1.OwnerReference) []metav1.OwnerReference {
	return func(refs []metav1.OwnerReference) []metav1.OwnerReference {
		return slices.DeleteFunc(refs, func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() })
	}
}

// patchOwners changes the owner references of o, and fails with a conflict if o changed in the meantime.
func patchOwners(ctx context.Context, c client.Client, o client.Object, change func([]metav1.OwnerReference) []metav1.OwnerReference) error {
	before, ok := o.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", o)
	}
	o.SetOwnerReferences(change(slices.Clone(o.GetOwnerReferences())))
	return c.Patch(ctx, o, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// podsOf lists the pods that owner controls and selects, adopting and releasing on the way.
func (b *base) podsOf(ctx context.Context, r client.Reader, owner client.Object, ref *metav1.OwnerReference, sel *metav1.LabelSelector, fits func(*corev1.Pod) bool) ([]*corev1.Pod, error) {
	s, err := metav1.LabelSelectorAsSelector(sel)
	if err != nil {
		return nil, fmt.Errorf("selector of %s: %w", owner.GetName(), err)
	}
	var l corev1.PodList
	if err := r.List(ctx, &l, client.InNamespace(owner.GetNamespace())); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	pods := make([]*corev1.Pod, len(l.Items))
	for i := range l.Items {
		pods[i] = &l.Items[i]
	}
	return claimAll(ctx, b.Client, owner, ref, pods, func(p *corev1.Pod) bool {
		return s.Matches(labels.Set(p.Labels)) && (fits == nil || fits(p))
	})
}
