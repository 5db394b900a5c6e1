// Package traffic decides what the objects that route traffic look like at each step of a Rollout. It reads and writes
// nothing: it takes the object as it is and returns the object as it should be.
//
// Each object goes through three calls. Prepare says whether it can be routed at all. Route returns it as a step wants it:
// a Lua script computes that from the original, never from the output of the step before. Restore returns the original.
// The original is kept in an annotation of the object, with what was written last, so that an edit that somebody else
// makes in the meantime can be told from our own: it becomes part of the original, and survives the next step and the end.
package traffic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"redstart.dev/redstart/internal/lua"
)

// subsetsKind is the kind of objects that route nothing themselves: the subset of the new version may be in them already.
const subsetsKind = "DestinationRule"

// Step is what a step of a Rollout says about traffic.
type Step struct {
	// Weight is the share of the new version in percent, 0 to 100; nil if the step says none.
	Weight *int32
	// Matches are the requests that go to the new version, each {path, headers, queryParams} as in the Rollout; nil for none.
	Matches []any
	// RequestHeaderModifier is {set, add, remove} as in the Rollout; nil for none.
	RequestHeaderModifier map[string]any
	// Affinity keeps clients at one version while the weight splits them; nil if it does not.
	Affinity *Affinity
}

// Affinity is a cookie that says at which version a client is.
type Affinity struct {
	// Cookie is its name, and Stable and Canary its values, all of letters, digits, - and _.
	Cookie, Stable, Canary string
	// MaxAge is how long a client keeps it, in seconds.
	MaxAge int64
}

// Services are the names of the Services of both versions.
type Services struct{ Stable, Canary string }

// Reason says what kind of problem a route has. The reasons are words for a condition.
type Reason string

const (
	// NoScript: there is no script for the kind of object, or the class of Ingress.
	NoScript Reason = "NoScript"
	// ScriptFailed: the script does not compile, failed, exceeded a limit, or returned something that is no such object.
	ScriptFailed Reason = "ScriptFailed"
	// NoRoute: no route of the object leads to the Service.
	NoRoute Reason = "NoRoute"
	// TooLarge: the original does not fit the annotation.
	TooLarge Reason = "TooLarge"
	// InUse: another Rollout has the object.
	InUse Reason = "InUse"
	// NoAffinity: nothing can keep clients of the object at one version.
	NoAffinity Reason = "NoAffinity"
	// Damaged: the annotation that keeps the original was removed, or changed and cannot be read.
	Damaged Reason = "Damaged"
)

// Problem is why an object cannot be routed. Its message is for users.
type Problem struct {
	Reason  Reason
	Object  string // KIND NAMESPACE/NAME
	Message string
	Err     error
}

func (p *Problem) Error() string { return p.Object + ": " + p.Message }
func (p *Problem) Unwrap() error { return p.Err }

// Result is an object as it should be.
type Result struct {
	// Object is to be written with the resourceVersion that it has, so that an edit in between is not lost.
	Object *unstructured.Unstructured
	// Changed is false if the object is like that already.
	Changed bool
	// Edits are the fields that somebody else changed since the last write. The changes are kept.
	Edits []string
	// Conflicts are the fields that somebody else changed although the Rollout sets them, or that follow from its
	// steps. These changes are not kept; a condition should name them.
	Conflicts []string
}

// Router routes objects of one Rollout.
type Router struct {
	// Owner is the Rollout, NAMESPACE/NAME. It is noted at the object.
	Owner    string
	Services Services
	Scripts  *Scripts
}

// Prepare says whether an object can be routed: there is a script, the object belongs to no other Rollout, and the
// script finds a route to change. Its errors are *Problem.
func (r *Router) Prepare(ctx context.Context, object *unstructured.Unstructured) error {
	half := int32(50)
	_, err := r.Route(ctx, object, Step{Weight: &half})
	return err
}

// Route returns the object as a step wants it. Its errors are *Problem; the object should then be left as it is.
func (r *Router) Route(ctx context.Context, object *unstructured.Unstructured, step Step) (Result, error) {
	kept, merged, err := r.original(object)
	if err != nil {
		return Result{}, err
	}
	original := kept.Original
	applied, err := r.run(ctx, object, original, step)
	if err != nil {
		return Result{}, err
	}
	if step.asks() && applied.equal(original) && object.GetKind() != subsetsKind {
		return Result{}, problem(NoRoute, object, fmt.Errorf("the script %s changed nothing for this step: no route leads to the Service %s",
			ScriptPath(object.GetAPIVersion(), object.GetKind()), r.Services.Stable))
	}
	if step.Affinity != nil {
		if err := r.keepsClients(ctx, object, original, applied, step); err != nil {
			return Result{}, err
		}
	}
	before := kept.Applied
	kept.Owner, kept.Applied = r.Owner, applied
	note, err := kept.encode()
	if err != nil {
		return Result{}, problem(TooLarge, object, err)
	}
	result := Result{Object: object, Edits: merged.edits, Conflicts: merged.conflicts}
	// An API server completes what it stores with defaults: an object that has more than was written is as it was written.
	if applied.equal(before) && note == object.GetAnnotations()[AnnotationOriginal] && extends(dataOf(object).object(), applied.object()) {
		return result, nil
	}
	result.Object, result.Changed = applied.onto(object), true
	setAnnotation(result.Object, AnnotationOriginal, note)
	return result, nil
}

// Restore returns the object as it was before the Rollout, with what somebody else changed in the meantime. Its errors
// are *Problem.
func (r *Router) Restore(object *unstructured.Unstructured) (Result, error) {
	kept, merged, err := r.original(object)
	if err != nil {
		return Result{}, err
	}
	if object.GetAnnotations()[AnnotationOriginal] == "" {
		return Result{Object: object}, nil // never routed, or restored already
	}
	return Result{Object: kept.Original.onto(object), Changed: true, Edits: merged.edits, Conflicts: merged.conflicts}, nil
}

// original is what is kept of an object, with the edits since the last write in its original. An object that is seen
// for the first time is its own original.
func (r *Router) original(object *unstructured.Unstructured) (kept, merge, error) {
	now := dataOf(object)
	note := object.GetAnnotations()[AnnotationOriginal]
	if note == "" {
		if r.Services.Canary != r.Services.Stable && mentions(now.Spec, r.Services.Canary) {
			return kept{}, merge{}, problem(Damaged, object, fmt.Errorf("it leads to the Service %s but has no annotation %s: restore the object by hand", r.Services.Canary, AnnotationOriginal))
		}
		return kept{Original: now}, merge{}, nil
	}
	k, err := decodeKept(note)
	if err != nil {
		return kept{}, merge{}, problem(Damaged, object, fmt.Errorf("the annotation %s was changed and cannot be read (%w): restore the object by hand and remove the annotation", AnnotationOriginal, err))
	}
	if k.Owner != "" && k.Owner != r.Owner {
		return kept{}, merge{}, problem(InUse, object, fmt.Errorf("the Rollout %s routes it already", k.Owner))
	}
	var m merge
	k.Original = Data{
		Spec:        m.value("spec", k.Applied.Spec, now.Spec, k.Original.Spec),
		Labels:      m.strings("labels", k.Applied.Labels, now.Labels, k.Original.Labels),
		Annotations: m.strings("annotations", k.Applied.Annotations, now.Annotations, k.Original.Annotations),
	}
	return k, m, nil
}

// mentions says whether a value holds the name of a Service, or a host name that begins with it.
func mentions(value any, service string) bool {
	switch v := value.(type) {
	case string:
		return v == service || strings.HasPrefix(v, service+".")
	case []any:
		return slices.ContainsFunc(v, func(item any) bool { return mentions(item, service) })
	case map[string]any:
		for _, item := range v {
			if mentions(item, service) {
				return true
			}
		}
	}
	return false
}

// asks says whether a step sends anything to the new version.
func (s Step) asks() bool { return s.Weight != nil && *s.Weight > 0 || len(s.Matches) > 0 }

// splits says whether a step sends some requests without a match to one version and some to the other.
func (s Step) splits() bool { return s.Weight != nil && *s.Weight > 0 && *s.Weight < 100 }

// keepsClients makes sure that a script does what Affinity asks for, from the first step on and not only at the first
// that splits the traffic: what keeps clients at a version names the cookie somewhere in the object.
func (r *Router) keepsClients(ctx context.Context, object *unstructured.Unstructured, original, applied Data, step Step) error {
	if !step.splits() {
		half := int32(50)
		var err error
		if applied, err = r.run(ctx, object, original, Step{Weight: &half, Affinity: step.Affinity}); err != nil {
			return err
		}
	}
	if !strings.Contains(textOf(applied.object()), step.Affinity.Cookie) {
		return problem(NoAffinity, object, fmt.Errorf("the script %s cannot keep a client at one version; remove sessionAffinity, or route an HTTPRoute",
			ScriptPath(object.GetAPIVersion(), object.GetKind())))
	}
	return nil
}

func problem(reason Reason, object *unstructured.Unstructured, err error) *Problem {
	return &Problem{Reason: reason, Object: nameOf(object), Message: err.Error(), Err: err}
}

func nameOf(object *unstructured.Unstructured) string {
	if object.GetNamespace() == "" {
		return object.GetKind() + " " + object.GetName()
	}
	return object.GetKind() + " " + object.GetNamespace() + "/" + object.GetName()
}

func setAnnotation(object *unstructured.Unstructured, key, value string) {
	annotations := maps.Clone(object.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	object.SetAnnotations(annotations)
}

// run runs the script for an object. Its errors are *Problem.
func (r *Router) run(ctx context.Context, object *unstructured.Unstructured, original Data, step Step) (Data, error) {
	script, err := r.Scripts.Custom(object.GetAPIVersion(), object.GetKind())
	if err != nil {
		return Data{}, problem(NoScript, object, err)
	}
	applied, err := run(ctx, script, original, object.GetNamespace(), step, r.Services)
	if err != nil {
		return Data{}, problem(ScriptFailed, object, err)
	}
	return applied, nil
}

// run runs a script with the contract for objects of any kind.
func run(ctx context.Context, script *lua.Script, original Data, namespace string, step Step, services Services) (Data, error) {
	data := original.object()
	result, err := script.Run(ctx, customObject(data, namespace, step, services), data)
	if err != nil {
		return Data{}, err
	}
	return dataFrom(result)
}
