package rollout

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"redstart.dev/redstart/api/v1alpha1"
)

// listsOnce counts lists.
type listsOnce struct {
	client.Reader
	lists int
}

func (l *listsOnce) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	l.lists++
	return l.Reader.List(ctx, list, opts...)
}

// TestRevisions: one look at a Rollout lists its revisions once, whatever it does with them.
func TestRevisions(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(scheme.Scheme).Build()
	live := &listsOnce{Reader: c}
	now := time.Now()
	r := &reconciler{client: c, live: live, now: func() time.Time { return now }}
	ro := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	ro.Status.Phase = v1alpha1.RolloutHealthy
	version := func(image string) *corev1.PodTemplateSpec {
		return &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}}}
	}

	kept := r.revisions(ro)
	if err := kept.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := kept.keep(t.Context(), version("web:1"))
	if err != nil {
		t.Fatal(err)
	}
	if ro.Status.StableRevision, err = kept.keep(t.Context(), version("web:2")); err != nil {
		t.Fatal(err)
	}
	if got, err := kept.template(t.Context(), old); err != nil || got == nil || got.Spec.Containers[0].Image != "web:1" {
		t.Errorf("the template of %s is %v (%v), want that of web:1", old, got, err)
	}
	now = now.Add(2 * minRevisionAge) // as if they were old
	if err := kept.forget(t.Context(), &ro.Status); err != nil {
		t.Fatal(err)
	}
	if live.lists != 1 {
		t.Errorf("%d lists of revisions, want 1", live.lists)
	}
	left := &appsv1.ControllerRevisionList{}
	if err := c.List(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	if len(left.Items) != 1 || left.Items[0].Annotations[annotationRevision] != ro.Status.StableRevision {
		t.Errorf("left are %v, want revision %s alone", left.Items, ro.Status.StableRevision)
	}
}
