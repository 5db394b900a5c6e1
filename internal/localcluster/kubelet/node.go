package kubelet

import (
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// renewEvery is how often the node says that it is alive.
const renewEvery = time.Minute

// machine is what this machine has: CPUs, memory where the system tells, and room for pods.
func machine() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:  *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI),
		corev1.ResourcePods: *resource.NewQuantity(1000, resource.DecimalSI),
	}
	if n := memory(); n > 0 {
		list[corev1.ResourceMemory] = *resource.NewQuantity(n, resource.BinarySI)
	}
	return list
}

// registerNode makes the Node object, or takes it up, and marks it ready.
func (k *Kubelet) registerNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: k.o.NodeName, Labels: map[string]string{
		corev1.LabelHostname: k.o.NodeName, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
	}}}
	if err := k.client.Create(ctx, node); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create node %s: %w", k.o.NodeName, err)
	}
	return k.writeNodeStatus(ctx)
}

func (k *Kubelet) writeNodeStatus(ctx context.Context) error {
	node := &corev1.Node{}
	if err := k.client.Get(ctx, client.ObjectKey{Name: k.o.NodeName}, node); err != nil {
		return fmt.Errorf("read node %s: %w", k.o.NodeName, err)
	}
	now := timeNow()
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
		Message: "redstart runs pods as processes", LastHeartbeatTime: now, LastTransitionTime: now,
	}
	for _, c := range node.Status.Conditions {
		if c.Type == ready.Type && c.Status == ready.Status {
			ready.LastTransitionTime = c.LastTransitionTime
		}
	}
	node.Status.Conditions = []corev1.NodeCondition{ready}
	node.Status.Capacity, node.Status.Allocatable = machine(), machine()
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: hostIP}, {Type: corev1.NodeHostName, Address: k.o.NodeName}}
	node.Status.NodeInfo = k.nodeInfo()
	if err := k.client.Status().Update(ctx, node); err != nil {
		return fmt.Errorf("write the status of node %s: %w", k.o.NodeName, err)
	}
	return nil
}

// nodeInfo is what is known of the machine's system. What only Linux tells is empty elsewhere.
func (k *Kubelet) nodeInfo() corev1.NodeSystemInfo {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	release, _ := os.ReadFile("/etc/os-release")
	return corev1.NodeSystemInfo{
		OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH, KubeletVersion: k.o.Version,
		ContainerRuntimeVersion: "process://redstart",
		KernelVersion:           strings.TrimSpace(string(kernel)), OSImage: prettyName(string(release)),
	}
}

// prettyName is what os-release(5) calls the system.
func prettyName(release string) string {
	for line := range strings.Lines(release) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"'`)
		}
	}
	return ""
}

// watchNode tells pods that wait when the node takes others than before, and renewNode when the node is gone.
func (k *Kubelet) watchNode(ctx context.Context) error {
	return k.handle(ctx, &corev1.Node{}, toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { k.changed.tell() },
		UpdateFunc: func(old, now any) {
			if !equality.Semantic.DeepEqual(old.(*corev1.Node).Spec, now.(*corev1.Node).Spec) {
				k.changed.tell()
			}
		},
		DeleteFunc: func(any) {
			select {
			case k.nodeGone <- struct{}{}:
			default:
			}
		},
	})
}

// renewNode says from time to time that the node is alive, until ctx ends. A node that was deleted is made again: the
// pods run on.
func (k *Kubelet) renewNode(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-k.nodeGone:
		}
		call, cancel := context.WithTimeout(ctx, apiTimeout)
		err := k.writeNodeStatus(call)
		if apierrors.IsNotFound(err) {
			err = k.registerNode(call)
		}
		if err != nil && ctx.Err() == nil {
			k.log.Warn("Cannot renew the node", "error", err)
		}
		cancel()
	}
}
