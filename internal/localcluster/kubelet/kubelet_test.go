//go:build unix

package kubelet

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/process"
)

func TestPodRunsAndCompletes(t *testing.T) {
	c := start(t)
	pod := shellPod("hello", `echo "$HOSTNAME $POD_IP $NODE"`)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
	}
	c.create(pod)
	got := c.until("hello", "succeeds", phaseIs(corev1.PodSucceeded))
	if got.Spec.NodeName != "local" || !strings.HasPrefix(got.Status.PodIP, "127.") || got.Status.HostIP != hostIP {
		t.Errorf("node %q, IP %q, host %q", got.Spec.NodeName, got.Status.PodIP, got.Status.HostIP)
	}
	s := got.Status.ContainerStatuses[0].State.Terminated
	if s == nil || s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("state %+v", got.Status.ContainerStatuses[0].State)
	}
	if log, want := c.log("hello", corev1.PodLogOptions{}), "hello "+got.Status.PodIP+" local\n"; log != want {
		t.Errorf("log %q, want %q", log, want)
	}
	c.delete("hello", metav1.DeleteOptions{})
	c.gone(got)
}

// What is missing is told by name, and the pod starts as soon as it is there.
func TestWaitsForWhatIsMissing(t *testing.T) {
	c := start(t)
	pod := shellPod("needy", `echo "$PW"; cat "$REDSTART_MOUNT_CONF/key"; sleep 60`)
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PW", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "auth"}, Key: "password",
	}}}}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}},
		{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
	}
	c.create(pod)
	says := func(text string) func(*corev1.Pod) bool {
		return func(pod *corev1.Pod) bool {
			s := pod.Status.ContainerStatuses
			return len(s) > 0 && s[0].State.Waiting != nil && strings.Contains(s[0].State.Waiting.Message, text)
		}
	}
	core := c.client.CoreV1()
	c.until("needy", "names the ConfigMap", says(`configmap "conf" not found`))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf"}, Data: map[string]string{"key": "one\n"}}
	if _, err := core.ConfigMaps("default").Create(c.ctx(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("needy", "names the claim", says(`persistentvolumeclaim "data" not found`))
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
	}}
	claim, err := core.PersistentVolumeClaims("default").Create(c.ctx(), claim, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.until("needy", "waits for the claim", says(`persistentvolumeclaim "data" is not bound yet`))
	claim.Status.Phase = corev1.ClaimBound
	if _, err := core.PersistentVolumeClaims("default").UpdateStatus(c.ctx(), claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("needy", "names the Secret", says(`secret "auth" not found`))
	if got := c.get("needy"); got.Status.ContainerStatuses[0].State.Waiting.Reason != ReasonConfigError {
		t.Errorf("reason %s", got.Status.ContainerStatuses[0].State.Waiting.Reason)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "auth"}, Data: map[string][]byte{"password": []byte("hush")}}
	if _, err := core.Secrets("default").Create(c.ctx(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got := c.until("needy", "is ready", ready)
	eventually(t, func() string { return c.log("needy", corev1.PodLogOptions{}) }, func() bool {
		return c.log("needy", corev1.PodLogOptions{}) == "hush\none\n"
	})

	cm.Data["key"] = "two\n"
	if _, err := core.ConfigMaps("default").Update(c.ctx(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.kubelet.podDir(got.UID), "volumes", "conf", "key")
	eventually(t, func() string { return "the file follows the ConfigMap" }, func() bool {
		b, err := os.ReadFile(file)
		return err == nil && string(b) == "two\n"
	})
	if _, err := os.Stat(filepath.Join(c.dir, "volumes", "default", "data")); err != nil {
		t.Error(err)
	}
}

func TestCannotRun(t *testing.T) {
	c := start(t)
	unmapped, missing, mapped := shellPod("unmapped", ""), shellPod("missing", ""), shellPod("mapped", "")
	unmapped.Spec.Containers[0].Command = nil
	unmapped.Spec.Containers[0].Image = "nginx:1.27"
	missing.Spec.Containers[0].Command = []string{"no-such-command-here"}
	mapped.Spec.Containers[0] = corev1.Container{Name: "main", Image: "mapped:1", Args: []string{"sleep 60"}}
	for _, pod := range []*corev1.Pod{unmapped, missing, mapped} {
		c.create(pod)
	}
	got := c.until("unmapped", "waits", waitingFor(ReasonImageNotMapped))
	if m := got.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, "nginx:1.27") || !strings.Contains(m, "images:") {
		t.Errorf("message %q", m)
	}
	got = c.until("missing", "waits", waitingFor(ReasonCommandNotFound))
	if m := got.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, "no-such-command-here") {
		t.Errorf("message %q", m)
	}
	c.until("mapped", "is ready", ready)
	c.delete("missing", metav1.DeleteOptions{})
	c.gone(got)
}

// A main process that is killed takes its tree with it, and is back at once; one that keeps dying waits longer.
func TestCrash(t *testing.T) {
	c := start(t)
	c.create(shellPod("tree", `echo $$; sleep 61 & echo $!; wait`))
	got := c.until("tree", "is ready", ready)
	ip := got.Status.PodIP
	pids := c.pids("tree", 2)
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	got = c.until("tree", "is restarted", func(pod *corev1.Pod) bool { return ready(pod) && pod.Status.ContainerStatuses[0].RestartCount == 1 })
	t.Logf("running again after %s", time.Since(killed))
	last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 137 || last.Reason != "Error" || got.Status.PodIP != ip {
		t.Errorf("last state %+v, IP %s after %s", last, got.Status.PodIP, ip)
	}
	haveEnded(t, pids)
	if log := c.log("tree", corev1.PodLogOptions{Previous: true}); log != fmt.Sprintf("%d\n%d\n", pids[0], pids[1]) {
		t.Errorf("previous log %q", log)
	}

	c.create(shellPod("loop", "exit 3"))
	got = c.until("loop", "is in a crash loop", func(pod *corev1.Pod) bool {
		return waitingFor("CrashLoopBackOff")(pod) && pod.Status.ContainerStatuses[0].RestartCount >= 5
	})
	if last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 3 || got.Status.Phase != corev1.PodRunning {
		t.Errorf("phase %s, last state %+v", got.Status.Phase, last)
	}
}

func TestProbes(t *testing.T) {
	c := start(t)
	pod := c.create(webPod("web"))
	data := filepath.Join(c.kubelet.podDir(pod.UID), "volumes", "data")
	got := c.until("web", "runs", phaseIs(corev1.PodRunning))
	if ready(got) {
		t.Fatal("ready before its probe")
	}
	touch := func() {
		if err := os.WriteFile(filepath.Join(data, "ready"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	touch()
	begin := time.Now()
	got = c.until("web", "is ready", ready)
	// The period is a minute: fast probing at the start, or this would take that long.
	t.Logf("ready %s after it could be", time.Since(begin))

	resp, err := http.Get("http://" + v1alpha1.PodAddress(got, 8080) + "/die")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	got = c.until("web", "is restarted", func(pod *corev1.Pod) bool { return pod.Status.ContainerStatuses[0].RestartCount == 1 && ready(pod) })
	if last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || !strings.Contains(last.Message, "liveness probe failed: HTTP status 500: dead") {
		t.Errorf("last state %+v", last)
	}
	if _, err := os.Stat(filepath.Join(data, "terminated")); err != nil {
		t.Errorf("it was not asked to stop: %v", err)
	}
}

// Deletion: preStop, SIGTERM, and SIGKILL for the whole tree at the end of the grace period.
func TestDelete(t *testing.T) {
	c := start(t)
	mark := filepath.Join(t.TempDir(), "mark")
	polite := shellPod("polite", `trap "echo term >> `+mark+`; exit 0" TERM; while :; do sleep 0.01; done`)
	polite.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo preStop >> " + mark}}}}
	c.create(polite)
	deaf := `trap "" TERM; echo $$; sleep 61 & echo $!; while :; do wait; done`
	c.create(shellPod("deaf", deaf))
	c.create(shellPod("forced", deaf))
	p, d, f := c.until("polite", "is ready", ready), c.until("deaf", "is ready", ready), c.until("forced", "is ready", ready)
	trees := append(c.pids("deaf", 2), c.pids("forced", 2)...)

	begin := time.Now()
	c.delete("polite", metav1.DeleteOptions{})
	c.gone(p)
	t.Logf("a polite pod is gone after %s", time.Since(begin))
	if b, err := os.ReadFile(mark); err != nil || string(b) != "preStop\nterm\n" {
		t.Errorf("order %q, %v", b, err)
	}
	c.delete("deaf", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)})
	c.delete("forced", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	c.gone(f)
	begin = time.Now()
	c.gone(d)
	t.Logf("a deaf pod with a grace of 1 s is gone after %s", time.Since(begin))
	haveEnded(t, trees)
	for _, pod := range []*corev1.Pod{p, d, f} {
		eventually(t, func() string { return "the directory of " + pod.Name + " is removed" }, func() bool {
			_, err := os.Stat(c.kubelet.podDir(pod.UID))
			return os.IsNotExist(err)
		})
	}
}

func TestInitContainers(t *testing.T) {
	c := start(t)
	mark := filepath.Join(t.TempDir(), "mark")
	pod := shellPod("init", "cat "+mark+"; sleep 60")
	step := func(name, script string) corev1.Container {
		return corev1.Container{Name: name, Image: "any", Command: []string{"sh", "-c", script}}
	}
	// The second fails at its first try.
	pod.Spec.InitContainers = []corev1.Container{step("one", "echo one >> "+mark), step("two", "echo two >> "+mark+"; [ $(wc -l < "+mark+") -gt 2 ]")}
	c.create(pod)
	got := c.until("init", "is ready", ready)
	eventually(t, func() string { return c.log("init", corev1.PodLogOptions{}) }, func() bool {
		return c.log("init", corev1.PodLogOptions{Container: "main"}) == "one\n"+strings.Repeat("two\n", 2)
	})
	s := got.Status.InitContainerStatuses
	if len(s) != 2 || !s[0].Ready || !s[1].Ready || s[1].RestartCount != 1 {
		t.Errorf("init statuses %+v", s)
	}

	failing := shellPod("never", "true")
	failing.Spec.RestartPolicy = corev1.RestartPolicyNever
	failing.Spec.InitContainers = []corev1.Container{step("no", "exit 1")}
	c.create(failing)
	c.until("never", "fails", phaseIs(corev1.PodFailed))
}

// The pods of a kubelet that stopped, or was killed, are started again in place, with another address.
func TestTakesUpPods(t *testing.T) {
	c := start(t)
	c.create(shellPod("keeps", `trap "exit 0" TERM; echo $$; sleep 61 & echo $!; wait`))
	never := shellPod("once", "exit 0")
	never.Spec.RestartPolicy = corev1.RestartPolicyNever
	c.create(never)
	c.until("once", "succeeds", phaseIs(corev1.PodSucceeded))
	before := c.until("keeps", "is ready", ready)
	first := c.pids("keeps", 2)
	begin := time.Now()
	c.stop()
	t.Logf("the kubelet stopped its pods in %s", time.Since(begin))
	haveEnded(t, first)
	if got := c.get("keeps"); ready(got) || got.Status.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("after the stop: %+v", got.Status)
	}

	killed := exec.Command(os.Args[0], "kubelet", c.dir)
	killed.Stdout = os.Stderr
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = killed.Process.Kill(); _ = killed.Wait() })
	again := func(pod *corev1.Pod, restarts int32) bool {
		return ready(pod) && pod.Status.ContainerStatuses[0].RestartCount == restarts
	}
	got := c.until("keeps", "runs again", func(pod *corev1.Pod) bool { return again(pod, 1) })
	if got.Status.PodIP == before.Status.PodIP || got.UID != before.UID {
		t.Errorf("address %s again, UID %s", got.Status.PodIP, got.UID)
	}
	second := c.pidsIn("keeps", 2, func() string { // the server knows the first kubelet alone
		var log strings.Builder
		if err := process.ReadLog(c.ctx(), c.kubelet.logPath(got.UID, "main", 1), process.LogOptions{}, &log); err != nil {
			t.Fatal(err)
		}
		return log.String()
	})
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	haveEnded(t, second)
	t.Logf("all gone %s after kill -9 of the kubelet", time.Since(begin))
	_ = killed.Wait()

	k, err := newTestKubelet(c.server.RESTConfig(), c.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	background(t, "the third kubelet", k.Run)
	got = c.until("keeps", "runs again", func(pod *corev1.Pod) bool { return again(pod, 2) })
	if last := got.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.Reason != "ContainerStatusUnknown" {
		t.Errorf("last state %+v", last)
	}
	if got := c.get("once"); got.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("a pod that had ended was run again")
	}
}

// A pod that is replaced under its own name: the new one starts when the old one has ended, and gets none of its status.
func TestReplacedPod(t *testing.T) {
	c := start(t)
	c.create(shellPod("same", `trap "sleep 0.3; exit 0" TERM; echo $$; while :; do sleep 0.01; done`))
	old := c.until("same", "is ready", ready)
	c.pids("same", 1)
	c.delete("same", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
	c.create(shellPod("same", "sleep 60"))
	got := c.until("same", "is ready", ready)
	if got.UID == old.UID || got.Status.PodIP == old.Status.PodIP || got.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("UID %s, IP %s, %+v", got.UID, got.Status.PodIP, got.Status.ContainerStatuses)
	}
	stale := old.DeepCopy()
	stale.ResourceVersion, stale.Status.PodIP = "", "127.9.9.9"
	if err := c.kubelet.client.Status().Update(c.ctx(), stale); !apierrors.IsConflict(err) {
		t.Errorf("a status for the former pod was taken: %v", err)
	}
}

func TestFollowLogs(t *testing.T) {
	c := start(t)
	c.create(shellPod("talks", `for i in 1 2 3 4 5; do echo $i; sleep 0.05; done; sleep 0.1; exit 0`))
	c.until("talks", "runs", func(pod *corev1.Pod) bool {
		return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].ContainerID != ""
	})
	if got := c.log("talks", corev1.PodLogOptions{Follow: true}); got != "1\n2\n3\n4\n5\n" {
		t.Errorf("followed %q", got)
	}
	_, err := c.client.CoreV1().Pods("default").GetLogs("talks", &corev1.PodLogOptions{Container: "other"}).DoRaw(c.ctx())
	if !apierrors.IsBadRequest(err) {
		t.Errorf("another container: %v", err)
	}
}
