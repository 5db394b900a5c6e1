package manifest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fieldProblem is what is wrong with one field.
type fieldProblem struct{ field, message string }

// checkShape compares a decoded document with the Go type that it shall become, field by field: unknown fields,
// values of the wrong type, quantities, durations and times that do not parse.
func checkShape(t reflect.Type, v any, path string) []fieldProblem {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if v == nil {
		return nil // null is absent
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return checkLeaf(t, v, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		return checkStruct(t, v, path)
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			return wrongType(path, "a map", v)
		}
		var out []fieldProblem
		for _, k := range sortedKeys(m) {
			out = append(out, checkShape(t.Elem(), m[k], join(path, k))...)
		}
		return out
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return checkLeaf(t, v, path)
		}
		list, ok := v.([]any)
		if !ok {
			return wrongType(path, "a list", v)
		}
		var out []fieldProblem
		for i, e := range list {
			out = append(out, checkShape(t.Elem(), e, fmt.Sprintf("%s[%d]", path, i))...)
		}
		return out
	case reflect.Interface:
		return nil
	default:
		return checkLeaf(t, v, path)
	}
}

func checkStruct(t reflect.Type, v any, path string) []fieldProblem {
	m, ok := v.(map[string]any)
	if !ok {
		return wrongType(path, "an object with fields", v)
	}
	fields := map[string]reflect.Type{}
	jsonFields(t, fields)
	var out []fieldProblem
	for _, k := range sortedKeys(m) {
		ft, known := fields[k]
		if !known {
			out = append(out, fieldProblem{join(path, k), "unknown field" + didYouMean(k, fields)})
			continue
		}
		out = append(out, checkShape(ft, m[k], join(path, k))...)
	}
	return out
}

// jsonFields collects the names under which a struct's fields are written.
func jsonFields(t reflect.Type, into map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && (f.Anonymous || strings.Contains(opts, "inline")):
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			jsonFields(ft, into)
		case name != "":
			into[name] = f.Type
		}
	}
}

// checkLeaf tries to decode one value.
func checkLeaf(t reflect.Type, v any, path string) []fieldProblem {
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err == nil {
		return nil
	}
	shown := fmt.Sprintf("%q", fmt.Sprint(v))
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return []fieldProblem{{path, shown + " is not a quantity; write a number with an optional unit, such as 500m, 2, 512Mi or 10Gi"}}
	case reflect.TypeFor[metav1.Duration]():
		return []fieldProblem{{path, shown + " is not a duration; write a number with a unit, such as 500ms, 5s or 2m"}}
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return []fieldProblem{{path, shown + " is not a time; write it as 2006-01-02T15:04:05Z"}}
	}
	switch t.Kind() {
	case reflect.String:
		return wrongType(path, "a string", v)
	case reflect.Bool:
		return wrongType(path, "true or false", v)
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32:
		return wrongType(path, "a whole number", v)
	case reflect.Float64:
		return wrongType(path, "a number", v)
	case reflect.Slice:
		return []fieldProblem{{path, "is not base64; write plain text under stringData instead"}}
	default:
		return []fieldProblem{{path, fmt.Sprintf("%s cannot be used here: %v", shown, err)}}
	}
}

func wrongType(path, want string, v any) []fieldProblem {
	var got, hint string
	switch v := v.(type) {
	case string:
		got = "the string " + strconv.Quote(v)
		if want == "a whole number" || want == "true or false" {
			hint = "; write it without quotes"
			if _, err := strconv.ParseInt(v, 10, 64); err != nil && v != "true" && v != "false" {
				hint = ""
			}
		}
	case bool:
		got = fmt.Sprint(v)
		if want == "a string" {
			hint = fmt.Sprintf("; write \"%v\" in quotes (yes, no, on and off need them too)", v)
		}
	case int64, float64:
		got = fmt.Sprintf("the number %v", v)
		if want == "a string" {
			hint = fmt.Sprintf("; write \"%v\" in quotes", v)
		}
	case []any:
		got = "a list"
	default:
		got = "an object"
	}
	return []fieldProblem{{path, fmt.Sprintf("expected %s, got %s%s", want, got, hint)}}
}

// didYouMean suggests the known field that is nearest to what was written.
func didYouMean(written string, fields map[string]reflect.Type) string {
	best, bestDistance := "", 3
	for _, name := range sortedKeys(fields) {
		d := distance(strings.ToLower(written), strings.ToLower(name))
		if d < bestDistance && d < len(written) {
			best, bestDistance = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	names := sortedKeys(fields)
	if len(names) > 12 {
		return "; remove it"
	}
	return "; expected one of " + strings.Join(names, ", ")
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
