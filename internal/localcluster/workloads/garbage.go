package workloads

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// indexOwner is the index of all kinds by the UIDs of their owners.
const indexOwner = "metadata.ownerReferences.uid"

// collector deletes objects whose owners are gone, and works off the deletion policies Foreground and Orphan.
type collector struct {
	base
	kinds []served
}

// garbage is an object to judge.
type garbage struct {
	gvk schema.GroupVersionKind
	key types.NamespacedName
}

func (r *collector) setup(mgr ctrl.Manager) error {
	kinds, err := servedKinds(mgr)
	if err != nil {
		return err
	}
	r.kinds = slices.DeleteFunc(kinds, served.isEvent)
	b := builder.TypedControllerManagedBy[garbage](mgr).Named("garbage")
	for _, k := range r.kinds {
		obj, err := k.object(r.scheme)
		if err != nil {
			return err
		}
		// The context bounds the start of an informer; here the cache does not run yet.
		err = mgr.GetFieldIndexer().IndexField(context.Background(), obj, indexOwner, func(o client.Object) []string {
			var uids []string
			for _, ref := range o.GetOwnerReferences() {
				uids = append(uids, string(ref.UID))
			}
			return uids
		})
		if err != nil {
			return fmt.Errorf("index %s by owner: %w", k.gvk.Kind, err)
		}
		b = b.WatchesRawSource(source.TypedKind(mgr.GetCache(), obj, r.handler(k.gvk)))
	}
	return b.Complete(r)
}

// handler asks for a judgement when an object with owners appears, when owners or finalizers change, and on
// dependents and owners of what was deleted.
func (r *collector) handler(gvk schema.GroupVersionKind) handler.TypedEventHandler[client.Object, garbage] {
	type queue = workqueue.TypedRateLimitingInterface[garbage]
	itself := func(o client.Object, q queue) {
		q.Add(garbage{gvk, client.ObjectKeyFromObject(o)})
	}
	return handler.TypedFuncs[client.Object, garbage]{
		CreateFunc: func(_ context.Context, e event.TypedCreateEvent[client.Object], q queue) {
			if len(e.Object.GetOwnerReferences()) > 0 || e.Object.GetDeletionTimestamp() != nil {
				itself(e.Object, q)
			}
		},
		UpdateFunc: func(_ context.Context, e event.TypedUpdateEvent[client.Object], q queue) {
			was, is := e.ObjectOld, e.ObjectNew
			owners := !slices.EqualFunc(was.GetOwnerReferences(), is.GetOwnerReferences(), func(a, b metav1.OwnerReference) bool { return a.UID == b.UID })
			deleted := (was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil)
			if owners || deleted || is.GetDeletionTimestamp() != nil && !slices.Equal(was.GetFinalizers(), is.GetFinalizers()) {
				itself(is, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[client.Object], q queue) {
			deps, err := r.dependents(ctx, r.Client, e.Object)
			if err != nil {
				// The cache has the index of every kind; it fails only while it is being stopped.
				return
			}
			for _, d := range deps {
				q.Add(d.garbage)
			}
			for _, ref := range e.Object.GetOwnerReferences() {
				q.Add(garbage{schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind), types.NamespacedName{Namespace: e.Object.GetNamespace(), Name: ref.Name}})
			}
		},
	}
}

type dependent struct {
	garbage
	obj client.Object
}

// dependents lists the objects that name owner as an owner. From the cache the index finds them; a live reader reads
// everything in the namespace.
func (r *collector) dependents(ctx context.Context, from client.Reader, owner client.Object) ([]dependent, error) {
	var out []dependent
	for _, k := range r.kinds {
		if owner.GetNamespace() != "" && !k.namespaced {
			continue
		}
		l, err := k.list(r.scheme)
		if err != nil {
			return nil, err
		}
		opts := []client.ListOption{client.InNamespace(owner.GetNamespace())}
		if from == client.Reader(r.Client) {
			opts = append(opts, client.MatchingFields{indexOwner: string(owner.GetUID())})
		}
		if err := from.List(ctx, l, opts...); err != nil {
			return nil, fmt.Errorf("list %s: %w", k.gvk.Kind, err)
		}
		err = meta.EachListItem(l, func(o runtime.Object) error {
			obj, ok := o.(client.Object)
			if ok && slices.ContainsFunc(obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == owner.GetUID() }) {
				out = append(out, dependent{garbage{k.gvk, client.ObjectKeyFromObject(obj)}, obj})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.gvk.Kind, err)
		}
	}
	return out, nil
}

// Reconcile judges one object.
func (r *collector) Reconcile(ctx context.Context, g garbage) (ctrl.Result, error) {
	obj, _, err := r.read(ctx, r.live, g.gvk, g.key)
	if err != nil || obj == nil {
		return ctrl.Result{}, err
	}
	switch {
	case obj.GetDeletionTimestamp() == nil:
		err = r.judge(ctx, obj)
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		err = r.orphan(ctx, obj)
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		err = r.foreground(ctx, obj)
	}
	return settle(ctrl.Result{}, err)
}

// read gets an object of a served kind; nil if there is none. known is false for a kind that is not served.
func (r *collector) read(ctx context.Context, from client.Reader, gvk schema.GroupVersionKind, key types.NamespacedName) (obj client.Object, known bool, err error) {
	i := slices.IndexFunc(r.kinds, func(k served) bool { return k.gvk.GroupKind() == gvk.GroupKind() })
	if i < 0 {
		return nil, false, nil
	}
	if !r.kinds[i].namespaced {
		key.Namespace = ""
	}
	if obj, err = r.kinds[i].object(r.scheme); err != nil {
		return nil, true, err
	}
	if err := from.Get(ctx, key, obj); apierrors.IsNotFound(err) {
		return nil, true, nil
	} else if err != nil {
		return nil, true, fmt.Errorf("read %s %s: %w", gvk.Kind, key, err)
	}
	return obj, true, nil
}

// judge deletes obj if none of its owners is left, and drops the references to those that are gone.
func (r *collector) judge(ctx context.Context, obj client.Object) error {
	refs := obj.GetOwnerReferences()
	if len(refs) == 0 {
		return nil
	}
	states := make([]ownerState, len(refs))
	for i, ref := range refs {
		var err error
		if states[i], err = r.stateOf(ctx, ref, obj.GetNamespace()); err != nil {
			return err
		}
	}
	v := judgeOwners(states)
	switch v {
	case keep:
		return nil
	case dropReferences:
		return patchOwners(ctx, r.Client, obj, func(refs []metav1.OwnerReference) []metav1.OwnerReference {
			i := -1
			return slices.DeleteFunc(refs, func(metav1.OwnerReference) bool { i++; return states[i] != ownerThere })
		})
	}
	policy := metav1.DeletePropagationBackground
	if v == deleteForeground {
		policy = metav1.DeletePropagationForeground
	}
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	err := r.Delete(ctx, obj, client.Preconditions{UID: &uid, ResourceVersion: &version}, client.PropagationPolicy(policy))
	return client.IgnoreNotFound(err)
}

// stateOf finds what became of an owner. What the cache does not have may just be new, so the server is asked.
func (r *collector) stateOf(ctx context.Context, ref metav1.OwnerReference, namespace string) (ownerState, error) {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	for _, from := range []client.Reader{r.Client, r.live} {
		owner, known, err := r.read(ctx, from, gvk, types.NamespacedName{Namespace: namespace, Name: ref.Name})
		switch {
		case err != nil:
			return ownerThere, err
		case !known:
			return ownerThere, nil
		case owner == nil || owner.GetUID() != ref.UID:
			continue
		case owner.GetDeletionTimestamp() != nil && slices.Contains(owner.GetFinalizers(), metav1.FinalizerDeleteDependents):
			return ownerWaits, nil
		}
		return ownerThere, nil
	}
	return ownerGone, nil
}

// orphan takes obj off the owners of its dependents and lets it go.
func (r *collector) orphan(ctx context.Context, obj client.Object) error {
	deps, err := r.dependents(ctx, r.live, obj)
	if err != nil {
		return err
	}
	for _, d := range deps {
		if err := patchOwners(ctx, r.Client, d.obj, without(obj)); err != nil {
			return fmt.Errorf("orphan %s %s: %w", d.gvk.Kind, d.key, err)
		}
	}
	return r.dropFinalizer(ctx, obj, metav1.FinalizerOrphanDependents)
}

// foreground deletes the dependents of obj, and lets obj go when none is left that blocks it. The end of each
// dependent brings us back here.
func (r *collector) foreground(ctx context.Context, obj client.Object) error {
	deps, err := r.dependents(ctx, r.live, obj)
	if err != nil {
		return err
	}
	blocked := false
	for _, d := range deps {
		if d.obj.GetDeletionTimestamp() == nil {
			if err := r.judge(ctx, d.obj); err != nil {
				return fmt.Errorf("delete %s %s: %w", d.gvk.Kind, d.key, err)
			}
		}
		blocked = blocked || slices.ContainsFunc(d.obj.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
			return ref.UID == obj.GetUID() && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
		})
	}
	if blocked {
		return nil
	}
	return r.dropFinalizer(ctx, obj, metav1.FinalizerDeleteDependents)
}

func (r *collector) dropFinalizer(ctx context.Context, obj client.Object, name string) error {
	before, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", obj)
	}
	obj.SetFinalizers(slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return f == name }))
	return client.IgnoreNotFound(r.Patch(ctx, obj, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
}

// ownerState is what became of an owner.
type ownerState int

const (
	ownerThere ownerState = iota // exists, or is of a kind that we cannot judge
	ownerWaits                   // is being deleted, and waits for its dependents to go first
	ownerGone
)

// verdict on an object by the states of its owners.
type verdict int

const (
	keep verdict = iota
	dropReferences
	deleteBackground
	deleteForeground
)

func judgeOwners(states []ownerState) verdict {
	var n [3]int
	for _, s := range states {
		n[s]++
	}
	switch {
	case n[ownerThere] == len(states):
		return keep
	case n[ownerThere] > 0:
		return dropReferences
	case n[ownerWaits] > 0:
		return deleteForeground
	}
	return deleteBackground
}
