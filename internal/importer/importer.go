// Package importer turns the values of other people's charts into a Redis, and Kruise's Rollouts into ours, and says of
// every single value what became of it. It is pure: values in, objects and report out.
package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"redstart.dev/redstart/api/v1alpha1"
)

// Line is what became of one value.
type Line struct {
	// Path of the value in the file, as in "replica.replicaCount".
	Path string
	// Value as it was written, shortened; secret values are not shown.
	Value string
	// To are the fields that it is in, as in "spec.replicas"; none when it was dropped.
	To []string
	// Why it was dropped, or what is to be known about where it went. It may be empty for a mapped value.
	Why string
}

// Mapped tells whether the value is in the result.
func (l Line) Mapped() bool { return len(l.To) > 0 }

// Result of an import.
type Result struct {
	// Redis with the fields that the values set, and no others.
	Redis *unstructured.Unstructured
	// Secret with the password, nil when the values have none.
	Secret *corev1.Secret
	// Lines, one for each value, in the order of their paths.
	Lines []Line
}

// Sources are the charts whose values can be imported, by the names that Import takes.
func Sources() []string { return slices.Sorted(maps.Keys(sources)) }

// source is one chart, as some values have it: what a value means depends on others.
type source struct {
	mode  v1alpha1.Mode
	rules map[string]rule
	// ranks are the paths that do not come in their turn: what comes first is kept, where two values are for one field.
	ranks map[string]int
	// defaults of the chart that matter to the data and its clients, by their paths, where those of a Redis are others.
	defaults map[string]any
	// finish sets what follows from several values.
	finish func(*job)
}

var sources = map[string]func(values map[string]any) source{
	"redis-ha":              redisHA,
	"dandydeveloper":        redisHA,
	"bitnami-redis":         bitnamiRedis,
	"bitnami-redis-cluster": bitnamiCluster,
}

// Import turns values of the chart from into a Redis. What Redstart does not serve is dropped, and its line says so; the error
// says that the values cannot become a Redis at all.
func Import(values map[string]any, from, name string) (*Result, error) {
	of, known := sources[from]
	if !known {
		return nil, fmt.Errorf("chart %q is not known; expected one of %s", from, strings.Join(Sources(), ", "))
	}
	s := of(values)
	j := &job{name: name, mode: s.mode, spec: map[string]any{}, given: map[string]any{}, rules: s.rules}
	j.take(values, s)
	s.finish(j)
	if err := j.set("spec.mode", string(j.mode)); err != nil {
		return nil, err
	}
	if err := j.dropRefused(); err != nil {
		return nil, err
	}
	r := &Result{
		Redis: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Redis",
			"metadata": map[string]any{"name": name}, "spec": j.spec,
		}},
		Lines: j.told(),
	}
	if j.password != "" {
		r.Secret = &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Name: j.secretName()},
			Type:       corev1.SecretTypeOpaque,
			StringData: map[string]string{v1alpha1.SecretKeyPassword: j.password},
		}
	}
	return r, nil
}

// dropRefused asks the validation of a Redis what it accepts, and takes out what it does not, with its own words.
func (j *job) dropRefused() error {
	for range 100 { // every round takes a field out, and there are fewer
		r := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: j.name}}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"spec": j.spec}, r); err != nil {
			return fmt.Errorf("make a Redis of the values: %w", err)
		}
		r.Name = j.name
		r.Default()
		errs := r.Validate()
		if len(errs) == 0 {
			return nil
		}
		e := errs[0]
		if e.Field == "spec.mode" || !strings.HasPrefix(e.Field, "spec.") || !j.unset(e.Field, e.ErrorBody()) {
			return fmt.Errorf("these values make a Redis that is not accepted: %s: %s", e.Field, e.ErrorBody())
		}
	}
	return fmt.Errorf("these values make a Redis that is not accepted")
}

// unset takes the value out that is at a path or around it, and tells the reason in the lines that set it.
func (j *job) unset(path, why string) bool {
	for at := splitPath(path); len(at) > 1; at = at[:len(at)-1] {
		if _, found, err := unstructured.NestedFieldNoCopy(j.spec, at[1:]...); !found || err != nil {
			continue
		}
		unstructured.RemoveNestedField(j.spec, at[1:]...)
		j.gone(joinPath(at), path+": "+why)
		// What holds nothing any more goes too.
		for up := at[:len(at)-1]; len(up) > 1; up = up[:len(up)-1] {
			if m, _, _ := unstructured.NestedMap(j.spec, up[1:]...); len(m) > 0 {
				break
			}
			unstructured.RemoveNestedField(j.spec, up[1:]...)
			j.gone(joinPath(up), "")
		}
		return true
	}
	return false
}

// gone takes a field that is gone out of the lines that set it, and adds why.
func (j *job) gone(gone, why string) {
	for i := range j.lines {
		l := &j.lines[i]
		var left []string
		about := false
		for _, to := range l.To {
			within := to == gone || strings.HasPrefix(to, gone+".") || strings.HasPrefix(to, gone+"[")
			about = about || within || strings.HasPrefix(gone, to+".") || strings.HasPrefix(gone, to+"[")
			if !within {
				left = append(left, to)
			}
		}
		l.To = left
		if about && why != "" {
			l.Why = strings.Trim(l.Why+"; "+why, "; ")
		}
	}
}

// splitPath splits spec.config[save] and spec.a.b[0] into their steps; the index of a list is left out, for a list is
// taken out as a whole.
func splitPath(path string) []string {
	var out []string
	for _, part := range strings.Split(path, ".") {
		name, key, found := strings.Cut(strings.TrimSuffix(part, "]"), "[")
		out = append(out, name)
		if found && strings.Trim(key, "0123456789") != "" {
			out = append(out, key)
		}
	}
	return out
}

// joinPath is the reverse of splitPath.
func joinPath(at []string) string {
	if len(at) == 3 && at[1] == "config" {
		return "spec.config[" + at[2] + "]"
	}
	return strings.Join(at, ".")
}
