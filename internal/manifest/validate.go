package manifest

import (
	"fmt"
	"reflect"
	"sort"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// newScheme knows the kinds of Kubernetes and those of this project.
func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Validate checks documents of known kinds against their types, and Redises and Rollouts against their rules. Documents of
// unknown kinds pass: the API server judges them. The error, if any, is Problems.
func Validate(docs []Document) error {
	s, err := newScheme()
	if err != nil {
		return err
	}
	var problems Problems
	var valid []Document
	seen := map[string]Document{}
	for _, d := range docs {
		found := validateOne(s, d)
		for _, p := range found {
			problems = append(problems, Problem{Document: d, Field: p.field, Message: p.message})
		}
		if len(found) > 0 {
			continue
		}
		key := fmt.Sprintf("%s/%s/%s", d.Object.GroupVersionKind().GroupKind(), d.Object.GetNamespace(), d.Object.GetName())
		if first, twice := seen[key]; twice {
			problems = append(problems, Problem{Document: d, Message: "defined twice; the first is " + first.String()})
		}
		seen[key] = d
		valid = append(valid, d)
	}
	if err := checkPasswords(valid); err != nil {
		problems = append(problems, err)
	}
	return problems.Err()
}

func validateOne(s *runtime.Scheme, d Document) []fieldProblem {
	if p := checkIdentity(d); len(p) > 0 {
		return p
	}
	gvk := d.Object.GroupVersionKind()
	if !s.Recognizes(gvk) {
		if s.IsGroupRegistered(gvk.Group) {
			return []fieldProblem{{"kind", fmt.Sprintf("%s %s is not known; check the spelling of kind and apiVersion", gvk.GroupVersion(), gvk.Kind)}}
		}
		return nil
	}
	obj, err := s.New(gvk)
	if err != nil {
		return []fieldProblem{{"kind", err.Error()}}
	}
	if p := checkShape(reflect.TypeOf(obj), d.Object.Object, ""); len(p) > 0 {
		return p
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object.Object, obj); err != nil {
		return []fieldProblem{{"", err.Error()}}
	}
	switch o := obj.(type) {
	case *v1alpha1.Redis:
		return validateRedis(o)
	case *v1alpha1.Rollout:
		return validateRollout(o)
	}
	return nil
}

// checkIdentity checks what every object needs.
func checkIdentity(d Document) []fieldProblem {
	var out []fieldProblem
	for _, field := range []string{"apiVersion", "kind"} {
		if v, _ := d.Object.Object[field].(string); v == "" {
			out = append(out, fieldProblem{field, "missing; expected a string such as " + map[string]string{"apiVersion": "apps/v1", "kind": "Deployment"}[field]})
		}
	}
	meta, ok := d.Object.Object["metadata"].(map[string]any)
	if !ok {
		return append(out, fieldProblem{"metadata", "missing; expected an object with a name"})
	}
	if namespace, isString := meta["namespace"].(string); meta["namespace"] != nil && !isString {
		out = append(out, wrongType("metadata.namespace", "a string", meta["namespace"])...)
	} else if namespace != "" && len(validation.IsDNS1123Label(namespace)) > 0 {
		out = append(out, fieldProblem{"metadata.namespace", fmt.Sprintf("%q is not a name; use lower case letters, digits and '-'", namespace)})
	}
	switch name, isString := meta["name"].(string); {
	case meta["name"] == nil || name == "" && isString:
		out = append(out, fieldProblem{"metadata.name", "missing; give the object a name"})
	case !isString:
		out = append(out, wrongType("metadata.name", "a string", meta["name"])...)
	case len(validation.IsDNS1123Subdomain(name)) > 0:
		out = append(out, fieldProblem{"metadata.name", fmt.Sprintf("%q is not a name; use lower case letters, digits and '-'", name)})
	}
	return out
}

// SecretReference is a Secret that a document needs before it can work.
type SecretReference struct {
	Document  Document
	Field     string
	Namespace string
	Name      string
}

// Problem is the message for a Secret that does not exist.
func (r SecretReference) Problem() error {
	return Problem{
		Document: r.Document, Field: r.Field,
		Message: fmt.Sprintf("Secret %q does not exist in namespace %q; create it, or add it to the files", r.Name, r.Namespace),
	}
}

// MissingSecrets lists the Secrets that documents refer to, that none of the documents is, and that no Redis among
// them makes by itself. Namespace is that of documents which name none.
func MissingSecrets(docs []Document, namespace string) []SecretReference {
	present := map[string]bool{}
	var refs []SecretReference
	for _, d := range docs {
		ns := d.Object.GetNamespace()
		if ns == "" {
			ns = namespace
		}
		add := func(field, name string, optional *bool) {
			if name != "" && (optional == nil || !*optional) {
				refs = append(refs, SecretReference{d, field, ns, name})
			}
		}
		switch d.Object.GetKind() {
		case "Secret":
			present[ns+"/"+d.Object.GetName()] = true
		case "Redis":
			redis := &v1alpha1.Redis{}
			if runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object.Object, redis) != nil {
				continue
			}
			if redis.AuthSecretName() == redis.Name {
				present[ns+"/"+redis.Name] = true // made by the operator
			}
			if redis.Spec.Auth != nil {
				add("spec.auth.secretName", redis.Spec.Auth.SecretName, nil)
			}
			for i, u := range redis.Spec.Users {
				add(fmt.Sprintf("spec.users[%d].secretName", i), u.SecretName, nil)
			}
			if redis.Spec.TLS != nil {
				add("spec.tls.secretName", redis.Spec.TLS.SecretName, nil)
			}
		default:
			podSecrets(d, add)
		}
	}
	missing := refs[:0]
	for _, r := range refs {
		if !present[r.Namespace+"/"+r.Name] {
			missing = append(missing, r)
		}
	}
	sort.SliceStable(missing, func(i, j int) bool { return missing[i].Name < missing[j].Name })
	return missing
}

// podSecrets finds the Secrets that the pod template of a workload takes its environment from.
func podSecrets(d Document, add func(field, name string, optional *bool)) {
	path, spec := "spec.template.spec", map[string]any{}
	if d.Object.GetKind() == "Pod" {
		path = "spec"
		spec, _ = d.Object.Object["spec"].(map[string]any)
	} else if s, ok := d.Object.Object["spec"].(map[string]any); ok {
		if t, ok := s["template"].(map[string]any); ok {
			spec, _ = t["spec"].(map[string]any)
		}
	}
	pod := corev1.PodSpec{}
	if len(spec) == 0 || runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &pod) != nil {
		return
	}
	for i, c := range pod.Containers {
		at := fmt.Sprintf("%s.containers[%d]", path, i)
		for j, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				add(fmt.Sprintf("%s.env[%d].valueFrom.secretKeyRef.name", at, j), e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Optional)
			}
		}
		for j, e := range c.EnvFrom {
			if e.SecretRef != nil {
				add(fmt.Sprintf("%s.envFrom[%d].secretRef.name", at, j), e.SecretRef.Name, e.SecretRef.Optional)
			}
		}
	}
}
