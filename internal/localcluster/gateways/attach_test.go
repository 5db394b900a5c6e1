package gateways

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
)

func parse[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// aWorld has a Gateway with a listener for everybody, and one for the hosts of a domain and the namespaces of a team.
func aWorld(t *testing.T, route string) *world {
	t.Helper()
	w := &world{
		classes: []gatewayv1.GatewayClass{
			parse[gatewayv1.GatewayClass](t, `{metadata: {name: redstart}, spec: {controllerName: redstart.dev/gateway}}`),
			parse[gatewayv1.GatewayClass](t, `{metadata: {name: other}, spec: {controllerName: example.com/other}}`),
		},
		gateways: []gatewayv1.Gateway{
			parse[gatewayv1.Gateway](t, `
metadata: {name: web, namespace: default, generation: 3}
spec:
  gatewayClassName: redstart
  listeners:
  - {name: http, port: 8000, protocol: HTTP}
  - {name: team, port: 8001, protocol: HTTP, hostname: "*.team.example", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}
  - {name: all, port: 8002, protocol: HTTP, hostname: all.example, allowedRoutes: {namespaces: {from: All}}}
`),
			parse[gatewayv1.Gateway](t, `{metadata: {name: foreign, namespace: default}, spec: {gatewayClassName: other, listeners: [{name: http, port: 80, protocol: HTTP}]}}`),
		},
		services: map[types.NamespacedName]*corev1.Service{
			{Namespace: "default", Name: "shop"}: {Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		},
		namespaces: map[string]labels.Set{"default": {}, "a": {"team": "a"}, "b": {"team": "b"}},
	}
	if route != "" {
		w.routes = []gatewayv1.HTTPRoute{parse[gatewayv1.HTTPRoute](t, route)}
	}
	return w
}

func TestAttach(t *testing.T) {
	for _, c := range []struct{ name, route, want string }{
		{
			"to every listener that allows it", `{metadata: {namespace: default}, spec: {parentRefs: [{name: web}], hostnames: [all.example]}}`,
			"Accepted map[0:[all.example] 2:[all.example]]",
		},
		{"without hostnames it takes the listener's", `{metadata: {namespace: default}, spec: {parentRefs: [{name: web}]}}`, "Accepted map[0:[] 2:[all.example]]"},
		{
			"from another namespace, by its labels", `{metadata: {namespace: a}, spec: {parentRefs: [{name: web, namespace: default, sectionName: team}], hostnames: [x.team.example, other.example]}}`,
			"Accepted map[1:[x.team.example]]",
		},
		{"from a namespace of another team", `{metadata: {namespace: b}, spec: {parentRefs: [{name: web, namespace: default, sectionName: team}]}}`, "NotAllowedByListeners map[]"},
		{"to a listener that is not there", `{metadata: {namespace: default}, spec: {parentRefs: [{name: web, sectionName: https}]}}`, "NoMatchingParent map[]"},
		{"by a port", `{metadata: {namespace: default}, spec: {parentRefs: [{name: web, port: 8000}]}}`, "Accepted map[0:[]]"},
		{"with other hostnames", `{metadata: {namespace: b}, spec: {parentRefs: [{name: web, namespace: default}], hostnames: [nobody.example]}}`, "NoMatchingListenerHostname map[]"},
		{"to a Gateway that is not there", `{metadata: {namespace: default}, spec: {parentRefs: [{name: none}]}}`, "NoMatchingParent map[]"},
		{"to somebody else's Gateway", `{metadata: {namespace: default}, spec: {parentRefs: [{name: foreign}]}}`, "not ours"},
	} {
		w := aWorld(t, c.route)
		got := "not ours"
		if a := w.attach(&w.routes[0], &w.routes[0].Spec.ParentRefs[0]); a != nil {
			got = fmt.Sprint(a.accepted.reason, " ", a.listeners)
		}
		if got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}

func TestResolved(t *testing.T) {
	for refs, want := range map[string]string{
		`[{name: shop, port: 80}]`:                                "ResolvedRefs",
		`[{name: shop, port: 81}]`:                                "BackendNotFound: Service shop has no port 81",
		`[{name: shop, port: 80}, {name: none, port: 80}]`:        "BackendNotFound: Service none does not exist",
		`[{name: shop, kind: Bucket, group: example.com}]`:        "InvalidKind: backend shop is no Service",
		`[{name: shop, namespace: other, port: 80}]`:              "RefNotPermitted",
		`[{name: shop, namespace: default, group: "", port: 80}]`: "ResolvedRefs",
	} {
		w := aWorld(t, `{metadata: {namespace: default}, spec: {rules: [{backendRefs: `+refs+`}]}}`)
		v := w.resolved(&w.routes[0])
		if got := v.reason + ": " + v.message; !strings.HasPrefix(got, want) || v.ok != (v.reason == "ResolvedRefs") {
			t.Errorf("%s: %s, expected %s", refs, got, want)
		}
	}
}

func TestStatus(t *testing.T) {
	w := aWorld(t, `
metadata: {namespace: default, name: r, generation: 2}
spec: {parentRefs: [{name: web}, {name: foreign}, {name: none}]}
status:
  parents:
  - {parentRef: {name: foreign}, controllerName: example.com/other, conditions: [{type: Accepted, status: "True", reason: Theirs, message: "", lastTransitionTime: null}]}
  - {parentRef: {name: former}, controllerName: redstart.dev/gateway}
`)
	p := w.decide()
	s := routeStatus(&w.routes[0], p.attachments[nameOf(&w.routes[0])], verdict{true, "ResolvedRefs", ""})
	var got []string
	for _, parent := range s.Parents {
		got = append(got, fmt.Sprint(parent.ParentRef.Name, " ", parent.ControllerName, " ", parent.Conditions[0].Reason))
	}
	want := "foreign example.com/other Theirs, web redstart.dev/gateway Accepted, none redstart.dev/gateway NoMatchingParent"
	if strings.Join(got, ", ") != want {
		t.Errorf("the route's parents are %v, expected %s", got, want)
	}
	if n := fmt.Sprint(p.attached[nameOf(&w.gateways[0])]); n != "[1 0 1]" || len(p.ports) != 3 {
		t.Errorf("%s routes are attached to %d ports", n, len(p.ports))
	}
	if ok, why := w.ours(&w.gateways[1]); ok || !strings.Contains(why, "example.com/other") || !strings.Contains(why, routing.ClassName) {
		t.Errorf("the other Gateway is ours: %v, %s", ok, why)
	}
}

func TestGatewayStatus(t *testing.T) {
	g := &aWorld(t, "").gateways[0]
	svc := DesiredService(g)
	attached := []int32{1, 0, 0}
	see := func(svc *corev1.Service, problem, want string) {
		t.Helper()
		s := gatewayStatus(g, attached, svc, problem)
		c := s.Conditions[1]
		var addresses []string
		for _, a := range s.Addresses {
			addresses = append(addresses, a.Value)
		}
		if got := fmt.Sprint(c.Type, " ", c.Status, " ", c.Reason, ": ", c.Message, " ", addresses); got != want {
			t.Errorf("%s\nexpected %s", got, want)
		}
		if len(s.Listeners) != 3 || s.Listeners[0].AttachedRoutes != 1 {
			t.Errorf("listeners %+v", s.Listeners)
		}
	}
	see(nil, "", "Programmed False AddressNotAssigned: Waiting for an address []")
	see(nil, occupied(svc), "Programmed False AddressNotAssigned: Service gateway-web exists and is not this Gateway's; delete it, or rename the Gateway []")
	svc.Spec.ClusterIP = "127.64.1.9"
	see(svc, "", "Programmed False AddressNotAssigned: Waiting to be published on this machine [127.64.1.9]")
	svc.Status.Conditions = []metav1.Condition{{Type: services.ConditionPublished, Status: metav1.ConditionFalse, Message: "port 8000 is taken"}}
	see(svc, "", "Programmed False AddressNotUsable: port 8000 is taken [127.64.1.9]")
	svc.Status.Conditions[0].Status = metav1.ConditionTrue
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "127.0.0.1"}}
	svc.Annotations[services.AnnotationPublished] = "127.0.0.1:8000,127.0.0.1:8001"
	see(svc, "", "Programmed True Programmed: Published at http://127.0.0.1:8000, http://127.0.0.1:8001 [127.0.0.1 127.64.1.9]")
}

func TestService(t *testing.T) {
	for gateway, want := range map[string]string{
		"web": "gateway-web", "a.b": "gateway-a-b-", "9lives": "gateway-9lives", strings.Repeat("x", 63): "gateway-" + strings.Repeat("x", 46) + "-",
	} {
		got := ServiceName(gateway)
		if !strings.HasPrefix(got, want) || len(got) > 63 {
			t.Errorf("the Service of Gateway %s is %s, expected %s", gateway, got, want)
		}
	}
	if ServiceName("a.b") == ServiceName("a-b") {
		t.Error("two Gateways have one Service")
	}
	g := &aWorld(t, "").gateways[0]
	svc := DesiredService(g)
	svc.Spec.Ports[0].NodePort = 30123
	if change(svc, DesiredService(g)) {
		t.Error("a Service that is as it should be is changed")
	}
	g.Spec.Listeners = g.Spec.Listeners[:1]
	if !change(svc, DesiredService(g)) || len(svc.Spec.Ports) != 1 || svc.Spec.Ports[0].NodePort != 30123 {
		t.Errorf("the ports are %+v", svc.Spec.Ports)
	}
}
