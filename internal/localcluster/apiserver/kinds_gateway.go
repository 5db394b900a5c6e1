package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gatewayKinds are the kinds of the Gateway API that the route proxy serves.
func gatewayKinds() []erasable {
	v1 := schema.GroupVersion(gatewayv1.GroupVersion)
	return []erasable{
		row[*gatewayv1.GatewayClass]{
			gv: v1, plural: "gatewayclasses", list: &gatewayv1.GatewayClassList{}, short: []string{"gc"}, clusterScoped: true,
			prepare:        prepareGatewayClass,
			validate:       validateGatewayClass,
			validateUpdate: validateGatewayClassUpdate,
			spec:           func(c *gatewayv1.GatewayClass) any { return &c.Spec },
			copyStatus:     func(to, from *gatewayv1.GatewayClass) { to.Status = from.Status },
			columns:        gatewayClassColumns,
		},
		row[*gatewayv1.Gateway]{
			gv: v1, plural: "gateways", list: &gatewayv1.GatewayList{}, short: []string{"gtw"},
			defaults:   defaultGateway,
			prepare:    prepareGateway,
			validate:   validateGateway,
			spec:       func(g *gatewayv1.Gateway) any { return &g.Spec },
			copyStatus: func(to, from *gatewayv1.Gateway) { to.Status = from.Status },
			columns:    gatewayColumns,
		},
		row[*gatewayv1.HTTPRoute]{
			gv: v1, plural: "httproutes", list: &gatewayv1.HTTPRouteList{},
			defaults:   defaultHTTPRoute,
			prepare:    prepareHTTPRoute,
			validate:   validateHTTPRoute,
			spec:       func(r *gatewayv1.HTTPRoute) any { return &r.Spec },
			copyStatus: func(to, from *gatewayv1.HTTPRoute) { to.Status = from.Status },
			columns:    httpRouteColumns,
		},
	}
}

var gatewayClassColumns = []column[*gatewayv1.GatewayClass]{
	name[*gatewayv1.GatewayClass](),
	{"Controller", func(c *gatewayv1.GatewayClass) any { return string(c.Spec.ControllerName) }, false},
	{"Accepted", func(c *gatewayv1.GatewayClass) any {
		return conditionStatus(c.Status.Conditions, string(gatewayv1.GatewayClassConditionStatusAccepted))
	}, false},
	age[*gatewayv1.GatewayClass](),
}

var gatewayColumns = []column[*gatewayv1.Gateway]{
	name[*gatewayv1.Gateway](),
	{"Class", func(g *gatewayv1.Gateway) any { return string(g.Spec.GatewayClassName) }, false},
	{"Address", func(g *gatewayv1.Gateway) any {
		var all []string
		for _, a := range g.Status.Addresses {
			all = append(all, a.Value)
		}
		return orNone(strings.Join(all, ","))
	}, false},
	{"Programmed", func(g *gatewayv1.Gateway) any {
		return conditionStatus(g.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed))
	}, false},
	age[*gatewayv1.Gateway](),
	{"Message", func(g *gatewayv1.Gateway) any {
		if c := meta.FindStatusCondition(g.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed)); c != nil {
			return c.Message
		}
		return ""
	}, true},
}

var httpRouteColumns = []column[*gatewayv1.HTTPRoute]{
	name[*gatewayv1.HTTPRoute](),
	{"Hostnames", func(r *gatewayv1.HTTPRoute) any {
		var all []string
		for _, h := range r.Spec.Hostnames {
			all = append(all, string(h))
		}
		return or(strings.Join(all, ","), "*")
	}, false},
	{"Gateways", func(r *gatewayv1.HTTPRoute) any {
		var all []string
		for _, p := range r.Spec.ParentRefs {
			all = append(all, string(p.Name))
		}
		return orNone(strings.Join(all, ","))
	}, false},
	{"Backends", func(r *gatewayv1.HTTPRoute) any { return backendShares(r) }, false},
	{"Accepted", func(r *gatewayv1.HTTPRoute) any {
		return parentsStatus(r, string(gatewayv1.RouteConditionAccepted))
	}, false},
	{"Resolved", func(r *gatewayv1.HTTPRoute) any {
		return parentsStatus(r, string(gatewayv1.RouteConditionResolvedRefs))
	}, false},
	age[*gatewayv1.HTTPRoute](),
}

// backendShares shows where the requests of a route go: the backends of each rule with their weights, for example
// frontend:80,frontend-canary:20, and rules apart by a slash.
func backendShares(r *gatewayv1.HTTPRoute) string {
	var rules []string
	for i := range r.Spec.Rules {
		refs := r.Spec.Rules[i].BackendRefs
		var backends []string
		for j := range refs {
			one := string(refs[j].Name)
			if len(refs) > 1 && refs[j].Weight != nil {
				one += ":" + itoa(*refs[j].Weight)
			}
			backends = append(backends, one)
		}
		rules = append(rules, or(strings.Join(backends, ","), "-"))
	}
	return firstFew(rules, 4)
}

func conditionStatus(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return string(c.Status)
	}
	return string(metav1.ConditionUnknown)
}

// parentsStatus is a condition of a route over all its Gateways: True only if it is for each.
func parentsStatus(r *gatewayv1.HTTPRoute, kind string) string {
	status := string(metav1.ConditionUnknown)
	for i := range r.Status.Parents {
		if status = conditionStatus(r.Status.Parents[i].Conditions, kind); status != string(metav1.ConditionTrue) {
			break
		}
	}
	return status
}
