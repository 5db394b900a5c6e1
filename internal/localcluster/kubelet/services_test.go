//go:build unix

package kubelet

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster/address"
)

// Where pods share an address, everybody is told which local port stands for a container port, and probes use it.
func TestSharedAddress(t *testing.T) {
	c := serve(t)
	c.kubelet.o.Addresses = address.SharedIP()
	c.stop = background(t, "the kubelet", c.kubelet.Run)
	pod := webPod("web")
	pod.Spec.Containers[0].ReadinessProbe = nil
	c.create(pod)
	got := c.until("web", "is ready", ready)
	if at := v1alpha1.PodAddress(got, 8080); !strings.HasPrefix(at, "127.0.0.1:") || strings.HasSuffix(at, ":8080") {
		t.Errorf("address %s", at)
	}
}

// Processes find Services in their environment, and nothing of ours that is not theirs.
func TestServiceVariables(t *testing.T) {
	t.Setenv("SECRET_OF_OURS", "x")
	c := start(t)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "redis-master"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "redis", Port: 6379}}}}
	service, err := c.client.CoreV1().Services("default").Create(c.ctx(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return "the kubelet has seen the Service" }, func() bool {
		all, err := c.kubelet.services(c.ctx(), "default")
		return err == nil && len(all) > 0
	})
	pod := shellPod("env", "env")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	c.create(pod)
	c.until("env", "succeeds", phaseIs(corev1.PodSucceeded))
	log := c.log("env", corev1.PodLogOptions{})
	for _, want := range []string{"REDIS_MASTER_SERVICE_HOST=" + service.Spec.ClusterIP + "\n", "REDIS_MASTER_SERVICE_PORT=6379\n", "KUBECONFIG=" + c.dir} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in:\n%s", want, log)
		}
	}
	if strings.Contains(log, "SECRET_OF_OURS") {
		t.Error("our own environment is told")
	}
}

func TestNode(t *testing.T) {
	c := start(t)
	var node *corev1.Node
	eventually(t, func() string { return "the node is ready" }, func() bool {
		var err error
		node, err = c.client.CoreV1().Nodes().Get(c.ctx(), "local", metav1.GetOptions{})
		return err == nil && len(node.Status.Conditions) == 1 && node.Status.Conditions[0].Status == corev1.ConditionTrue
	})
	if node.Status.Capacity.Cpu().IsZero() || node.Status.Capacity.Memory().IsZero() {
		t.Errorf("capacity %v", node.Status.Capacity)
	}
}
