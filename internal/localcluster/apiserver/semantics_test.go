package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{NodeName: "here", Containers: []corev1.Container{{Name: "c", Image: "x"}}},
	}
}

func TestPodIsDeletedGracefully(t *testing.T) {
	ctx := bounded(t)
	pods := start(t, t.TempDir()).client.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := pods.Get(ctx, "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.DeletionTimestamp == nil || ptr.Deref(p.DeletionGracePeriodSeconds, 0) != 30 {
		t.Errorf("deletionTimestamp %v, grace %v; want a pod that ends within 30 s", p.DeletionTimestamp, p.DeletionGracePeriodSeconds)
	}
	// A shorter time may be given, a longer one is ignored, and 0 removes it: that is the kubelet's.
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](5)}); err != nil {
		t.Fatal(err)
	}
	if p, err = pods.Get(ctx, "p", metav1.GetOptions{}); err != nil || *p.DeletionGracePeriodSeconds != 5 {
		t.Errorf("grace %v, %v; want 5", p.DeletionGracePeriodSeconds, err)
	}
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("other"))}}); !apierrors.IsConflict(err) {
		t.Errorf("deleting another UID: %v, want a conflict", err)
	}
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	if _, err = pods.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after deletion with grace 0: %v, want not found", err)
	}
}

func TestFinalizersAndPropagation(t *testing.T) {
	ctx := bounded(t)
	maps := start(t, t.TempDir()).client.CoreV1().ConfigMaps("default")
	c := configMap("c", nil)
	c.Finalizers = []string{"example.com/keep"}
	if _, err := maps.Create(ctx, c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "c", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	got, err := maps.Get(ctx, "c", metav1.GetOptions{})
	if err != nil || got.DeletionTimestamp == nil || fmt.Sprint(got.Finalizers) != "[example.com/keep foregroundDeletion]" {
		t.Fatalf("%+v, %v", got.ObjectMeta, err)
	}
	if _, err := maps.Patch(ctx, "c", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(ctx, "c", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("without finalizers: %v, want not found", err)
	}
}

func TestStatusAndGenerationAndConflicts(t *testing.T) {
	ctx := bounded(t)
	sets := start(t, t.TempDir()).client.AppsV1().StatefulSets("default")
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"},
		Spec: appsv1.StatefulSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}}},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": quantity(t, "1Gi")}},
				},
			}},
		},
		Status: appsv1.StatefulSetStatus{Replicas: 7},
	}
	made, err := sets.Create(ctx, set, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(made.Name, "s-") || made.Generation != 1 || made.Status.Replicas != 0 || ptr.Deref(made.Spec.Replicas, 0) != 1 {
		t.Fatalf("made %+v", made)
	}
	made.Status.Replicas, made.Spec.Replicas = 1, ptr.To[int32](9)
	withStatus, err := sets.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	if err != nil || withStatus.Status.Replicas != 1 || *withStatus.Spec.Replicas != 1 || withStatus.Generation != 1 {
		t.Fatalf("the status update gave %+v, %v", withStatus, err)
	}
	if _, err := sets.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of the past: %v, want a conflict", err)
	}
	same, err := sets.Update(ctx, withStatus, metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != withStatus.ResourceVersion {
		t.Errorf("an update without a change: resourceVersion %s, %v; want %s", same.ResourceVersion, err, withStatus.ResourceVersion)
	}
	withStatus.Spec.ServiceName = "other"
	if _, err := sets.Update(ctx, withStatus, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "updates to statefulset spec") {
		t.Errorf("a forbidden update: %v", err)
	}
}

func TestNamespaceGoesWhenFinalized(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	all := s.client.CoreV1().Namespaces()
	if _, err := all.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := all.Delete(ctx, "n", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n, err := all.Get(ctx, "n", metav1.GetOptions{})
	if err != nil || n.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("%+v, %v; want Terminating", n, err)
	}
	if _, err := s.client.CoreV1().ConfigMaps("n").Create(ctx, configMap("c", nil), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("creating in it: %v, want forbidden", err)
	}
	n.Spec.Finalizers = nil
	if _, err := all.Finalize(ctx, n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Get(ctx, "n", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after finalize: %v, want not found", err)
	}
}

func TestGivenNamespacesStay(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	all := s.client.CoreV1().Namespaces()
	for _, name := range []string{"default", "kube-system"} {
		if err := all.Delete(ctx, name, metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("deleting %s: %v, want forbidden", name, err)
		}
		if n, err := all.Get(ctx, name, metav1.GetOptions{}); err != nil || n.DeletionTimestamp != nil {
			t.Errorf("%s is now %+v, %v", name, n, err)
		}
	}
	if err := s.client.CoreV1().RESTClient().Delete().Resource("namespaces").Do(ctx).Error(); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("deleting all: %v, want no such method", err)
	}
}

// Who scales owns the number of replicas: an applier that named it before and does so no more leaves it as it is.
func TestScaleOwnsReplicas(t *testing.T) {
	ctx := bounded(t)
	sets := start(t, t.TempDir()).client.AppsV1().Deployments("default")
	apply := func(replicas string) error {
		body := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{` + replicas + `"selector":{"matchLabels":{"app":"web"}},
			"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"x"}]}}}}`
		_, err := sets.Patch(ctx, "web", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "file"})
		return err
	}
	if err := apply(`"replicas":2,`); err != nil {
		t.Fatal(err)
	}
	if _, err := sets.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{FieldManager: "hand"}, "scale"); err != nil {
		t.Fatal(err)
	}
	if err := apply(`"replicas":2,`); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "hand" with subresource "scale"`) {
		t.Errorf("applying another number: %v, want a conflict with the one who scaled", err)
	}
	if err := apply(""); err != nil {
		t.Fatal(err)
	}
	if web, err := sets.Get(ctx, "web", metav1.GetOptions{}); err != nil || *web.Spec.Replicas != 5 {
		t.Errorf("%d replicas, %v; want the 5 of the one who scaled", *web.Spec.Replicas, err)
	}
}

func TestEvictionSpendsTheBudget(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	pods := s.client.CoreV1().Pods("default")
	for _, name := range []string{"a", "b"} {
		if _, err := pods.Create(ctx, pod(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := pods.Patch(ctx, name, types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	budgets := s.client.PolicyV1().PodDisruptionBudgets("default")
	budget, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	budget.Status.DisruptionsAllowed = 1
	if _, err := budgets.UpdateStatus(ctx, budget, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a"}}); err != nil {
		t.Errorf("the first eviction: %v", err)
	}
	if err := pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "b"}}); !apierrors.IsTooManyRequests(err) {
		t.Errorf("the second eviction: %v, want too many requests", err)
	}
}

func TestEventsAreOneTable(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	w, err := s.client.CoreV1().Events("default").Watch(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=cache,reason=Failover"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	_, err = s.client.EventsV1().Events("default").Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, EventTime: metav1.NowMicro(), Type: "Normal", Reason: "Failover", Note: "done", Action: "Failover",
		Regarding: corev1.ObjectReference{Kind: "Redis", Namespace: "default", Name: "cache"}, ReportingController: "redstart.dev/operator", ReportingInstance: "x",
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, ctx, w, watch.Added, "e")
	if _, err := s.client.EventsV1().Events("default").Patch(ctx, "e", types.StrategicMergePatchType, []byte(`{"note":"again"}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	core, err := s.client.CoreV1().Events("default").Get(ctx, "e", metav1.GetOptions{})
	if err != nil || core.Message != "again" {
		t.Errorf("in core/v1: %+v, %v", core, err)
	}
	list, err := s.client.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=cache"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestEventsAreBounded(t *testing.T) {
	ctx := bounded(t)
	events := start(t, t.TempDir()).client.CoreV1().Events("default")
	for i := range 1010 {
		e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("e%04d", i)}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}}
		if _, err := events.Create(ctx, e, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := events.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1000 || list.Items[0].Name != "e0010" {
		t.Errorf("%d events from %s, %v; want the last 1000", len(list.Items), list.Items[0].Name, err)
	}
}

func TestServicesKeepTheirAddresses(t *testing.T) {
	ctx, dir := bounded(t), t.TempDir()
	s := start(t, dir)
	service := func(name string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Type: "NodePort", Ports: []corev1.ServicePort{{Port: 80}}}}
	}
	a, err := s.client.CoreV1().Services("default").Create(ctx, service("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A dry run takes nothing.
	if _, err := s.client.CoreV1().Services("default").Create(ctx, service("dry"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	// An update that names no address keeps it.
	again := service("a")
	again.ResourceVersion = a.ResourceVersion
	again.Spec.Ports[0].Name = "http"
	again, err = s.client.CoreV1().Services("default").Update(ctx, again, metav1.UpdateOptions{})
	if err != nil || again.Spec.ClusterIP != a.Spec.ClusterIP || again.Spec.Ports[0].NodePort != a.Spec.Ports[0].NodePort {
		t.Errorf("updated to %+v, %v; want the addresses of %+v", again.Spec, err, a.Spec)
	}
	taken := service("b")
	taken.Spec.ClusterIP = a.Spec.ClusterIP
	if _, err := s.client.CoreV1().Services("default").Create(ctx, taken, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an address twice: %v, want invalid", err)
	}
	s.stop()
	s = start(t, dir)
	b, err := s.client.CoreV1().Services("default").Create(ctx, service("b"), metav1.CreateOptions{})
	if err != nil || b.Spec.ClusterIP == a.Spec.ClusterIP || b.Spec.Ports[0].NodePort == a.Spec.Ports[0].NodePort {
		t.Errorf("after a restart: %+v, %v; want other addresses than %+v", b.Spec, err, a.Spec)
	}
}

func TestLogs(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	if _, err := s.client.CoreV1().Pods("default").Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := s.client.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{Follow: true, TailLines: ptr.To[int64](3)}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || string(b) != "log of p c\n" {
		t.Errorf("read %q, %v", b, err)
	}
}

// BenchmarkPatch patches one object over and over, with a watcher that sees each patch before the next.
func BenchmarkPatch(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	maps := start(b, b.TempDir()).client.CoreV1().ConfigMaps("default")
	if _, err := maps.Create(ctx, configMap("c", nil), metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	w, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=c"})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	<-w.ResultChan()
	seen := make(chan time.Time, 1)
	go func() {
		for range w.ResultChan() {
			seen <- time.Now()
		}
	}()
	var late time.Duration
	for i := 0; b.Loop(); i++ {
		if _, err := maps.Patch(ctx, "c", types.MergePatchType, fmt.Appendf(nil, `{"data":{"n":"%d"}}`, i), metav1.PatchOptions{}); err != nil {
			b.Fatal(err)
		}
		answered := time.Now()
		if d := (<-seen).Sub(answered); d > 0 {
			late += d
		}
	}
	b.ReportMetric(float64(late.Microseconds())/float64(b.N), "µs-after-answer/op")
}

// BenchmarkLabel labels a pod over and over, with as many watchers as a Redis of three members and its machinery have; each sees a
// label before the next is put on.
func BenchmarkLabel(b *testing.B) {
	const watchers = 10
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := start(b, b.TempDir())
	pods := s.client.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	seen := make(chan struct{}, watchers)
	for range watchers {
		client, err := kubernetes.NewForConfig(s.RESTConfig())
		if err != nil {
			b.Fatal(err)
		}
		w, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Stop()
		go func() {
			for range w.ResultChan() {
				seen <- struct{}{}
			}
		}()
		<-seen
	}
	var answered time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := pods.Patch(ctx, "p", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, i), metav1.PatchOptions{}); err != nil {
			b.Fatal(err)
		}
		answered += time.Since(begin)
		for range watchers {
			<-seen
		}
	}
	b.ReportMetric(float64(answered.Microseconds())/float64(b.N), "µs-to-answer/op")
}
