package apiserver

import (
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"redstart.dev/redstart/api/v1alpha1"
)

// otherKinds are the kinds of all other groups.
func otherKinds() []erasable {
	return []erasable{
		row[*eventsv1.Event]{
			gv: eventsv1.SchemeGroupVersion, plural: "events", list: &eventsv1.EventList{}, short: []string{"ev"},
			fields: func(e *eventsv1.Event) fields.Set {
				o := e.Regarding
				return fields.Set{
					"regarding.kind": o.Kind, "regarding.namespace": o.Namespace, "regarding.name": o.Name,
					"regarding.uid": string(o.UID), "reason": e.Reason, "reportingController": e.ReportingController, "type": e.Type,
				}
			},
			columns: newEventColumns(),
		},
		row[*coordinationv1.Lease]{
			gv: coordinationv1.SchemeGroupVersion, plural: "leases", list: &coordinationv1.LeaseList{},
			needsVersion: true,
			columns: []column[*coordinationv1.Lease]{
				name[*coordinationv1.Lease](),
				{"Holder", func(l *coordinationv1.Lease) any { return value(l.Spec.HolderIdentity) }, false},
				age[*coordinationv1.Lease](),
			},
		},
		row[*discoveryv1.EndpointSlice]{
			gv: discoveryv1.SchemeGroupVersion, plural: "endpointslices", list: &discoveryv1.EndpointSliceList{},
			defaults: defaultEndpointSlice,
			columns:  endpointSliceColumns,
		},
		row[*policyv1.PodDisruptionBudget]{
			gv: policyv1.SchemeGroupVersion, plural: "poddisruptionbudgets", list: &policyv1.PodDisruptionBudgetList{}, short: []string{"pdb"},
			validate:   validateBudget,
			spec:       func(b *policyv1.PodDisruptionBudget) any { return &b.Spec },
			copyStatus: func(to, from *policyv1.PodDisruptionBudget) { to.Status = from.Status },
			columns:    budgetColumns,
		},
		row[*rbacv1.Role]{
			gv: rbacv1.SchemeGroupVersion, plural: "roles", list: &rbacv1.RoleList{},
			nameRule: path.ValidatePathSegmentName,
			columns: []column[*rbacv1.Role]{
				name[*rbacv1.Role](),
				{"Created At", func(r *rbacv1.Role) any { return created(r) }, false},
			},
		},
		row[*rbacv1.RoleBinding]{
			gv: rbacv1.SchemeGroupVersion, plural: "rolebindings", list: &rbacv1.RoleBindingList{},
			nameRule: path.ValidatePathSegmentName,
			defaults: defaultRoleBinding,
			columns: []column[*rbacv1.RoleBinding]{
				name[*rbacv1.RoleBinding](),
				{"Role", func(b *rbacv1.RoleBinding) any { return b.RoleRef.Kind + "/" + b.RoleRef.Name }, false},
				age[*rbacv1.RoleBinding](),
			},
		},
		row[*networkingv1.NetworkPolicy]{
			gv: networkingv1.SchemeGroupVersion, plural: "networkpolicies", list: &networkingv1.NetworkPolicyList{}, short: []string{"netpol"},
			defaults: defaultNetworkPolicy,
			warn:     warnNetworkPolicy,
			spec:     func(p *networkingv1.NetworkPolicy) any { return &p.Spec },
			columns: []column[*networkingv1.NetworkPolicy]{
				name[*networkingv1.NetworkPolicy](),
				{"Pod-Selector", func(p *networkingv1.NetworkPolicy) any { return metav1.FormatLabelSelector(&p.Spec.PodSelector) }, false},
				age[*networkingv1.NetworkPolicy](),
			},
		},
		row[*v1alpha1.Redis]{
			gv: v1alpha1.GroupVersion, plural: "redises", list: &v1alpha1.RedisList{}, short: []string{"rd"}, inAll: true,
			defaults:       (*v1alpha1.Redis).Default,
			validate:       (*v1alpha1.Redis).Validate,
			validateUpdate: (*v1alpha1.Redis).ValidateUpdate,
			warn:           warnRedis,
			spec:           func(r *v1alpha1.Redis) any { return &r.Spec },
			copyStatus:     func(to, from *v1alpha1.Redis) { to.Status = from.Status },
			scale: func(r *v1alpha1.Redis) scaleFields {
				return scaleFields{&r.Spec.Replicas, r.Status.Replicas, r.Status.Selector}
			},
			needsVersion: true,
			columns: []column[*v1alpha1.Redis]{
				name[*v1alpha1.Redis](),
				{"Mode", func(r *v1alpha1.Redis) any { return string(r.Spec.Mode) }, false},
				{"Master", func(r *v1alpha1.Redis) any { return r.Status.Master }, false},
				{"Ready", func(r *v1alpha1.Redis) any { return r.Status.Ready }, false},
				{"Status", func(r *v1alpha1.Redis) any { return string(r.Status.Phase) }, false},
				{"Version", func(r *v1alpha1.Redis) any { return r.Status.Version }, true},
				{"Message", func(r *v1alpha1.Redis) any {
					if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady); c != nil {
						return c.Message
					}
					return ""
				}, true},
				age[*v1alpha1.Redis](),
			},
		},
	}
}

func warnNetworkPolicy(*networkingv1.NetworkPolicy) []string {
	return []string{"a NetworkPolicy has no effect on one machine: there is no network to divide"}
}

func warnRedis(r *v1alpha1.Redis) []string {
	var all []string
	for _, w := range r.OneMachineWarnings() {
		all = append(all, w.Field+": "+w.Why)
	}
	return all
}

// value is what p points to, as text, or nothing.
func value[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}
