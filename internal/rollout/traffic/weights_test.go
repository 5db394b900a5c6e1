package traffic

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"
)

// backend is a destination in any kind of object.
type backend struct {
	// service is frontend, frontend-canary or another.
	service string
	// elsewhere says that the Service is in another namespace.
	elsewhere bool
	weight    *int64
}

// dialect writes and reads one kind of object.
type dialect struct {
	apiVersion, kind string
	rules            []string // the path of the list of rules; nil if the object is one rule
	backends         []string // in a rule
	write            func(backend) map[string]any
	read             func(map[string]any) backend
	// implied is the weight of a backend without one, in a list of n of which some have one.
	implied func(n int, some bool) int64
}

func plainRead(nameField string) func(map[string]any) backend {
	return func(m map[string]any) backend {
		b := backend{service: m[nameField].(string), elsewhere: m["namespace"] == "elsewhere"}
		if w, ok := m["weight"].(int64); ok {
			b.weight = &w
		}
		return b
	}
}

func plainWrite(nameField string, namespaced bool) func(backend) map[string]any {
	return func(b backend) map[string]any {
		m := map[string]any{nameField: b.service, "port": int64(80)}
		if b.elsewhere && namespaced {
			m["namespace"] = "elsewhere"
		}
		if b.elsewhere && !namespaced {
			m[nameField] = "elsewhere"
		}
		if b.weight != nil {
			m["weight"] = *b.weight
		}
		return m
	}
}

func one(int, bool) int64 { return 1 }

var dialects = []dialect{
	{
		apiVersion: "networking.istio.io/v1", kind: "VirtualService", rules: []string{"http"}, backends: []string{"route"},
		write: func(b backend) map[string]any {
			host := b.service
			if b.elsewhere {
				host += ".elsewhere.svc.cluster.local"
			}
			m := map[string]any{"destination": map[string]any{"host": host}}
			if b.weight != nil {
				m["weight"] = *b.weight
			}
			return m
		},
		read: func(m map[string]any) backend {
			host := m["destination"].(map[string]any)["host"].(string)
			b := backend{service: host}
			if w, ok := m["weight"].(int64); ok {
				b.weight = &w
			}
			return b
		},
		implied: func(n int, _ bool) int64 {
			if n == 1 {
				return 100
			}
			return 0
		},
	},
	{"gateway.networking.k8s.io/v1", "HTTPRoute", []string{"rules"}, []string{"backendRefs"}, plainWrite("name", true), plainRead("name"), one},
	{"gateway.networking.k8s.io/v1", "GRPCRoute", []string{"rules"}, []string{"backendRefs"}, plainWrite("name", true), plainRead("name"), one},
	{"traefik.io/v1alpha1", "TraefikService", nil, []string{"weighted", "services"}, plainWrite("name", true), plainRead("name"), one},
	{"traefik.io/v1alpha1", "IngressRoute", []string{"routes"}, []string{"services"}, plainWrite("name", true), plainRead("name"), one},
	{"apisix.apache.org/v2", "ApisixRoute", []string{"http"}, []string{"backends"}, plainWrite("serviceName", false), plainRead("serviceName"), func(int, bool) int64 { return 100 }},
	{"projectcontour.io/v1", "HTTPProxy", []string{"routes"}, []string{"services"}, plainWrite("name", false), plainRead("name"), func(_ int, some bool) int64 {
		if some {
			return 0
		}
		return 1
	}},
}

// TestWeightsAddUp runs every script that splits by weight on random objects: in each rule that leads to the Service the
// weights add up to 100, the canary has its part of the Service's share, the others keep their share; every other rule
// is as it was.
func TestWeightsAddUp(t *testing.T) {
	scripts := NewScripts(Shipped())
	for _, d := range dialects {
		t.Run(d.kind, func(t *testing.T) {
			script, err := scripts.Custom(d.apiVersion, d.kind)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(rt *rapid.T) {
				count := 1
				if d.rules != nil {
					count = rapid.IntRange(1, 4).Draw(rt, "rules")
				}
				var before [][]backend
				leads := false
				for range count {
					list := rapid.SliceOfN(rapid.Custom(drawBackend), 0, 4).Draw(rt, "backends")
					before = append(before, list)
					leads = leads || d.share(list) != nil
				}
				object := d.object(before)
				percent := int32(rapid.IntRange(0, 100).Draw(rt, "percent"))
				got, err := Preview(context.Background(), script, object, "shop", Step{Weight: &percent}, Services{"frontend", "frontend-canary"})
				if !leads {
					if err == nil {
						rt.Fatal("got no error though no route leads to the Service")
					}
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				after := d.rulesOf(got["spec"].(map[string]any))
				original := d.rulesOf(object.Object["spec"].(map[string]any))
				if len(after) != len(before) {
					rt.Fatalf("%d rules became %d", len(before), len(after))
				}
				for i := range before {
					share := d.share(before[i])
					if share == nil || sum(share) == 0 {
						if !reflect.DeepEqual(after[i], original[i]) {
							rt.Fatalf("rule %d was changed: %v became %v", i, original[i], after[i])
						}
						continue
					}
					d.check(rt, before[i], share, d.backendsOf(after[i]), percent)
				}
			})
		})
	}
}

func drawBackend(rt *rapid.T) backend {
	b := backend{service: rapid.SampledFrom([]string{"frontend", "api", "legacy"}).Draw(rt, "service")}
	if rapid.IntRange(0, 3).Draw(rt, "elsewhere") == 0 {
		b.elsewhere = true
	}
	if rapid.Bool().Draw(rt, "weighted") {
		w := int64(rapid.IntRange(0, 200).Draw(rt, "weight"))
		b.weight = &w
	}
	return b
}

// share are the weights that count in a list, nil if none of them is the Service.
func (d dialect) share(list []backend) []int64 {
	some, stable := false, false
	for _, b := range list {
		some = some || b.weight != nil && *b.weight > 0
		stable = stable || b.service == "frontend" && !b.elsewhere
	}
	if !stable {
		return nil
	}
	var out []int64
	for _, b := range list {
		switch {
		case d.kind == "VirtualService" && len(list) == 1:
			out = append(out, 100)
		case d.kind == "HTTPProxy" && !some: // Contour takes none and zero for the same
			out = append(out, 1)
		case b.weight != nil:
			out = append(out, *b.weight)
		default:
			out = append(out, d.implied(len(list), some))
		}
	}
	return out
}

func sum(list []int64) int64 {
	var total int64
	for _, n := range list {
		total += n
	}
	return total
}

func (d dialect) check(rt *rapid.T, before []backend, share []int64, after []backend, percent int32) {
	total, j := int64(0), 0
	near := func(got int64, want float64, what string) {
		if diff := float64(got) - want; diff > 1.5 || diff < -1.5 {
			rt.Fatalf("%s has the weight %d, want about %.1f", what, got, want)
		}
	}
	for i, b := range before {
		exact := float64(share[i]) * 100 / float64(sum(share))
		w := *after[j].weight
		total += w
		if b.service != "frontend" || b.elsewhere {
			near(w, exact, b.service)
			if sum(share) == 100 && w != share[i] {
				rt.Fatalf("the weight %d of another Service became %d", share[i], w)
			}
			j++
			continue
		}
		c := *after[j+1].weight
		if after[j+1].service != "frontend-canary" {
			rt.Fatalf("behind the stable Service is %s", after[j+1].service)
		}
		total += c
		near(w, exact*float64(100-percent)/100, "the stable Service")
		near(c, exact*float64(percent)/100, "the canary")
		j += 2
	}
	if total != 100 || j != len(after) {
		rt.Fatalf("the weights add up to %d over %d backends, want 100 over %d", total, len(after), j)
	}
}

func (d dialect) object(list [][]backend) *unstructured.Unstructured {
	var rules []any
	for i, backends := range list {
		var items []any
		for _, b := range backends {
			items = append(items, d.write(b))
		}
		rule := map[string]any{"name": fmt.Sprint("rule", i)}
		if d.kind == "TraefikService" {
			delete(rule, "name")
		}
		if items != nil {
			if err := unstructured.SetNestedSlice(rule, items, d.backends...); err != nil {
				panic(err)
			}
		}
		rules = append(rules, rule)
	}
	spec := map[string]any{}
	if d.rules == nil {
		spec = rules[0].(map[string]any)
	} else {
		spec[d.rules[0]] = rules
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": d.apiVersion, "kind": d.kind, "metadata": map[string]any{"name": "web", "namespace": "shop"}, "spec": spec,
	}}
}

func (d dialect) rulesOf(spec map[string]any) []map[string]any {
	if d.rules == nil {
		return []map[string]any{spec}
	}
	list, _, err := unstructured.NestedSlice(spec, d.rules...)
	if err != nil {
		panic(err)
	}
	var out []map[string]any
	for _, item := range list {
		out = append(out, item.(map[string]any))
	}
	return out
}

func (d dialect) backendsOf(rule map[string]any) []backend {
	list, _, err := unstructured.NestedSlice(rule, d.backends...)
	if err != nil {
		panic(err)
	}
	var out []backend
	for _, item := range list {
		out = append(out, d.read(item.(map[string]any)))
	}
	return out
}
