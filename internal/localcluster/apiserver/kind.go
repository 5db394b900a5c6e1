package apiserver

import (
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/storage"
)

// object is what every served type is: a pointer to a struct with ObjectMeta.
type object interface {
	runtime.Object
	metav1.Object
}

// row describes one kind; the tables of kinds are lists of rows. All functions may be nil.
type row[T object] struct {
	gv            schema.GroupVersion
	plural        string // the kind in lower case, plural
	list          runtime.Object
	short         []string
	clusterScoped bool
	inAll         bool // shown by kubectl get all

	// defaults fills in what the user left out, when a request is decoded.
	defaults func(T)
	// prepare normalizes an object before it is validated; old is the zero value on create.
	prepare func(obj, old T)
	// nameRule is what Kubernetes demands of the name; nil is a DNS-1123 subdomain.
	nameRule nameRule
	// validate checks an object on create and on update, except of its status.
	validate func(T) field.ErrorList
	// validateUpdate checks what must not change.
	validateUpdate func(obj, old T) field.ErrorList
	// warn tells of what is accepted and takes no effect here.
	warn func(T) []string
	// spec points to what the generation counts changes of.
	spec func(T) any
	// copyStatus copies the status; its presence makes the subresource /status.
	copyStatus func(to, from T)
	// scale makes the subresource /scale.
	scale func(T) scaleFields
	// fields are the field selectors, besides metadata.name and metadata.namespace.
	fields func(T) fields.Set
	// columns are the output of kubectl get.
	columns []column[T]
	// needsVersion makes an update without a resourceVersion an error, as on Kubernetes for this kind.
	needsVersion bool
	// graceful is the number of seconds that an object may take to end, for a kind that is deleted gracefully.
	graceful func(T) int64
	// maxObjects and ttl bound the kind; see store.TableOptions.
	maxObjects int
	ttl        time.Duration
}

// column is one column of kubectl get; wide ones are shown with -o wide only.
type column[T object] struct {
	name  string
	value func(T) any
	wide  bool
}

// scaleFields is what /scale reads and writes.
type scaleFields struct {
	replicas **int32
	current  int32
	selector string
}

// kind is a row without its type parameter.
type kind struct {
	gvk            schema.GroupVersionKind
	plural         string
	short          []string
	categories     []string
	clusterScoped  bool
	new, newList   func() runtime.Object
	defaults       func(runtime.Object)
	prepare        func(obj, old runtime.Object)
	nameRule       nameRule
	validate       func(runtime.Object) field.ErrorList
	validateUpdate func(obj, old runtime.Object) field.ErrorList
	warn           func(runtime.Object) []string
	spec           func(runtime.Object) any
	copyStatus     func(to, from runtime.Object)
	scale          func(runtime.Object) scaleFields
	fields         func(runtime.Object) fields.Set
	columns        []metav1.TableColumnDefinition
	cells          func(runtime.Object) []any
	needsVersion   bool
	graceful       func(runtime.Object) int64
	maxObjects     int
	ttl            time.Duration
}

// erasable lets rows of different types stand in one table.
type erasable interface{ erase() *kind }

func (r row[T]) erase() *kind {
	typ := reflect.TypeFor[T]().Elem()
	k := &kind{
		gvk: r.gv.WithKind(typ.Name()), plural: r.plural, short: r.short, clusterScoped: r.clusterScoped,
		new:      func() runtime.Object { return reflect.New(typ).Interface().(T) },
		newList:  r.list.DeepCopyObject,
		nameRule: r.nameRule, needsVersion: r.needsVersion, maxObjects: r.maxObjects, ttl: r.ttl,
		defaults:       erase1(r.defaults),
		prepare:        erase2(r.prepare),
		copyStatus:     erase2(r.copyStatus),
		validate:       eraseFunc(r.validate),
		warn:           eraseFunc(r.warn),
		spec:           eraseFunc(r.spec),
		scale:          eraseFunc(r.scale),
		fields:         eraseFunc(r.fields),
		graceful:       eraseFunc(r.graceful),
		validateUpdate: eraseFunc2(r.validateUpdate),
	}
	if r.inAll {
		k.categories = []string{"all"}
	}
	for _, c := range r.columns {
		d := metav1.TableColumnDefinition{Name: c.name, Type: "string"}
		if c.name == "Name" {
			d.Format = "name"
		}
		if c.wide {
			d.Priority = 1
		}
		k.columns = append(k.columns, d)
	}
	k.cells = func(o runtime.Object) []any {
		cells := make([]any, len(r.columns))
		for i, c := range r.columns {
			cells[i] = c.value(o.(T))
		}
		return cells
	}
	return k
}

func erase1[T object](f func(T)) func(runtime.Object) {
	if f == nil {
		return nil
	}
	return func(o runtime.Object) { f(o.(T)) }
}

func erase2[T object](f func(a, b T)) func(a, b runtime.Object) {
	if f == nil {
		return nil
	}
	return func(a, b runtime.Object) { f(a.(T), b.(T)) }
}

func eraseFunc[T object, R any](f func(T) R) func(runtime.Object) R {
	if f == nil {
		return nil
	}
	return func(o runtime.Object) R { return f(o.(T)) }
}

func eraseFunc2[T object, R any](f func(a, b T) R) func(a, b runtime.Object) R {
	if f == nil {
		return nil
	}
	return func(a, b runtime.Object) R { return f(a.(T), b.(T)) }
}

func (k *kind) resource() schema.GroupResource {
	return schema.GroupResource{Group: k.gvk.Group, Resource: k.plural}
}

func (k *kind) singular() string { return strings.ToLower(k.gvk.Kind) }

// attributes is what selectors see of an object.
func (k *kind) attributes(o runtime.Object) (labels.Set, fields.Set, error) {
	m := o.(metav1.Object)
	set := fields.Set{"metadata.name": m.GetName()}
	if !k.clusterScoped {
		set["metadata.namespace"] = m.GetNamespace()
	}
	if k.fields != nil {
		for name, value := range k.fields(o) {
			set[name] = value
		}
	}
	return labels.Set(m.GetLabels()), set, nil
}

func (k *kind) predicate(label labels.Selector, f fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: f, GetAttrs: k.attributes}
}
