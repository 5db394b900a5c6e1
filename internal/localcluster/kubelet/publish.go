package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/internal/process"
)

// statusBackoff is for the API server not answering.
var statusBackoff = process.Backoff{First: 50 * time.Millisecond, Max: 5 * time.Second, Reset: time.Minute}

// publisher counts the changes of a pod's status, and those that were written.
type publisher struct {
	pub     sync.Mutex
	want    uint64
	have    uint64
	dirty   chan struct{} // holds one
	written news
}

func newPublisher() publisher {
	return publisher{dirty: make(chan struct{}, 1), written: newNews()}
}

// touch says that the status has changed. It is written at once; changes during a write go together.
func (p *publisher) touch() {
	p.pub.Lock()
	p.want++
	p.pub.Unlock()
	select {
	case p.dirty <- struct{}{}:
	default:
	}
}

func (p *publisher) wanted() uint64 {
	p.pub.Lock()
	defer p.pub.Unlock()
	return p.want
}

func (p *publisher) wrote(n uint64) {
	p.pub.Lock()
	p.have = n
	p.pub.Unlock()
	p.written.tell()
}

func (p *publisher) upToDate(n uint64) bool {
	p.pub.Lock()
	defer p.pub.Unlock()
	return p.have >= n
}

// flush waits until all changes so far are written, or ctx ends.
func (p *publisher) flush(ctx context.Context) {
	for n := p.wanted(); ; {
		written := p.written.next()
		if p.upToDate(n) {
			return
		}
		select {
		case <-written:
		case <-ctx.Done():
			return
		}
	}
}

func (p *publisher) flushWithin(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	p.flush(ctx)
}

// publish writes the status whenever it changes, until over ends.
func (w *worker) publish(over context.Context) {
	var last *corev1.PodStatus
	for {
		select {
		case <-over.Done():
			return
		case <-w.dirty:
		}
		n := w.wanted()
		status := w.status(last)
		if last == nil || !equality.Semantic.DeepEqual(*last, status) {
			if !w.writeStatus(over, status) {
				return
			}
			last = &status
		}
		w.wrote(n)
	}
}

// status is the pod's status now; last is the one that was written before.
func (w *worker) status(last *corev1.PodStatus) corev1.PodStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	pod := w.pod
	if last != nil {
		pod = pod.DeepCopy() // what we wrote may not have come back yet
		pod.Status = *last
	}
	in := statusInput{pod: pod, address: w.at.address, hostIP: hostIP, start: w.started, now: timeNow(), unschedulable: w.unschedulable}
	for _, c := range w.inits {
		in.inits = append(in.inits, c.status())
	}
	for _, c := range w.mains {
		in.mains = append(in.mains, c.status())
	}
	return podStatus(in)
}

// writeStatus tries until it succeeds; false when there is nobody left to tell.
func (w *worker) writeStatus(over context.Context, status corev1.PodStatus) bool {
	var wait time.Duration
	for {
		// Without a resource version: the status is ours alone, and labels may change at the same time. The UID
		// keeps it off another pod of the same name.
		pod := w.current().DeepCopy()
		pod.ResourceVersion, pod.ManagedFields = "", nil
		pod.Status = status
		ctx, cancel := context.WithTimeout(over, apiTimeout)
		err := w.k.client.Status().Update(ctx, pod)
		cancel()
		if err == nil {
			return true
		}
		if apierrors.IsNotFound(err) || over.Err() != nil || w.lost.Err() != nil {
			return false
		}
		w.log.Warn("Cannot write the status", "error", err)
		wait = statusBackoff.Next(wait, 0)
		if !sleep(over, wait) {
			return false
		}
	}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func terminated(e process.Exit, id string) corev1.ContainerState {
	t := &corev1.ContainerStateTerminated{
		ExitCode: int32(e.Code), Signal: int32(e.Signal), Reason: e.Reason(), ContainerID: id,
		StartedAt: metav1.NewTime(e.Started), FinishedAt: metav1.NewTime(e.Finished),
	}
	return corev1.ContainerState{Terminated: t}
}
