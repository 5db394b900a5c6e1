package routing

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Listener is a listener of a Gateway with the routes that are attached to it.
type Listener struct {
	// Hostname that it is for; empty for all.
	Hostname string
	Routes   []Attached
}

// Attached is a route of a listener.
type Attached struct {
	Route *gatewayv1.HTTPRoute
	// Hostnames that the listener and the route have in common; see Intersect.
	Hostnames []string
}

// Resolve tells the target of a reference in a namespace, and whether there is such a thing.
type Resolve func(namespace string, ref *gatewayv1.BackendObjectReference) (Target, bool)

// Table is the routes of one port.
type Table struct {
	listeners hosts[hosts[[]entry]]
	rules     []*Rule
}

// entry is one match of a rule under one hostname.
type entry struct {
	host  string
	match *match
	rule  *Rule
	route *gatewayv1.HTTPRoute
}

// Found is the answer of a Table.
type Found struct {
	*Rule
	// Prefix of the path that matched, without a slash at its end; for ReplacePrefixMatch.
	Prefix string
}

// Compile makes the table of the listeners of one port. An error is of a route that validation should have refused.
func Compile(listeners []Listener, resolve Resolve) (*Table, error) {
	t := &Table{listeners: hosts[hosts[[]entry]]{}}
	compiled := map[*gatewayv1.HTTPRoute][]*Rule{}
	for i := range listeners {
		l := &listeners[i]
		var all []entry
		for _, a := range l.Routes {
			rules := compiled[a.Route]
			if rules == nil {
				for n := range a.Route.Spec.Rules {
					r, err := compileRule(a.Route, n, resolve)
					if err != nil {
						return nil, fmt.Errorf("HTTPRoute %s/%s: rule %d: %w", a.Route.Namespace, a.Route.Name, n, err)
					}
					rules = append(rules, r)
				}
				compiled[a.Route] = rules
				t.rules = append(t.rules, rules...)
			}
			for n, r := range rules {
				for m := range a.Route.Spec.Rules[n].Matches {
					match, err := compileMatch(&a.Route.Spec.Rules[n].Matches[m])
					if err != nil {
						return nil, fmt.Errorf("HTTPRoute %s/%s: rule %d: match %d: %w", a.Route.Namespace, a.Route.Name, n, m, err)
					}
					for _, host := range a.Hostnames {
						all = append(all, entry{host, match, r, a.Route})
					}
				}
			}
		}
		t.listeners[l.Hostname] = byHost(all)
	}
	return t, nil
}

// Rules are all rules of the table, each once.
func (t *Table) Rules() []*Rule { return t.rules }

// byHost gives every hostname all entries that are to be tried for it, in the order of the Gateway API's precedence.
func byHost(all []entry) hosts[[]entry] {
	// Entries of one rule are told apart by their order in the rule, which a stable sort keeps.
	slices.SortStableFunc(all, precedence)
	out := hosts[[]entry]{}
	for _, e := range all {
		if _, done := out[e.host]; done {
			continue
		}
		var list []entry
		for _, x := range all {
			if covers(x.host, e.host) {
				list = append(list, x)
			}
		}
		out[e.host] = list
	}
	return out
}

// precedence is the order in which matches are tried: the narrowest hostname, an exact path, then expressions, the
// longest prefix, a method, the most headers, the most query parameters, the oldest route, its name, its order of rules.
func precedence(a, b entry) int {
	return cmp.Or(
		narrower(a.host, b.host),
		cmp.Compare(a.match.kind, b.match.kind),
		pathLength(b.match)-pathLength(a.match),
		cmp.Compare(len(b.match.method), 0)-cmp.Compare(len(a.match.method), 0),
		len(b.match.headers)-len(a.match.headers),
		len(b.match.parameters)-len(a.match.parameters),
		a.route.CreationTimestamp.Compare(b.route.CreationTimestamp.Time),
		cmp.Compare(a.route.Namespace, b.route.Namespace),
		cmp.Compare(a.route.Name, b.route.Name),
		cmp.Compare(a.rule.Index, b.rule.Index),
	)
}

func pathLength(m *match) int {
	if m.expression != nil {
		return len(m.expression.String())
	}
	return len(m.path)
}

// Find is the rule for a request; false if there is none, which is answered with 404. A request belongs to one
// listener alone, the one with the narrowest hostname.
func (t *Table) Find(r *Request) (Found, bool) {
	host := hostOf(r.Host)
	l, ok := t.listeners.find(host)
	if !ok {
		return Found{}, false
	}
	entries, _ := l.find(host)
	for i := range entries {
		if m := entries[i].match; m.holds(r) {
			return Found{entries[i].rule, m.path}, true
		}
	}
	return Found{}, false
}

func compileRule(route *gatewayv1.HTTPRoute, index int, resolve Resolve) (*Rule, error) {
	spec := &route.Spec.Rules[index]
	r := &Rule{
		Namespace: route.Namespace, Route: route.Name, Index: index, Name: strconv.Itoa(index),
		Cookie: route.Annotations[AnnotationSessionCookie],
	}
	if spec.Name != nil {
		r.Name = string(*spec.Name)
	}
	if t := spec.Timeouts; t != nil {
		r.Request, r.BackendRequest = duration(t.Request), duration(t.BackendRequest)
	}
	r.Filters = compileFilters(route.Namespace, spec.Filters, resolve)
	for i := range spec.BackendRefs {
		ref := &spec.BackendRefs[i]
		b := Backend{Weight: 1}
		if ref.Weight != nil {
			if *ref.Weight < 0 {
				return nil, fmt.Errorf("backend %d has the weight %d", i, *ref.Weight)
			}
			b.Weight = uint32(*ref.Weight)
		}
		target, ok := resolve(route.Namespace, &ref.BackendObjectReference)
		b.Target, b.Invalid = target, !ok
		b.ID = identify(target)
		changes := compileFilters(route.Namespace, ref.Filters, resolve)
		b.Request, b.Response = changes.Request, changes.Response
		r.Backends = append(r.Backends, b)
		r.total += b.Weight
	}
	return r, nil
}

// identify hides a Service's name from the clients that carry the cookie; nobody gains anything by guessing it.
func identify(t Target) string {
	h := fnv.New64a()
	h.Write([]byte(t.String()))
	return strconv.FormatUint(h.Sum64(), 36)
}

func duration(d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	// Validation let it through, so it parses; otherwise there is no bound.
	out, _ := time.ParseDuration(string(*d))
	return out
}
