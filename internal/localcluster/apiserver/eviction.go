package apiserver

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// evictionREST is pods/eviction: a deletion that a PodDisruptionBudget may refuse.
// budgets is the registry of their status.
type evictionREST struct{ pods, budgets *genericregistry.Store }

func (r *evictionREST) New() runtime.Object { return &policyv1.Eviction{} }
func (r *evictionREST) Destroy()            {}

func (r *evictionREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// Create evicts the pod named name.
func (r *evictionREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc,
	_ *metav1.CreateOptions,
) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected an Eviction, not a %T", obj))
	}
	if eviction.Name != "" && eviction.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name: expected %q, the pod's name, not %q", name, eviction.Name))
	}
	if validate != nil {
		if err := validate(ctx, eviction.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	found, err := r.pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	options := eviction.DeleteOptions
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	if pod := found.(*corev1.Pod); pod.DeletionTimestamp == nil && len(options.DryRun) == 0 {
		if err := r.spend(ctx, pod); err != nil {
			return nil, err
		}
	}
	if _, _, err := r.pods.Delete(ctx, name, rest.ValidateAllObjectFunc, options); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

// spend takes one disruption from the budget that covers pod, and refuses if there is none left.
func (r *evictionREST) spend(ctx context.Context, pod *corev1.Pod) error {
	list, err := r.budgets.List(ctx, &metainternalversion.ListOptions{})
	if err != nil {
		return err
	}
	return eachItem(list, func(o runtime.Object) error {
		b := o.(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("the selector of PodDisruptionBudget %s: %w", b.Name, err))
		}
		if !selector.Matches(labels.Set(pod.Labels)) || pod.Status.Phase != corev1.PodRunning {
			return nil
		}
		take := func(_ context.Context, _, current runtime.Object) (runtime.Object, error) {
			b := current.(*policyv1.PodDisruptionBudget).DeepCopy()
			if b.Status.DisruptionsAllowed < 1 {
				return nil, apierrors.NewTooManyRequests(fmt.Sprintf("cannot evict pod %s: the PodDisruptionBudget %s needs %d healthy pods and has %d",
					pod.Name, b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy), 0)
			}
			b.Status.DisruptionsAllowed--
			if b.Status.DisruptedPods == nil {
				b.Status.DisruptedPods = map[string]metav1.Time{}
			}
			b.Status.DisruptedPods[pod.Name] = metav1.Now()
			return b, nil
		}
		_, _, err = r.budgets.Update(ctx, b.Name, rest.DefaultUpdatedObjectInfo(nil, take), rest.ValidateAllObjectFunc,
			rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		return err
	})
}
