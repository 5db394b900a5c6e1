package routing

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// route parses the rules of an HTTPRoute that is minutes old.
func route(t testing.TB, name string, minutes int, rules string) *gatewayv1.HTTPRoute {
	t.Helper()
	r := &gatewayv1.HTTPRoute{}
	r.Namespace, r.Name = "default", name
	r.CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000, 0).Add(-time.Duration(minutes) * time.Minute))
	if err := yaml.UnmarshalStrict([]byte(rules), &r.Spec); err != nil {
		t.Fatal(err)
	}
	for i := range r.Spec.Rules {
		if r.Spec.Rules[i].Matches == nil {
			r.Spec.Rules[i].Matches = []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Value: ptr.To("/")}}}
		}
	}
	return r
}

// everyTarget resolves all references but those to "missing".
func everyTarget(namespace string, ref *gatewayv1.BackendObjectReference) (Target, bool) {
	return Target{namespace, string(ref.Name), ptr.Deref(ref.Port, 0)}, ref.Name != "missing"
}

// table compiles routes for one listener.
func table(t testing.TB, hostname string, routes ...*gatewayv1.HTTPRoute) *Table {
	t.Helper()
	l := Listener{Hostname: hostname}
	for _, r := range routes {
		var names []string
		for _, h := range r.Spec.Hostnames {
			names = append(names, string(h))
		}
		l.Routes = append(l.Routes, Attached{r, Intersect(hostname, names)})
	}
	out, err := Compile([]Listener{l}, everyTarget)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ask makes a request of "METHOD URL Header=value...".
func ask(text string) *Request {
	parts := strings.Fields(text)
	host, rest, _ := strings.Cut(strings.TrimPrefix(parts[1], "http://"), "/")
	path, query, _ := strings.Cut(rest, "?")
	r := &Request{Method: parts[0], Host: host, Path: CleanPath("/" + path), RawQuery: query, Header: http.Header{}}
	for _, h := range parts[2:] {
		name, value, _ := strings.Cut(h, "=")
		r.Header.Add(name, value)
	}
	return r
}

func TestFind(t *testing.T) {
	tb := table(t, "",
		route(t, "a", 9, `
rules:
- {name: root, matches: [{path: {type: PathPrefix, value: /}}]}
- {name: shop, matches: [{path: {type: PathPrefix, value: /shop/}}]}
- {name: cart, matches: [{path: {type: PathPrefix, value: /shop/cart}}]}
- {name: exact, matches: [{path: {type: Exact, value: /shop/cart}}]}
- {name: posts, matches: [{path: {type: PathPrefix, value: /shop}, method: POST}]}
- {name: beta, matches: [{path: {type: PathPrefix, value: /shop}, headers: [{name: x-beta, value: "yes"}]}]}
- {name: both, matches: [{path: {type: PathPrefix, value: /shop}, headers: [{name: x-beta, value: "yes"}, {name: x-user, type: RegularExpression, value: "test.*"}]}]}
- {name: asked, matches: [{path: {type: PathPrefix, value: /shop}, queryParams: [{name: v, value: "2"}]}]}
- {name: number, matches: [{path: {type: RegularExpression, value: "/item/[0-9]+"}}]}
- {name: coffee, matches: [{path: {type: PathPrefix, value: "/caf%C3%A9"}}]}
`),
		route(t, "hosts", 5, `
hostnames: [shop.example, "*.wild.example"]
rules:
- {name: host, matches: [{path: {type: PathPrefix, value: /}}]}
`),
		route(t, "younger", 1, `
rules:
- {name: younger, matches: [{path: {type: PathPrefix, value: /shop}}, {path: {type: Exact, value: /new}}]}
`),
	)
	for _, c := range []struct{ request, want string }{
		{"GET http://x/", "root"},
		{"GET http://x/shopping", "root"},
		{"GET http://x/shop", "shop"},
		{"GET http://x/shop/", "shop"},
		{"GET http://x/shop/books", "shop"},
		{"GET http://x/shop/cart/1", "cart"},
		{"GET http://x/shop/cart", "exact"},
		{"GET http://x/shop/cart/", "cart"},
		{"POST http://x/shop", "posts"},
		{"POST http://x/shop x-beta=yes", "posts"}, // a method comes before headers
		{"GET http://x/shop x-beta=yes", "beta"},
		{"GET http://x/shop x-beta=YES", "shop"},
		{"GET http://x/shop X-Beta=yes x-user=tester", "both"},
		{"GET http://x/shop X-Beta=yes x-user=a-tester", "beta"}, // an expression has to match all of the value
		{"GET http://x/shop?v=2", "asked"},
		{"GET http://x/shop?v=1&v=2", "shop"}, // the first value counts
		{"GET http://x/shop?V=2", "shop"},
		{"GET http://x/shop/cart?v=2", "exact"}, // the path comes first
		{"GET http://x/item/12", "number"},
		{"GET http://x/item/12/x", "root"},
		{"GET http://x/café/au/lait", "coffee"},
		{"GET http://x/new", "younger"},
		{"GET http://x/a/../shop//cart", "exact"},
		{"GET http://shop.example/shop/cart", "host"}, // the hostname comes before everything
		{"GET http://SHOP.example.:8080/", "host"},
		{"GET http://a.wild.example/", "host"},
		{"GET http://a.b.wild.example/", "host"},
		{"GET http://wild.example/shop", "shop"},
	} {
		found, ok := tb.Find(ask(c.request))
		if !ok || found.Name != c.want {
			t.Errorf("%s: went to %+v, expected %s", c.request, found.Rule, c.want)
		}
	}
}

// A request belongs to the listener with the narrowest hostname alone.
func TestListeners(t *testing.T) {
	all := route(t, "all", 1, `{rules: [{name: all}]}`)
	one := route(t, "one", 1, `{rules: [{name: one, matches: [{path: {type: Exact, value: /only}}]}]}`)
	wild := route(t, "wild", 1, `{rules: [{name: wild}]}`)
	tb, err := Compile([]Listener{
		{"", []Attached{{all, []string{""}}}},
		{"one.example", []Attached{{one, []string{"one.example"}}}},
		{"*.example", []Attached{{wild, []string{"*.example"}}}},
	}, everyTarget)
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{
		"GET http://one.example/only": "one", "GET http://one.example/": "", "GET http://two.example/": "wild", "GET http://example/": "all", "GET http://127.0.0.1:8080/": "all",
	} {
		found, ok := tb.Find(ask(request))
		switch {
		case ok && found.Name != want:
			t.Errorf("%s: went to %s, expected %q", request, found.Name, want)
		case !ok && want != "":
			t.Errorf("%s: no route, expected %s", request, want)
		}
	}
	named := table(t, "only.example", route(t, "r", 1, `{rules: [{}]}`))
	if _, ok := named.Find(ask("GET http://other.example/")); ok {
		t.Error("a listener took a request for another host")
	}
}

func TestIntersect(t *testing.T) {
	for _, c := range []struct{ listener, route, want string }{
		{"", "", "[]"},
		{"", "a.example", "[a.example]"},
		{"a.example", "", "[a.example]"},
		{"*.example", "a.example b.other *.b.example", "[a.example *.b.example]"},
		{"a.example", "*.example", "[a.example]"},
		{"*.example", "*.example", "[*.example]"},
		{"*.example", "example", "[]"},
		{"a.example", "b.example", "[]"},
	} {
		got := fmt.Sprint(Intersect(c.listener, strings.Fields(c.route)))
		if got != c.want {
			t.Errorf("%q and %q have %s in common, expected %s", c.listener, c.route, got, c.want)
		}
	}
}

// Every number picks one backend, and each is picked as often as its weight says, exactly.
func TestWeights(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(0, 200), 1, 16).Draw(rt, "weights")
		rule := &Rule{}
		for i, w := range weights {
			rule.Backends = append(rule.Backends, Backend{Target: Target{Service: fmt.Sprint(i)}, Weight: w})
			rule.total += w
		}
		picked := map[string]uint32{}
		for n := range rule.Total() {
			b := rule.Pick(n)
			if b == nil {
				rt.Fatalf("the number %d of %d picks none of %v", n, rule.Total(), weights)
			}
			picked[b.Service]++
		}
		for i, w := range weights {
			if picked[fmt.Sprint(i)] != w {
				rt.Fatalf("backend %d of %v was picked %d times", i, weights, picked[fmt.Sprint(i)])
			}
		}
		if rule.Pick(rule.Total()) != nil {
			rt.Fatal("a number that is too large picks a backend")
		}
	})
}

// Whoever has a cookie stays with the backend, whatever the weights are, until that takes no requests.
func TestSticky(t *testing.T) {
	at := func(weight int) *Rule {
		tb := table(t, "", route(t, "r", 1, fmt.Sprintf(`{rules: [{backendRefs: [{name: v1, port: 80, weight: %d}, {name: v2, port: 80, weight: %d}, {name: missing, port: 80}]}]}`, 100-weight, weight)))
		return tb.Rules()[0]
	}
	first := at(20)
	id := first.Backends[1].ID
	if id == "" || id == first.Backends[0].ID {
		t.Fatalf("the backends are told apart by %q and %q", first.Backends[0].ID, id)
	}
	for _, weight := range []int{20, 1, 100} {
		if b := at(weight).Sticky(id); b == nil || b.Service != "v2" {
			t.Errorf("with the weight %d the cookie leads to %+v", weight, b)
		}
	}
	if b := at(0).Sticky(id); b != nil {
		t.Errorf("without weight the cookie leads to %+v", b)
	}
	if b := first.Sticky(first.Backends[2].ID); b != nil {
		t.Errorf("a cookie leads to a backend that is not there: %+v", b)
	}
	if b := first.Sticky("forged"); b != nil {
		t.Errorf("a forged cookie leads to %+v", b)
	}
}

func TestRules(t *testing.T) {
	tb := table(t, "", route(t, "r", 1, `
rules:
- timeouts: {request: 1m30s, backendRequest: 500ms}
  backendRefs:
  - {name: a, port: 80}
  - {name: missing, port: 80, weight: 3}
  - {name: spare, port: 80, weight: 0}
- {}
`))
	r := tb.Rules()[0]
	if r.Request != 90*time.Second || r.BackendRequest != 500*time.Millisecond {
		t.Errorf("timeouts %s and %s", r.Request, r.BackendRequest)
	}
	if r.Total() != 4 || r.Backends[0].Invalid || !r.Backends[1].Invalid || r.Pick(3).Service != "missing" {
		t.Errorf("backends %+v", r.Backends)
	}
	if tb.Rules()[1].Total() != 0 {
		t.Error("a rule without backends shares requests")
	}
}

func TestCleanPath(t *testing.T) {
	for in, want := range map[string]string{
		"": "/", "/": "/", "/a": "/a", "/a/": "/a/", "//a//b/": "/a/b/", "/a/./b": "/a/b", "/a/../b": "/b", "/a/..": "/", "/../..": "/", "*": "/*", "/.well-known/x": "/.well-known/x", "/a/b/..": "/a",
	} {
		if got := CleanPath(in); got != want {
			t.Errorf("%q is cleaned to %q, expected %q", in, got, want)
		}
	}
}

// No path and no expression make a match panic, and a cleaned path holds nothing to climb with.
func FuzzFind(f *testing.F) {
	f.Add("/shop/../x", "a=b", "host:80", "(a*)*b")
	f.Add("//", "%zz", "[::1]:80", "x{2}")
	f.Fuzz(func(t *testing.T, path, query, host, expression string) {
		clean := CleanPath(path)
		if !strings.HasPrefix(clean, "/") || strings.Contains(clean, "/../") || strings.Contains(clean, "//") {
			t.Fatalf("%q is cleaned to %q", path, clean)
		}
		if _, err := Expression(expression); err != nil {
			return
		}
		r := route(t, "r", 1, `{rules: [{matches: [{path: {type: PathPrefix, value: /}, queryParams: [{name: a, value: b}]}]}]}`)
		r.Spec.Rules[0].Matches = append(r.Spec.Rules[0].Matches, gatewayv1.HTTPRouteMatch{
			Path: &gatewayv1.HTTPPathMatch{Type: ptr.To(gatewayv1.PathMatchRegularExpression), Value: &expression},
		})
		table(t, "", r).Find(&Request{Host: host, Method: "GET", Path: clean, RawQuery: query})
	})
}

func BenchmarkFind(b *testing.B) {
	rules := "rules:\n"
	for i := range 16 {
		rules += fmt.Sprintf("- {matches: [{path: {type: PathPrefix, value: /service-%d}, headers: [{name: x-version, value: v%d}]}]}\n", i, i)
	}
	rules += "- {name: last}\n"
	tb := table(b, "", route(b, "r", 1, rules))
	r := ask("GET http://x/service-3/items x-version=v7")
	b.ReportAllocs()
	for b.Loop() {
		if found, ok := tb.Find(r); !ok || found.Name != "last" {
			b.Fatal("wrong rule")
		}
	}
}
