package importer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
)

// KruiseRollout is the name of the Rollouts of OpenKruise as a source.
const KruiseRollout = "kruise-rollout"

// kruiseGroup is the API group of those Rollouts, and of their annotations.
const kruiseGroup = "rollouts.kruise.io"

// rolloutJob is one import of a Rollout under way.
type rolloutJob struct {
	out   map[string]any
	lines []Line
	steps []any
	// style is canary, blueGreen or partition.
	style string
	// routed tells whether the result has trafficRoutings; where not, unrouted says why.
	routed   bool
	unrouted string
	alpha    bool // v1alpha1, where weight stands for replicas too
}

// rolloutRule says what becomes of the value at a path; to is where it belongs in the result.
type rolloutRule func(k *rolloutJob, path, to string, v any) outcome

// ImportRollout turns a Rollout of rollouts.kruise.io, v1beta1 or v1alpha1, into ours. What Redstart does not serve is dropped,
// and its line says so; the error says that it cannot become a Rollout at all. An empty name keeps the one that it has.
func ImportRollout(object map[string]any, name string) (*unstructured.Unstructured, []Line, error) {
	k := &rolloutJob{out: map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Rollout"}}
	version, _ := object["apiVersion"].(string)
	switch {
	case object["kind"] != "Rollout" || !slices.Contains([]string{kruiseGroup + "/v1beta1", kruiseGroup + "/v1alpha1"}, version):
		return nil, nil, fmt.Errorf("kind: %v of apiVersion %q; expected Rollout of %s/v1beta1 or v1alpha1", object["kind"], version, kruiseGroup)
	case version == kruiseGroup+"/v1alpha1":
		k.alpha = true
	}
	if err := k.look(object); err != nil {
		return nil, nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if key != "apiVersion" && key != "kind" {
			k.visit(key, object[key])
		}
	}
	k.pauses()
	if name != "" {
		put(k.out, "metadata.name", name)
	}
	slices.SortStableFunc(k.lines, func(a, b Line) int { return comparePaths(a.Path, b.Path) })
	return &unstructured.Unstructured{Object: k.out}, k.lines, k.check()
}

// look finds out what the other values depend on: the strategy, and whether there is what routes traffic.
func (k *rolloutJob) look(object map[string]any) error {
	get := func(path ...string) any {
		v, _, _ := unstructured.NestedFieldNoCopy(object, path...)
		return v
	}
	canary, blueGreen := get("spec", "strategy", "canary"), get("spec", "strategy", "blueGreen")
	if (canary == nil) == (blueGreen == nil) {
		return fmt.Errorf("spec.strategy: expected exactly one of canary and blueGreen")
	}
	kind := get("spec", "workloadRef", "kind")
	if k.alpha {
		kind = get("spec", "objectRef", "workloadRef", "kind")
	}
	strategy, ok := cmp.Or(canary, blueGreen).(map[string]any)
	if !ok {
		return fmt.Errorf("spec.strategy: expected an object")
	}
	if k.steps, ok = strategy["steps"].([]any); !ok || len(k.steps) == 0 {
		return fmt.Errorf("spec.strategy: steps: expected a list of at least one step")
	}
	extra := strategy["enableExtraWorkloadForCanary"] == true
	if k.alpha {
		annotations, _ := get("metadata", "annotations").(map[string]any)
		style, _ := annotations[kruiseGroup+"/rolling-style"].(string)
		extra = !strings.EqualFold(style, "partition")
	}
	k.routed, k.unrouted = !empty(strategy["trafficRoutings"]), "there are no trafficRoutings"
	switch {
	case blueGreen != nil:
		k.style = "blueGreen"
	case kind == "Deployment" && extra:
		k.style = "canary"
	default:
		k.style = "partition"
	}
	return nil
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

// visit gives every value to the rule of its path.
func (k *rolloutJob) visit(path string, v any) {
	pattern := index.ReplaceAllString(path, "[]")
	to := path
	for _, strategy := range []string{"spec.strategy.canary", "spec.strategy.blueGreen"} {
		if rest, found := strings.CutPrefix(pattern, strategy); found {
			pattern = "STRATEGY" + rest
			to = "spec.strategy." + k.style + strings.TrimPrefix(path, strategy)
		}
	}
	rule := rolloutRules[pattern]
	m, isMap := v.(map[string]any)
	list, isList := v.([]any)
	switch {
	case rule != nil && (!isMap || len(m) == 0 || !divided(pattern)):
		o := rule(k, path, to, plain(v))
		if len(o.to) > 0 || o.why != "" {
			k.tell(path, v, o.to, o.why)
		}
	case isMap && len(m) > 0:
		for _, key := range slices.Sorted(maps.Keys(m)) {
			at := path + "." + key
			if strings.ContainsAny(key, ".[]") { // it would be taken for a path
				k.tell(at, m[key], nil, "this importer does not know it")
				continue
			}
			k.visit(at, m[key])
		}
	case isList && divided(pattern+"[]"):
		for i, item := range list {
			k.visit(fmt.Sprintf("%s[%d]", path, i), item)
		}
	default:
		why := "this importer does not know it"
		if empty(v) {
			why = saysNothing
		}
		k.tell(path, v, nil, why)
	}
}

func (k *rolloutJob) tell(path string, v any, to []string, why string) {
	k.lines = append(k.lines, Line{Path: path, Value: shown(path, v), To: to, Why: why})
}

// divided tells whether there are rules for what is in an object.
func divided(pattern string) bool {
	for p := range rolloutRules {
		if strings.HasPrefix(p, pattern+".") {
			return true
		}
	}
	return false
}

// stepAt is the number of the step that a path is in, from 0; -1 if there is none.
func (k *rolloutJob) stepAt(path string) int {
	_, rest, _ := strings.Cut(path, ".steps[")
	number, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	if err != nil || i >= len(k.steps) {
		return -1
	}
	return i
}

// step is the step that a path is in.
func (k *rolloutJob) step(path string) map[string]any {
	i := k.stepAt(path)
	if i < 0 {
		return nil
	}
	s, _ := k.steps[i].(map[string]any)
	return s
}

// ends says whether a step is the last one and brings all pods: Kruise completes the release then, whatever its pause says,
// but for blueGreen.
func (k *rolloutJob) ends(i int) bool {
	if k.style == "blueGreen" || i != len(k.steps)-1 {
		return false
	}
	s, _ := k.steps[i].(map[string]any)
	return k.bringsAll(s)
}

// leavesNone tells whether a step leaves no old pod to which any traffic could go.
func (k *rolloutJob) leavesNone(step map[string]any) bool {
	return k.style == "partition" && k.routed && k.bringsAll(step)
}

// bringsAll tells whether all pods are new at a step.
func (k *rolloutJob) bringsAll(s map[string]any) bool {
	if k.alpha && s["replicas"] == nil {
		weight, _ := whole(s["weight"])
		return weight == 100
	}
	return s["replicas"] == "100%"
}

// pauses makes every step that says nothing of a pause wait for an approval, as Kruise does.
func (k *rolloutJob) pauses() {
	for i := range k.steps {
		at := fmt.Sprintf("steps[%d]", i)
		s, ok := k.steps[i].(map[string]any)
		if _, said := s["pause"]; !ok || said || k.ends(i) {
			continue
		}
		to := "spec.strategy." + k.style + "." + at + ".pause"
		put(k.out, to, map[string]any{})
		from := "canary"
		if k.style == "blueGreen" {
			from = k.style
		}
		k.lines = append(k.lines, Line{
			Path: "spec.strategy." + from + "." + at + ".pause", Value: "(absent)", To: []string{to}, Why: "such a step waits for an approval",
		})
	}
}

// check asks the types and the validation of a Rollout what they think of the result.
func (k *rolloutJob) check() error {
	b, err := json.Marshal(k.out)
	if err != nil {
		return err
	}
	r := &v1alpha1.Rollout{}
	if err := yaml.UnmarshalStrict(b, r); err != nil {
		return fmt.Errorf("it makes a Rollout that is not accepted: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	r.Default()
	if errs := r.Validate(); len(errs) > 0 {
		var all []string
		for _, e := range errs {
			all = append(all, e.Field+": "+e.ErrorBody())
		}
		return fmt.Errorf("it makes a Rollout that is not accepted: %s", strings.Join(all, "; "))
	}
	return nil
}

// put sets the value at a path such as spec.steps[1].pause, and makes what is around it. Items of a list are made in
// order.
func put(root map[string]any, path string, v any) {
	first, rest, more := strings.Cut(path, ".")
	name, number, inList := strings.Cut(strings.TrimSuffix(first, "]"), "[")
	if !inList && !more {
		root[name] = v
		return
	}
	if !inList {
		next, ok := root[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			root[name] = next
		}
		put(next, rest, v)
		return
	}
	i, _ := strconv.Atoi(number)
	list, _ := root[name].([]any)
	for len(list) <= i {
		list = append(list, map[string]any{})
	}
	root[name] = list
	put(list[i].(map[string]any), rest, v)
}

// comparePaths orders paths as they are in a file: item 10 of a list after item 9.
func comparePaths(a, b string) int {
	digits := func(p string) string {
		return index.ReplaceAllStringFunc(p, func(s string) string { return fmt.Sprintf("[%06s]", strings.Trim(s, "[]")) })
	}
	return strings.Compare(digits(a), digits(b))
}
