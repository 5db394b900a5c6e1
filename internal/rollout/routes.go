package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
	"redstart.dev/redstart/internal/rollout/traffic"
)

// ScriptsConfigMap is the ConfigMap in the namespace of a Rollout that adds and overrides traffic scripts.
const ScriptsConfigMap = "redstart-traffic-scripts"

// applyRoutes tells every route what the decision says, and notes in the status when all have taken it.
func (r *reconciler) applyRoutes(ctx context.Context, ro *v1alpha1.Rollout, d machine.Desired) error {
	if d.Route == nil {
		if len(ro.Status.TrafficRoutings) == 0 {
			r.routed(ro, v1alpha1.ReasonNoRouting, "there are no trafficRoutings; traffic follows the number of pods", nil)
		}
		return nil
	}
	scripts, err := r.scriptsOf(ctx, ro)
	if err != nil {
		return err
	}
	step, err := routeStep(ro, *d.Route)
	if err != nil {
		return err
	}
	var conflicts []string
	for i, t := range ro.Status.TrafficRoutings {
		step.Affinity = affinityOf(ro, t)
		router := &traffic.Router{
			Owner: ro.Namespace + "/" + ro.Name, Scripts: scripts,
			Services: traffic.Services{Stable: t.Service, Canary: v1alpha1.CanaryName(t.Service)},
		}
		for _, ref := range references(t) {
			found, err := r.applyRoute(ctx, ro, router, ref, step, d.Route.Restored)
			if err != nil {
				return unrouted(ro, i, err)
			}
			conflicts = append(conflicts, found...)
		}
		if t.Ingress != nil {
			if err := r.applyIngress(ctx, ro, router, t.Ingress, step, d.Route.Restored); err != nil {
				return unrouted(ro, i, err)
			}
		}
	}
	if is := ro.Status.Route; is != nil && !is.Applied {
		is.Applied, is.Since = true, metav1.NewMicroTime(r.now())
	}
	r.routed(ro, v1alpha1.ReasonRouted, "every route is as it should be", conflicts)
	return nil
}

// affinityOf is what keeps clients at one version. The values of the cookie are those of one release: a cookie that is
// left of an earlier one says nothing.
func affinityOf(ro *v1alpha1.Rollout, t v1alpha1.TrafficRouting) *traffic.Affinity {
	a := t.SessionAffinity
	if a == nil || a.MaxAge == nil || ro.Status.StartedAt == nil {
		return nil
	}
	release := shortHash(fmt.Appendf(nil, "%s %s %d", ro.UID, ro.Status.CanaryRevision, ro.Status.StartedAt.Unix()))
	return &traffic.Affinity{Cookie: a.CookieName, Stable: release + "-stable", Canary: release + "-canary", MaxAge: int64(a.MaxAge.Seconds())}
}

// unrouted makes sure that the time of a gateway does not count before the routes have taken what routing number i of the
// strategy tells them.
func unrouted(ro *v1alpha1.Rollout, i int, err error) error {
	if ro.Status.Route != nil {
		ro.Status.Route.Applied = false
	}
	var p *traffic.Problem
	if errors.As(err, &p) && p.Reason == traffic.NoAffinity {
		field := fmt.Sprintf("spec.strategy.%s.trafficRoutings[%d].sessionAffinity", ro.Status.Strategy, i)
		return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("%s: %s (%s)", field, p.Error(), p.Reason)}
	}
	if errors.As(err, &p) {
		return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("%s (%s)", p.Error(), p.Reason)}
	}
	return err
}

func (r *reconciler) routed(ro *v1alpha1.Rollout, reason, message string, conflicts []string) {
	if len(conflicts) > 0 {
		message += "; not kept of what somebody else wrote there: " + strings.Join(conflicts, ", ")
	}
	c := metav1.Condition{Type: v1alpha1.ConditionTrafficRouted, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: ro.Generation}
	if meta.SetStatusCondition(&ro.Status.Conditions, c) && len(conflicts) > 0 {
		r.events.Event(ro, eventType(true), "EditsNotKept", message)
	}
}

// scriptsOf are the shipped scripts, and those of the namespace.
func (r *reconciler) scriptsOf(ctx context.Context, ro *v1alpha1.Rollout) (*traffic.Scripts, error) {
	cm := &corev1.ConfigMap{}
	err := r.live.Get(ctx, client.ObjectKey{Namespace: ro.Namespace, Name: ScriptsConfigMap}, cm)
	if apierrors.IsNotFound(err) {
		return r.scripts, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ConfigMap %s: %w", ScriptsConfigMap, err)
	}
	return r.scripts.With(cm.Data), nil
}

// routeStep is a route in the words of scripts.
func routeStep(ro *v1alpha1.Rollout, route machine.Route) (traffic.Step, error) {
	var step traffic.Step
	_, use := ro.Spec.Strategy.Use()
	if n := int(route.MatchesOfStep); n >= 1 && use != nil && n <= len(use.Steps) {
		if err := recode(use.Steps[n-1].Matches, &step.Matches); err != nil {
			return step, err
		}
	}
	if n := int(route.HeadersOfStep); n >= 1 && use != nil && n <= len(use.Steps) && use.Steps[n-1].RequestHeaderModifier != nil {
		if err := recode(use.Steps[n-1].RequestHeaderModifier, &step.RequestHeaderModifier); err != nil {
			return step, err
		}
	}
	if step.Matches == nil || route.Weight > 0 {
		step.Weight = &route.Weight
	}
	return step, nil
}

// recode turns a value into the maps and lists of its JSON.
func recode(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("encode a step: %w", err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("encode a step: %w", err)
	}
	return nil
}

// references are the objects of a routing, but its Ingress.
func references(t v1alpha1.TrafficRouting) []v1alpha1.NetworkReference {
	var refs []v1alpha1.NetworkReference
	const gateway = "gateway.networking.k8s.io/v1"
	if g := t.Gateway; g != nil && g.HTTPRouteName != "" {
		refs = append(refs, v1alpha1.NetworkReference{APIVersion: gateway, Kind: "HTTPRoute", Name: g.HTTPRouteName})
	} else if g != nil {
		refs = append(refs, v1alpha1.NetworkReference{APIVersion: gateway, Kind: "GRPCRoute", Name: g.GRPCRouteName})
	}
	return append(refs, t.CustomNetworkRefs...)
}

// read gets an object of any kind. It returns nil if there is none.
func (r *reconciler) read(ctx context.Context, ref v1alpha1.NetworkReference, namespace string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(ref.APIVersion)
	u.SetKind(ref.Kind)
	err := r.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, u)
	if meta.IsNoMatchError(err) {
		return nil, blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("this cluster serves no %s of %s; install it, or correct trafficRoutings", ref.Kind, ref.APIVersion)}
	}
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", ref.Kind, ref.Name, err)
	}
	return u, nil
}

// applyRoute tells one object, and returns what somebody else's edits of it could not be kept.
func (r *reconciler) applyRoute(ctx context.Context, ro *v1alpha1.Rollout, router *traffic.Router, ref v1alpha1.NetworkReference, step traffic.Step, restored bool) ([]string, error) {
	object, err := r.read(ctx, ref, ro.Namespace)
	if err != nil {
		return nil, err
	}
	if object == nil {
		if restored {
			return nil, nil // it was deleted in the meantime; there is nothing to restore
		}
		return nil, blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("%s %s does not exist; create it, or correct trafficRoutings", ref.Kind, ref.Name)}
	}
	var result traffic.Result
	if restored {
		result, err = router.Restore(object)
	} else {
		result, err = router.Route(ctx, object, step)
	}
	if err != nil {
		return nil, err
	}
	if !result.Changed {
		return result.Conflicts, nil
	}
	if err := r.client.Update(ctx, result.Object, client.FieldOwner(name)); err != nil {
		if apierrors.IsInvalid(err) {
			return nil, blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("the cluster refuses %s %s as the script made it: %v", ref.Kind, ref.Name, err)}
		}
		return nil, fmt.Errorf("change %s %s: %w", ref.Kind, ref.Name, err)
	}
	return result.Conflicts, nil
}

var ingressKind = schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}

// applyIngress makes the second Ingress, which takes a part of the traffic of the first, or deletes it.
func (r *reconciler) applyIngress(ctx context.Context, ro *v1alpha1.Rollout, router *traffic.Router, in *v1alpha1.IngressRouting, step traffic.Step, restored bool) error {
	version, kind := ingressKind.ToAPIVersionAndKind()
	second, err := r.read(ctx, v1alpha1.NetworkReference{APIVersion: version, Kind: kind, Name: traffic.CanaryIngressName(in.Name)}, ro.Namespace)
	if err != nil {
		return err
	}
	if second != nil && !metav1.IsControlledBy(second, ro) {
		return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("Ingress %s exists and does not belong to this Rollout; rename or delete it", second.GetName())}
	}
	if restored {
		if second != nil {
			if err := r.client.Delete(ctx, second); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("delete Ingress %s: %w", second.GetName(), err)
			}
		}
		return nil
	}
	first, err := r.read(ctx, v1alpha1.NetworkReference{APIVersion: version, Kind: kind, Name: in.Name}, ro.Namespace)
	if err != nil {
		return err
	}
	if first == nil {
		return blockedError{v1alpha1.ReasonRouteFailed, fmt.Sprintf("Ingress %s does not exist; create it, or correct trafficRoutings", in.Name)}
	}
	want, err := router.CanaryIngress(ctx, first, in.ClassType, step)
	if err != nil {
		return err
	}
	want.SetOwnerReferences(ownedBy(ro))
	if second == nil {
		if err := r.client.Create(ctx, want, client.FieldOwner(name)); err != nil {
			return fmt.Errorf("create Ingress %s: %w", want.GetName(), err)
		}
		return nil
	}
	changed := second.DeepCopy()
	changed.Object["spec"] = want.Object["spec"]
	changed.SetAnnotations(want.GetAnnotations())
	changed.SetLabels(want.GetLabels())
	if equality.Semantic.DeepEqual(changed, second) {
		return nil
	}
	if err := r.client.Update(ctx, changed, client.FieldOwner(name)); err != nil {
		return fmt.Errorf("change Ingress %s: %w", want.GetName(), err)
	}
	return nil
}
