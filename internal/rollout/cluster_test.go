package rollout_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster"
	"redstart.dev/redstart/internal/rollout"
)

// patience bounds every wait; the machine may be busy.
const patience = 2 * time.Minute

// cluster is an embedded cluster with the rollout controller, whose pods are real processes.
type cluster struct {
	*testing.T
	client.Client
	ctx context.Context
	// restart stops the controller and starts another.
	restart func()
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() && os.Getenv("REDSTART_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	local, err := localcluster.Start(t.Context(), localcluster.Options{
		StateDir: t.TempDir(), Executable: self, Images: map[string][]string{"web*": {self, "web"}}, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	control := func() (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- rollout.Run(ctx, local.RESTConfig(), rollout.Options{Logger: log}) }()
		return func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	stop := control()
	t.Cleanup(func() {
		cancel()
		stop()
		stopping, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := local.Stop(stopping); err != nil {
			t.Error(err)
		}
	})
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme, gatewayv1.Install} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(local.RESTConfig(), client.Options{Scheme: s})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t, c, ctx, func() { stop(); stop = control() }}
}

func (c *cluster) eventually(what string, ok func() error) {
	c.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if err = ok(); err == nil {
			return
		}
	}
	c.Fatalf("not within %s: %s: %v", patience, what, err)
}

func (c *cluster) create(o client.Object) {
	c.Helper()
	o.SetNamespace("default")
	if err := c.Create(c.ctx, o); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) get(name string, o client.Object) error {
	return c.Get(c.ctx, client.ObjectKey{Namespace: "default", Name: name}, o)
}

func (c *cluster) rollout(name, spec string) {
	c.Helper()
	ro := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &ro.Spec); err != nil {
		c.Fatal(err)
	}
	c.create(ro)
}

// phase waits until a Rollout is in a phase at a step.
func (c *cluster) phase(name string, phase v1alpha1.RolloutPhase, step int32) *v1alpha1.Rollout {
	c.Helper()
	ro := &v1alpha1.Rollout{}
	c.eventually(fmt.Sprintf("Rollout %s is %s at step %d", name, phase, step), func() error {
		if err := c.get(name, ro); err != nil {
			return err
		}
		if ro.Status.Phase != phase || ro.Status.CurrentStep != step {
			return fmt.Errorf("it is %s %s at step %d: %s", ro.Status.Phase, ro.Status.StepState, ro.Status.CurrentStep, ro.Status.Message)
		}
		return nil
	})
	return ro
}

// healthy waits until a version serves, and no release goes on.
func (c *cluster) healthy(name string, releases int64) {
	c.Helper()
	c.eventually(fmt.Sprintf("Rollout %s is healthy after release %d", name, releases), func() error {
		ro := &v1alpha1.Rollout{}
		if err := c.get(name, ro); err != nil {
			return err
		}
		if len(ro.Status.History) == 0 || ro.Status.History[0].Number < releases || ro.Status.Phase != v1alpha1.RolloutHealthy || ro.Status.PendingRevision != "" {
			return fmt.Errorf("it is %s %s: %s", ro.Status.Phase, ro.Status.StepState, ro.Status.Message)
		}
		return nil
	})
}

func (c *cluster) command(name, command string) {
	c.Helper()
	ro := &v1alpha1.Rollout{}
	if err := c.get(name, ro); err != nil {
		c.Fatal(err)
	}
	text := fmt.Sprintf("%s #%d", command, time.Now().UnixNano())
	before := ro.DeepCopy()
	metav1.SetMetaDataAnnotation(&ro.ObjectMeta, v1alpha1.AnnotationRolloutCommand, text)
	if err := c.Patch(c.ctx, ro, client.MergeFrom(before)); err != nil {
		c.Fatal(err)
	}
	c.eventually("an answer to "+command, func() error {
		if err := c.get(name, ro); err != nil {
			return err
		}
		if a := ro.Status.LastCommand; a == nil || a.Command != text {
			return fmt.Errorf("none")
		} else if !a.Accepted {
			c.Fatalf("%s was refused: %s", command, a.Message)
		}
		return nil
	})
}

// version gives a workload another version.
func (c *cluster) version(o client.Object, template func() *corev1.PodTemplateSpec, version string) {
	c.Helper()
	c.eventually("version "+version, func() error {
		if err := c.get(o.GetName(), o); err != nil {
			return err
		}
		template().Spec.Containers[0].Args = []string{version}
		return c.Update(c.ctx, o)
	})
}

// versions counts the pods that are not going, by version.
func (c *cluster) versions(app string) map[string]int {
	c.Helper()
	var pods corev1.PodList
	if err := c.List(c.ctx, &pods, client.InNamespace("default"), client.MatchingLabels{"app": app}); err != nil {
		c.Fatal(err)
	}
	n := map[string]int{}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			n[p.Spec.Containers[0].Args[0]]++
		}
	}
	return n
}

func template(app, version string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Args: []string{version},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env:   []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")},
			}},
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "0.5"}}}},
		}}},
	}
}

func deployment(app string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, Template: template(app, "v1"),
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			}},
		},
	}
}

func service(name, app string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
	}}
}

// visitor asks a Service again and again, and counts what answers.
type visitor struct {
	v1, v2, failed atomic.Int64
	lastError      atomic.Value
	stop           func()
}

func (c *cluster) visit(name string) *visitor {
	c.Helper()
	svc := &corev1.Service{}
	c.eventually("an address of Service "+name, func() error {
		if err := c.get(name, svc); err != nil {
			return err
		}
		if v1alpha1.ServiceAddress(svc, 80) == "" {
			return fmt.Errorf("none")
		}
		return nil
	})
	v := &visitor{}
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan struct{})
	h := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			resp, err := h.Get("http://" + v1alpha1.ServiceAddress(svc, 80))
			if err != nil {
				v.failed.Add(1)
				v.lastError.Store(err.Error())
			} else {
				body, _ := io.ReadAll(io.LimitReader(resp.Body, 100))
				_ = resp.Body.Close()
				switch {
				case strings.HasPrefix(string(body), "v1"):
					v.v1.Add(1)
				default:
					v.v2.Add(1)
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	v.stop = func() { cancel(); <-done }
	return v
}

// TestCanary releases a version beside the old one. The object that routes is one of the test's own, with a script of its own.
func TestCanary(t *testing.T) {
	c := startCluster(t)
	c.create(deployment("web", 3))
	c.create(service("web", "web"))
	c.create(service("front", "nothing"))
	c.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: rollout.ScriptsConfigMap}, Data: map[string]string{
		"lua.traffic.routing.Service.v1": `
annotations = obj.data.annotations or {}
annotations.share = tostring(obj.canaryWeight)
obj.data.annotations = annotations
return obj.data`,
	}})
	c.rollout("web", `
workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
stepDeadline: 20s
strategy:
  canary:
    steps:
    - {traffic: 34%, pause: {}}
    - {traffic: 67%, pause: {}}
    trafficRoutings: [{service: web, gracePeriodSeconds: 1, customNetworkRefs: [{apiVersion: v1, kind: Service, name: front}]}]`)
	c.healthy("web", 1)
	visitor := c.visit("web")
	share := func() string {
		front := &corev1.Service{}
		if err := c.get("front", front); err != nil {
			t.Fatal(err)
		}
		return front.Annotations["share"]
	}

	letGo := func(when string) {
		t.Helper()
		svc := &corev1.Service{}
		if err := c.get("web", svc); err != nil {
			t.Fatal(err)
		}
		if len(svc.Spec.Selector) != 1 || svc.Annotations[v1alpha1.AnnotationHeldBy] != "" {
			t.Errorf("%s the Service selects %v, annotations %v; want it as it was written", when, svc.Spec.Selector, svc.Annotations)
		}
	}

	d := deployment("web", 3)
	c.version(d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }, "v2")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	if n := c.versions("web"); n["v1"] != 3 || n["v2"] != 2 {
		t.Errorf("at step 1 of 34 %%: %v, want 3 old pods and 2 new ones", n)
	}
	if share() != "34" {
		t.Errorf("the route says %s, want 34", share())
	}
	if n := visitor.v2.Load(); n > 0 {
		t.Errorf("the Service of the old version sent %d requests to the new one", n)
	}
	c.command("web", "approve")
	c.phase("web", v1alpha1.RolloutPaused, 2)
	c.command("web", "abort")
	c.phase("web", v1alpha1.RolloutAborted, 0)
	if n := c.versions("web"); n["v1"] != 3 || n["v2"] != 0 || share() != "" {
		t.Errorf("after the abort: %v and share %q, want 3 old pods, and the route as it was", n, share())
	}
	if n := visitor.v2.Load(); n > 0 {
		t.Errorf("the Service of the old version sent %d requests to the new one", n)
	}
	letGo("after the abort")

	c.command("web", "retry")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	c.command("web", "promote")
	c.healthy("web", 3)
	if n := c.versions("web"); n["v1"] != 0 || n["v2"] != 3 || share() != "" {
		t.Errorf("after the release: %v and share %q, want 3 new pods, and the route as it was", n, share())
	}
	letGo("after the release")

	// A version that does not start is given up by itself.
	c.version(d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }, "broken")
	c.phase("web", v1alpha1.RolloutAborted, 0)
	ro := &v1alpha1.Rollout{}
	if err := c.get("web", ro); err != nil {
		t.Fatal(err)
	}
	if m := ro.Status.Message; !strings.Contains(m, "0 of 2 ready") {
		t.Errorf("message %q does not say that no pod is ready", m)
	}

	// Deleting the Rollout in the middle takes its pods away and leaves the Deployment held.
	c.version(d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }, "v3")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	if err := c.Delete(c.ctx, ro); err != nil {
		t.Fatal(err)
	}
	c.eventually("the Rollout is gone", func() error {
		if err := c.get("web", ro); err == nil {
			return fmt.Errorf("it is %s %s", ro.Status.Phase, ro.Status.StepState)
		}
		return nil
	})
	if n := c.versions("web"); n["v2"] != 3 || n["v3"] != 0 || share() != "" {
		t.Errorf("after the Rollout was deleted: %v and share %q, want 3 pods of v2", n, share())
	}
	letGo("after the Rollout was deleted")
	visitor.stop()
	if n := visitor.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the last: %v", n, n+visitor.v1.Load()+visitor.v2.Load(), visitor.lastError.Load())
	}
	t.Logf("%d requests, %d failed", visitor.v1.Load()+visitor.v2.Load()+visitor.failed.Load(), visitor.failed.Load())
}

// TestPartition replaces pods in place, of a Deployment and of a StatefulSet, and never more than a step says.
func TestPartition(t *testing.T) {
	c := startCluster(t)
	d := deployment("web", 4)
	c.create(d)
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: ptr.To(int32(3)), ServiceName: "db", Template: template("db", "v1"), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
	}}
	c.create(s)
	for name, kind := range map[string]string{"web": "Deployment", "db": "StatefulSet"} {
		c.rollout(name, `
workloadRef: {apiVersion: apps/v1, kind: `+kind+`, name: `+name+`}
strategy:
  partition:
    steps:
    - {replicas: 1, pause: {}}
    - {replicas: 50%, pause: {}}`)
	}
	for _, w := range []struct {
		name     string
		object   client.Object
		template *corev1.PodTemplateSpec
		size     int
	}{{"web", d, &d.Spec.Template, 4}, {"db", s, &s.Spec.Template, 3}} {
		is := func(when string, v1, v2 int) {
			t.Helper()
			c.eventually(fmt.Sprintf("%s: %s: %d old and %d new pods", w.name, when, v1, v2), func() error {
				if n := c.versions(w.name); n["v1"] != v1 || n["v2"] != v2 {
					return fmt.Errorf("%v", n)
				}
				return nil
			})
		}
		c.healthy(w.name, 1)
		c.version(w.object, func() *corev1.PodTemplateSpec { return w.template }, "v2")
		c.phase(w.name, v1alpha1.RolloutPaused, 1)
		is("at step 1", w.size-1, 1)
		c.command(w.name, "approve")
		c.phase(w.name, v1alpha1.RolloutPaused, 2)
		is("at step 2", w.size-2, 2)
		c.command(w.name, "abort")
		c.healthy(w.name, 2)
		is("after the abort", w.size, 0)

		c.version(w.object, func() *corev1.PodTemplateSpec { return w.template }, "v2")
		c.phase(w.name, v1alpha1.RolloutAborted, 0) // the version that was given up
		c.command(w.name, "retry")
		c.phase(w.name, v1alpha1.RolloutPaused, 1)
		c.command(w.name, "promote")
		c.healthy(w.name, 3)
		is("after the release", 0, w.size)
	}
}
