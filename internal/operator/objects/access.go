package objects

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// ServiceAccount is who the agents of a Redis are.
func ServiceAccount(r *v1alpha1.Redis) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   typeMeta(corev1.SchemeGroupVersion, "ServiceAccount"),
		ObjectMeta: objectMeta(r, r.Name, ""),
	}
}

// Role is all that the agents of a Redis may do: see the pods of their namespace and label their own, hold the Lease of
// their Redis, read its configuration and password, and tell what they did.
func Role(r *v1alpha1.Redis) *rbacv1.Role {
	secrets := []string{r.Name}
	if s := r.AuthSecretName(); s != r.Name {
		secrets = append(secrets, s)
	}
	read := []string{"get", "list", "watch"}
	return &rbacv1.Role{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion, "Role"),
		ObjectMeta: objectMeta(r, r.Name, ""),
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: read},
			{APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: podNames(r), Verbs: []string{"patch"}},
			{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{r.Name}, Verbs: read},
			{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: secrets, Verbs: read},
			{
				APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, ResourceNames: []string{r.Name},
				Verbs: append(read[:3:3], "update"),
			},
			// A name cannot restrict what is still to be made.
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}},
			{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
		},
	}
}

// podNames are those that the pods of a Redis ever have, whatever its size: who may change a pod may make it run anything, so
// the agents may change no others. In mode Cluster there are too many to name.
func podNames(r *v1alpha1.Redis) []string {
	if r.Spec.Mode == v1alpha1.ModeCluster {
		return nil
	}
	var names []string
	for i := range v1alpha1.MaxReplicas {
		names = append(names, fmt.Sprintf("%s-%d", r.Name, i))
	}
	if r.Spec.Mode == v1alpha1.ModeSentinel {
		for i := range v1alpha1.MaxSentinels {
			names = append(names, fmt.Sprintf("%s-%d", v1alpha1.SentinelName(r.Name), i))
		}
	}
	return names
}

// RoleBinding gives the Role to the ServiceAccount.
func RoleBinding(r *v1alpha1.Redis) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   typeMeta(rbacv1.SchemeGroupVersion, "RoleBinding"),
		ObjectMeta: objectMeta(r, r.Name, ""),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: r.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: r.Name, Namespace: r.Namespace}},
	}
}

// MembersBudget lets a drain take one member at a time.
func MembersBudget(r *v1alpha1.Redis) *policyv1.PodDisruptionBudget {
	return budget(r, r.Name, v1alpha1.ComponentMember)
}

// SentinelBudget lets a drain take one Sentinel at a time, so that the others keep their quorum.
func SentinelBudget(r *v1alpha1.Redis) *policyv1.PodDisruptionBudget {
	return budget(r, v1alpha1.SentinelName(r.Name), v1alpha1.ComponentSentinel)
}

func budget(r *v1alpha1.Redis, name, component string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   typeMeta(policyv1.SchemeGroupVersion, "PodDisruptionBudget"),
		ObjectMeta: objectMeta(r, name, component),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: Selector(r, component)},
		},
	}
}
