//go:build unix

package kubelet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/internal/localcluster/apiserver"
)

const patience = 30 * time.Second

// cluster is an API server with a kubelet. Both stop with the test.
type cluster struct {
	t       *testing.T
	dir     string
	server  *apiserver.Server
	kubelet *Kubelet
	client  kubernetes.Interface
	stop    func() // of the kubelet
}

// logSource lets the server be made before the kubelet.
type logSource struct{ k *Kubelet }

func (l *logSource) PodLogs(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	return l.k.PodLogs(ctx, pod, o)
}

func serve(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	logs := &logSource{}
	server, err := apiserver.New(apiserver.Options{StateDir: c.dir, Address: "127.0.0.1:0", Logs: logs})
	if err != nil {
		t.Fatal(err)
	}
	c.server = server
	background(t, "the API server", server.Run)
	if c.kubelet, err = newTestKubelet(server.RESTConfig(), c.dir, map[string][]string{"mapped*": {"sh", "-c"}}); err != nil {
		t.Fatal(err)
	}
	logs.k = c.kubelet
	if c.client, err = kubernetes.NewForConfig(server.RESTConfig()); err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T) *cluster {
	c := serve(t)
	c.stop = background(t, "the kubelet", c.kubelet.Run)
	return c
}

// background runs f until the test ends, or until the returned function is called.
func background(t *testing.T, what string, f func(context.Context) error) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(patience):
			t.Errorf("%s does not stop", what)
		}
	}
	t.Cleanup(stop)
	return stop
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// shellPod makes a pod of one container that runs a shell script.
func shellPod(name, script string) *corev1.Pod {
	script = strings.ReplaceAll(script, "$", "$$") // all for the shell
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PodSpec{
		TerminationGracePeriodSeconds: ptr.To[int64](10),
		Containers:                    []corev1.Container{{Name: "main", Image: "any", Command: []string{"sh", "-c", script}}},
	}}
}

func (c *cluster) create(pod *corev1.Pod) *corev1.Pod {
	c.t.Helper()
	made, err := c.client.CoreV1().Pods(pod.Namespace).Create(c.ctx(), pod, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}

func (c *cluster) get(name string) *corev1.Pod {
	c.t.Helper()
	pod, err := c.client.CoreV1().Pods("default").Get(c.ctx(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return pod
}

func (c *cluster) delete(name string, o metav1.DeleteOptions) {
	c.t.Helper()
	if err := c.client.CoreV1().Pods("default").Delete(c.ctx(), name, o); err != nil {
		c.t.Fatal(err)
	}
}

// until polls until ok says so of the pod.
func (c *cluster) until(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	c.t.Helper()
	var pod *corev1.Pod
	eventually(c.t, func() string { return fmt.Sprintf("%s: %s; status %+v", name, what, pod.Status) }, func() bool {
		pod = c.get(name)
		return ok(pod)
	})
	return pod
}

func eventually(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what())
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func phaseIs(want corev1.PodPhase) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool { return pod.Status.Phase == want }
}

func waitingFor(reason string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		s := pod.Status.ContainerStatuses
		return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == reason
	}
}

func (c *cluster) log(name string, o corev1.PodLogOptions) string {
	c.t.Helper()
	b, err := c.client.CoreV1().Pods("default").GetLogs(name, &o).DoRaw(c.ctx())
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// gone waits until the pod is in the API no more.
func (c *cluster) gone(pod *corev1.Pod) {
	c.t.Helper()
	eventually(c.t, func() string { return pod.Name + " is gone" }, func() bool {
		now, err := c.client.CoreV1().Pods(pod.Namespace).Get(c.ctx(), pod.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID
	})
}

// webPod is a pod with a web server, all its probes, and a volume; see web.
func webPod(name string) *corev1.Pod {
	pod := shellPod(name, "")
	get := func(path string) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("http")}}
	}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.Spec.Containers[0] = corev1.Container{
		Name: "web", Image: "any", Command: []string{"/some/where/redstart", "web"},
		Ports:          []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
		Env:            []corev1.EnvVar{{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
		VolumeMounts:   []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
		StartupProbe:   &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 60},
		LivenessProbe:  &corev1.Probe{ProbeHandler: get("/livez"), PeriodSeconds: 1, FailureThreshold: 1},
		ReadinessProbe: &corev1.Probe{ProbeHandler: get("/readyz"), PeriodSeconds: 60},
	}
	return pod
}

// pids waits until the pod has told n process IDs in its log.
func (c *cluster) pids(name string, n int) []int {
	c.t.Helper()
	return c.pidsIn(name, n, func() string { return c.log(name, corev1.PodLogOptions{}) })
}

func (c *cluster) pidsIn(name string, n int, log func() string) []int {
	c.t.Helper()
	var all []int
	eventually(c.t, func() string { return fmt.Sprintf("%s tells %d process IDs", name, n) }, func() bool {
		all = nil
		for _, word := range strings.Fields(log()) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				c.t.Fatalf("not a process ID: %q", word)
			}
			all = append(all, pid)
		}
		return len(all) == n
	})
	c.t.Cleanup(func() {
		for _, pid := range all {
			if running(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	return all
}

// haveEnded waits until none of the processes runs.
func haveEnded(t *testing.T, pids []int) {
	t.Helper()
	eventually(t, func() string { return fmt.Sprintf("processes %v have ended", pids) }, func() bool {
		return !slices.ContainsFunc(pids, running)
	})
}

// running tells whether a process runs; a zombie does not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := strings.TrimSpace(string(b[bytes.LastIndexByte(b, ')')+1:]))
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}
