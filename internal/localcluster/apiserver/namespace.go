package apiserver

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
)

// A namespace goes in two steps, as on Kubernetes: DELETE marks it as terminating, a controller empties it, and
// /finalize, which takes the finalizer out of the spec, ends it.

func prepareNamespace(n, old *corev1.Namespace) {
	if old.UID != "" {
		n.Spec.Finalizers = old.Spec.Finalizers
		return
	}
	n.Status.Phase = corev1.NamespaceActive
	n.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
}

// namespaceREST deletes a namespace only when it is empty.
type namespaceREST struct{ registryREST }

func (r namespaceREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc,
	options *metav1.DeleteOptions,
) (runtime.Object, bool, error) {
	if slices.Contains(givenNamespaces, name) {
		return nil, false, apierrors.NewForbidden(namespaces, name, errors.New("this namespace may not be deleted"))
	}
	obj, err := r.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	ns := obj.(*corev1.Namespace)
	if len(ns.Spec.Finalizers) == 0 {
		return r.Store.Delete(ctx, name, validate, options)
	}
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	key, err := r.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	var pre storage.Preconditions
	if options.Preconditions != nil {
		pre = storage.Preconditions{UID: options.Preconditions.UID, ResourceVersion: options.Preconditions.ResourceVersion}
	}
	mark := storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
		ns := in.(*corev1.Namespace)
		if validate != nil {
			if err := validate(ctx, ns.DeepCopy()); err != nil {
				return nil, err
			}
		}
		if ns.DeletionTimestamp == nil {
			now, none := metav1.NewTime(time.Now()), int64(0)
			ns.DeletionTimestamp, ns.DeletionGracePeriodSeconds = &now, &none
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		return ns, nil
	})
	out := r.New()
	err = r.Storage.GuaranteedUpdate(ctx, key, out, false, &pre, mark, len(options.DryRun) > 0, nil)
	if err != nil {
		return nil, false, storeerr.InterpretUpdateError(err, namespaces, name)
	}
	return out, false, nil
}

// DeleteCollection is not served for namespaces, on Kubernetes neither.
func (namespaceREST) DeleteCollection(context.Context, rest.ValidateObjectFunc, *metav1.DeleteOptions,
	*metainternalversion.ListOptions,
) (runtime.Object, error) {
	return nil, apierrors.NewMethodNotSupported(namespaces, "deletecollection")
}

// finalizeREST is namespaces/finalize.
type finalizeREST struct{ store *genericregistry.Store }

func (r finalizeREST) New() runtime.Object { return r.store.New() }
func (r finalizeREST) Destroy()            {}

func (r finalizeREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	validate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, rest.ValidateAllObjectFunc, validate, false, options)
}

// finalizeStrategy changes the finalizers of the spec alone.
type finalizeStrategy struct{ strategy }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	asked := obj.(*corev1.Namespace)
	kept := old.(*corev1.Namespace).DeepCopy()
	kept.Spec.Finalizers, kept.ResourceVersion = asked.Spec.Finalizers, asked.ResourceVersion
	*asked = *kept
}

func (finalizeStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

// namespaceEmpty lets a namespace go when its finalizers are gone.
func namespaceEmpty(_ context.Context, _ string, obj, _ runtime.Object) bool {
	return len(obj.(*corev1.Namespace).Spec.Finalizers) == 0
}
