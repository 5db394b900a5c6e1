package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
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
	lines []line
}

// line is what became of one value so far.
type line struct {
	Line
	// byDefault: nobody wrote it, it is the chart's own.
	byDefault bool
}

// entry is one value, before it is known what becomes of it.
type entry struct {
	path      string
	value     any
	rule      rule
	rank      int
	byDefault bool
}

// outcome is where a value went, and what is to be said about it.
type outcome struct {
	to  []string
	why string
}

// rule says what becomes of the value at a path, with all that is below it.
type rule func(j *job, path string, v any) outcome

// take gives every value to the rule of its path, those that somebody wrote before those of the chart.
func (j *job) take(values map[string]any, s source) {
	entries := j.entries("", values)
	for _, path := range slices.Sorted(maps.Keys(s.defaults)) {
		if !written(values, path) {
			entries = append(entries, entry{path: path, value: s.defaults[path], rule: s.rules[path], byDefault: true})
		}
	}
	for i := range entries {
		e := &entries[i]
		e.rank = s.ranks[e.path]
		if e.byDefault {
			e.rank = lastRank
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return a.rank - b.rank })
	for _, e := range entries {
		o := e.rule(j, e.path, e.value)
		j.lines = append(j.lines, line{Line{Path: e.path, Value: shown(e.path, e.value), To: o.to, Why: o.why}, e.byDefault})
	}
}

// lastRank is behind all that a source has.
const lastRank = 100

// told are the lines of the report, in the order of their paths. Of what nobody wrote only that is told which is in the Redis.
func (j *job) told() []Line {
	var out []Line
	for _, l := range j.lines {
		if l.byDefault {
			if !l.Mapped() {
				continue
			}
			l.Why = strings.TrimSuffix("the chart's default; "+l.Why, "; ")
		}
		out = append(out, l.Line)
	}
	slices.SortStableFunc(out, func(a, b Line) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// entries are the values at a path and below, each with the rule for it. A value that is not known is dropped, and its line says so.
func (j *job) entries(path string, v any) []entry {
	if r, found := j.rules[path]; found && path != "" && !j.deeper(path, v) {
		return []entry{{path: path, value: v, rule: r}}
	}
	if m, isMap := v.(map[string]any); isMap && (len(m) > 0 || path == "") {
		var all []entry
		for _, k := range slices.Sorted(maps.Keys(m)) {
			all = append(all, j.entries(strings.TrimPrefix(path+"."+k, "."), m[k])...)
		}
		return all
	}
	return []entry{{path: path, value: v, rule: j.around(path)}}
}

// written tells whether values say something at a path; nothing, null, is something too, for it takes a chart's default away.
func written(values map[string]any, path string) bool {
	for _, k := range strings.Split(path, ".") {
		v, found := values[k]
		if !found {
			return false
		}
		m, ok := v.(map[string]any)
		if !ok {
			return true
		}
		values = m
	}
	return true
}

// at is what values say at a path.
func at(values map[string]any, path string) any {
	v, _, _ := unstructured.NestedFieldNoCopy(values, strings.Split(path, ".")...)
	return v
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

// around is the rule for a whole part of the values of which path is one, such as "haproxy.*".
func (j *job) around(path string) rule {
	for at := path; at != ""; {
		if r, found := j.rules[at+".*"]; found {
			return r
		}
		i := strings.LastIndexByte(at, '.')
		if i < 0 {
			break
		}
		at = at[:i]
	}
	return drop("this importer does not know it")
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
			return fmt.Errorf("another value went to %s already", path)
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
	b, err := json.Marshal(hidden(path[strings.LastIndexByte(path, '.')+1:], v))
	if err != nil {
		return fmt.Sprint(v)
	}
	const most = 60
	text := string(b)
	if text == `"`+notShown+`"` {
		return notShown
	}
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "..."
	}
	return text
}

const notShown = "(not shown)"

// hidden is a value without what nobody should see: passwords, keys, and addresses that have them.
func hidden(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = hidden(k, item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = hidden(name, item)
		}
		return out
	case bool, nil:
		return v
	}
	s, name := text(v), strings.ToLower(name)
	secret := strings.Contains(name, "password") && !strings.HasSuffix(name, "key") || name == "secret_key" || name == "access_key" || name == "key" && strings.Contains(s, "PRIVATE KEY")
	if s != "" && (secret || strings.Contains(s, "://") && strings.Contains(s, "@") || strings.Contains(s, "requirepass ") || strings.Contains(s, "masterauth ")) {
		return notShown
	}
	return v
}

// text is a value as somebody wrote it, with numbers in full.
func text(v any) string {
	switch v := plain(v).(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// empty tells whether a value says nothing: absent, or what charts write for "not set".
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(v) == ""
	case map[string]any:
		for _, item := range v {
			if !empty(item) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return false
}
