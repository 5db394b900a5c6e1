package install

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
	"redstart.dev/redstart/internal/rollout"
)

// access is what the operator may do. Where it looks after all namespaces that is a ClusterRole; else it is a Role in
// each of them, and nothing in any other.
func access(o Options) []client.Object {
	own := o.Namespace
	all := []client.Object{
		role(own, Name+"-leader", objects.OperatorOwnRules()),
		roleBinding(own, own, Name+"-leader", rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: Name + "-leader"}),
	}
	if len(o.Watch) == 0 {
		rules := append(namespaceRules(), objects.OperatorClusterRules()...)
		return append(all,
			clusterRole(Name, rules, ""), clusterRoleBinding(own),
			clusterRole(Name+"-view", viewRules(), "view"),
			clusterRole(Name+"-edit", editRules(), "edit"))
	}
	for _, ns := range o.Watch {
		all = append(all,
			role(ns, Name, namespaceRules()),
			roleBinding(ns, own, Name, rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: Name}))
	}
	return all
}

// viewRules and editRules let those who may see or change the workloads of a namespace do so with our resources too.
func viewRules() []rbacv1.PolicyRule { return userRules("get", "list", "watch") }

func editRules() []rbacv1.PolicyRule {
	return userRules("create", "delete", "deletecollection", "patch", "update")
}

// namespaceRules are what the controllers of Redises and of Rollouts may do in a namespace that they look after.
func namespaceRules() []rbacv1.PolicyRule { return append(objects.OperatorRules(), rollout.Rules()...) }

func userRules(verbs ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: verbs}}
}

func role(namespace, name string, rules []rbacv1.PolicyRule) *rbacv1.Role {
	r := &rbacv1.Role{TypeMeta: typeMeta(rbacv1.SchemeGroupVersion, "Role"), ObjectMeta: named(namespace, name), Rules: rules}
	return r
}

// clusterRole is added to the built-in ClusterRole named aggregate: view, or edit and with it admin.
func clusterRole(name string, rules []rbacv1.PolicyRule, aggregate string) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{TypeMeta: typeMeta(rbacv1.SchemeGroupVersion, "ClusterRole"), ObjectMeta: named("", name), Rules: rules}
	switch aggregate {
	case "view":
		r.Labels["rbac.authorization.k8s.io/aggregate-to-view"] = "true"
	case "edit":
		r.Labels["rbac.authorization.k8s.io/aggregate-to-edit"] = "true"
		r.Labels["rbac.authorization.k8s.io/aggregate-to-admin"] = "true"
	}
	return r
}

func roleBinding(namespace, operator, name string, ref rbacv1.RoleRef) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion, "RoleBinding"), ObjectMeta: named(namespace, name),
		RoleRef: ref, Subjects: subjects(operator),
	}
}

func clusterRoleBinding(operator string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		TypeMeta: typeMeta(rbacv1.SchemeGroupVersion, "ClusterRoleBinding"), ObjectMeta: named("", Name),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: Name},
		Subjects: subjects(operator),
	}
}

func subjects(namespace string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: Name, Namespace: namespace}}
}

func named(namespace, name string) metav1.ObjectMeta {
	m := objectMeta(namespace)
	m.Name = name
	return m
}

// Allows tells whether rules allow a verb on a resource of a group, on objects of any name.
func Allows(rules []rbacv1.PolicyRule, verb, group, resource string) bool {
	has := func(list []string, v string) bool { return slices.Contains(list, v) || slices.Contains(list, "*") }
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return len(r.ResourceNames) == 0 && has(r.Verbs, verb) && has(r.APIGroups, group) && has(r.Resources, resource)
	})
}
