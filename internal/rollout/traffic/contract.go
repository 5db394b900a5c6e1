package traffic

import (
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Data is what a script gets and returns of an object.
type Data struct {
	Spec        any               `json:"spec,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// dataOf takes the data of an object, without what is kept of its original.
func dataOf(object *unstructured.Unstructured) Data {
	d := Data{Labels: object.GetLabels()}
	if spec, ok := object.Object["spec"]; ok {
		d.Spec = runtime.DeepCopyJSONValue(spec)
	}
	for key, value := range object.GetAnnotations() {
		if key == AnnotationOriginal {
			continue
		}
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[key] = value
	}
	return d
}

// onto returns a copy of an object that has the data and nothing kept.
func (d Data) onto(object *unstructured.Unstructured) *unstructured.Unstructured {
	out := object.DeepCopy()
	if d.Spec == nil {
		delete(out.Object, "spec")
	} else {
		out.Object["spec"] = runtime.DeepCopyJSONValue(d.Spec)
	}
	out.SetLabels(d.Labels)
	out.SetAnnotations(d.Annotations)
	return out
}

func (d Data) equal(other Data) bool {
	return reflect.DeepEqual(d.object(), other.object())
}

// object is the data as JSON. Absent and empty labels are the same.
func (d Data) object() map[string]any {
	out := map[string]any{}
	if d.Spec != nil {
		out["spec"] = d.Spec
	}
	if len(d.Labels) > 0 {
		out["labels"] = anyMap(d.Labels)
	}
	if len(d.Annotations) > 0 {
		out["annotations"] = anyMap(d.Annotations)
	}
	return out
}

func anyMap(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for key, value := range m {
		out[key] = value
	}
	return out
}

// The weights that a script gets where the step has none.
const (
	noWeight       = -1
	noStableWeight = 100 - noWeight
)

// customObject is the global obj of a script for objects of any kind.
func customObject(data map[string]any, namespace string, step Step, services Services) map[string]any {
	obj := map[string]any{
		"data":          data,
		"canaryWeight":  int64(noWeight),
		"stableWeight":  int64(noStableWeight),
		"canaryService": services.Canary,
		"stableService": services.Stable,
		"namespace":     namespace,
	}
	if step.Weight != nil {
		obj["canaryWeight"] = int64(*step.Weight)
		obj["stableWeight"] = 100 - int64(*step.Weight)
	}
	addMatches(obj, step)
	return obj
}

// ingressObject is the global obj of a script for a class of Ingress.
func ingressObject(annotations map[string]string, namespace string, step Step, services Services) map[string]any {
	weight := int32(noWeight)
	if step.Weight != nil {
		weight = *step.Weight
	}
	obj := map[string]any{
		"annotations":   anyMap(annotations),
		"weight":        fmt.Sprint(weight),
		"canaryService": services.Canary,
		"stableService": services.Stable,
		"namespace":     namespace,
	}
	addMatches(obj, step)
	return obj
}

func addMatches(obj map[string]any, step Step) {
	if step.Matches != nil {
		obj["matches"] = step.Matches
	}
	if step.RequestHeaderModifier != nil {
		obj["requestHeaderModifier"] = step.RequestHeaderModifier
	}
	if a := step.Affinity; a != nil {
		obj["sessionAffinity"] = map[string]any{"cookieName": a.Cookie, "maxAge": a.MaxAge, "stable": a.Stable, "canary": a.Canary}
	}
}

// dataFrom reads what a script returned.
func dataFrom(result any) (Data, error) {
	object, ok := result.(map[string]any)
	if !ok {
		return Data{}, fmt.Errorf("the script returned %s; expected a table with spec, labels and annotations, such as obj.data", kindOf(result))
	}
	for key := range object {
		if key != "spec" && key != "labels" && key != "annotations" {
			return Data{}, fmt.Errorf("the script returned a table with %q; expected spec, labels and annotations alone", key)
		}
	}
	d := Data{Spec: object["spec"]}
	if d.Spec != nil {
		if _, ok := d.Spec.(map[string]any); !ok {
			return Data{}, fmt.Errorf("the script returned a spec that is %s; expected an object", kindOf(d.Spec))
		}
	}
	var err error
	if d.Labels, err = stringsFrom(object["labels"]); err != nil {
		return Data{}, fmt.Errorf("the script returned labels with %w", err)
	}
	if d.Annotations, err = stringsFrom(object["annotations"]); err != nil {
		return Data{}, fmt.Errorf("the script returned annotations with %w", err)
	}
	if d.Annotations[AnnotationOriginal] != "" {
		return Data{}, errors.New("the script returned the annotation " + AnnotationOriginal + ", which is not its own")
	}
	return d, nil
}

// stringsFrom reads a table of strings; an empty one may have come as a list.
func stringsFrom(value any) (map[string]string, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case []any:
		if len(v) == 0 {
			return nil, nil
		}
	case map[string]any:
		out := make(map[string]string, len(v))
		for key, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("%q being %s; expected a string", key, kindOf(item))
			}
			out[key] = s
		}
		return out, nil
	}
	return nil, fmt.Errorf("the value %s; expected a table of strings", kindOf(value))
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
