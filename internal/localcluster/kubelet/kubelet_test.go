package kubelet

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
