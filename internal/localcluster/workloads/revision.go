package workloads

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// revisionData is what a ControllerRevision holds: a patch that makes a StatefulSet's template what it was, which is
// how `kubectl rollout undo` uses it.
type revisionData struct {
	Spec struct {
		Template json.RawMessage `json:"template"`
	} `json:"spec"`
}

// encodeTemplate is the data of a ControllerRevision for a template.
func encodeTemplate(t *corev1.PodTemplateSpec) ([]byte, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	m["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": m}})
}

// decodeTemplate is the reverse of encodeTemplate.
func decodeTemplate(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var d revisionData
	t := &corev1.PodTemplateSpec{}
	if err := json.Unmarshal(r.Data.Raw, &d); err != nil {
		return nil, fmt.Errorf("read ControllerRevision %s: %w", r.Name, err)
	}
	if err := json.Unmarshal(d.Spec.Template, t); err != nil {
		return nil, fmt.Errorf("read the template in ControllerRevision %s: %w", r.Name, err)
	}
	return t, nil
}

// revisions are the ControllerRevisions of a StatefulSet, oldest first; current and update are two of them.
type revisions struct {
	all             []*appsv1.ControllerRevision
	current, update *appsv1.ControllerRevision
	collisions      *int32
}

func (r revisions) named(name string) *appsv1.ControllerRevision {
	for _, x := range r.all {
		if x.Name == name {
			return x
		}
	}
	return nil
}

// revisionsOf finds the revisions of s and records its template as one if it is new. from is where they are read.
func (b *base) revisionsOf(ctx context.Context, from client.Reader, s *appsv1.StatefulSet) (revisions, error) {
	sel, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
	if err != nil {
		return revisions{}, fmt.Errorf("StatefulSet %s: spec.selector: %w", s.Name, err)
	}
	var l appsv1.ControllerRevisionList
	if err := from.List(ctx, &l, client.InNamespace(s.Namespace)); err != nil {
		return revisions{}, fmt.Errorf("list ControllerRevisions: %w", err)
	}
	all := make([]*appsv1.ControllerRevision, len(l.Items))
	for i := range l.Items {
		all[i] = &l.Items[i]
	}
	r := revisions{collisions: s.Status.CollisionCount}
	r.all, err = claimAll(ctx, b.Client, s, controllerRef(s, statefulSetKind), all, func(x *appsv1.ControllerRevision) bool {
		return sel.Matches(labels.Set(x.Labels))
	})
	if err != nil {
		return revisions{}, err
	}
	byAge := func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(r.all, byAge)
	if err := b.recordTemplate(ctx, s, &r); err != nil {
		return revisions{}, err
	}
	slices.SortFunc(r.all, byAge)
	if r.current = r.named(s.Status.CurrentRevision); r.current == nil {
		r.current = r.update
	}
	return r, nil
}

// recordTemplate sets r.update: the newest revision if it has the template of s, an older one renewed (a rollback), or
// a new one.
func (b *base) recordTemplate(ctx context.Context, s *appsv1.StatefulSet, r *revisions) error {
	data, err := encodeTemplate(&s.Spec.Template)
	if err != nil {
		return fmt.Errorf("record the template of StatefulSet %s: %w", s.Name, err)
	}
	var last int64
	if len(r.all) > 0 {
		last = r.all[len(r.all)-1].Revision
	}
	for _, x := range slices.Backward(r.all) {
		if !sameJSON(x.Data.Raw, data) {
			continue
		}
		r.update = x
		if x.Revision == last {
			return nil
		}
		before := x.DeepCopy()
		x.Revision = last + 1
		if err := b.Patch(ctx, x, client.MergeFrom(before)); err != nil {
			return fmt.Errorf("renew ControllerRevision %s: %w", x.Name, err)
		}
		return nil
	}
	for try := range 100 {
		hash, err := hashOf(json.RawMessage(data), r.collisions)
		if err != nil {
			return fmt.Errorf("record the template of StatefulSet %s: %w", s.Name, err)
		}
		x := &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{
				Name: s.Name + "-" + hash, Namespace: s.Namespace, Labels: revisionLabels(s, hash),
				OwnerReferences: []metav1.OwnerReference{*controllerRef(s, statefulSetKind)},
			},
			Data: runtime.RawExtension{Raw: data}, Revision: last + 1,
		}
		err = b.Create(ctx, x)
		if apierrors.IsAlreadyExists(err) {
			have := &appsv1.ControllerRevision{}
			if err := b.live.Get(ctx, client.ObjectKeyFromObject(x), have); err != nil {
				return fmt.Errorf("read ControllerRevision %s: %w", x.Name, err)
			}
			if !sameJSON(have.Data.Raw, data) || !metav1.IsControlledBy(have, s) {
				r.collisions = ptr.To(int32(try + 1))
				continue
			}
			x, err = have, nil
		}
		if err != nil {
			return fmt.Errorf("create ControllerRevision %s: %w", x.Name, err)
		}
		r.update = x
		r.all = append(r.all, x)
		return nil
	}
	return fmt.Errorf("no free name for a ControllerRevision of StatefulSet %s", s.Name)
}

func revisionLabels(s *appsv1.StatefulSet, hash string) map[string]string {
	m := map[string]string{appsv1.ControllerRevisionHashLabelKey: hash}
	for k, v := range s.Spec.Template.Labels {
		m[k] = v
	}
	return m
}

// sameJSON compares two JSON texts whatever the order of their keys.
func sameJSON(a, b []byte) bool {
	canonical := func(x []byte) []byte {
		var v any
		if json.Unmarshal(x, &v) != nil {
			return x
		}
		out, err := json.Marshal(v)
		if err != nil {
			return x
		}
		return out
	}
	return bytes.Equal(canonical(a), canonical(b))
}

// unused is which revisions to delete: those that no pod was made from and that are neither current nor update, as far
// as they exceed limit; the oldest first.
func (r revisions) unused(pods []*corev1.Pod, limit int) []*appsv1.ControllerRevision {
	used := map[string]bool{r.current.Name: true, r.update.Name: true}
	for _, p := range pods {
		used[p.Labels[appsv1.ControllerRevisionHashLabelKey]] = true
	}
	var out []*appsv1.ControllerRevision
	for _, x := range r.all {
		if !used[x.Name] {
			out = append(out, x)
		}
	}
	return out[:max(0, len(out)-limit)]
}
