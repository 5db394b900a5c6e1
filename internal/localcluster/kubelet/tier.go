package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clientsFirst bounds how long the pods of StatefulSets run on for the others when the node stops.
const clientsFirst = 10 * time.Second

// tier is pods that are told together that the node stops.
type tier struct {
	work    context.Context // the life of what a pod needs until it has stopped
	node    context.Context // ended: the pods stop
	stop    context.CancelFunc
	running sync.WaitGroup // workers
}

// tierOf is servers for the pods of a StatefulSet, which keep data, and clients for all others, which may have
// something to write to them until they end.
func (k *Kubelet) tierOf(pod *corev1.Pod) *tier {
	if o := metav1.GetControllerOf(pod); o != nil && o.Kind == "StatefulSet" {
		return &k.servers
	}
	return &k.clients
}

// open makes the tier ready for pods. It is closed, at the latest, when work ends.
func (t *tier) open(work context.Context) {
	t.work = work
	t.node, t.stop = context.WithCancel(work)
}

// close stops the pods and gives them some time to end. It leaves waiting for those that take longer to the caller.
func (t *tier) close(within time.Duration) {
	t.stop()
	if within == 0 {
		return
	}
	ended := make(chan struct{})
	go func() { // ends with the pods, which the caller waits for
		t.running.Wait()
		close(ended)
	}()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}
