package objects

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"

	"redstart.dev/redstart/api/v1alpha1"
)

// OperatorSelector selects the pods of the operator. Whoever installs the operator gives its pods these labels: the
// NetworkPolicy of a Redis lets them in.
func OperatorSelector() labels.Set {
	return labels.Set{"app.kubernetes.io/name": "redstart", "app.kubernetes.io/component": "operator"}
}

// The rules below are all that the operator may do, and the only list of it: the chart, the install command and a test
// take it from here.

// OperatorRules is what the operator needs in every namespace that it looks after: as a ClusterRole, or as a Role in
// each of them. It holds what Role gives to the agents, since nobody may give what he has not.
func OperatorRules() []rbacv1.PolicyRule {
	read := []string{"get", "list", "watch"}
	apply := append(read[:3:3], "create", "patch") // server-side apply needs both
	own := v1alpha1.GroupVersion.Group
	return []rbacv1.PolicyRule{
		{APIGroups: []string{own}, Resources: []string{"redises"}, Verbs: read},
		{APIGroups: []string{own}, Resources: []string{"redises/status"}, Verbs: []string{"patch"}},
		// Its objects keep their Redis from being gone before them.
		{APIGroups: []string{own}, Resources: []string{"redises/finalizers"}, Verbs: []string{"update"}},
		// patch is the agents', who label their pods.
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: append(read[:3:3], "delete", "patch")},
		{APIGroups: []string{""}, Resources: []string{"configmaps", "serviceaccounts"}, Verbs: apply},
		{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: append(apply[:5:5], "delete")},
		// Passwords are created or updated, never applied: what is there is kept.
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: append(read[:3:3], "create", "update")},
		{APIGroups: []string{""}, Resources: []string{"persistentvolumeclaims"}, Verbs: append(read[:3:3], "patch")},
		// delete makes a StatefulSet anew around its pods, when the size of its claims changed.
		{APIGroups: []string{"apps"}, Resources: []string{"statefulsets"}, Verbs: append(apply[:5:5], "delete")},
		{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: apply},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies"}, Verbs: append(apply[:5:5], "delete")},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}, Verbs: apply},
		{APIGroups: []string{"monitoring.coreos.com"}, Resources: []string{"podmonitors"}, Verbs: []string{"get", "create", "patch", "delete"}},
		// The agents' Lease; the operator itself does not touch it.
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: append(read[:3:3], "create", "update")},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"list", "create", "patch"}},
	}
}

// OperatorClusterRules is what the operator reads beyond namespaces: the addresses of nodes, for service.external of type NodePort.
// Without it all else works, and the condition SpecServed says so.
func OperatorClusterRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get"}},
	}
}

// OperatorOwnRules is what the operator needs in its own namespace, so that one of several works at a time.
func OperatorOwnRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch"}},
		{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}
}
