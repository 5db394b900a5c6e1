package traffic

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"redstart.dev/redstart/internal/lua"
)

// lastAppliedAnnotation describes the Ingress that it is on, so it must not be copied.
const lastAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"

// classKong is the class of Ingress whose controller prefers any route with headers to one with a longer path.
const classKong = "kong"

// CanaryIngressName is the name of the Ingress that is made beside one of a Rollout.
func CanaryIngressName(name string) string { return name + "-canary" }

// CanaryIngress returns the Ingress that a step needs beside the given one, which stays as it is: the rules that lead to
// the stable Service, leading to the canary Service, and the annotations that the script of the class makes. It is
// computed from the given Ingress each time, so that edits of that are followed; it belongs to the Rollout alone, is
// written by server-side apply, and is deleted at the end. Its errors are *Problem.
func (r *Router) CanaryIngress(ctx context.Context, stable *unstructured.Unstructured, class string, step Step) (*unstructured.Unstructured, error) {
	script, err := r.Scripts.Ingress(class)
	if err != nil {
		return nil, problem(NoScript, stable, err)
	}
	rules := canaryRules(stable, r.Services, class == classKong)
	if len(rules) == 0 {
		return nil, problem(NoRoute, stable, fmt.Errorf("no rule leads to the Service %s", r.Services.Stable))
	}
	annotations := map[string]string{}
	for key, value := range stable.GetAnnotations() {
		if key != lastAppliedAnnotation {
			annotations[key] = value
		}
	}
	if step.Affinity != nil {
		return nil, problem(NoAffinity, stable, errors.New("an Ingress cannot keep a client at one version; remove sessionAffinity, or route an HTTPRoute"))
	}
	annotations, err = runIngress(ctx, script, annotations, stable.GetNamespace(), step, r.Services)
	if err != nil {
		return nil, problem(ScriptFailed, stable, err)
	}
	spec := map[string]any{"rules": rules}
	for _, key := range []string{"ingressClassName", "tls"} {
		if value, found, _ := unstructured.NestedFieldCopy(stable.Object, "spec", key); found {
			spec[key] = value
		}
	}
	out := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	out.SetAPIVersion(stable.GetAPIVersion())
	out.SetKind(stable.GetKind())
	out.SetNamespace(stable.GetNamespace())
	out.SetName(CanaryIngressName(stable.GetName()))
	out.SetLabels(stable.GetLabels())
	out.SetAnnotations(annotations)
	return out, nil
}

// canaryRules are the rules of an Ingress that lead to the stable Service, with the canary Service in its place. Their paths
// to other Services go along if they would not be found otherwise.
func canaryRules(stable *unstructured.Unstructured, services Services, others bool) []any {
	rules, _, _ := unstructured.NestedSlice(stable.Object, "spec", "rules")
	var out []any
	for _, item := range rules {
		rule, ok := item.(map[string]any)
		if !ok {
			continue
		}
		paths, _, _ := unstructured.NestedSlice(rule, "http", "paths")
		var canary []any
		leads := false
		for _, item := range paths {
			p, ok := item.(map[string]any)
			if !ok {
				continue
			}
			p = runtime.DeepCopyJSON(p)
			if name, _, _ := unstructured.NestedString(p, "backend", "service", "name"); name == services.Stable {
				leads = unstructured.SetNestedField(p, services.Canary, "backend", "service", "name") == nil
			} else if !others {
				continue
			}
			canary = append(canary, p)
		}
		if !leads {
			continue
		}
		made := map[string]any{"http": map[string]any{"paths": canary}}
		if host, ok := rule["host"]; ok {
			made["host"] = host
		}
		out = append(out, made)
	}
	return out
}

// runIngress runs a script with the contract for classes of Ingress.
func runIngress(ctx context.Context, script *lua.Script, annotations map[string]string, namespace string, step Step, services Services) (map[string]string, error) {
	obj := ingressObject(annotations, namespace, step, services)
	result, err := script.Run(ctx, obj, obj["annotations"])
	if err != nil {
		return nil, err
	}
	if result == nil {
		return nil, fmt.Errorf("the script returned nothing; expected the annotations, such as obj.annotations")
	}
	out, err := stringsFrom(result)
	if err != nil {
		return nil, fmt.Errorf("the script returned annotations with %w", err)
	}
	return out, nil
}
