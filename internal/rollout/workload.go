package rollout

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/machine"
)

// workload is a Deployment, StatefulSet or DaemonSet that can be held, moved batch by batch, and let go.
type workload interface {
	object() client.Object
	template() *corev1.PodTemplateSpec
	selector() *metav1.LabelSelector
	size() int32
	// heldByUser tells whether somebody other than a Rollout holds it.
	heldByUser() bool
	// observe counts its pods, by the versions of which st speaks.
	observe(ctx context.Context, live client.Reader, revisionOf func(*corev1.PodTemplateSpec) (string, error), st *v1alpha1.RolloutStatus, out *machine.Workload) error
	// set changes its fields to what is wanted of it; it is pure.
	set(d machine.Desired, seen machine.Workload) error
	// surplus are pods to delete, so that they come back with the new template; for kinds that do not by themselves.
	surplus(ctx context.Context, live client.Reader, d machine.Desired, seen machine.Workload) ([]corev1.Pod, error)
}

func workloadOf(o client.Object) workload {
	switch o := o.(type) {
	case *appsv1.StatefulSet:
		return &statefulSet{s: o}
	case *appsv1.DaemonSet:
		return &daemonSet{o, nil}
	case *appsv1.Deployment:
		return &deployment{d: o}
	}
	return nil
}

// applyWorkload gives the workload its template, and holds it, moves it or lets it go.
func (r *reconciler) applyWorkload(ctx context.Context, ro *v1alpha1.Rollout, w workload, kept *revisions, o machine.Observation, d machine.Desired) error {
	if w == nil || !o.Workload.Exists {
		return nil
	}
	object := w.object()
	before, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", object)
	}
	if err := r.setTemplate(ctx, ro, w, kept, o, d); err != nil {
		return err
	}
	if d.Hold != machine.Leave {
		setAnnotation(object, v1alpha1.AnnotationHeldBy, ro.Name)
		if err := w.set(d, o.Workload); err != nil {
			return fmt.Errorf("%s %s: %w", ro.Spec.WorkloadRef.Kind, object.GetName(), err)
		}
		if d.Hold == machine.Release && d.Done {
			deleteAnnotation(object, v1alpha1.AnnotationHeldBy)
		}
	}
	if !equality.Semantic.DeepEqual(before, object) {
		// With the version that was observed: a template that somebody changed in between is never let go unseen.
		if err := r.client.Update(ctx, object, client.FieldOwner(name)); err != nil {
			return fmt.Errorf("change %s %s: %w", ro.Spec.WorkloadRef.Kind, object.GetName(), err)
		}
	}
	pods, err := w.surplus(ctx, r.live, d, o.Workload)
	if err != nil {
		return err
	}
	for i := range pods {
		if err := r.client.Delete(ctx, &pods[i]); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("replace pod %s: %w", pods[i].Name, err)
		}
	}
	return nil
}

// setTemplate gives the workload the template of a kept revision.
func (r *reconciler) setTemplate(ctx context.Context, ro *v1alpha1.Rollout, w workload, kept *revisions, o machine.Observation, d machine.Desired) error {
	if d.Template == "" || d.Template == o.Workload.Template {
		return nil
	}
	t, err := kept.template(ctx, d.Template)
	if err != nil {
		return err
	}
	if t == nil {
		message := fmt.Sprintf("the template of revision %s is not kept any more", d.Template)
		if ro.Status.PendingRevision == d.Template {
			ro.Status.PendingRevision = ""
			r.events.Event(ro, eventType(true), v1alpha1.ReasonRevisionMissing, message)
			return nil
		}
		return blockedError{v1alpha1.ReasonRevisionMissing, message}
	}
	*w.template() = *t.DeepCopy()
	return nil
}

// keepFields remembers, once, the fields that holding a workload changes.
func keepFields(o client.Object, fields any) error {
	if o.GetAnnotations()[v1alpha1.AnnotationHeldFields] != "" {
		return nil
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("keep what is changed to hold it: %w", err)
	}
	setAnnotation(o, v1alpha1.AnnotationHeldFields, string(b))
	return nil
}

// takeFields reads what keepFields kept, and forgets it. It returns false if there is nothing.
func takeFields(o client.Object, into any) (bool, error) {
	text := o.GetAnnotations()[v1alpha1.AnnotationHeldFields]
	if text == "" {
		return false, nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return false, fmt.Errorf("the annotation %s was changed and cannot be read: write the fields by hand and remove it: %w", v1alpha1.AnnotationHeldFields, err)
	}
	deleteAnnotation(o, v1alpha1.AnnotationHeldFields)
	return true, nil
}

func setAnnotation(o client.Object, k, v string) {
	m := o.GetAnnotations()
	if m == nil {
		m = map[string]string{}
	}
	m[k] = v
	o.SetAnnotations(m)
}

func deleteAnnotation(o client.Object, k string) {
	m := o.GetAnnotations()
	delete(m, k)
	o.SetAnnotations(m)
}

// podsOf lists the pods that a selector chooses.
func podsOf(ctx context.Context, live client.Reader, namespace string, s *metav1.LabelSelector) ([]corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, fmt.Errorf("read a selector: %w", err)
	}
	var l corev1.PodList
	if err := live.List(ctx, &l, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return l.Items, nil
}

func podReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
