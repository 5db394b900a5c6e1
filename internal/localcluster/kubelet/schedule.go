package kubelet

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// unschedulable tells why the node takes no such pod, in the words of Kubernetes' scheduler; it is empty if it does.
// The node may be nil. It is pure.
func unschedulable(pod *corev1.Pod, node *corev1.Node) string {
	if node == nil {
		return "no nodes available to schedule pods"
	}
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if node.Spec.Unschedulable && !tolerates(pod, &cordon) {
		return fmt.Sprintf("0/1 nodes are available: 1 node(s) were unschedulable: kubectl uncordon %s lets new pods start", node.Name)
	}
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectNoSchedule && !tolerates(pod, t) {
			return fmt.Sprintf("0/1 nodes are available: 1 node(s) had untolerated taint {%s: %s}", t.Key, t.Value)
		}
	}
	return ""
}

func tolerates(pod *corev1.Pod, taint *corev1.Taint) bool {
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return t.ToleratesTaint(klog.Background(), taint, true)
	})
}

// awaitNode returns when the node takes the pod; false when the pod is stopped first. A pod that has the node already
// stays on it, whatever became of the node.
func (w *worker) awaitNode() bool {
	if w.current().Spec.NodeName != "" {
		return true
	}
	for wait := time.Duration(0); ; {
		changed := w.k.changed.next()
		pod := w.current()
		node, err := cached(w.ctx, w.k.cache, "", w.k.o.NodeName, &corev1.Node{})
		why := unschedulable(pod, node)
		if err != nil {
			why = fmt.Sprintf("read node %s: %v", w.k.o.NodeName, err)
		}
		if w.setUnschedulable(why) && why != "" {
			w.k.events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", why)
		}
		if why == "" {
			return true
		}
		wait = retryBackoff.Next(wait, 0)
		if !w.pause(changed, wait) { // not for ever: the pod's tolerations may change
			return false
		}
	}
}

// setUnschedulable notes why the pod has no node, and tells whether that is news.
func (w *worker) setUnschedulable(why string) bool {
	w.mu.Lock()
	news := w.unschedulable != why
	w.unschedulable = why
	if news {
		w.started = timeNow() // a pod begins when it has a node
	}
	w.mu.Unlock()
	if news {
		w.touch()
	}
	return news
}
