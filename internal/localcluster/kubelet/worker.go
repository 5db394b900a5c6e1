package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster/address"
	"redstart.dev/redstart/internal/process"
)

// retryBackoff is for what cannot start yet: a missing executable, a claim that is not bound.
var retryBackoff = process.Backoff{First: time.Second, Max: 30 * time.Second, Reset: time.Minute}

// lastWords bounds telling the last status of a pod that has stopped.
const lastWords = 3 * time.Second

// worker runs one pod, from its first sight to its end. Its goroutines are run's.
type worker struct {
	k        *Kubelet
	uid      types.UID
	key      types.NamespacedName
	log      *slog.Logger
	previous *worker // a former pod of this name that may still be ending

	ctx      context.Context // for calls of the API: the pod's life
	stopping context.Context // ended: stop politely
	stop     context.CancelFunc
	killing  context.Context // ended: kill now
	kill     context.CancelFunc
	lost     context.Context // ended: the object is gone
	gone     context.CancelFunc
	done     chan struct{}
	updated  chan struct{} // holds one

	publisher

	mu      sync.Mutex
	pod     *corev1.Pod // as last seen
	started metav1.Time
	at      place
	inits   []*container
	mains   []*container

	unschedulable string // why the node does not take it
}

func newWorker(k *Kubelet, ctx context.Context, pod *corev1.Pod, previous *worker) *worker {
	w := &worker{
		k: k, uid: pod.UID, key: client.ObjectKeyFromObject(pod), pod: pod, previous: previous, ctx: ctx,
		log:  k.log.With("pod", pod.Namespace+"/"+pod.Name),
		done: make(chan struct{}), updated: make(chan struct{}, 1), started: timeNow(), publisher: newPublisher(),
	}
	w.lost, w.gone = context.WithCancel(ctx)
	w.killing, w.kill = context.WithCancel(w.lost)
	w.stopping, w.stop = context.WithCancel(w.killing)
	if pod.Status.StartTime != nil {
		w.started = *pod.Status.StartTime
	}
	for i := range pod.Spec.InitContainers {
		w.inits = append(w.inits, newContainer(w, &pod.Spec.InitContainers[i], true))
	}
	for i := range pod.Spec.Containers {
		w.mains = append(w.mains, newContainer(w, &pod.Spec.Containers[i], false))
	}
	return w
}

// update takes the pod as it is now.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	w.pod = pod
	w.mu.Unlock()
	select {
	case w.updated <- struct{}{}:
	default:
	}
}

func (w *worker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// run is the pod's life. It ends when the pod is deleted, or when node ends.
func (w *worker) run(node context.Context) {
	defer close(w.done)
	defer w.gone()
	if w.previous != nil {
		<-w.previous.done // they may share a claim
		w.previous = nil
	}
	over, end := context.WithCancel(w.ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { w.attend(node, over) })
	tasks.Go(func() { w.publish(over) })

	if pod := w.current(); pod.DeletionTimestamp == nil && !ended(pod) {
		if w.settle() {
			w.touch()
			w.flush(w.stopping)
			w.runContainers()
			if w.stopping.Err() == nil {
				w.log.Info("The pod has ended")
			}
		}
		<-w.stopping.Done()
		w.touch()
		w.flushWithin(w.lost, lastWords)
	} else {
		<-w.stopping.Done()
	}
	end()
	tasks.Wait()
	w.finish(node)
	select { // a finalizer may keep the object
	case <-w.lost.Done():
	case <-node.Done():
	}
}

// ended tells whether a pod is over for good.
func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// attend turns what happens around the pod into stopping and killing, and keeps its files up to date.
func (w *worker) attend(node, over context.Context) {
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	var deadline time.Time // of the grace period, once there is one
	stopWithin := func(grace time.Duration) {
		if at := time.Now().Add(grace); deadline.IsZero() || at.Before(deadline) {
			deadline = at
			timer.Reset(grace)
		}
		w.stop()
	}
	nodeDone := node.Done()
	for {
		changed := w.k.changed.next()
		w.refreshFiles()
		if pod := w.current(); pod.DeletionTimestamp != nil {
			stopWithin(grace(pod))
		}
		select {
		case <-over.Done():
			return
		case <-w.lost.Done():
			return
		case <-timer.C:
			w.kill()
		case <-nodeDone:
			stopWithin(grace(w.current()))
			nodeDone = nil
		case <-changed:
		case <-w.updated:
		}
	}
}

// grace is how long a pod has to stop.
func grace(pod *corev1.Pod) time.Duration {
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return corev1.DefaultTerminationGracePeriodSeconds * time.Second
}

// settle binds the pod, and gives it an address and its volumes; false when it is stopped first.
func (w *worker) settle() bool {
	pod := w.current()
	if errs := Validate(&pod.Spec); len(errs) > 0 {
		w.k.events.Event(pod, corev1.EventTypeWarning, ReasonUnsupported, errs.ToAggregate().Error())
		w.allWait(&waitError{ReasonUnsupported, errs.ToAggregate().Error()})
		if !w.until(w.bind) {
			return false
		}
		w.touch()
		return false
	}
	if !w.awaitNode() {
		return false
	}
	var mounts map[string]string
	if !w.until(func() (err error) { mounts, err = w.mountVolumes(); return err }) {
		return false
	}
	var ports []int32
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			ports = append(ports, p.ContainerPort)
		}
	}
	var a address.Address
	if !w.until(func() (err error) { a, err = w.k.o.Addresses.Allocate(ports); return err }) {
		return false
	}
	w.mu.Lock()
	w.at = place{nodeName: w.k.o.NodeName, address: a, hostIP: hostIP, kubeconfig: w.k.o.KubeconfigPath, mounts: mounts}
	w.mu.Unlock()
	w.clearWait()
	return w.until(w.bind)
}

// until calls f until it succeeds, at every change of what it may wait for and from time to time; false when the pod
// is stopped first. What holds it up is told in the pod's status.
func (w *worker) until(f func() error) bool {
	var wait time.Duration
	for {
		changed := w.k.changed.next()
		err := f()
		if err == nil {
			return true
		}
		var why *waitError
		if !errors.As(err, &why) {
			why = &waitError{"ContainerCreating", err.Error()}
			w.log.Warn("The pod cannot start yet", "error", err)
		}
		w.allWait(why)
		wait = retryBackoff.Next(wait, 0)
		if !w.pause(changed, wait) {
			return false
		}
	}
}

// pause returns after a change, or after a time; false when the pod is stopped first.
func (w *worker) pause(changed <-chan struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.stopping.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return true
}

// bind puts the pod on this node, and tells its ports where pods share an address.
func (w *worker) bind() error {
	pod := w.current()
	patch := map[string]any{}
	if pod.Spec.NodeName == "" {
		patch["spec"] = map[string]any{"nodeName": w.k.o.NodeName}
	}
	_, told := pod.Annotations[v1alpha1.AnnotationPorts]
	if w.at.address.Ports != nil {
		ports, err := json.Marshal(w.at.address.Ports)
		if err != nil {
			return fmt.Errorf("write the ports: %w", err)
		}
		patch["metadata"] = map[string]any{"annotations": map[string]any{v1alpha1.AnnotationPorts: string(ports)}}
	} else if told { // by an earlier run, whose pods shared an address
		patch["metadata"] = map[string]any{"annotations": map[string]any{v1alpha1.AnnotationPorts: nil}}
	}
	if len(patch) == 0 {
		return nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("write the binding: %w", err)
	}
	ctx, cancel := context.WithTimeout(w.stopping, apiTimeout)
	defer cancel()
	bound := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	if err := w.k.client.Patch(ctx, bound, client.RawPatch(types.MergePatchType, body)); err != nil {
		return fmt.Errorf("bind pod %s: %w", w.key, err)
	}
	if pod.Spec.NodeName == "" {
		w.k.events.Eventf(pod, corev1.EventTypeNormal, "Scheduled", "Assigned %s to %s", w.key, w.k.o.NodeName)
	}
	return nil
}

// runContainers runs the init containers one after the other, then all others at once, until they have ended.
func (w *worker) runContainers() {
	if w.mainsOver() {
		return
	}
	for _, c := range w.inits {
		if !c.run() {
			return
		}
	}
	var tasks sync.WaitGroup
	for _, c := range w.mains {
		tasks.Go(func() { c.run() })
	}
	tasks.Wait()
}

// mainsOver tells whether no container is to be started again.
func (w *worker) mainsOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(w.mains, func(c *container) bool { return !c.over })
}

// finish gives back what the pod had, and removes it from the API if it was deleted.
func (w *worker) finish(node context.Context) {
	w.k.o.Addresses.Release(w.at.address)
	pod := w.current()
	if w.lost.Err() == nil && pod.DeletionTimestamp == nil {
		return // the node stops; the pod is taken up again
	}
	if err := os.RemoveAll(w.k.podDir(w.uid)); err != nil {
		w.log.Warn("The pod's directory is not removed", "error", err)
	}
	var wait time.Duration
	for w.lost.Err() == nil {
		err := w.remove(pod)
		if err == nil {
			return
		}
		wait = statusBackoff.Next(wait, 0)
		w.log.Warn("Cannot remove the pod", "error", err)
		if node.Err() != nil || !sleep(w.lost, wait) {
			return
		}
	}
}

func (w *worker) remove(pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(w.ctx, apiTimeout)
	defer cancel()
	err := w.k.client.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &w.uid})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// allWait tells for every container that has not run why it waits.
func (w *worker) allWait(why *waitError) {
	w.mu.Lock()
	changed := false
	for _, c := range slices.Concat(w.inits, w.mains) {
		if s := c.state.Waiting; s != nil && (s.Reason != why.reason || s.Message != why.message) {
			c.state = waiting(why.reason, why.message)
			changed = true
		}
	}
	w.mu.Unlock()
	if changed {
		w.touch()
	}
}

// clearWait goes back to the words of a pod that is about to start.
func (w *worker) clearWait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range slices.Concat(w.inits, w.mains) {
		if c.state.Waiting != nil {
			c.state = c.first
		}
	}
}

// place is where the pod runs; it does not change once containers run.
func (w *worker) place() place {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.at
	at.mounts = maps.Clone(at.mounts)
	return at
}
