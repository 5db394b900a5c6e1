package traffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

const webRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop, labels: {team: web}, annotations: {note: keep}}
spec:
  hostnames: [shop.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /api}}]
    backendRefs: [{name: api, port: 80, weight: 1}]
  - matches: [{path: {type: PathPrefix, value: /}}]
    timeouts: {request: 5s}
    backendRefs: [{name: frontend, port: 80, weight: 1}]
  - matches: [{path: {type: PathPrefix, value: /static}}]
    backendRefs: [{name: static, port: 80, weight: 1}]
`

// parse reads an object as it comes from an API server: integers are int64.
func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(asJSON, &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

// stored is an object after a round trip through an API server.
func stored(t testing.TB, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	out := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(text, &out.Object); err != nil {
		t.Fatal(err)
	}
	return out
}

func router() *Router {
	return &Router{Owner: "shop/frontend", Services: Services{Stable: "frontend", Canary: "frontend-canary"}, Scripts: NewScripts(Shipped())}
}

func weight(n int32) Step { return Step{Weight: &n} }

// sticky is a weight of clients that keep their version.
func sticky(n int32) Step {
	return Step{Weight: &n, Affinity: &Affinity{Cookie: "shop-version", Stable: "r1-stable", Canary: "r1-canary", MaxAge: 60}}
}

func rules(object *unstructured.Unstructured) []any {
	list, _, _ := unstructured.NestedSlice(object.Object, "spec", "rules")
	return list
}

func setRules(object *unstructured.Unstructured, list ...any) {
	object.Object["spec"].(map[string]any)["rules"] = list
}

// ruleAt is the rule with a path and without headers; it is changed in place.
func ruleAt(object *unstructured.Unstructured, path string) map[string]any {
	for _, item := range object.Object["spec"].(map[string]any)["rules"].([]any) {
		rule := item.(map[string]any)
		match := rule["matches"].([]any)[0].(map[string]any)
		if p, ok := match["path"].(map[string]any); ok && p["value"] == path && match["headers"] == nil {
			return rule
		}
	}
	return nil
}

func newRule(name string) map[string]any {
	return map[string]any{
		"matches":     []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/" + name}}},
		"backendRefs": []any{map[string]any{"name": name, "port": int64(80), "weight": int64(1)}},
	}
}

// TestEditsSurvive makes an edit between two steps. edit does the same to the routed object and to the original, which
// is then what the Rollout must leave.
func TestEditsSurvive(t *testing.T) {
	matches := Step{Matches: []any{map[string]any{"headers": []any{map[string]any{"name": "x-user", "value": "tester"}}}}}
	for _, c := range []struct {
		name  string
		edit  func(*unstructured.Unstructured)
		edits string // part of the list of edits
	}{
		{name: "nothing", edit: func(*unstructured.Unstructured) {}},
		{name: "a field of the routed rule", edits: "timeouts", edit: func(o *unstructured.Unstructured) {
			ruleAt(o, "/")["timeouts"] = map[string]any{"request": "9s"}
		}},
		{name: "a new field of the routed rule", edits: "retry", edit: func(o *unstructured.Unstructured) {
			ruleAt(o, "/")["retry"] = map[string]any{"attempts": int64(2)}
		}},
		{name: "a field removed from the routed rule", edits: "timeouts", edit: func(o *unstructured.Unstructured) {
			delete(ruleAt(o, "/"), "timeouts")
		}},
		{name: "the port of the stable backend of another rule", edits: "port", edit: func(o *unstructured.Unstructured) {
			ruleAt(o, "/api")["backendRefs"].([]any)[0].(map[string]any)["port"] = int64(8080)
		}},
		{name: "a rule at the end", edits: "(added)", edit: func(o *unstructured.Unstructured) {
			setRules(o, append(rules(o), newRule("docs"))...)
		}},
		{name: "a rule at the beginning", edits: "(added)", edit: func(o *unstructured.Unstructured) {
			setRules(o, append([]any{newRule("docs")}, rules(o)...)...)
		}},
		{name: "a rule removed", edits: "(removed)", edit: func(o *unstructured.Unstructured) {
			setRules(o, slices.DeleteFunc(rules(o), func(r any) bool { return strings.Contains(textOf(r), "/static") })...)
		}},
		{name: "a rule moved to the front", edit: func(o *unstructured.Unstructured) {
			isStatic := func(r any) bool { return strings.Contains(textOf(r), "/static") }
			list := rules(o)
			static := list[slices.IndexFunc(list, isStatic)]
			setRules(o, append([]any{static}, slices.DeleteFunc(list, isStatic)...)...)
		}},
		{name: "a host", edits: "hostnames", edit: func(o *unstructured.Unstructured) {
			o.Object["spec"].(map[string]any)["hostnames"] = []any{"shop.example.com", "www.example.com"}
		}},
		{name: "labels and annotations", edits: "labels.team", edit: func(o *unstructured.Unstructured) {
			o.SetLabels(map[string]string{"team": "shop", "tier": "front"})
			annotations := o.GetAnnotations()
			delete(annotations, "note")
			annotations["more"] = "yes"
			o.SetAnnotations(annotations)
		}},
	} {
		for name, first := range map[string]Step{"weight": weight(20), "matches": matches, "affinity": sticky(20)} {
			second := weight(50)
			second.Affinity = first.Affinity
			t.Run(c.name+" after "+name, func(t *testing.T) {
				r, ctx := router(), context.Background()
				want := parse(t, webRoute)
				c.edit(want)

				at := mustRoute(t, r, parse(t, webRoute), first)
				c.edit(at)
				next, err := r.Route(ctx, at, second)
				if err != nil {
					t.Fatal(err)
				}
				if len(next.Conflicts) > 0 {
					t.Errorf("got the conflicts %q", next.Conflicts)
				}
				if all := strings.Join(next.Edits, " "); !strings.Contains(all, c.edits) {
					t.Errorf("got the edits %q, want %q", all, c.edits)
				}
				fresh := mustRoute(t, r, want.DeepCopy(), second)
				if diff := cmp.Diff(fresh.Object["spec"], stored(t, next.Object).Object["spec"]); diff != "" {
					t.Errorf("the next step is not that of the edited original (-want +got):\n%s", diff)
				}
				mustRestore(t, r, next.Object, want)
			})
		}
	}
}

func mustRoute(t testing.TB, r *Router, object *unstructured.Unstructured, step Step) *unstructured.Unstructured {
	t.Helper()
	result, err := r.Route(context.Background(), object, step)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Route(context.Background(), stored(t, result.Object), step)
	if err != nil || again.Changed || len(again.Edits) > 0 || len(again.Conflicts) > 0 {
		t.Fatalf("the same step again changes the object: %+v, %v", again, err)
	}
	return stored(t, result.Object)
}

func mustRestore(t testing.TB, r *Router, object, want *unstructured.Unstructured) {
	t.Helper()
	result, err := r.Restore(stored(t, object))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Object, stored(t, result.Object).Object); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// Applying the original manifest, with an edit, in the middle of a Rollout is the plainest way to change it.
func TestManifestAppliedAgain(t *testing.T) {
	r := router()
	at := mustRoute(t, r, parse(t, webRoute), weight(20))
	want := parse(t, strings.Replace(webRoute, "5s", "7s", 1))
	at.Object["spec"] = want.DeepCopy().Object["spec"]
	result, err := r.Route(context.Background(), at, weight(20))
	if err != nil || len(result.Conflicts) > 0 || !result.Changed {
		t.Fatalf("got %+v, %v", result, err)
	}
	mustRestore(t, r, result.Object, want)
}

// An API server completes what was written with defaults. That is no edit, and nothing to write again.
func TestDefaultsAreNoEdits(t *testing.T) {
	r := router()
	at := mustRoute(t, r, parse(t, webRoute), Step{Matches: []any{map[string]any{"headers": []any{map[string]any{"name": "x-user", "value": "tester"}}}}})
	for _, item := range at.Object["spec"].(map[string]any)["rules"].([]any) {
		if !strings.Contains(textOf(item), "frontend-canary") {
			continue
		}
		rule := item.(map[string]any)
		ref := rule["backendRefs"].([]any)[0].(map[string]any)
		ref["group"], ref["kind"] = "", "Service"
		rule["matches"].([]any)[0].(map[string]any)["headers"].([]any)[0].(map[string]any)["type"] = "Exact"
	}
	result, err := r.Route(context.Background(), at, Step{Matches: []any{map[string]any{"headers": []any{map[string]any{"name": "x-user", "value": "tester"}}}}})
	if err != nil || result.Changed || len(result.Edits)+len(result.Conflicts) > 0 {
		t.Fatalf("got %+v, %v; want nothing to do", result, err)
	}
	mustRestore(t, r, at, parse(t, webRoute))
}

func TestConflictsAreNamed(t *testing.T) {
	r := router()
	at := mustRoute(t, r, parse(t, webRoute), weight(20))
	refs := ruleAt(at, "/")["backendRefs"].([]any)
	refs[0].(map[string]any)["weight"] = int64(70)
	refs[1].(map[string]any)["weight"] = int64(30)
	result, err := r.Route(context.Background(), at, weight(20))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"spec.rules[1].backendRefs[0].weight", "spec.rules[1].backendRefs[1]"}; !slices.Equal(result.Conflicts, want) {
		t.Errorf("got the conflicts %q, want %q", result.Conflicts, want)
	}
	if !result.Changed {
		t.Error("the weights of the step are not written again")
	}
	mustRestore(t, r, result.Object, parse(t, webRoute))
}

func TestProblems(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name   string
		change func(*testing.T, *Router, *unstructured.Unstructured)
		reason Reason
		says   string
	}{
		{"no script", func(_ *testing.T, _ *Router, o *unstructured.Unstructured) { o.SetKind("Other") }, NoScript, "gateway.networking.k8s.io/Other/trafficRouting.lua"},
		{"the route was removed", func(_ *testing.T, _ *Router, o *unstructured.Unstructured) { setRules(o, newRule("docs")) }, ScriptFailed, "no rule of the HTTPRoute leads to the Service frontend"},
		{"a field was renamed", func(_ *testing.T, _ *Router, o *unstructured.Unstructured) {
			rule := ruleAt(o, "/")
			rule["forwardTo"] = rule["backendRefs"]
			delete(rule, "backendRefs")
		}, ScriptFailed, "no rule of the HTTPRoute leads to the Service frontend"},
		{"the annotation was damaged", func(_ *testing.T, _ *Router, o *unstructured.Unstructured) {
			setAnnotation(o, AnnotationOriginal, "gzip:nonsense")
		}, Damaged, "restore the object by hand"},
		{"the annotation was removed", func(_ *testing.T, _ *Router, o *unstructured.Unstructured) {
			o.SetAnnotations(nil)
		}, Damaged, "frontend-canary"},
		{"another Rollout", func(_ *testing.T, r *Router, _ *unstructured.Unstructured) { r.Owner = "shop/other" }, InUse, "shop/frontend"},
		{"a script that does nothing", func(_ *testing.T, r *Router, _ *unstructured.Unstructured) {
			r.Scripts = r.Scripts.With(map[string]string{"lua.traffic.routing.HTTPRoute.gateway.networking.k8s.io": "return obj.data"})
		}, NoRoute, "changed nothing"},
		{"a script that fails", func(_ *testing.T, r *Router, _ *unstructured.Unstructured) {
			r.Scripts = r.Scripts.With(map[string]string{"lua.traffic.routing.HTTPRoute.gateway.networking.k8s.io": "\nwhile true do end"})
		}, ScriptFailed, "lua.traffic.routing.HTTPRoute.gateway.networking.k8s.io:2: the script "},
		{"a script that returns something else", func(_ *testing.T, r *Router, _ *unstructured.Unstructured) {
			r.Scripts = r.Scripts.With(map[string]string{"lua.traffic.routing.HTTPRoute.gateway.networking.k8s.io": "return {rules = {}}"})
		}, ScriptFailed, `with "rules"; expected spec, labels and annotations`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := router()
			at := mustRoute(t, r, parse(t, webRoute), weight(20))
			c.change(t, r, at)
			before := at.DeepCopy()
			_, err := r.Route(ctx, at, weight(50))
			var p *Problem
			if !errors.As(err, &p) || p.Reason != c.reason || !strings.Contains(p.Error(), c.says) {
				t.Errorf("got %v, want %s with %q", err, c.reason, c.says)
			}
			if diff := cmp.Diff(before, at); diff != "" {
				t.Errorf("the object was changed: %s", diff)
			}
		})
	}
	large := parse(t, webRoute)
	noise := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for text.Len() < 300<<10 {
		fmt.Fprintf(&text, "%x", noise.Uint64())
	}
	setAnnotation(large, "note", text.String())
	_, err := router().Route(ctx, large, weight(20))
	var p *Problem
	if !errors.As(err, &p) || p.Reason != TooLarge {
		t.Errorf("got %v for a very large object, want TooLarge", err)
	}
}

// TestAffinityIsRefused where nothing can do it, from the first step on, and where it would change who else gets requests.
func TestAffinityIsRefused(t *testing.T) {
	grpc := strings.NewReplacer("kind: HTTPRoute", "kind: GRPCRoute", "{path: {type: PathPrefix, value: /}}", "{}").Replace(webRoute)
	byQuery := webRoute + `
  - matches: [{path: {value: /}, queryParams: [{name: preview, value: "1"}]}]
    backendRefs: [{name: preview, port: 80}]
`
	byCookie := strings.Replace(webRoute, "{path: {type: PathPrefix, value: /}}", `{headers: [{name: cookie, value: a=b}]}`, 1)
	for _, c := range []struct {
		about, object string
		reason        Reason
		says          string
	}{
		{"an HTTPRoute", webRoute, "", ""},
		{"a GRPCRoute", grpc, NoAffinity, "the script gateway.networking.k8s.io/GRPCRoute/trafficRouting.lua cannot keep a client at one version; remove sessionAffinity"},
		{"a rule by a query parameter", byQuery, ScriptFailed, "a cookie would come before it"},
		{"a rule by a cookie", byCookie, ScriptFailed, "a rule matches Cookie already"},
	} {
		for _, share := range []int32{0, 20, 100} {
			_, err := router().Route(context.Background(), parse(t, c.object), sticky(share))
			var p *Problem
			if c.reason == "" && err != nil || c.reason != "" && (!errors.As(err, &p) || p.Reason != c.reason || !strings.Contains(p.Error(), c.says)) {
				t.Errorf("%s at %d%%: got %v, want %s with %q", c.about, share, err, c.reason, c.says)
			}
		}
	}
	var p *Problem
	if _, err := router().CanaryIngress(context.Background(), parse(t, webIngress), "", sticky(20)); !errors.As(err, &p) || p.Reason != NoAffinity {
		t.Errorf("an Ingress: got %v, want NoAffinity", err)
	}
}

func TestPrepare(t *testing.T) {
	r, object := router(), parse(t, webRoute)
	if err := r.Prepare(context.Background(), object); err != nil {
		t.Error(err)
	}
	setRules(object, newRule("docs"))
	var p *Problem
	if err := r.Prepare(context.Background(), object); !errors.As(err, &p) || p.Reason != ScriptFailed {
		t.Errorf("got %v for an object without a route to the Service, want ScriptFailed", err)
	}
}

// TestRandomEdits makes random edits between random steps; what is restored is the original with the same edits.
func TestRandomEdits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := router()
		model := parse(t, webRoute)
		step := weight
		if rapid.Bool().Draw(rt, "affinity") {
			step = sticky
		}
		at := stored(t, mustResult(rt, r, model.DeepCopy(), step(10)))
		serial := 0
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 3).Draw(rt, "edits") {
				serial++
				edit := randomEdit(rt, serial)
				edit(model)
				edit(at)
			}
			at = stored(t, mustResult(rt, r, at, step(int32(rapid.IntRange(0, 100).Draw(rt, "weight")))))
		}
		result, err := r.Restore(at)
		if err != nil || len(result.Conflicts) > 0 {
			rt.Fatalf("restore: %v, conflicts %q", err, result.Conflicts)
		}
		if diff := cmp.Diff(model.Object, stored(t, result.Object).Object); diff != "" {
			rt.Fatalf("restored (-want +got):\n%s", diff)
		}
	})
}

func mustResult(rt *rapid.T, r *Router, object *unstructured.Unstructured, step Step) *unstructured.Unstructured {
	result, err := r.Route(context.Background(), object, step)
	if err != nil {
		rt.Fatal(err)
	}
	if len(result.Conflicts) > 0 {
		rt.Fatalf("conflicts %q", result.Conflicts)
	}
	return result.Object
}

func randomEdit(rt *rapid.T, serial int) func(*unstructured.Unstructured) {
	name := fmt.Sprint("n", serial)
	switch rapid.IntRange(0, 5).Draw(rt, "edit") {
	case 0:
		return func(o *unstructured.Unstructured) { setAnnotation(o, name, name) }
	case 1:
		return func(o *unstructured.Unstructured) { o.SetLabels(map[string]string{"team": name}) }
	case 2:
		return func(o *unstructured.Unstructured) { setRules(o, append(rules(o), newRule(name))...) }
	case 3:
		return func(o *unstructured.Unstructured) { setRules(o, append([]any{newRule(name)}, rules(o)...)...) }
	case 4:
		return func(o *unstructured.Unstructured) { ruleAt(o, "/")["timeouts"] = map[string]any{"request": name} }
	}
	return func(o *unstructured.Unstructured) {
		hosts, _, _ := unstructured.NestedSlice(o.Object, "spec", "hostnames")
		o.Object["spec"].(map[string]any)["hostnames"] = append(hosts, name)
	}
}

const webIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: shop
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}", note: keep}
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.example.com], secretName: shop}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: frontend, port: {number: 80}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}
      - {path: /files, pathType: Prefix, backend: {resource: {kind: Bucket, name: files}}}
  - host: other.example.com
`

func TestCanaryIngress(t *testing.T) {
	r := router()
	got, err := r.CanaryIngress(context.Background(), parse(t, webIngress), "", weight(20))
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web-canary
  namespace: shop
  annotations: {note: keep, nginx.ingress.kubernetes.io/canary: "true", nginx.ingress.kubernetes.io/canary-weight: "20"}
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.example.com], secretName: shop}]
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: frontend-canary, port: {number: 80}}}}]}
`)
	if diff := cmp.Diff(want.Object, got.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Kong would send /api with the header to the canary of /.
	header := Step{Matches: []any{map[string]any{"headers": []any{map[string]any{"name": "a", "value": "1"}}}}}
	if got, err = r.CanaryIngress(context.Background(), parse(t, webIngress), "kong", header); err != nil {
		t.Fatal(err)
	}
	paths, _, _ := unstructured.NestedSlice(got.Object["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any), "http", "paths")
	var to []string
	for _, p := range paths {
		name, _, _ := unstructured.NestedString(p.(map[string]any), "backend", "service", "name")
		to = append(to, name)
	}
	if diff := cmp.Diff([]string{"frontend-canary", "api", ""}, to); diff != "" {
		t.Errorf("kong (-want +got):\n%s", diff)
	}
	two := Step{Matches: []any{map[string]any{"headers": []any{
		map[string]any{"name": "a", "value": "1"}, map[string]any{"name": "b", "value": "2"},
	}}}}
	for class, want := range map[string]string{
		"nginx": "cannot match two conditions at once", "higress": "cannot match two", "mse": "cannot match two", "aliyun-alb": "cannot match two",
		"unknown": "trafficrouting_ingress/unknown.lua", "../../etc/passwd": "there is no script",
	} {
		if _, err := r.CanaryIngress(context.Background(), parse(t, webIngress), class, two); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", class, err, want)
		}
	}
	r.Services.Stable = "nobody"
	var p *Problem
	if _, err := r.CanaryIngress(context.Background(), parse(t, webIngress), "", weight(20)); !errors.As(err, &p) || p.Reason != NoRoute {
		t.Errorf("got %v, want NoRoute", err)
	}
}
