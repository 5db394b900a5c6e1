package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// minRevisionAge keeps a template that was seen just now, and that the next decision may speak of.
const minRevisionAge = time.Minute

// annotationRevision is the revision of what a Rollout makes.
const annotationRevision = "redstart.dev/revision"

// revisions keeps the pod templates of a Rollout, each as a ControllerRevision. The name of a revision is a hash of the
// template when it was first seen; later ones are compared field by field, so that an API server or a controller that
// knows new defaults makes no new revision of an old template.
//
// They are those of one look at the Rollout, and are listed once in it.
type revisions struct {
	r     *reconciler
	ro    *v1alpha1.Rollout
	items []appsv1.ControllerRevision
	all   map[string]*corev1.PodTemplateSpec // nil until they were listed
}

func (r *reconciler) revisions(ro *v1alpha1.Rollout) *revisions {
	return &revisions{r: r, ro: ro}
}

func (s *revisions) load(ctx context.Context) error {
	if s.all != nil {
		return nil
	}
	var l appsv1.ControllerRevisionList
	err := s.r.live.List(ctx, &l, client.InNamespace(s.ro.Namespace), client.MatchingLabels{v1alpha1.LabelRollout: s.ro.Name})
	if err != nil {
		return fmt.Errorf("list the revisions of Rollout %s: %w", s.ro.Name, err)
	}
	s.items, s.all = l.Items, map[string]*corev1.PodTemplateSpec{}
	for i := range s.items {
		t := &corev1.PodTemplateSpec{}
		if err := json.Unmarshal(s.items[i].Data.Raw, t); err != nil {
			continue // spoilt by somebody; the next look at the workload writes it anew under another name
		}
		s.all[s.items[i].Annotations[annotationRevision]] = t
	}
	return nil
}

// plain is a template without the labels by which controllers tell pods apart.
func plain(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	t = t.DeepCopy()
	delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(t.Labels, appsv1.ControllerRevisionHashLabelKey)
	return t
}

// revisionOf names the revision of a template, kept or not.
func (s *revisions) revisionOf(t *corev1.PodTemplateSpec) (string, error) {
	t = plain(t)
	for revision, have := range s.all {
		if equality.Semantic.DeepEqual(have, t) {
			return revision, nil
		}
	}
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encode a pod template: %w", err)
	}
	return shortHash(b), nil
}

// keep makes sure that a template is kept, and names its revision.
func (s *revisions) keep(ctx context.Context, t *corev1.PodTemplateSpec) (string, error) {
	revision, err := s.revisionOf(t)
	if err != nil || s.all[revision] != nil {
		return revision, err
	}
	t = plain(t)
	raw, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("encode a pod template: %w", err)
	}
	c := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.ro.Name + "-" + revision, Namespace: s.ro.Namespace, OwnerReferences: ownedBy(s.ro),
			Labels: map[string]string{v1alpha1.LabelRollout: s.ro.Name}, Annotations: map[string]string{annotationRevision: revision},
		},
		Data: runtime.RawExtension{Raw: raw}, Revision: s.ro.Generation,
	}
	if err := s.r.client.Create(ctx, c, client.FieldOwner(name)); err != nil {
		return "", fmt.Errorf("keep revision %s of Rollout %s: %w", revision, s.ro.Name, err)
	}
	s.items, s.all[revision] = append(s.items, *c), t
	return revision, nil
}

// template finds a kept template; nil if there is none.
func (s *revisions) template(ctx context.Context, revision string) (*corev1.PodTemplateSpec, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	return s.all[revision], nil
}

// forget deletes the templates that a status does not speak of; all of them without one.
func (s *revisions) forget(ctx context.Context, st *v1alpha1.RolloutStatus) error {
	needed := map[string]bool{}
	if st != nil {
		if st.Phase != v1alpha1.RolloutHealthy {
			return nil // a release may need what it began with
		}
		for _, revision := range []string{st.StableRevision, st.CanaryRevision, st.PendingRevision} {
			needed[revision] = true
		}
		for _, h := range st.History {
			needed[h.Revision] = true
		}
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	for i := range s.items {
		c := &s.items[i]
		if needed[c.Annotations[annotationRevision]] || st != nil && s.r.now().Sub(c.CreationTimestamp.Time) < minRevisionAge {
			continue
		}
		if err := s.r.client.Delete(ctx, c); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete revision %s: %w", c.Name, err)
		}
	}
	return nil
}

func ownedBy(ro *v1alpha1.Rollout) []metav1.OwnerReference {
	return []metav1.OwnerReference{*metav1.NewControllerRef(ro, v1alpha1.GroupVersion.WithKind("Rollout"))}
}
