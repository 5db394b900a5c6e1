package scale_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"redstart.dev/redstart/api/v1alpha1"
)

// nodes does what a scheduler and kubelets do to the API: every pod gets a node and an address of its own, all of its containers run and it
// is ready; one that is deleted is gone. For pods of a Redis it does what their agents do, too: it labels them with their role, and
// lets agents answer at their address.
type nodes struct {
	client client.Client
	agents *agents

	mu   sync.Mutex
	next int
	// ips are the addresses of pods: the cache may not know yet that a pod has one.
	ips map[types.UID]string
}

// startNodes starts them; they end with the test.
func (p *controlPlane) startNodes(a *agents) {
	p.t.Helper()
	m, err := manager.New(p.config, manager.Options{
		Scheme: p.scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Cache:      cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
	})
	p.must(err)
	n := &nodes{client: m.GetClient(), agents: a, ips: map[types.UID]string{}}
	p.must(ctrl.NewControllerManagedBy(m).For(&corev1.Pod{}).WithOptions(controller.Options{MaxConcurrentReconciles: 8}).Complete(n))
	background(p.t, "the nodes", m.Start)
}

// Reconcile brings one pod to where a kubelet would bring it.
func (n *nodes) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var pod corev1.Pod
	if err := n.client.Get(ctx, req.NamespacedName, &pod); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if pod.DeletionTimestamp != nil {
		n.agents.stop(pod.UID)
		n.release(pod.UID)
		err := n.client.Delete(ctx, &pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if pod.Status.PodIP != "" {
		return ctrl.Result{}, nil
	}
	ip := n.address(pod.UID)
	if pod.Spec.NodeName == "" {
		b := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: fmt.Sprintf("node-%d", ordinal(pod.Name)%3+1)}}
		if err := n.client.SubResource("binding").Create(ctx, &pod, b); err != nil {
			return ctrl.Result{}, fmt.Errorf("bind pod %s: %w", pod.Name, err)
		}
	}
	if pod.Labels[v1alpha1.LabelName] != "" {
		role, err := n.agents.start(ctx, &pod, ip)
		if err != nil {
			n.release(pod.UID) // somebody else has that address
			return ctrl.Result{}, err
		}
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, v1alpha1.LabelRole, role)
		if err := n.client.Patch(ctx, &pod, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return ctrl.Result{}, fmt.Errorf("label pod %s: %w", pod.Name, err)
		}
	}
	before := pod.DeepCopy()
	run(&pod, ip)
	if err := n.client.Status().Patch(ctx, &pod, client.MergeFrom(before)); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return ctrl.Result{}, nil
}

// address of a pod: the next one on loopback, if it has none.
func (n *nodes) address(uid types.UID) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ips[uid] == "" {
		n.next++
		n.ips[uid] = fmt.Sprintf("127.77.%d.%d", n.next/250, n.next%250+1)
	}
	return n.ips[uid]
}

func (n *nodes) release(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ips, uid)
}

// run gives a pod the status of one that runs.
func run(pod *corev1.Pod, ip string) {
	now := metav1.Now()
	s := &pod.Status
	s.Phase, s.StartTime, s.PodIP, s.PodIPs = corev1.PodRunning, &now, ip, []corev1.PodIP{{IP: ip}}
	s.Conditions = nil
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, c := range pod.Spec.InitContainers {
		s.InitContainerStatuses = append(s.InitContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Ready: true, Image: c.Image,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}},
		})
	}
	for _, c := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Ready: true, Started: ptr.To(true), Image: c.Image,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
}

// ordinal of a pod of a StatefulSet; 0 for any other.
func ordinal(pod string) int {
	n, err := strconv.Atoi(pod[strings.LastIndexByte(pod, '-')+1:])
	if err != nil {
		return 0
	}
	return n
}

func newAgents(t *testing.T) *agents {
	t.Helper()
	a := &agents{pods: map[types.UID]*agent{}}
	t.Cleanup(a.close)
	return a
}
