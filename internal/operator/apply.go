package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// annotationApplied is the hash of what the operator applied last. Together with a look at the fields themselves it tells, without
// a request, that there is nothing to apply: the hash sees fields that are no longer wanted, the look sees fields that
// somebody else has changed.
const annotationApplied = "redstart.dev/applied"

// takenError says that an object that a Redis needs exists and is not its own.
type takenError struct{ message string }

func (e takenError) Error() string { return e.message }

// applier writes objects by server-side apply, and only those that are not as they should be.
type applier struct {
	client client.Client
	direct client.Reader // past the cache, which holds our own objects alone
}

// apply makes an object of r as it is wanted. The error is a takenError when an object of that name belongs to somebody else.
//
// done remembers, by kind and name, the version that the last application made. A version that has not changed since is not applied to
// again, should the API server have taken something that was applied for something else.
func (a applier) apply(ctx context.Context, r *v1alpha1.Redis, wanted client.Object, done map[string]string) error {
	kind := wanted.GetObjectKind().GroupVersionKind().Kind
	want, err := toApply(wanted)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", kind, wanted.GetName(), err)
	}
	key := kind + "/" + wanted.GetName()
	live, err := a.get(ctx, wanted)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", kind, wanted.GetName(), err)
	}
	if live != nil {
		if err := checkOwner(r, kind, live); err != nil {
			return err
		}
		have, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
		if err != nil {
			return fmt.Errorf("decode %s %s: %w", kind, wanted.GetName(), err)
		}
		if contains(have, want.Object) || done[key] == version(want, live) {
			return nil
		}
	}
	applied := want.DeepCopy()
	if err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner(name), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %s %s: %w", kind, wanted.GetName(), err)
	}
	done[key] = version(want, applied)
	return nil
}

// version is what was wanted and what the API server made of it.
func version(want *unstructured.Unstructured, live client.Object) string {
	return want.GetAnnotations()[annotationApplied] + "@" + live.GetResourceVersion()
}

// get reads the live object, or nil when there is none. What the cache does not have may still exist, without our label.
func (a applier) get(ctx context.Context, wanted client.Object) (client.Object, error) {
	live, ok := reflect.New(reflect.TypeOf(wanted).Elem()).Interface().(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object", wanted)
	}
	key := client.ObjectKeyFromObject(wanted)
	err := a.client.Get(ctx, key, live)
	if apierrors.IsNotFound(err) {
		err = a.direct.Get(ctx, key, live)
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, err
}

func checkOwner(r *v1alpha1.Redis, kind string, live client.Object) error {
	owner := metav1.GetControllerOf(live)
	switch {
	case owner != nil && owner.UID == r.UID:
		return nil
	case owner != nil && owner.Kind == "Redis" && owner.Name == r.Name:
		return takenError{fmt.Sprintf("%s %s of a deleted Redis of the same name is still there; waiting for it to go", kind, live.GetName())}
	case owner != nil:
		return takenError{fmt.Sprintf("%s %s belongs to %s %s; rename one of them", kind, live.GetName(), owner.Kind, owner.Name)}
	default:
		return takenError{fmt.Sprintf("%s %s exists and does not belong to this Redis; rename or delete it", kind, live.GetName())}
	}
}

// toApply is an object as server-side apply takes it: what is set, and nothing else, with its own hash.
func toApply(o client.Object) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	delete(fields, "status")
	dropNulls(fields)
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	u := &unstructured.Unstructured{Object: fields}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationApplied] = hex.EncodeToString(sum[:8])
	u.SetAnnotations(annotations)
	return u, nil
}

// dropNulls removes what Go's types encode although it is not set.
func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, field := range v {
			if field == nil {
				delete(v, k)
				continue
			}
			dropNulls(field)
		}
	case []any:
		for _, item := range v {
			dropNulls(item)
		}
	}
}

// contains tells whether everything that is wanted is there. Fields that only the live object has are defaults, or
// somebody else's.
func contains(have, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return have == nil && len(want) == 0
		}
		for k, w := range want {
			if !contains(h[k], w) {
				return false
			}
		}
		return true
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(want) {
			return have == nil && len(want) == 0
		}
		for i, w := range want {
			if !contains(h[i], w) {
				return false
			}
		}
		return true
	default:
		return have == want
	}
}
