// Package install builds the objects that run the operator in a cluster. Every function is pure; charts/redstart renders
// the same objects, and a test keeps the two equal.
package install

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/internal/operator/objects"
)

const (
	// Name of all objects.
	Name = "redstart-operator"
	// DefaultNamespace is where the operator runs unless somebody chooses another place.
	DefaultNamespace = "redstart-system"
	// ManagedBy is the label that says who made an object, and Manager its value for those of this package.
	ManagedBy = "app.kubernetes.io/managed-by"
	Manager   = "redstart"

	portMetrics = 8080
	portHealth  = 8081
	userID      = 65532

	namespaceFlag = "--namespace="
)

// Options say how the operator runs.
type Options struct {
	// Namespace where it runs.
	Namespace string
	// Watch are the namespaces that it looks after; none for all of the cluster.
	Watch []string
	// Image that holds redstart, for the operator and for the agents.
	Image            string
	ImagePullPolicy  corev1.PullPolicy
	ImagePullSecrets []string
	// Replicas of the operator: one works, the others wait for it to fail.
	Replicas int32
}

// Namespace is where the operator runs. Pods in it must pass the restricted pod security standard.
func Namespace(o Options) *corev1.Namespace {
	n := &corev1.Namespace{TypeMeta: typeMeta(corev1.SchemeGroupVersion, "Namespace"), ObjectMeta: objectMeta("")}
	n.Name = o.Namespace
	n.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	return n
}

// Objects are all objects of the operator but its namespace and the CRDs, in the order in which they are applied.
func Objects(o Options) []client.Object {
	all := []client.Object{serviceAccount(o)}
	all = append(all, access(o)...)
	return append(all, metricsService(o), networkPolicy(o), budget(o), deployment(o))
}

// Watched are the namespaces that an installed operator looks after, none for all.
func Watched(d *appsv1.Deployment) []string {
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, arg := range c.Args {
			if list, ok := strings.CutPrefix(arg, namespaceFlag); ok {
				return strings.Split(list, ",")
			}
		}
	}
	return nil
}

func serviceAccount(o Options) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{TypeMeta: typeMeta(corev1.SchemeGroupVersion, "ServiceAccount"), ObjectMeta: objectMeta(o.Namespace)}
}

// metricsService names the metrics for those who scrape Services.
func metricsService(o Options) *corev1.Service {
	s := &corev1.Service{TypeMeta: typeMeta(corev1.SchemeGroupVersion, "Service"), ObjectMeta: objectMeta(o.Namespace)}
	s.Name = Name + "-metrics"
	s.Spec = corev1.ServiceSpec{
		Selector: podLabels(),
		Ports: []corev1.ServicePort{{
			Name: "metrics", Port: portMetrics, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("metrics"),
		}},
	}
	return s
}

// networkPolicy lets in what the operator serves. What it connects to is not restricted: the address of an API server
// cannot be written into a policy that fits every cluster.
func networkPolicy(o Options) *networkingv1.NetworkPolicy {
	var ports []networkingv1.NetworkPolicyPort
	for _, p := range []string{"metrics", "health"} {
		ports = append(ports, networkingv1.NetworkPolicyPort{Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To(intstr.FromString(p))})
	}
	return &networkingv1.NetworkPolicy{
		TypeMeta:   typeMeta(networkingv1.SchemeGroupVersion, "NetworkPolicy"),
		ObjectMeta: objectMeta(o.Namespace),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: podLabels()},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{Ports: ports}},
		},
	}
}

// budget lets a drain take one operator at a time.
func budget(o Options) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   typeMeta(policyv1.SchemeGroupVersion, "PodDisruptionBudget"),
		ObjectMeta: objectMeta(o.Namespace),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: podLabels()},
		},
	}
}

// podLabels are those by which Redises let the operator in, and which operator it is.
func podLabels() map[string]string {
	l := map[string]string(objects.OperatorSelector())
	l["app.kubernetes.io/instance"] = "redstart"
	return l
}

func objectMeta(namespace string) metav1.ObjectMeta {
	l := podLabels()
	l[ManagedBy] = Manager
	return metav1.ObjectMeta{Name: Name, Namespace: namespace, Labels: l}
}

func typeMeta(gv schema.GroupVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: gv.String(), Kind: kind}
}

// Key names an object in messages, and among those of another set: Kind NAMESPACE/NAME.
func Key(o client.Object) string {
	name := o.GetName()
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	return fmt.Sprintf("%s %s", o.GetObjectKind().GroupVersionKind().Kind, name)
}

// Left are the objects of before that after does not have any more: what another choice of namespaces leaves behind.
func Left(before, after []client.Object) []client.Object {
	return slices.DeleteFunc(slices.Clone(before), func(b client.Object) bool {
		return slices.ContainsFunc(after, func(a client.Object) bool { return Key(a) == Key(b) })
	})
}

var tag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// DefaultImage is the name that make image gives the image of a version.
func DefaultImage(version string) string {
	if !tag.MatchString(version) {
		version = "latest"
	}
	return "redstart:" + version
}
