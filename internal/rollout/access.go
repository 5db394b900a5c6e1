package rollout

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// Rules are what the controller needs to be allowed in the namespaces that it looks after, besides what the operator needs.
// They cover the routes that shipped scripts know; a route of another kind needs a rule of its own.
func Rules() []rbacv1.PolicyRule {
	rule := func(group string, verbs []string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
	}
	read := []string{"get", "list", "watch"}
	change := append(read[:3:3], "update", "patch")
	all := append(change[:5:5], "create", "delete")
	return []rbacv1.PolicyRule{
		rule(v1alpha1.GroupVersion.Group, change, "rollouts"),
		rule(v1alpha1.GroupVersion.Group, change, "rollouts/status", "rollouts/finalizers"),
		rule("apps", all, "deployments", "controllerrevisions"),
		rule("apps", change, "statefulsets", "daemonsets"),
		rule("apps", read, "replicasets"),
		rule("", all, "services"),
		rule("", append(read[:3:3], "delete"), "pods"),
		rule("", read, "configmaps", "secrets"),
		rule("batch", []string{"get", "create", "delete"}, "jobs"), // of checks
		rule("", []string{"create", "patch"}, "events"),
		rule("networking.k8s.io", all, "ingresses"),
		rule("gateway.networking.k8s.io", change, "httproutes", "grpcroutes"),
		rule("networking.istio.io", change, "virtualservices", "destinationrules"),
		rule("traefik.io", change, "traefikservices", "ingressroutes"),
		rule("apisix.apache.org", change, "apisixroutes"),
		rule("projectcontour.io", change, "httpproxies"),
	}
}
