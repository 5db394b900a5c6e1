package apiserver

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The defaults are those of the Gateway API's CustomResourceDefinitions.

func defaultGateway(g *gatewayv1.Gateway) {
	for i := range g.Spec.Listeners {
		l := &g.Spec.Listeners[i]
		point(&l.AllowedRoutes, gatewayv1.AllowedRoutes{})
		point(&l.AllowedRoutes.Namespaces, gatewayv1.RouteNamespaces{})
		point(&l.AllowedRoutes.Namespaces.From, gatewayv1.NamespacesFromSame)
		for j := range l.AllowedRoutes.Kinds {
			point(&l.AllowedRoutes.Kinds[j].Group, gatewayv1.Group(gatewayv1.GroupName))
		}
	}
	for i := range g.Spec.Addresses {
		point(&g.Spec.Addresses[i].Type, gatewayv1.IPAddressType)
	}
}

func defaultHTTPRoute(r *gatewayv1.HTTPRoute) {
	for i := range r.Spec.ParentRefs {
		p := &r.Spec.ParentRefs[i]
		point(&p.Group, gatewayv1.Group(gatewayv1.GroupName))
		point(&p.Kind, gatewayv1.Kind("Gateway"))
	}
	if r.Spec.Rules == nil {
		r.Spec.Rules = []gatewayv1.HTTPRouteRule{{}}
	}
	for i := range r.Spec.Rules {
		defaultRule(&r.Spec.Rules[i])
	}
}

func defaultRule(r *gatewayv1.HTTPRouteRule) {
	if r.Matches == nil {
		r.Matches = []gatewayv1.HTTPRouteMatch{{}}
	}
	for i := range r.Matches {
		m := &r.Matches[i]
		point(&m.Path, gatewayv1.HTTPPathMatch{})
		point(&m.Path.Type, gatewayv1.PathMatchPathPrefix)
		point(&m.Path.Value, "/")
		for j := range m.Headers {
			point(&m.Headers[j].Type, gatewayv1.HeaderMatchExact)
		}
		for j := range m.QueryParams {
			point(&m.QueryParams[j].Type, gatewayv1.QueryParamMatchExact)
		}
	}
	defaultFilters(r.Filters)
	for i := range r.BackendRefs {
		b := &r.BackendRefs[i]
		defaultBackend(&b.BackendObjectReference)
		point(&b.Weight, 1)
		defaultFilters(b.Filters)
	}
}

func defaultFilters(filters []gatewayv1.HTTPRouteFilter) {
	for i := range filters {
		if r := filters[i].RequestRedirect; r != nil {
			point(&r.StatusCode, 302)
		}
		if m := filters[i].RequestMirror; m != nil {
			defaultBackend(&m.BackendRef)
			if m.Fraction != nil {
				point(&m.Fraction.Denominator, 100)
			}
		}
	}
}

func defaultBackend(b *gatewayv1.BackendObjectReference) {
	point(&b.Group, "")
	point(&b.Kind, "Service")
}

// What the CustomResourceDefinitions put into the status of a new object, until a controller has looked at it.

func pending(kinds ...string) []metav1.Condition {
	var out []metav1.Condition
	for _, k := range kinds {
		out = append(out, metav1.Condition{
			Type: k, Status: metav1.ConditionUnknown, Reason: string(gatewayv1.GatewayReasonPending), Message: "Waiting for controller",
			LastTransitionTime: metav1.Unix(0, 0),
		})
	}
	return out
}

func prepareGatewayClass(c, old *gatewayv1.GatewayClass) {
	if old.UID == "" {
		c.Status.Conditions = pending(string(gatewayv1.GatewayClassConditionStatusAccepted))
	}
}

func prepareGateway(g, old *gatewayv1.Gateway) {
	if old.UID == "" {
		g.Status.Conditions = pending(string(gatewayv1.GatewayConditionAccepted), string(gatewayv1.GatewayConditionProgrammed))
	}
}

// prepareHTTPRoute gives the status its list, which is required, of nobody.
func prepareHTTPRoute(r, old *gatewayv1.HTTPRoute) {
	if old.UID == "" {
		r.Status.Parents = []gatewayv1.RouteParentStatus{}
	}
}
