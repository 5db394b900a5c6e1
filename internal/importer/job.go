package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
)

// job is one import under way.
type job struct {
	name     string
	mode     v1alpha1.Mode
	spec     map[string]any
	password string
	rules    map[string]rule
	// given are values that finish looks at, by their paths.
	given map[string]any
	lines []Line
}

// outcome is where a value went, and what is to be said about it.
type outcome struct {
	to  []string
	why string
}

// rule says what becomes of the value at a path, with all that is below it.
type rule func(j *job, path string, v any) outcome

// visit gives every value to the rule of its path. A value that is not known is dropped, and its line says so.
func (j *job) visit(path string, v any) {
	if r, found := j.rules[path]; found && path != "" && !j.deeper(path, v) {
		o := r(j, path, v)
		j.lines = append(j.lines, Line{Path: path, Value: shown(path, v), To: o.to, Why: o.why})
		return
	}
	m, isMap := v.(map[string]any)
	if isMap && (len(m) > 0 || path == "") {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			next := k
			if path != "" {
				next = path + "." + k
			}
			j.visit(next, m[k])
		}
		return
	}
	if why := j.below(path); why != "" {
		j.lines = append(j.lines, Line{Path: path, Value: shown(path, v), Why: why})
		return
	}
	j.lines = append(j.lines, Line{Path: path, Value: shown(path, v), Why: "this importer does not know it"})
}

// deeper tells whether there are rules for what is in an object, whatever the rule for its path is for: replicas is a number in
// some versions of a chart and an object in others.
func (j *job) deeper(path string, v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for k := range m {
		if _, found := j.rules[path+"."+k]; found {
			return true
		}
	}
	return false
}

// below is the reason why a whole part of the values is dropped, of which path is one: the rule "haproxy.*".
func (j *job) below(path string) string {
	for at := path; at != ""; {
		i := strings.LastIndexByte(at, '.')
		if i < 0 {
			return ""
		}
		at = at[:i]
		if r, found := j.rules[at+".*"]; found {
			return r(j, path, nil).why
		}
	}
	return ""
}

// set puts a value at a path such as spec.storage.size. Another value that is there already is an error, and so is a value
// that a Redis cannot have there.
func (j *job) set(path string, v any) error {
	at := splitPath(path)[1:]
	v = plain(v)
	if old, found, err := unstructured.NestedFieldNoCopy(j.spec, at...); err != nil {
		return err
	} else if found {
		if !reflect.DeepEqual(old, v) {
			return fmt.Errorf("another value went to %s already, and all members are alike", path)
		}
		return nil
	}
	if err := unstructured.SetNestedField(j.spec, v, at...); err != nil {
		return err
	}
	if err := j.check(); err != nil {
		unstructured.RemoveNestedField(j.spec, at...)
		if strings.Contains(err.Error(), "unknown field") {
			return fmt.Errorf("a Redis has no such field: %w", err)
		}
		return fmt.Errorf("it is no value for %s", path)
	}
	return nil
}

// check tells whether the type of a Redis has all that was set so far.
func (j *job) check() error {
	b, err := json.Marshal(map[string]any{"spec": j.spec})
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(b, &v1alpha1.Redis{})
}

// get reads what is at a path.
func (j *job) get(path string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(j.spec, splitPath(path)[1:]...)
	return v
}

func (j *job) secretName() string { return j.name + "-auth" }

// plain is a value as a decoder of JSON would have made it, with whole numbers.
func plain(v any) any {
	switch v := v.(type) {
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case map[string]string:
		out := map[string]any{}
		for k, s := range v {
			out[k] = s
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = plain(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plain(item)
		}
		return out
	}
	return v
}

// shown is a value for people: short, and no password.
func shown(path string, v any) string {
	last := strings.ToLower(path[strings.LastIndexByte(path, '.')+1:])
	if s, ok := v.(string); ok && s != "" && strings.Contains(last, "password") && !strings.Contains(last, "key") {
		return "(not shown)"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const most = 60
	text := string(b)
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "..."
	}
	return text
}

// empty tells whether a value says nothing: absent, or what charts write for "not set".
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
