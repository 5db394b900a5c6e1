package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/lua"
)

// TestCase is what a script should make of an object, as test-case files say it.
type TestCase struct {
	// Rollout with steps, or TrafficRouting with one; the other is nil.
	Rollout, TrafficRouting map[string]any
	Original                *unstructured.Unstructured
	// Expected is the object at each step.
	Expected []*unstructured.Unstructured
}

// ParseTestCase reads a test-case file. The error names the field.
func ParseTestCase(text []byte) (*TestCase, error) {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("no YAML: %w", err)
	}
	var fields map[string]any
	if err := utiljson.Unmarshal(asJSON, &fields); err != nil {
		return nil, fmt.Errorf("expected an object with rollout or trafficRouting, original and expected: %w", err)
	}
	c := &TestCase{}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fields[key]
		object, isObject := value.(map[string]any)
		switch key {
		case "rollout":
			c.Rollout = object
		case "trafficRouting":
			c.TrafficRouting = object
		case "original":
			c.Original = &unstructured.Unstructured{Object: object}
		case "expected":
			list, ok := value.([]any)
			if !ok {
				return nil, fmt.Errorf("expected: %s; expected a list with the object at each step", kindOf(value))
			}
			for i, item := range list {
				object, ok := item.(map[string]any)
				if !ok {
					return nil, fmt.Errorf("expected[%d]: %s; expected an object", i, kindOf(item))
				}
				c.Expected = append(c.Expected, &unstructured.Unstructured{Object: object})
			}
			continue
		default:
			return nil, fmt.Errorf("%s: unknown field; expected rollout or trafficRouting, original and expected", key)
		}
		if !isObject {
			return nil, fmt.Errorf("%s: %s; expected an object", key, kindOf(value))
		}
	}
	switch {
	case (c.Rollout == nil) == (c.TrafficRouting == nil):
		return nil, fmt.Errorf("expected one of rollout and trafficRouting")
	case c.Original == nil:
		return nil, fmt.Errorf("original: missing; expected the object before the first step")
	case c.Original.GetKind() == "" || c.Original.GetAPIVersion() == "":
		return nil, fmt.Errorf("original: expected an object with apiVersion and kind")
	case len(c.Expected) == 0:
		return nil, fmt.Errorf("expected: missing; expected a list with the object at each step")
	}
	return c, nil
}

// Plan is what a Rollout or TrafficRouting says about traffic.
type Plan struct {
	Services  Services
	Namespace string
	// Class is the class of the Ingress, if it names one.
	Class string
	Steps []Step
}

// Plan reads the steps of a test case.
func (c *TestCase) Plan() (Plan, error) {
	if c.Rollout != nil {
		p, err := planOfRollout(c.Rollout)
		if err != nil {
			return p, fmt.Errorf("rollout.%w", err)
		}
		return p, nil
	}
	p, err := planOfTrafficRouting(c.TrafficRouting)
	if err != nil {
		return p, fmt.Errorf("trafficRouting.%w", err)
	}
	return p, nil
}

// PlanOf reads a Rollout, ours or one of Kruise, or a TrafficRouting of Kruise. The error begins with the field, spec.
func PlanOf(object map[string]any) (Plan, error) {
	if object["kind"] == "TrafficRouting" {
		return planOfTrafficRouting(object)
	}
	return planOfRollout(object)
}

func planOfRollout(rollout map[string]any) (Plan, error) {
	var p Plan
	p.Namespace, _, _ = unstructured.NestedString(rollout, "metadata", "namespace")
	strategy, kind, err := strategyOf(rollout)
	if err != nil {
		return p, err
	}
	prefix := "spec.strategy." + kind
	routings, _, err := unstructured.NestedSlice(strategy, "trafficRoutings")
	if err != nil || len(routings) == 0 {
		return p, fmt.Errorf("%s.trafficRoutings: expected a list with a service", prefix)
	}
	routing, _ := routings[0].(map[string]any)
	stable, _, _ := unstructured.NestedString(routing, "service")
	if stable == "" {
		return p, fmt.Errorf("%s.trafficRoutings[0].service: missing; expected the name of a Service", prefix)
	}
	p.Services = Services{Stable: stable, Canary: stable + "-canary"}
	p.Class, _, _ = unstructured.NestedString(routing, "ingress", "classType")
	affinity, err := affinityOf(routing, stable)
	if err != nil {
		return p, fmt.Errorf("%s.trafficRoutings[0].sessionAffinity.%w", prefix, err)
	}
	steps, _, err := unstructured.NestedSlice(strategy, "steps")
	if err != nil || len(steps) == 0 {
		return p, fmt.Errorf("%s.steps: expected a list of steps", prefix)
	}
	for i, item := range steps {
		step, ok := item.(map[string]any)
		if !ok {
			return p, fmt.Errorf("%s.steps[%d]: %s; expected an object", prefix, i, kindOf(item))
		}
		s, err := stepOf(step)
		if err != nil {
			return p, fmt.Errorf("%s.steps[%d].%w", prefix, i, err)
		}
		s.Affinity = affinity
		p.Steps = append(p.Steps, s)
	}
	return p, nil
}

// affinityOf reads sessionAffinity. In a Rollout that runs, the values of the cookie differ from release to release.
func affinityOf(routing map[string]any, service string) (*Affinity, error) {
	in, ok, _ := unstructured.NestedMap(routing, "sessionAffinity")
	if !ok {
		return nil, nil
	}
	a := &Affinity{Cookie: service + "-version", Stable: "stable", Canary: "canary", MaxAge: int64(v1alpha1.DefaultSessionMaxAge / time.Second)}
	if name, ok := in["cookieName"].(string); ok {
		a.Cookie = name
	}
	if value, ok := in["maxAge"].(string); ok {
		d, err := time.ParseDuration(value)
		if err != nil {
			return nil, fmt.Errorf("maxAge: %s; expected a duration such as 24h", value)
		}
		a.MaxAge = int64(d / time.Second)
	}
	return a, nil
}

func strategyOf(rollout map[string]any) (strategy map[string]any, kind string, err error) {
	for _, kind := range []string{"canary", "blueGreen", "partition"} {
		if strategy, ok, _ := unstructured.NestedMap(rollout, "spec", "strategy", kind); ok {
			return strategy, kind, nil
		}
	}
	return nil, "", fmt.Errorf("spec.strategy: expected canary, blueGreen or partition")
}

func planOfTrafficRouting(routing map[string]any) (Plan, error) {
	var p Plan
	p.Namespace, _, _ = unstructured.NestedString(routing, "metadata", "namespace")
	refs, _, err := unstructured.NestedSlice(routing, "spec", "objectRef")
	if err != nil || len(refs) == 0 {
		return p, fmt.Errorf("spec.objectRef: expected a list with a service")
	}
	ref, _ := refs[0].(map[string]any)
	service, _, _ := unstructured.NestedString(ref, "service")
	if service == "" {
		return p, fmt.Errorf("spec.objectRef[0].service: missing; expected the name of a Service")
	}
	p.Services = Services{Stable: service, Canary: service}
	p.Class, _, _ = unstructured.NestedString(ref, "ingress", "classType")
	strategy, _, err := unstructured.NestedMap(routing, "spec", "strategy")
	if err != nil {
		return p, fmt.Errorf("spec.strategy: expected an object")
	}
	s, err := stepOf(strategy)
	if err != nil {
		return p, fmt.Errorf("spec.strategy.%w", err)
	}
	if s.Matches == nil {
		s.Matches = []any{} // always a table
	}
	p.Steps = []Step{s}
	return p, nil
}

// stepOf reads traffic (50% or "50"), or weight (50), and matches. The error begins with the field.
func stepOf(step map[string]any) (Step, error) {
	var s Step
	for _, field := range []string{"weight", "traffic"} {
		value, ok := step[field]
		if !ok || value == nil {
			continue
		}
		weight, err := percent(value)
		if err != nil {
			return s, fmt.Errorf("%s: %w", field, err)
		}
		s.Weight = &weight
	}
	if value, ok := step["matches"]; ok && value != nil {
		if s.Matches, ok = value.([]any); !ok {
			return s, fmt.Errorf("matches: %s; expected a list", kindOf(value))
		}
	}
	if value, ok := step["requestHeaderModifier"]; ok && value != nil {
		if s.RequestHeaderModifier, ok = value.(map[string]any); !ok {
			return s, fmt.Errorf("requestHeaderModifier: %s; expected an object", kindOf(value))
		}
	}
	return s, nil
}

// percent reads 50, "50" or "50%"; fractions are rounded up.
func percent(value any) (int32, error) {
	f, ok := value.(float64)
	switch v := value.(type) {
	case int64:
		f, ok = float64(v), true
	case string:
		n, err := strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
		f, ok = n, err == nil
	}
	if f = math.Ceil(f); !ok || f < 0 || f > 100 {
		return 0, fmt.Errorf("%v; expected a share from 0%% to 100%%", value)
	}
	return int32(f), nil
}

// Outcome is one step of a test case.
type Outcome struct {
	Step int
	// Got and Want are spec, labels and annotations as JSON values; equal if the step is as expected.
	Got, Want map[string]any
	// Err is why the script gave nothing.
	Err error
}

// Passed says whether a step is as expected.
func (o Outcome) Passed() bool { return o.Err == nil && jsonText(o.Got) == jsonText(o.Want) }

func jsonText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Run runs each step of a test case from the original. The error says what is wrong with the test case itself.
func (c *TestCase) Run(ctx context.Context, script *lua.Script) ([]Outcome, error) {
	plan, err := c.Plan()
	if err != nil {
		return nil, err
	}
	if len(plan.Steps) != len(c.Expected) {
		return nil, fmt.Errorf("expected: %d objects for %d steps; expected one for each", len(c.Expected), len(plan.Steps))
	}
	namespace := c.Original.GetNamespace()
	if namespace == "" {
		namespace = plan.Namespace
	}
	if namespace == "" {
		namespace = "default"
	}
	var out []Outcome
	for i, step := range plan.Steps {
		o := Outcome{Step: i + 1, Want: dataOf(c.Expected[i]).object()}
		if o.Got, o.Err = Preview(ctx, script, c.Original, namespace, step, plan.Services); o.Err == nil && isIngress(c.Original) {
			o.Want = map[string]any{"annotations": anyMap(c.Expected[i].GetAnnotations())}
		}
		out = append(out, o)
	}
	return out, nil
}

// isIngress says whether an object has scripts of the contract for classes of Ingress.
func isIngress(object *unstructured.Unstructured) bool {
	return object.GetKind() == "Ingress" && strings.HasPrefix(object.GetAPIVersion(), "networking.k8s.io/")
}

// Preview is what a script makes of an object at a step: spec, labels and annotations, of an Ingress the annotations alone.
func Preview(ctx context.Context, script *lua.Script, original *unstructured.Unstructured, namespace string, step Step, services Services) (map[string]any, error) {
	if isIngress(original) {
		annotations, err := runIngress(ctx, script, original.GetAnnotations(), namespace, step, services)
		return map[string]any{"annotations": anyMap(annotations)}, err
	}
	data, err := run(ctx, script, dataOf(original), namespace, step, services)
	return data.object(), err
}

// Fields are the fields of an object that Preview returns, as they are.
func Fields(object *unstructured.Unstructured) map[string]any {
	if isIngress(object) {
		return map[string]any{"annotations": anyMap(object.GetAnnotations())}
	}
	return dataOf(object).object()
}

// Apply returns a copy of an object with the fields that Preview returned.
func Apply(object *unstructured.Unstructured, fields map[string]any) *unstructured.Unstructured {
	out := object.DeepCopy()
	annotations, _ := stringsFrom(fields["annotations"])
	out.SetAnnotations(annotations)
	if isIngress(object) {
		return out
	}
	labels, _ := stringsFrom(fields["labels"])
	return Data{Spec: fields["spec"], Labels: labels, Annotations: annotations}.onto(object)
}
