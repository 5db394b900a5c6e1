package localcluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
)

// patience bounds every wait; the machine may be busy.
const patience = 90 * time.Second

// testCluster is a cluster with a client. Everything stops with the test.
type testCluster struct {
	*testing.T
	*Cluster
	kubernetes.Interface
	ctx context.Context
}

func start(t *testing.T, dir string) *testCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	var log io.Writer = io.Discard
	if testing.Verbose() && os.Getenv("REDSTART_TEST_LOG") != "" {
		log = os.Stderr
	}
	began := time.Now()
	c, err := Start(ctx, testOptions(dir, slog.New(slog.NewTextHandler(log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Start took %s", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
		t.Logf("Stop took %s", time.Since(began).Round(time.Millisecond))
	})
	api, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return &testCluster{t, c, api, ctx}
}

// must fails the test on an error of a call whose result is not needed, or returns the result.
func must[R any](r R, err error) func(*testCluster) R {
	return func(c *testCluster) R {
		c.Helper()
		if err != nil {
			c.Fatal(err)
		}
		return r
	}
}

func (c *testCluster) eventually(what string, ok func() bool) {
	c.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	c.Fatalf("not within %s: %s", patience, what)
}

func webTemplate(name, version string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "web:1", Args: []string{version},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env: []corev1.EnvVar{
				{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
				{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			},
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}},
			Lifecycle:      &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "0.2"}}}},
		}}},
	}
}

func webDeployment(name, version string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: webTemplate(name, version),
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			}},
		},
	}
}

func webService(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
	}}
}

func webSet(name string, replicas int32) *appsv1.StatefulSet {
	t := webTemplate(name, "1")
	t.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: name, Template: t, PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}},
		},
	}
}

// TestRollingUpdate keeps clients asking while a Deployment changes its version and its size: no request fails, and the
// number of available pods never falls below the number wanted.
func TestRollingUpdate(t *testing.T) {
	c := start(t, t.TempDir())
	deployments := c.AppsV1().Deployments("default")
	must(deployments.Create(c.ctx, webDeployment("web", "v1", 3), metav1.CreateOptions{}))(c)
	svc := must(c.CoreV1().Services("default").Create(c.ctx, webService("web"), metav1.CreateOptions{}))(c)
	began := time.Now()
	rolledOut := func() bool {
		d := must(deployments.Get(c.ctx, "web", metav1.GetOptions{}))(c)
		return d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas &&
			d.Status.AvailableReplicas == *d.Spec.Replicas && d.Status.Replicas == *d.Spec.Replicas
	}
	c.eventually("3 pods are available", rolledOut)
	t.Logf("3 replicas were available after %s", time.Since(began).Round(time.Millisecond))

	url := "http://" + net.JoinHostPort(svc.Spec.ClusterIP, "80")
	ask := func() (string, error) {
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get(url)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return string(b), err
	}
	c.eventually("the Service answers", func() bool { _, err := ask(); return err == nil })

	var asked, failed atomic.Int64
	var least atomic.Int64
	least.Store(1000)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if _, err := ask(); err != nil {
					failed.Add(1)
					t.Log(err)
				}
			}
		})
	}
	clients.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			d, err := deployments.Get(c.ctx, "web", metav1.GetOptions{})
			if err == nil {
				least.Store(min(least.Load(), int64(d.Status.AvailableReplicas)))
			}
		}
	})
	began = time.Now()
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"web","args":["v2"]}]}}}}`
	must(deployments.Patch(c.ctx, "web", "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}))(c)
	c.eventually("the update is rolled out", rolledOut)
	t.Logf("the rolling update took %s", time.Since(began).Round(time.Millisecond))
	c.eventually("version 2 answers", func() bool { s, err := ask(); return err == nil && strings.Contains(s, "v2") })

	began = time.Now()
	must(deployments.Patch(c.ctx, "web", "application/merge-patch+json", []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}))(c)
	c.eventually("it is scaled to 5", rolledOut)
	t.Logf("scaling from 3 to 5 took %s", time.Since(began).Round(time.Millisecond))
	close(stop)
	clients.Wait()
	t.Logf("%d requests, %d failed; never fewer than %d available", asked.Load(), failed.Load(), least.Load())
	if failed.Load() > 0 || asked.Load() == 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
	if least.Load() < 3 {
		t.Errorf("only %d pods were available, want at least 3", least.Load())
	}
	c.rollback()
}

// rollback uses kubectl, as people do, if the machine has it.
func (c *testCluster) rollback() {
	c.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		c.Log("no kubectl on this machine")
		return
	}
	for _, args := range []string{
		"rollout undo deployment/web", "rollout status deployment/web --timeout=60s", "rollout history deployment/web",
		"scale deployment web --replicas=2", "rollout status deployment/web --timeout=60s", "rollout restart deployment/web",
		"rollout status deployment/web --timeout=60s", "get endpoints web", "get rs", "delete deployment web --cascade=foreground --timeout=60s",
	} {
		cmd := exec.CommandContext(c.ctx, "kubectl", append([]string{"--kubeconfig", c.KubeconfigPath()}, strings.Fields(args)...)...)
		out, err := cmd.CombinedOutput()
		c.Logf("kubectl %s\n%s", args, out)
		if err != nil {
			c.Fatalf("kubectl %s: %v", args, err)
		}
	}
	pods := must(c.CoreV1().Pods("default").List(c.ctx, metav1.ListOptions{}))(c)
	if n := len(pods.Items); n > 0 {
		c.Errorf("%d pods outlived their Deployment, which was deleted in the foreground", n)
	}
}

// TestDeletedMember measures how long a deleted pod of a StatefulSet is missed.
func TestDeletedMember(t *testing.T) {
	c := start(t, t.TempDir())
	pods := c.CoreV1().Pods("default")
	must(c.AppsV1().StatefulSets("default").Create(c.ctx, webSet("db", 3), metav1.CreateOptions{}))(c)
	member := func(name string) *corev1.Pod {
		p, err := pods.Get(c.ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil
		}
		return p
	}
	running := func(p *corev1.Pod) bool {
		return p != nil && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil
	}
	for i := range 3 {
		c.eventually("the members run", func() bool { return running(member(fmt.Sprintf("db-%d", i))) })
	}
	old := member("db-1")
	w := must(pods.Watch(c.ctx, metav1.ListOptions{FieldSelector: "metadata.name=db-1", ResourceVersion: old.ResourceVersion}))(c)
	defer w.Stop()
	if err := pods.Delete(c.ctx, "db-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var gone time.Time
	for e := range w.ResultChan() {
		p, ok := e.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("watch: %v", e.Object)
		}
		if p.UID == old.UID && e.Type == "DELETED" {
			gone = time.Now()
		}
		if p.UID != old.UID && e.Type == "ADDED" {
			t.Logf("the replacement was created %s after the pod was gone", time.Since(gone).Round(time.Microsecond))
		}
		if p.UID != old.UID && running(p) {
			t.Logf("the replacement ran %s after the pod was gone", time.Since(gone).Round(time.Microsecond))
			break
		}
	}

	claims := c.CoreV1().PersistentVolumeClaims("default")
	dir := filepath.Join(c.dir, "volumes", "default", "data-db-2")
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	if err := claims.Delete(c.ctx, "data-db-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	must(c.AppsV1().StatefulSets("default").Patch(c.ctx, "db", "application/merge-patch+json", []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}))(c)
	c.eventually("the data of the deleted claim is gone", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
	if member("db-2") != nil {
		t.Error("the data of a claim went before the pod that used it")
	}
	if _, err := os.Stat(filepath.Join(c.dir, "volumes", "default", "data-db-1")); err != nil {
		t.Error(err)
	}
}

// TestKilledCluster kills the whole process and starts again on what it left.
func TestKilledCluster(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(self, "cluster", dir)
	var stderr bytes.Buffer
	first.Stderr = &stderr
	out, err := first.StdoutPipe()
	if err == nil {
		err = first.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			_ = first.Process.Kill()
			_ = first.Wait()
		}
	}
	t.Cleanup(kill)
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	running, err := Find(dir)
	if err != nil || running == nil || running.PID != first.Process.Pid {
		t.Fatalf("Find: %+v, %v; want PID %d", running, err, first.Process.Pid)
	}
	var already *RunningError
	if _, err := Start(t.Context(), testOptions(dir, nil)); !errors.As(err, &already) || already.PID != first.Process.Pid {
		t.Fatalf("a second start: %v", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", running.KubeconfigPath)
	if err != nil {
		t.Fatal(err)
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	before := &testCluster{t, nil, api, t.Context()}
	must(api.AppsV1().StatefulSets("default").Create(t.Context(), webSet("db", 2), metav1.CreateOptions{}))(before)
	must(api.CoreV1().Services("default").Create(t.Context(), webService("db"), metav1.CreateOptions{}))(before)
	answers := func(c *testCluster) {
		t.Helper()
		svc := must(c.CoreV1().Services("default").Get(c.ctx, "db", metav1.GetOptions{}))(c)
		c.eventually("the Service answers", func() bool {
			client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			r, err := client.Get("http://" + net.JoinHostPort(svc.Spec.ClusterIP, "80"))
			if err != nil {
				return false
			}
			return r.Body.Close() == nil && r.StatusCode == http.StatusOK
		})
	}
	answers(before)
	was := must(api.CoreV1().Services("default").Get(t.Context(), "db", metav1.GetOptions{}))(before)
	kill()
	if running, err := Find(dir); err != nil || running != nil {
		t.Fatalf("Find after the kill: %+v, %v", running, err)
	}

	after := start(t, dir)
	answers(after)
	is := must(after.CoreV1().Services("default").Get(after.ctx, "db", metav1.GetOptions{}))(after)
	if is.UID != was.UID || is.Spec.ClusterIP != was.Spec.ClusterIP {
		t.Errorf("the Service came back as %s with %s, was %s with %s", is.UID, is.Spec.ClusterIP, was.UID, was.Spec.ClusterIP)
	}
	after.eventually("both members are ready", func() bool {
		s := must(after.AppsV1().StatefulSets("default").Get(after.ctx, "db", metav1.GetOptions{}))(after)
		return s.Status.ReadyReplicas == 2
	})
}
