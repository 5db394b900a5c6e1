package rollout_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestPartitionTraffic replaces the pods of a Deployment and of a StatefulSet in place behind the gateway of one machine, and
// measures what share of the requests each version answers: step by step, back, again, while a newer version comes, and when the
// Rollout is deleted in the middle. Visitors come all the time, and none of their requests may fail.
func TestPartitionTraffic(t *testing.T) {
	for _, kind := range []string{"Deployment", "StatefulSet"} {
		t.Run(kind, func(t *testing.T) { partitionTraffic(t, kind) })
	}
}

func partitionTraffic(t *testing.T, kind string) {
	const size = 4
	c := startCluster(t)
	var object client.Object
	var pods func() *corev1.PodTemplateSpec
	if kind == "Deployment" {
		d := deployment("web", size)
		object, pods = d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }
	} else {
		s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](size), ServiceName: "web", Template: template("web", "v1"), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}}
		object, pods = s, func() *corev1.PodTemplateSpec { return &s.Spec.Template }
	}
	c.create(object)
	c.create(service("web", "web"))
	c.gateway("web")
	c.rollout("web", `
workloadRef: {apiVersion: apps/v1, kind: `+kind+`, name: web}
strategy:
  partition:
    steps:
    - {traffic: 25%, pause: {}}
    - {replicas: 2, matches: [{headers: [{name: tester, value: "yes"}]}], pause: {}}
    - {traffic: 50%, pause: {}}
    - {replicas: 100%, traffic: 100%, pause: {}}
    trafficRoutings: [{service: web, gracePeriodSeconds: 1, gateway: {httpRouteName: web}}]`)
	c.healthy("web", 1)
	before := c.routeSpec("web")
	h := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer h.CloseIdleConnections()
	stranger := c.stranger("web", h)
	tester := &person{url: stranger.url, header: http.Header{"Tester": {"yes"}}}
	stop := c.comeAndGo(h, []*person{stranger, stranger, stranger})
	defer stop()

	share := func(when string, p *person, version string, want float64) {
		t.Helper()
		const visits = 400
		n := 0
		for range visits {
			seen, err := p.visit(h)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if seen == version {
				n++
			}
		}
		got := 100 * float64(n) / visits
		t.Logf("%s: %s answers %.1f %% of the requests", when, version, got)
		within := 3.0
		if want == 0 || want == 100 {
			within = 0
		}
		if math.Abs(got-want) > within {
			t.Errorf("%s: %s answers %.1f %% of the requests, want %.0f", when, version, got, want)
		}
	}
	have := func(when string, want map[string]int) {
		t.Helper()
		c.eventually(when, func() error {
			if n := c.versions("web"); fmt.Sprint(n) != fmt.Sprint(want) {
				return fmt.Errorf("pods %v, want %v", n, want)
			}
			return nil
		})
	}
	asWritten := func(when string) {
		t.Helper()
		if after := c.routeSpec("web"); after != before {
			t.Errorf("%s the route is\n%s\nwant\n%s", when, after, before)
		}
		svc := &corev1.Service{}
		if err := c.get("web", svc); err != nil {
			t.Fatal(err)
		}
		if len(svc.Spec.Selector) != 1 || svc.Annotations[v1alpha1.AnnotationHeldBy] != "" {
			t.Errorf("%s the Service selects %v, annotations %v; want it as it was written", when, svc.Spec.Selector, svc.Annotations)
		}
		if err := c.get(v1alpha1.CanaryName("web"), svc); err == nil {
			t.Errorf("%s there is Service %s", when, svc.Name)
		}
	}

	c.version(object, pods, "v2")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	have("at step 1", map[string]int{"v1": 3, "v2": 1})
	share("at step 1", stranger, "v2", 25)
	c.command("web", "approve")
	c.phase("web", v1alpha1.RolloutPaused, 2)
	have("at step 2", map[string]int{"v1": 2, "v2": 2})
	share("at step 2", stranger, "v2", 0)
	share("at step 2, of a tester", tester, "v2", 100)
	c.command("web", "approve")
	c.phase("web", v1alpha1.RolloutPaused, 3)
	share("at step 3", stranger, "v2", 50)
	c.command("web", "approve")
	c.phase("web", v1alpha1.RolloutPaused, 4)
	have("at step 4", map[string]int{"v1": 1, "v2": 3})
	share("at step 4", stranger, "v2", 100)

	c.command("web", "abort")
	c.healthy("web", 2)
	have("after the abort", map[string]int{"v1": size})
	share("after the abort", stranger, "v1", 100)
	asWritten("after the abort")

	c.version(object, pods, "v3")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	c.command("web", "jump 3")
	c.phase("web", v1alpha1.RolloutPaused, 3)
	share("v3 at step 3", stranger, "v3", 50)

	// A still newer version begins with the first step.
	c.version(object, pods, "v4")
	c.eventually("v4 waits at step 1", func() error {
		ro := &v1alpha1.Rollout{}
		if err := c.get("web", ro); err != nil {
			return err
		}
		if n := c.versions("web"); ro.Status.Phase != v1alpha1.RolloutPaused || ro.Status.CurrentStep != 1 || n["v4"] != 1 || n["v1"] != 3 {
			return fmt.Errorf("it is %s %s at step %d, pods %v: %s", ro.Status.Phase, ro.Status.StepState, ro.Status.CurrentStep, n, ro.Status.Message)
		}
		return nil
	})
	share("v4 at step 1", stranger, "v4", 25)
	c.command("web", "promote")
	c.eventually("v4 is released", func() error {
		ro := &v1alpha1.Rollout{}
		if err := c.get("web", ro); err != nil {
			return err
		}
		if ro.Status.Phase != v1alpha1.RolloutHealthy || ro.Status.History[0].Outcome != v1alpha1.ReleaseCompleted {
			return fmt.Errorf("it is %s %s: %s", ro.Status.Phase, ro.Status.StepState, ro.Status.Message)
		}
		return nil
	})
	have("after the release", map[string]int{"v4": size})
	share("after the release", stranger, "v4", 100)
	asWritten("after the release")

	// Without its Rollout every pod stays what it is, and traffic follows the pods.
	c.version(object, pods, "v5")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	have("v5 at step 1", map[string]int{"v4": 3, "v5": 1})
	ro := &v1alpha1.Rollout{}
	if err := c.get("web", ro); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(c.ctx, ro); err != nil {
		t.Fatal(err)
	}
	c.eventually("the Rollout is gone", func() error {
		if err := c.get("web", ro); err == nil {
			return fmt.Errorf("it is %s %s", ro.Status.Phase, ro.Status.StepState)
		}
		return nil
	})
	have("after the Rollout was deleted", map[string]int{"v4": 3, "v5": 1})
	asWritten("after the Rollout was deleted")
	seen := map[string]int{}
	for range 100 {
		version, err := stranger.visit(h)
		if err != nil {
			t.Fatal(err)
		}
		seen[version]++
	}
	if len(seen) != 2 || strings.Contains(fmt.Sprint(seen), "v1") {
		t.Errorf("after the Rollout was deleted, requests are answered by %v, want v4 and v5", seen)
	}
}
