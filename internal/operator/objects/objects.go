// Package objects builds the Kubernetes objects of a Redis. Every function here is pure: the same Redis gives the same
// objects, byte for byte, whatever the state of the cluster.
package objects

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// Options are what the objects depend on besides the Redis itself.
type Options struct {
	// Replicas of the StatefulSet of the members. It differs from spec.replicas while the master has to leave an
	// ordinal that goes away.
	Replicas int32
	// AgentImage holds the static binary that an init container copies into the pods. Empty on one machine, where the
	// binary is there already.
	AgentImage string
	// OperatorNamespace is where the operator runs, empty where it runs in no pod.
	OperatorNamespace string
	// Announce is AgentConfig.Announce.
	Announce map[string]string
}

// OneMachine tells that the Redis runs on the one-machine cluster, which has no containers and no network of its own.
func (o Options) OneMachine() bool { return o.AgentImage == "" }

// Build is every object of a Redis but its Secret, in the order in which they are applied: what a pod needs comes
// before the pod, so the StatefulSets come last. The Redis must have its defaults.
func Build(r *v1alpha1.Redis, o Options) ([]client.Object, error) {
	config, err := ConfigMap(r, o)
	if err != nil {
		return nil, err
	}
	members, err := StatefulSet(r, o.Replicas, o.AgentImage)
	if err != nil {
		return nil, err
	}
	all := []client.Object{ServiceAccount(r), Role(r), RoleBinding(r)}
	for _, s := range append(Services(r), ExternalServices(r, o.Replicas)...) {
		if o.OneMachine() {
			onOneMachine(s)
		}
		all = append(all, s)
	}
	all = append(all, MembersBudget(r))
	if p := NetworkPolicy(r, o.OperatorNamespace); p != nil && !o.OneMachine() {
		all = append(all, p)
	}
	if r.Spec.Mode != v1alpha1.ModeSentinel {
		return append(all, config, members), nil
	}
	sentinels, err := SentinelStatefulSet(r, o.AgentImage)
	if err != nil {
		return nil, err
	}
	return append(all, SentinelBudget(r), config, sentinels, members), nil
}

// AddToScheme registers the types of all objects that this package builds.
func AddToScheme(s *runtime.Scheme) error {
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			return err
		}
	}
	return nil
}

// OwnerReference makes an object belong to a Redis: it is deleted with it.
func OwnerReference(r *v1alpha1.Redis) metav1.OwnerReference {
	return *metav1.NewControllerRef(r, v1alpha1.GroupVersion.WithKind("Redis"))
}

// Selector selects the pods of a Redis with a component: v1alpha1.ComponentMember or v1alpha1.ComponentSentinel.
func Selector(r *v1alpha1.Redis, component string) labels.Set {
	return labels.Set{v1alpha1.LabelName: r.Name, v1alpha1.LabelComponent: component}
}

// objectMeta is the metadata of an object of a Redis. Component is empty for what serves members and Sentinels alike.
func objectMeta(r *v1alpha1.Redis, name, component string) metav1.ObjectMeta {
	l := map[string]string{
		v1alpha1.LabelName:             r.Name,
		"app.kubernetes.io/name":       "redis",
		"app.kubernetes.io/instance":   r.Name,
		"app.kubernetes.io/managed-by": "redstart",
	}
	if component != "" {
		l[v1alpha1.LabelComponent] = component
	}
	return metav1.ObjectMeta{
		Name: name, Namespace: r.Namespace, Labels: l,
		OwnerReferences: []metav1.OwnerReference{OwnerReference(r)},
	}
}

// typeMeta names an object's kind, which server-side apply needs and the Go type does not know.
func typeMeta(gv schema.GroupVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: gv.String(), Kind: kind}
}
