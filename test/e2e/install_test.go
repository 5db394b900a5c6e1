package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/install"
)

// TestInstall goes through what redstart install and redstart uninstall promise: in one namespace, in another, and in all of them.
// While nobody looks after them, Redises go on; the operator that comes back takes them as they are.
func TestInstall(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needKubernetes)
	c.withoutOperator(t)
	system, a, b := c.namespace(t), c.namespace(t), c.namespace(t)
	image := c.backend.(*kubernetes).image
	redstart := func(args ...string) string {
		t.Helper()
		out, err := c.redstart(append([]string{"-n", system}, args...)...)
		if err != nil {
			t.Fatalf("redstart %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	setUp := func(args ...string) string {
		t.Helper()
		return redstart(append([]string{"install", "--image", image, "--image-pull-policy", "IfNotPresent"}, args...)...)
	}
	t.Cleanup(func() { redstart("uninstall") })

	setUp("--watch-namespace", a)
	inA := c.createIn(t, a, "cache", redisSpec(v1alpha1.ModeReplication))
	c.notLookedAfter(t, b)
	c.may(t, system, a, true)
	c.may(t, system, b, false)

	setUp("--watch-namespace", b)
	inB := c.instance(t, b, "cache")
	c.may(t, system, a, false)
	c.may(t, system, b, true)
	inA.waitWrites()

	c.editOperator(t, system)
	setUp()
	c.checkEdited(t, system)
	c.may(t, system, a, true)
	c.may(t, system, b, true)
	inA.touch()
	inB.touch()
	if out := setUp(); strings.Contains(out, "configured") || strings.Contains(out, "created") {
		t.Errorf("the same again changes something:\n%s", out)
	}
	inA.waitReady()
	inB.waitReady()

	out := redstart("uninstall")
	for _, want := range []string{"Left, running without an operator: ", "Redis " + a + "/cache", "Redis " + b + "/cache"} {
		if !strings.Contains(out, want) {
			t.Errorf("redstart uninstall does not say %q:\n%s", want, out)
		}
	}
	if out, err := c.redstart("-n", system, "uninstall", "--crds"); err == nil || !strings.Contains(out, "delete them first") {
		t.Errorf("redstart uninstall --crds, with Redises: %v\n%s", err, out)
	}
	c.nothingLeft(t, system)
	inA.deletePod(inA.master())
	inA.waitWrites()
	inB.waitWrites()
	eventually(t, time.Minute, "the member that was deleted to be back", func(ctx context.Context) bool {
		pods := inA.pods(ctx, v1alpha1.ComponentMember)
		return len(pods) == 3 && !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return !podReady(&p) })
	})
	before := slices.Concat(inA.runs(), inB.runs())
	setUp()
	inA.touch()
	inA.waitReady()
	inB.waitReady()
	if now := slices.Concat(inA.runs(), inB.runs()); !slices.Equal(before, now) {
		t.Errorf("pods restarted when the operator came back: %v before, %v now", before, now)
	}
}

// notLookedAfter makes a Redis where no operator looks, and sees that it stays as it is while one elsewhere becomes ready.
func (c *cluster) notLookedAfter(t *testing.T, namespace string) {
	t.Helper()
	r := &v1alpha1.Redis{Spec: redisSpec(v1alpha1.ModeReplication)}
	r.Namespace, r.Name = namespace, "cache"
	if err := c.Create(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	sets := &appsv1.StatefulSetList{}
	if err := c.List(context.Background(), sets, client.InNamespace(namespace)); err != nil || len(sets.Items) > 0 {
		t.Errorf("the operator of another namespace made %d StatefulSets, %v", len(sets.Items), err)
	}
}

// may checks whether the operator may change the StatefulSets of a namespace.
func (c *cluster) may(t *testing.T, system, namespace string, want bool) {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               fmt.Sprintf("system:serviceaccount:%s:%s", system, install.Name),
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "patch", Group: "apps", Resource: "statefulsets"},
	}}
	if err := c.Create(context.Background(), review); err != nil {
		t.Fatal(err)
	}
	if review.Status.Allowed != want {
		t.Errorf("the operator may change StatefulSets of %s: %t, want %t", namespace, review.Status.Allowed, want)
	}
}

// editOperator is somebody else's edit of the operator's Deployment: of something that an installation says, and of something that
// it does not.
func (c *cluster) editOperator(t *testing.T, system string) {
	t.Helper()
	d := &appsv1.Deployment{}
	d.Namespace, d.Name = system, install.Name
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":2},"metadata":{"labels":{"example.com/mine":"yes"}}}`))
	if err := c.Patch(context.Background(), d, patch); err != nil {
		t.Fatal(err)
	}
}

// checkEdited sees that an installation took back what it says itself, and nothing else.
func (c *cluster) checkEdited(t *testing.T, system string) {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: system, Name: install.Name}, d); err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 1 || d.Labels["example.com/mine"] != "yes" {
		t.Errorf("after an installation the Deployment has %d replicas and labels %v", *d.Spec.Replicas, d.Labels)
	}
}

// nothingLeft sees that an uninstalled operator is gone with all that it might do.
func (c *cluster) nothingLeft(t *testing.T, system string) {
	t.Helper()
	for _, obj := range []client.Object{&appsv1.Deployment{}, &rbacv1.Role{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}} {
		key := client.ObjectKey{Name: install.Name}
		switch obj.(type) {
		case *appsv1.Deployment, *rbacv1.Role:
			key.Namespace = system
		}
		if err := c.Get(context.Background(), key, obj); !apierrors.IsNotFound(err) {
			t.Errorf("%T %s after redstart uninstall: %v", obj, key, err)
		}
	}
}
