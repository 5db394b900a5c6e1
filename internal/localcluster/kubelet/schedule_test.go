//go:build unix

package kubelet

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestUnschedulable(t *testing.T) {
	taint := func(effect corev1.TaintEffect) corev1.NodeSpec {
		return corev1.NodeSpec{Taints: []corev1.Taint{{Key: "for", Value: "them", Effect: effect}}}
	}
	for _, c := range []struct {
		name  string
		node  corev1.NodeSpec
		tol   []corev1.Toleration
		wants string
	}{
		{name: "a node like any other"},
		{name: "cordoned", node: corev1.NodeSpec{Unschedulable: true}, wants: "1 node(s) were unschedulable: kubectl uncordon local"},
		{name: "cordoned, tolerated", node: corev1.NodeSpec{Unschedulable: true}, tol: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
		{name: "tainted", node: taint(corev1.TaintEffectNoSchedule), wants: "1 node(s) had untolerated taint {for: them}"},
		{name: "tainted, another tolerated", node: taint(corev1.TaintEffectNoSchedule), tol: []corev1.Toleration{{Key: "for", Value: "us"}}, wants: "untolerated taint"},
		{name: "tainted, tolerated", node: taint(corev1.TaintEffectNoSchedule), tol: []corev1.Toleration{{Key: "for", Value: "them"}}},
		{name: "better not here", node: taint(corev1.TaintEffectPreferNoSchedule)},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: c.tol}}
		got := unschedulable(pod, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "local"}, Spec: c.node})
		if (got == "") != (c.wants == "") || !strings.Contains(got, c.wants) {
			t.Errorf("%s: %q, want %q", c.name, got, c.wants)
		}
	}
	if got := unschedulable(&corev1.Pod{}, nil); got != "no nodes available to schedule pods" {
		t.Errorf("without a node: %q", got)
	}
}

// A cordoned node keeps what it has and takes nothing new, until it is uncordoned.
func TestCordon(t *testing.T) {
	c := start(t)
	c.create(shellPod("before", "sleep 60"))
	before := c.until("before", "is ready", ready)
	cordon := func(yes bool) {
		t.Helper()
		body := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, yes)
		if _, err := c.client.CoreV1().Nodes().Patch(c.ctx(), "local", types.StrategicMergePatchType, body, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() string { return "the kubelet has seen the node" }, func() bool {
			node, err := cached(c.ctx(), c.kubelet.cache, "", "local", &corev1.Node{})
			return err == nil && node.Spec.Unschedulable == yes
		})
	}
	cordon(true)
	c.create(shellPod("after", "sleep 60"))
	got := c.until("after", "has no node", func(pod *corev1.Pod) bool { return len(pod.Status.Conditions) > 0 })
	if s := got.Status.Conditions[0]; s.Type != corev1.PodScheduled || s.Reason != corev1.PodReasonUnschedulable ||
		!strings.Contains(s.Message, "kubectl uncordon local") || got.Status.Phase != corev1.PodPending || len(got.Status.ContainerStatuses) > 0 || got.Spec.NodeName != "" {
		t.Errorf("on %q, %+v", got.Spec.NodeName, got.Status)
	}
	eventually(t, func() string { return "an event says why" }, func() bool {
		list, err := c.client.CoreV1().Events("default").List(c.ctx(), metav1.ListOptions{FieldSelector: "involvedObject.name=after,reason=FailedScheduling"})
		return err == nil && len(list.Items) == 1 && strings.Contains(list.Items[0].Message, "1 node(s) were unschedulable")
	})
	c.create(shellPod("never", "sleep 60"))
	never := c.until("never", "has no node", func(pod *corev1.Pod) bool { return len(pod.Status.Conditions) > 0 })
	c.delete("never", metav1.DeleteOptions{})
	c.gone(never)

	cordon(false)
	c.until("after", "is ready", ready)
	if now := c.get("before"); !ready(now) || now.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod that ran has now %+v", now.Status)
	}
}

// A node that is deleted comes back at once, and its pods run on.
func TestDeletedNode(t *testing.T) {
	c := start(t)
	c.create(shellPod("runs", "sleep 60"))
	before := c.until("runs", "is ready", ready)
	nodes := c.client.CoreV1().Nodes()
	old, err := nodes.Get(c.ctx(), "local", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(c.ctx(), "local", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return "the node is back" }, func() bool {
		now, err := nodes.Get(c.ctx(), "local", metav1.GetOptions{})
		return err == nil && now.UID != old.UID && now.Status.NodeInfo.KubeletVersion == "v1.2.3"
	})
	c.create(shellPod("starts", "sleep 60"))
	c.until("starts", "is ready", ready)
	if now := c.get("runs"); now.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the pod that ran has now %+v", now.Status)
	}
}

func TestPrettyName(t *testing.T) {
	if got := prettyName("NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"); got != "Debian GNU/Linux 13 (trixie)" {
		t.Errorf("%q", got)
	}
	if got := prettyName("ID=x\n"); got != "" {
		t.Errorf("%q", got)
	}
}
