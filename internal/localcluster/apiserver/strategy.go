package apiserver

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// nameRule tells what is wrong with a name; prefix means a generateName.
type nameRule = apivalidation.ValidateNameFunc

// strategy is the rules of the generic registry for one kind.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind *kind
}

var (
	_ rest.RESTCreateStrategy         = strategy{}
	_ rest.RESTUpdateStrategy         = strategy{}
	_ rest.RESTGracefulDeleteStrategy = strategy{}
	_ rest.ResetFieldsStrategy        = strategy{}
)

func newStrategy(k *kind, scheme *runtime.Scheme) strategy {
	return strategy{ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator, kind: k}
}

func (s strategy) NamespaceScoped() bool                         { return !s.kind.clusterScoped }
func (strategy) AllowCreateOnUpdate(context.Context) bool        { return false }
func (s strategy) AllowUnconditionalUpdate(context.Context) bool { return !s.kind.needsVersion }
func (strategy) Canonicalize(runtime.Object)                     {}

// WarningsOnCreate are what kubectl and redstart apply print as warnings.
func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	if s.kind.warn == nil {
		return nil
	}
	return s.kind.warn(obj)
}

func (s strategy) WarningsOnUpdate(ctx context.Context, obj, _ runtime.Object) []string {
	return s.WarningsOnCreate(ctx, obj)
}

// PrepareForCreate drops the status, which only /status may set, and starts the generation.
func (s strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if s.kind.copyStatus != nil {
		s.kind.copyStatus(obj, s.kind.new())
	}
	if s.kind.spec != nil {
		obj.(metav1.Object).SetGeneration(1)
	}
	if s.kind.prepare != nil {
		s.kind.prepare(obj, s.kind.new())
	}
}

// PrepareForUpdate keeps the status, and counts the generation.
func (s strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	if s.kind.copyStatus != nil {
		s.kind.copyStatus(obj, old)
	}
	if s.kind.prepare != nil {
		s.kind.prepare(obj, old)
	}
	if s.kind.spec != nil {
		generation := old.(metav1.Object).GetGeneration()
		if !equality.Semantic.DeepEqual(s.kind.spec(obj), s.kind.spec(old)) {
			generation++
		}
		obj.(metav1.Object).SetGeneration(generation)
	}
}

func (s strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	rule := s.kind.nameRule
	if rule == nil {
		rule = apivalidation.NameIsDNSSubdomain
	}
	errs := apivalidation.ValidateObjectMetaAccessor(obj.(metav1.Object), !s.kind.clusterScoped, rule, field.NewPath("metadata"))
	if s.kind.validate != nil {
		errs = append(errs, s.kind.validate(obj)...)
	}
	return errs
}

func (s strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	var errs field.ErrorList
	if s.kind.validate != nil {
		errs = s.kind.validate(obj)
	}
	if s.kind.validateUpdate != nil {
		errs = append(errs, s.kind.validateUpdate(obj, old)...)
	}
	return errs
}

// CheckGracefulDelete gives an object of a graceful kind the time that it asked for, unless the request names another.
func (s strategy) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if s.kind.graceful == nil {
		return false
	}
	if options.GracePeriodSeconds == nil {
		seconds := s.kind.graceful(obj)
		options.GracePeriodSeconds = &seconds
	}
	return true
}

// GetResetFields tells server-side apply that the status is not the caller's.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.kind.copyStatus == nil {
		return nil
	}
	return s.resetFields("status")
}

func (s strategy) resetFields(names ...string) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, name := range names {
		set.Insert(fieldpath.MakePathOrDie(name))
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.kind.gvk.GroupVersion().String()): set}
}

// statusStrategy is the rules of /status: nothing but the status changes.
type statusStrategy struct{ strategy }

// WarningsOnUpdate are none: who writes the status did not write the spec.
func (statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// PrepareForUpdate takes the status from obj, and all else from old.
func (s statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	asked := obj.(metav1.Object)
	kept := old.DeepCopyObject()
	s.kind.copyStatus(kept, obj)
	m := kept.(metav1.Object)
	m.SetResourceVersion(asked.GetResourceVersion())
	m.SetManagedFields(asked.GetManagedFields())
	reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(kept).Elem())
}

func (statusStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.resetFields("spec", "metadata")
}

// table makes the output of kubectl get.
type table struct{ kind *kind }

func (t table) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = t.kind.columns
	}
	return out, t.fill(out, obj)
}

func (t table) fill(out *metav1.Table, obj runtime.Object) error {
	if list, ok := obj.(metav1.ListInterface); ok {
		out.ResourceVersion = list.GetResourceVersion()
		return eachItem(obj, func(item runtime.Object) error { return t.add(out, item) })
	}
	if m, ok := obj.(metav1.Object); ok {
		out.ResourceVersion = m.GetResourceVersion()
	}
	return t.add(out, obj)
}

func (t table) add(out *metav1.Table, obj runtime.Object) error {
	if reflect.TypeOf(obj) != reflect.TypeOf(t.kind.new()) {
		return fmt.Errorf("a %T is not shown in a table of %s", obj, t.kind.plural)
	}
	out.Rows = append(out.Rows, metav1.TableRow{Cells: t.kind.cells(obj), Object: runtime.RawExtension{Object: obj}})
	return nil
}
