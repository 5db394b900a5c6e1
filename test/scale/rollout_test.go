package scale_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// grown is how much the heap in use and the goroutines may grow over all looks after the first tenth of them: what a leak of a
// hundred bytes a look is not. The heap is read after a collection, and jitters by some MiB.
const (
	grownHeap       = 8 << 20
	grownGoroutines = 50
)

func webName(i int) string { return fmt.Sprintf("web-%d", i) }

// newWeb makes the objects of application number i: a Deployment of one pod, for half of them a Service and an Ingress, and
// for the others a ConfigMap and a Secret.
func newWeb(i int) []client.Object {
	meta := metav1.ObjectMeta{Name: webName(i), Namespace: namespaceOf(i / 10)}
	labels := map[string]string{"app": meta.Name}
	web := corev1.Container{Name: "web", Image: "web:1"}
	deployment := &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](1), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}},
	}}
	all := []client.Object{deployment}
	if !routed(i) {
		ref := corev1.LocalObjectReference{Name: meta.Name}
		web.EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: ref}},
		}
		all = append(all, &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"COLOUR": "green"}},
			&corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"KEY": "x"}})
	}
	deployment.Spec.Template.Spec.Containers = []corev1.Container{web}
	if !routed(i) {
		return all
	}
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: meta.Name, Port: networkingv1.ServiceBackendPort{Number: 80}}}
	return append(all,
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}},
		&networkingv1.Ingress{ObjectMeta: meta, Spec: networkingv1.IngressSpec{
			IngressClassName: ptr.To("nginx"),
			Rules: []networkingv1.IngressRule{{Host: meta.Name + ".example", IngressRuleValue: networkingv1.IngressRuleValue{
				HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
					Path: "/", PathType: ptr.To(networkingv1.PathTypePrefix), Backend: backend,
				}}},
			}}},
		}})
}

func routed(i int) bool { return i%2 == 0 }

// newRollout makes that of application number i: a canary of one step that waits for an approval, with an Ingress for half of them, and
// for the others a watch of their configuration.
func newRollout(i int) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: webName(i), Namespace: namespaceOf(i / 10)}}
	r.Spec.WorkloadRef = v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: r.Name}
	step := v1alpha1.RolloutStep{Replicas: ptr.To(intstr.FromInt32(1)), Pause: &v1alpha1.RolloutPause{}}
	r.Spec.Strategy.Canary = &v1alpha1.StrategySpec{Steps: []v1alpha1.RolloutStep{step}}
	r.Spec.WatchConfig = !routed(i)
	if routed(i) {
		r.Spec.Strategy.Canary.Steps[0].Traffic = ptr.To("20%")
		r.Spec.Strategy.Canary.TrafficRoutings = []v1alpha1.TrafficRouting{{Service: r.Name, Ingress: &v1alpha1.IngressRouting{Name: r.Name, ClassType: "nginx"}}}
	}
	return r
}

func inPhase(phase v1alpha1.RolloutPhase) func(runtime.Object) bool {
	return func(o runtime.Object) bool {
		r, ok := o.(*v1alpha1.Rollout)
		return ok && r.Status.Phase == phase
	}
}

// TestRollouts: all become Healthy; looking at all of them again and again makes nothing grow; a tenth of them releases a version
// while the rest is idle.
func TestRollouts(t *testing.T) {
	needPrograms(t)
	p := newControlPlane(t)
	p.startNodes(newAgents(t))
	each(t, *rollouts, func(ctx context.Context, i int) error {
		for _, o := range newWeb(i) {
			if err := p.client.Create(ctx, o); err != nil {
				return err
			}
		}
		return nil
	})
	eventually(t, "all applications run", patience, func(ctx context.Context) error {
		return p.count(ctx, &appsv1.DeploymentList{}, func(o runtime.Object) bool {
			d, ok := o.(*appsv1.Deployment)
			return ok && d.Status.ReadyReplicas == 1
		})
	})
	o := p.startOperator("operator")
	var results table
	results.begin(t, fmt.Sprintf("%d Rollouts (canary, half of them with an Ingress, the others with watchConfig)", *rollouts))
	healthy := func(ctx context.Context) error {
		return p.count(ctx, &v1alpha1.RolloutList{}, inPhase(v1alpha1.RolloutHealthy))
	}

	empty := o.read()
	results.add("no Rollout yet", empty, empty, "rollout")

	before := o.read()
	each(t, *rollouts, func(ctx context.Context, i int) error { return p.client.Create(ctx, newRollout(i)) })
	eventually(t, "all are Healthy", patience, healthy)
	results.add("until all are Healthy", before, o.read(), "rollout")

	pass(t, time.Minute)
	before = o.read()
	pass(t, 2*time.Minute)
	after := o.read()
	results.add("nothing changes", before, after, "rollout")
	if n := after.reconciles("rollout") - before.reconciles("rollout"); n > 0 {
		t.Errorf("%.0f reconciles in two minutes in which nothing changed, want none", n)
	}

	p.resync(o, &results)
	p.release(o, &results, max(1, *rollouts/10))
	results.print()
}

// resync makes the operator look at every Rollout anew, again and again, and fails when it grows.
func (p *controlPlane) resync(o *operator, results *table) {
	t := p.t
	t.Helper()
	tenth := max(1, *resyncs/10)
	var first reading
	before := o.read()
	began := before
	for n := 1; n <= *resyncs; n++ {
		start := o.glance()
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/look":"%d"}}}`, n))
		each(t, *rollouts, func(ctx context.Context, i int) error { return p.client.Patch(ctx, newRollout(i), patch) })
		eventually(t, "all were looked at", patience, func(context.Context) error {
			end := o.glance()
			if done := end.reconciles("rollout") - start.reconciles("rollout"); done < float64(*rollouts) || end.sum("workqueue_depth", nil) > 0 {
				return fmt.Errorf("%.0f of %d", done, *rollouts)
			}
			return nil
		})
		if n%tenth > 0 {
			continue
		}
		end := o.read()
		results.add(fmt.Sprintf("looks %d to %d at all", n-tenth+1, n), before, end, "rollout")
		if n == tenth {
			first = end
		}
		before = end
	}
	end := o.read()
	results.add(fmt.Sprintf("all %d looks", *resyncs), began, end, "rollout")
	const heap, goroutines = "go_memstats_heap_inuse_bytes", "go_goroutines"
	if grown := end.sum(heap, nil) - first.sum(heap, nil); grown > grownHeap {
		t.Errorf("the heap in use grew by %.1f MiB over %d looks at each of %d Rollouts", grown/(1<<20), *resyncs-tenth, *rollouts)
	}
	if grown := end.sum(goroutines, nil) - first.sum(goroutines, nil); grown > grownGoroutines {
		t.Errorf("the goroutines grew by %.0f over %d looks", grown, *resyncs-tenth)
	}
	_, wrote := began.requests()
	if _, writes := end.requests(); writes > wrote {
		t.Errorf("%.0f writes, though nothing had changed", writes-wrote)
	}
}

// release gives the first n applications a new version, leaves all releases waiting for an approval for a while, and approves them.
func (p *controlPlane) release(o *operator, results *table, n int) {
	t := p.t
	t.Helper()
	phases := func(released, rest v1alpha1.RolloutPhase) func(context.Context) error {
		mine := map[string]bool{}
		for i := range n {
			mine[webName(i)] = true
		}
		return func(ctx context.Context) error {
			return p.count(ctx, &v1alpha1.RolloutList{}, func(o runtime.Object) bool {
				r, ok := o.(*v1alpha1.Rollout)
				if ok && mine[r.Name] {
					return r.Status.Phase == released
				}
				return ok && r.Status.Phase == rest
			})
		}
	}
	before := o.read()
	patch := client.RawPatch(types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:2"}]}}}}`))
	each(t, n, func(ctx context.Context, i int) error {
		return p.client.Patch(ctx, &appsv1.Deployment{ObjectMeta: newRollout(i).ObjectMeta}, patch)
	})
	eventually(t, "the releases wait", patience, phases(v1alpha1.RolloutPaused, v1alpha1.RolloutHealthy))
	results.add(fmt.Sprintf("%d of them release, until they wait", n), before, o.read(), "rollout")

	pass(t, time.Minute)
	before = o.read()
	pass(t, 2*time.Minute)
	results.add(fmt.Sprintf("%d wait for an approval", n), before, o.read(), "rollout")

	before = o.read()
	approve := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"approve"}}}`, v1alpha1.AnnotationRolloutCommand))
	each(t, n, func(ctx context.Context, i int) error { return p.client.Patch(ctx, newRollout(i), approve) })
	eventually(t, "all are released", patience, phases(v1alpha1.RolloutHealthy, v1alpha1.RolloutHealthy))
	results.add("approved, until all are Healthy", before, o.read(), "rollout")
	images := func(o runtime.Object) bool {
		d, ok := o.(*appsv1.Deployment)
		return ok && (d.Spec.Template.Spec.Containers[0].Image == "web:1" || d.Status.ReadyReplicas == 1)
	}
	eventually(t, "the new version runs", time.Minute, func(ctx context.Context) error { return p.count(ctx, &appsv1.DeploymentList{}, images) })
}
