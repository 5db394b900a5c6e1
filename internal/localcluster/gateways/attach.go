package gateways

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// world is what there is, as the cache has it.
type world struct {
	classes    []gatewayv1.GatewayClass
	gateways   []gatewayv1.Gateway
	routes     []gatewayv1.HTTPRoute
	services   map[types.NamespacedName]*corev1.Service
	namespaces map[string]labels.Set
}

// ours tells whether a Gateway is to be served here, and otherwise why it is not.
func (w *world) ours(g *gatewayv1.Gateway) (bool, string) {
	i := slices.IndexFunc(w.classes, func(c gatewayv1.GatewayClass) bool { return c.Name == string(g.Spec.GatewayClassName) })
	switch {
	case i < 0:
		return false, fmt.Sprintf("GatewayClass %q does not exist; write %s, or make a GatewayClass of that name with the controller %s", g.Spec.GatewayClassName, routing.ClassName, routing.ControllerName)
	case w.classes[i].Spec.ControllerName != routing.ControllerName:
		return false, fmt.Sprintf("GatewayClass %q is for the controller %s, which does not run on one machine; write %s", g.Spec.GatewayClassName, w.classes[i].Spec.ControllerName, routing.ClassName)
	}
	return true, ""
}

// verdict is a condition without its time.
type verdict struct {
	ok              bool
	reason, message string
}

func (v verdict) status() metav1.ConditionStatus {
	if v.ok {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// attachment is what became of one parentRef of a route.
type attachment struct {
	route    *gatewayv1.HTTPRoute
	gateway  *gatewayv1.Gateway // nil if there is none
	accepted verdict
	// listeners by index in the Gateway, each with the hostnames that it has in common with the route.
	listeners map[int][]string
}

// attach finds the listeners for a parentRef. It answers with nothing if the Gateway is not ours to judge.
func (w *world) attach(r *gatewayv1.HTTPRoute, ref *gatewayv1.ParentReference) *attachment {
	namespace := r.Namespace
	if ref.Namespace != nil {
		namespace = string(*ref.Namespace)
	}
	a := &attachment{route: r, listeners: map[int][]string{}}
	i := slices.IndexFunc(w.gateways, func(g gatewayv1.Gateway) bool { return g.Namespace == namespace && g.Name == string(ref.Name) })
	if i < 0 {
		a.accepted = verdict{false, string(gatewayv1.RouteReasonNoMatchingParent), fmt.Sprintf("Gateway %s/%s does not exist", namespace, ref.Name)}
		return a
	}
	a.gateway = &w.gateways[i]
	if ok, _ := w.ours(a.gateway); !ok {
		return nil
	}
	var hostnames []string
	for _, h := range r.Spec.Hostnames {
		hostnames = append(hostnames, string(h))
	}
	named, allowed := false, false
	for i := range a.gateway.Spec.Listeners {
		l := &a.gateway.Spec.Listeners[i]
		if ref.SectionName != nil && *ref.SectionName != l.Name || ref.Port != nil && *ref.Port != l.Port {
			continue
		}
		named = true
		if !w.allows(a.gateway, l, r) {
			continue
		}
		allowed = true
		if common := routing.Intersect(hostnameOf(l), hostnames); len(common) > 0 {
			a.listeners[i] = common
		}
	}
	switch {
	case !named:
		a.accepted = verdict{false, string(gatewayv1.RouteReasonNoMatchingParent), "the Gateway has no such listener"}
	case !allowed:
		a.accepted = verdict{false, string(gatewayv1.RouteReasonNotAllowedByListeners), "the Gateway's allowedRoutes do not allow the route"}
	case len(a.listeners) == 0:
		a.accepted = verdict{false, string(gatewayv1.RouteReasonNoMatchingListenerHostname), "the Gateway's listeners are for other hostnames"}
	default:
		a.accepted = verdict{true, string(gatewayv1.RouteReasonAccepted), "Route is accepted"}
	}
	return a
}

func hostnameOf(l *gatewayv1.Listener) string {
	if l.Hostname == nil {
		return ""
	}
	return string(*l.Hostname)
}

// allows tells whether a listener takes routes of a route's namespace.
func (w *world) allows(g *gatewayv1.Gateway, l *gatewayv1.Listener, r *gatewayv1.HTTPRoute) bool {
	from := gatewayv1.NamespacesFromSame
	var selector *metav1.LabelSelector
	if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil {
		if n := l.AllowedRoutes.Namespaces; n.From != nil {
			from, selector = *n.From, n.Selector
		}
	}
	switch from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		return err == nil && s.Matches(w.namespaces[r.Namespace])
	default:
		return g.Namespace == r.Namespace
	}
}

// resolve finds the port of a Service that a reference of a namespace means, and tells what is wrong with it.
func (w *world) resolve(namespace string, ref *gatewayv1.BackendObjectReference) (routing.Target, verdict) {
	t := routing.Target{Namespace: namespace, Service: string(ref.Name)}
	bad := func(reason gatewayv1.RouteConditionReason, format string, args ...any) (routing.Target, verdict) {
		return t, verdict{false, string(reason), fmt.Sprintf(format, args...)}
	}
	if ref.Port != nil {
		t.Port = *ref.Port
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != "Service" {
		return bad(gatewayv1.RouteReasonInvalidKind, "backend %s is no Service", ref.Name)
	}
	if ref.Namespace != nil && string(*ref.Namespace) != namespace {
		t.Namespace = string(*ref.Namespace)
		return bad(gatewayv1.RouteReasonRefNotPermitted, "backend %s/%s is in another namespace, and there is no ReferenceGrant on one machine", *ref.Namespace, ref.Name)
	}
	svc := w.services[types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}]
	if svc == nil {
		return bad(gatewayv1.RouteReasonBackendNotFound, "Service %s does not exist", ref.Name)
	}
	if !slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == t.Port }) {
		return bad(gatewayv1.RouteReasonBackendNotFound, "Service %s has no port %d", ref.Name, t.Port)
	}
	return t, verdict{true, string(gatewayv1.RouteReasonResolvedRefs), "All references are resolved"}
}

// resolved judges all references of a route: the first that is wrong is told.
func (w *world) resolved(r *gatewayv1.HTTPRoute) verdict {
	out := verdict{true, string(gatewayv1.RouteReasonResolvedRefs), "All references are resolved"}
	check := func(ref *gatewayv1.BackendObjectReference) {
		if _, v := w.resolve(r.Namespace, ref); !v.ok && out.ok {
			out = v
		}
	}
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		for j := range rule.BackendRefs {
			check(&rule.BackendRefs[j].BackendObjectReference)
		}
		for j := range rule.Filters {
			if m := rule.Filters[j].RequestMirror; m != nil {
				check(&m.BackendRef)
			}
		}
	}
	return out
}

// plan is what is to be served, and to be told.
type plan struct {
	// ports are the routes of each port of each Gateway of ours.
	ports map[gatewayPort][]routing.Listener
	// attached counts the routes of each listener of each Gateway.
	attached map[types.NamespacedName][]int32
	// attachments are those of each route, in the order of its parentRefs; nil for a Gateway of somebody else.
	attachments map[types.NamespacedName][]*attachment
}

type gatewayPort struct {
	gateway types.NamespacedName
	port    int32
}

// decide attaches all routes.
func (w *world) decide() *plan {
	p := &plan{
		ports: map[gatewayPort][]routing.Listener{}, attached: map[types.NamespacedName][]int32{}, attachments: map[types.NamespacedName][]*attachment{},
	}
	byGateway := map[*gatewayv1.Gateway][]*attachment{}
	for i := range w.routes {
		r := &w.routes[i]
		for j := range r.Spec.ParentRefs {
			a := w.attach(r, &r.Spec.ParentRefs[j])
			p.attachments[nameOf(r)] = append(p.attachments[nameOf(r)], a)
			if a != nil && a.gateway != nil {
				byGateway[a.gateway] = append(byGateway[a.gateway], a)
			}
		}
	}
	for i := range w.gateways {
		g := &w.gateways[i]
		if ok, _ := w.ours(g); !ok {
			continue
		}
		p.attached[nameOf(g)] = make([]int32, len(g.Spec.Listeners))
		for n := range g.Spec.Listeners {
			l := routing.Listener{Hostname: hostnameOf(&g.Spec.Listeners[n])}
			for _, a := range byGateway[g] {
				if common := a.listeners[n]; len(common) > 0 {
					l.Routes = append(l.Routes, routing.Attached{Route: a.route, Hostnames: common})
					p.attached[nameOf(g)][n]++
				}
			}
			at := gatewayPort{nameOf(g), g.Spec.Listeners[n].Port}
			p.ports[at] = append(p.ports[at], l)
		}
	}
	return p
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
