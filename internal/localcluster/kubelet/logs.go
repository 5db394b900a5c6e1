package kubelet

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/internal/process"
)

// logPath is where the output of the number-th start of a container is.
func (k *Kubelet) logPath(uid types.UID, container string, number int32) string {
	return filepath.Join(k.podDir(uid), "logs", container, strconv.Itoa(int(number))+".log")
}

// PodLogs opens the log of one container of pod, as pods/log of the API wants it. Close it to end following; it
// ends by itself when the container does, or with ctx.
func (k *Kubelet) PodLogs(ctx context.Context, pod *corev1.Pod, opts *corev1.PodLogOptions) (io.ReadCloser, error) {
	w := k.worker(pod.UID)
	if w == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %q does not run on this node", pod.Name))
	}
	path, end, err := w.findLog(opts.Container, opts.Previous)
	if err != nil {
		return nil, err
	}
	o := process.LogOptions{Tail: opts.TailLines, Timestamps: opts.Timestamps}
	if opts.SinceTime != nil {
		o.Since = opts.SinceTime.Time
	} else if opts.SinceSeconds != nil {
		o.Since = time.Now().Add(-time.Duration(*opts.SinceSeconds) * time.Second)
	}
	if opts.LimitBytes != nil {
		o.LimitBytes = *opts.LimitBytes
	}
	if opts.Follow && !opts.Previous {
		o.Follow = end
	}
	ctx, cancel := context.WithCancel(ctx)
	r, pipe := io.Pipe()
	s := &logStream{PipeReader: r, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_ = pipe.CloseWithError(process.ReadLog(ctx, path, o, pipe))
	}()
	return s, nil
}

// logStream is the reading end; Close waits for the goroutine that writes.
type logStream struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  chan struct{}
}

func (s *logStream) Close() error {
	s.cancel()
	err := s.PipeReader.Close()
	<-s.ended
	return err
}

// findLog returns the file of a container's latest run, or of the one before, and what is closed at its end.
func (w *worker) findLog(name string, previous bool) (string, <-chan struct{}, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var c *container
	for _, one := range append(w.inits[:len(w.inits):len(w.inits)], w.mains...) {
		if one.spec.Name == name {
			c = one
		}
	}
	switch {
	case c == nil:
		return "", nil, apierrors.NewBadRequest(fmt.Sprintf("container %q is not valid for pod %q", name, w.key.Name))
	case previous && c.restarts == 0:
		return "", nil, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", name, w.key.Name))
	case !c.ran:
		reason := ""
		if c.state.Waiting != nil {
			reason = c.state.Waiting.Reason
		}
		return "", nil, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", name, w.key.Name, reason))
	case previous:
		return w.k.logPath(w.uid, name, c.restarts-1), nil, nil
	}
	end := c.logEnd
	if end == nil { // it ended before this run of the kubelet
		end = make(chan struct{})
		close(end)
	}
	return w.k.logPath(w.uid, name, c.restarts), end, nil
}
