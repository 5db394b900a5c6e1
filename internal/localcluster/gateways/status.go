package gateways

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
)

func set(conditions *[]metav1.Condition, kind string, v verdict, generation int64) {
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: v.status(), Reason: v.reason, Message: v.message, ObservedGeneration: generation,
	})
}

// classStatus says that a class of ours is served.
func classStatus(c *gatewayv1.GatewayClass) gatewayv1.GatewayClassStatus {
	s := *c.Status.DeepCopy()
	set(&s.Conditions, string(gatewayv1.GatewayClassConditionStatusAccepted),
		verdict{true, string(gatewayv1.GatewayClassReasonAccepted), "Gateways of this class are served on this machine"}, c.Generation)
	return s
}

// foreignStatus says why a Gateway is not served. Nobody else is there to say so.
func foreignStatus(g *gatewayv1.Gateway, why string) gatewayv1.GatewayStatus {
	s := *g.Status.DeepCopy()
	v := verdict{false, string(gatewayv1.GatewayReasonPending), why}
	set(&s.Conditions, string(gatewayv1.GatewayConditionAccepted), v, g.Generation)
	set(&s.Conditions, string(gatewayv1.GatewayConditionProgrammed), v, g.Generation)
	s.Listeners, s.Addresses = nil, nil
	return s
}

// gatewayStatus is the status of a Gateway of ours, for the number of routes of each listener, and its Service as it
// is, nil if there is none; problem is why there is none.
func gatewayStatus(g *gatewayv1.Gateway, attached []int32, svc *corev1.Service, problem string) gatewayv1.GatewayStatus {
	s := *g.Status.DeepCopy()
	programmed := programmedBy(svc, problem)
	set(&s.Conditions, string(gatewayv1.GatewayConditionAccepted), verdict{true, string(gatewayv1.GatewayReasonAccepted), "Gateway is accepted"}, g.Generation)
	set(&s.Conditions, string(gatewayv1.GatewayConditionProgrammed), programmed, g.Generation)
	s.Addresses = addressesOf(svc)
	before := s.Listeners
	s.Listeners = nil
	for i := range g.Spec.Listeners {
		name := g.Spec.Listeners[i].Name
		l := gatewayv1.ListenerStatus{Name: name, AttachedRoutes: attached[i], SupportedKinds: []gatewayv1.RouteGroupKind{{Group: groupOf(), Kind: "HTTPRoute"}}}
		if j := slices.IndexFunc(before, func(b gatewayv1.ListenerStatus) bool { return b.Name == name }); j >= 0 {
			l.Conditions = before[j].Conditions
		}
		set(&l.Conditions, string(gatewayv1.ListenerConditionAccepted), verdict{true, string(gatewayv1.ListenerReasonAccepted), "Listener is accepted"}, g.Generation)
		set(&l.Conditions, string(gatewayv1.ListenerConditionConflicted), verdict{false, string(gatewayv1.ListenerReasonNoConflicts), "No conflicts"}, g.Generation)
		set(&l.Conditions, string(gatewayv1.ListenerConditionResolvedRefs), verdict{true, string(gatewayv1.ListenerReasonResolvedRefs), "All references are resolved"}, g.Generation)
		v := programmed
		if !v.ok {
			v.reason = string(gatewayv1.ListenerReasonInvalid)
			if svc == nil {
				v.reason = string(gatewayv1.ListenerReasonPending)
			}
		}
		set(&l.Conditions, string(gatewayv1.ListenerConditionProgrammed), v, g.Generation)
		s.Listeners = append(s.Listeners, l)
	}
	return s
}

func groupOf() *gatewayv1.Group {
	g := gatewayv1.Group(gatewayv1.GroupName)
	return &g
}

// programmedBy says by the Service of a Gateway whether it can be reached where its listeners say.
func programmedBy(svc *corev1.Service, problem string) verdict {
	no := string(gatewayv1.GatewayReasonAddressNotAssigned)
	switch {
	case problem != "":
		return verdict{false, no, problem}
	case svc == nil || svc.Spec.ClusterIP == "":
		return verdict{false, no, "Waiting for an address"}
	}
	c := meta.FindStatusCondition(svc.Status.Conditions, services.ConditionPublished)
	switch {
	case c == nil:
		return verdict{false, no, "Waiting to be published on this machine"}
	case c.Status != metav1.ConditionTrue:
		return verdict{false, string(gatewayv1.GatewayReasonAddressNotUsable), c.Message}
	}
	return verdict{true, string(gatewayv1.GatewayReasonProgrammed), "Published at http://" + strings.ReplaceAll(svc.Annotations[services.AnnotationPublished], ",", ", http://")}
}

// addressesOf are where a Gateway is reached: this machine's own address, and the address that is only the Gateway's.
func addressesOf(svc *corev1.Service) []gatewayv1.GatewayStatusAddress {
	if svc == nil {
		return nil
	}
	var out []gatewayv1.GatewayStatusAddress
	add := func(ip string) {
		kind := gatewayv1.IPAddressType
		if ip != "" && !slices.ContainsFunc(out, func(a gatewayv1.GatewayStatusAddress) bool { return a.Value == ip }) {
			out = append(out, gatewayv1.GatewayStatusAddress{Type: &kind, Value: ip})
		}
	}
	for _, i := range svc.Status.LoadBalancer.Ingress {
		add(i.IP)
	}
	add(svc.Spec.ClusterIP)
	return out
}

// routeStatus is the status of a route. What other controllers say of their Gateways stays.
func routeStatus(r *gatewayv1.HTTPRoute, attachments []*attachment, resolved verdict) gatewayv1.HTTPRouteStatus {
	var out gatewayv1.HTTPRouteStatus
	out.Parents = []gatewayv1.RouteParentStatus{}
	for i := range r.Status.Parents {
		if p := &r.Status.Parents[i]; p.ControllerName != routing.ControllerName {
			out.Parents = append(out.Parents, *p.DeepCopy())
		}
	}
	for i, a := range attachments {
		if a == nil {
			continue
		}
		ref := r.Spec.ParentRefs[i]
		p := gatewayv1.RouteParentStatus{ParentRef: *ref.DeepCopy(), ControllerName: routing.ControllerName}
		for j := range r.Status.Parents {
			if old := &r.Status.Parents[j]; old.ControllerName == routing.ControllerName && equality.Semantic.DeepEqual(old.ParentRef, ref) {
				p.Conditions = old.DeepCopy().Conditions
			}
		}
		set(&p.Conditions, string(gatewayv1.RouteConditionAccepted), a.accepted, r.Generation)
		set(&p.Conditions, string(gatewayv1.RouteConditionResolvedRefs), resolved, r.Generation)
		out.Parents = append(out.Parents, p)
	}
	return out
}

// occupied says that a Service of somebody else has the name.
func occupied(svc *corev1.Service) string {
	return fmt.Sprintf("Service %s exists and is not this Gateway's; delete it, or rename the Gateway", svc.Name)
}
