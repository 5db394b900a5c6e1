package apiserver

import (
	"context"
	"errors"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// registryREST is the registry of a kind with the names that kubectl knows it by.
type registryREST struct {
	*genericregistry.Store
	kind  *kind
	rules strategy
}

func (r registryREST) ShortNames() []string { return r.kind.short }
func (r registryREST) Categories() []string { return r.kind.categories }

// statusREST is /status.
type statusREST struct{ store *genericregistry.Store }

func (r *statusREST) New() runtime.Object { return r.store.New() }
func (r *statusREST) Destroy()            {}

func (r *statusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

func (r *statusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	validate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, rest.ValidateAllObjectFunc, validate, false, options)
}

func (r *statusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

func (r *statusREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}

// scaleREST is /scale.
type scaleREST struct {
	store *genericregistry.Store
	kind  *kind
}

func (r *scaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }
func (r *scaleREST) Destroy()            {}

func (r *scaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

func (r *scaleREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(r.kind.resource()).ConvertToTable(ctx, obj, options)
}

func (r *scaleREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return r.scaleOf(obj), nil
}

func (r *scaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	validate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, scaleInfo{info, r, validate}, rest.ValidateAllObjectFunc,
		rest.ValidateAllObjectUpdateFunc, false, options)
	if err != nil {
		return nil, false, err
	}
	return r.scaleOf(obj), false, nil
}

func (r *scaleREST) scaleOf(obj runtime.Object) *autoscalingv1.Scale {
	m, f := obj.(metav1.Object), r.kind.scale(obj)
	s := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{
		Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
		ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
	}}
	if *f.replicas != nil {
		s.Spec.Replicas = **f.replicas
	}
	s.Status.Replicas, s.Status.Selector = f.current, f.selector
	return s
}

// scaleInfo turns a change of the Scale into one of the object behind it.
type scaleInfo struct {
	rest.UpdatedObjectInfo
	scale    *scaleREST
	validate rest.ValidateObjectUpdateFunc
}

func (i scaleInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	before := i.scale.scaleOf(old)
	// Who scales owns the number of replicas from then on, and nobody else does.
	gv := i.scale.kind.gvk.GroupVersion()
	owners := managedfields.NewScaleHandler(old.(metav1.Object).GetManagedFields(), gv,
		managedfields.ResourcePathMappings{gv.String(): fieldpath.MakePathOrDie("spec", "replicas")})
	var err error
	if before.ManagedFields, err = owners.ToSubresource(); err != nil {
		return nil, err
	}
	obj, err := i.UpdatedObjectInfo.UpdatedObject(ctx, before.DeepCopy())
	if err != nil {
		return nil, err
	}
	after, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, not a %T", obj))
	}
	if after.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), after.Name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), after.Spec.Replicas, "must be 0 or more"),
		})
	}
	if i.validate != nil {
		if err := i.validate(ctx, after.DeepCopy(), before); err != nil {
			return nil, err
		}
	}
	scaled := old.DeepCopyObject()
	*i.scale.kind.scale(scaled).replicas = &after.Spec.Replicas
	m := scaled.(metav1.Object)
	m.SetResourceVersion(after.ResourceVersion)
	fields, err := owners.ToParent(after.ManagedFields)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(fields)
	return scaled, nil
}

// addSubresources mounts what only single kinds have.
func (s *Server) addSubresources(o Options) error {
	ks := s.kinds
	v1 := ks.rest[corev1.SchemeGroupVersion]
	pod := ks.stores[pods]
	budgetStatus, ok := ks.rest[policyv1.SchemeGroupVersion]["poddisruptionbudgets/status"].(*statusREST)
	if !ok {
		return errors.New("the status of PodDisruptionBudgets is not served")
	}
	v1["pods/eviction"] = &evictionREST{pods: pod, budgets: budgetStatus.store}
	if o.Logs != nil {
		v1["pods/log"] = &logREST{pods: pod, source: o.Logs, log: s.log}
	}
	dial := o.Forward
	if dial == nil {
		dial = dialPod
	}
	v1["pods/portforward"] = &portForwardREST{pods: pod, dial: dial, log: s.log}

	ns := ks.stores[namespaces]
	ns.ShouldDeleteDuringUpdate = namespaceEmpty
	plain, ok := v1["namespaces"].(registryREST)
	if !ok {
		return errors.New("namespaces are not served")
	}
	v1["namespaces"] = namespaceREST{plain}
	finalize := *ns
	finalize.UpdateStrategy = finalizeStrategy{plain.rules}
	v1["namespaces/finalize"] = finalizeREST{&finalize}

	network, err := newServiceNetwork(o.ServiceIPs, o.NodePorts)
	if err != nil {
		return err
	}
	return network.attach(genericapirequest.WithNamespace(context.Background(), ""), ks.stores[services])
}
