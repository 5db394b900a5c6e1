package kubelet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/internal/process"
)

// drainTimeout bounds how long a pod that was deleted may take to answer the requests that it has, before it is told
// to stop; at most half its grace period.
const drainTimeout = 10 * time.Second

// container runs one container of a pod, again and again as its restart policy has it.
type container struct {
	w    *worker
	spec *corev1.Container
	init bool
	// policy and first, the state before the first start, follow from the pod's spec, which does not change.
	policy process.RestartPolicy
	first  corev1.ContainerState

	// Guarded by w.mu.
	state    corev1.ContainerState
	last     corev1.ContainerState
	restarts int32
	ran      bool // it was started before
	over     bool // it is not started again
	started  bool // its startup probe has passed
	ready    bool
	path     string        // of the executable that runs
	log      string        // of the run that is on, or was last
	logEnd   chan struct{} // closed when that run has ended
}

// newContainer takes a container up where the pod's status has it. A process that ran then is gone: it was killed
// before the pods are looked at.
func newContainer(w *worker, spec *corev1.Container, isInit bool) *container {
	c := &container{w: w, spec: spec, init: isInit, policy: process.RestartPolicy(w.pod.Spec.RestartPolicy), first: waiting("ContainerCreating", "")}
	all := w.pod.Status.ContainerStatuses
	if isInit {
		all = w.pod.Status.InitContainerStatuses
		if c.policy != process.Never {
			c.policy = process.OnFailure
		}
	} else if len(w.pod.Spec.InitContainers) > 0 {
		c.first = waiting("PodInitializing", "")
	}
	c.state = c.first
	for i := range all {
		if all[i].Name == spec.Name {
			c.resume(&all[i])
		}
	}
	return c
}

// resume takes over what the status says of an earlier run of the kubelet.
func (c *container) resume(old *corev1.ContainerStatus) {
	c.restarts, c.last = old.RestartCount, old.LastTerminationState
	switch {
	case old.State.Terminated != nil:
		c.last = old.State
	case old.State.Running != nil:
		c.last = terminated(process.Exit{Code: 137, Started: old.State.Running.StartedAt.Time, Finished: time.Now()}, old.ContainerID)
		c.last.Terminated.Reason = "ContainerStatusUnknown"
		c.last.Terminated.Message = "redstart itself was stopped while the process ran"
	}
	c.ran = c.last.Terminated != nil
	if c.ran && !c.init && !c.policy.Restarts(int(c.last.Terminated.ExitCode)) {
		c.over, c.state = true, c.last
	}
}

// status is read under w.mu.
func (c *container) status() corev1.ContainerStatus {
	started := c.started
	s := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, State: c.state, LastTerminationState: c.last,
		RestartCount: c.restarts, Started: &started, ContainerID: c.id(),
	}
	if c.path != "" {
		s.ImageID = "process://" + c.path
	}
	s.Ready = c.ready && c.state.Running != nil
	if c.init {
		s.Ready = c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
	}
	return s
}

// id names the latest run.
func (c *container) id() string {
	if !c.ran {
		return ""
	}
	return fmt.Sprintf("process://%s/%s/%d", c.w.uid, c.spec.Name, c.restarts)
}

// set changes what the status tells, and has it written at once.
func (c *container) set(f func()) {
	c.w.mu.Lock()
	f()
	c.w.mu.Unlock()
	c.w.touch()
}

// run runs the container until it is over, and tells whether it ended well.
func (c *container) run() bool {
	if c.over {
		return true
	}
	var wait time.Duration
	for {
		r, ok := c.launch()
		if !ok {
			return false
		}
		exit, why := c.supervise(r)
		why = cmp.Or(why, c.message(exit))
		again := c.policy.Restarts(exit.Code) && c.w.stopping.Err() == nil
		c.set(func() {
			c.state = terminated(exit, c.id())
			c.state.Terminated.Message = why
			c.ready, c.started = false, false
			c.over = !again
		})
		c.w.log.Info("A container has ended", "container", c.spec.Name, "how", exit.String(), "why", why)
		if !again {
			return exit.Code == 0
		}
		first := wait == 0
		wait = process.DefaultBackoff.Next(wait, exit.Finished.Sub(exit.Started))
		// Others act on the death: they have to see it before the next life.
		c.w.flushWithin(c.w.stopping, lastWords)
		if !first {
			c.crashLoop(wait)
		}
		if !sleep(c.w.stopping, wait) {
			c.set(func() {
				if c.state.Waiting != nil {
					c.state = c.last
				}
				c.over = true
			})
			return false
		}
	}
}

// crashLoop says that the container waits for its next start.
func (c *container) crashLoop(wait time.Duration) {
	message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", wait, c.spec.Name, c.w.key)
	c.set(func() {
		c.last = c.state
		c.state = waiting("CrashLoopBackOff", message)
	})
	if wait >= time.Second { // earlier ones would be noise
		c.w.k.events.Event(c.w.current(), corev1.EventTypeWarning, "BackOff", message)
	}
}

// execution is one run of a container.
type execution struct {
	process *process.Process
	env     []string
	dir     string
	begin   time.Time
	log     *process.Log
	end     func() // writes the rest of the output
}

// launch starts the process, as soon as what it needs is there; false when the pod is stopped first.
func (c *container) launch() (execution, bool) {
	var wait time.Duration
	for {
		changed := c.w.k.changed.next()
		r, err := c.start()
		if err == nil {
			return r, true
		}
		var why *waitError
		if !errors.As(err, &why) {
			why = &waitError{"RunContainerError", err.Error()}
		}
		told := false
		c.set(func() {
			if s := c.state.Waiting; s != nil && s.Reason == why.reason && s.Message == why.message {
				told = true
				return
			}
			if c.state.Terminated != nil {
				c.last = c.state
			}
			c.state = waiting(why.reason, why.message)
		})
		if !told {
			c.w.log.Warn("A container cannot start", "container", c.spec.Name, "reason", why.reason, "message", why.message)
			c.w.k.events.Event(c.w.current(), corev1.EventTypeWarning, "Failed", why.Error())
		}
		wait = retryBackoff.Next(wait, 0)
		timer := time.NewTimer(wait)
		select {
		case <-c.w.stopping.Done():
			timer.Stop()
			return execution{}, false
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// start starts the process once.
func (c *container) start() (execution, error) {
	at, pod := c.w.place(), c.w.current()
	services, err := c.w.k.services(c.w.ctx, pod.Namespace)
	if err != nil {
		return execution{}, err
	}
	env, err := environment(pod, c.spec, services, c.w.k.objects(c.w.ctx, pod.Namespace), at)
	if err != nil {
		return execution{}, err
	}
	if env[EnvTerminationLog], err = c.emptyMessage(at); err != nil {
		return execution{}, err
	}
	name, args, err := commandLine(c.spec, c.w.k.o.Images, c.w.k.o.Executable, env, at)
	if err != nil {
		return execution{}, err
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return execution{}, &waitError{ReasonCommandNotFound, fmt.Sprintf("command %q of container %q is not on this machine; install it, or map the image %q to another command", name, c.spec.Name, c.spec.Image)}
	}
	dir, err := c.workingDir(at)
	if err != nil {
		return execution{}, err
	}
	number := c.restarts
	if c.ran {
		number++
	}
	logPath := c.w.k.logPath(c.w.uid, c.spec.Name, number)
	if err := os.MkdirAll(filepath.Dir(logPath), 0o700); err != nil {
		return execution{}, fmt.Errorf("make the directory of the log: %w", err)
	}
	process.RemoveLog(c.w.k.logPath(c.w.uid, c.spec.Name, number-2))
	log, err := process.CreateLog(logPath)
	if err != nil {
		return execution{}, err
	}
	stdout, stderr := log.Stream("stdout"), log.Stream("stderr")
	r := execution{env: pairs(env), dir: dir, begin: time.Now(), log: log, end: func() {
		_, _, _ = stdout.Close(), stderr.Close(), log.Close() // a full disk loses the last line, no more
	}}
	r.process, err = process.Start(process.Command{Path: path, Args: args, Env: r.env, Dir: dir, Stdout: stdout, Stderr: stderr, Reaper: c.w.k.reaper})
	if err != nil {
		r.end()
		return execution{}, err
	}
	c.began(number, path, logPath)
	return r, nil
}

// began notes the run before its postStart hook; the state changes after that.
func (c *container) began(number int32, path, log string) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.state.Terminated != nil {
		c.last = c.state
	}
	c.restarts, c.ran, c.path, c.log, c.logEnd = number, true, path, log, make(chan struct{})
	c.ready, c.started = false, false
}

// workingDir is workingDir where it is a directory of this machine or a mount of the pod, and a directory of the
// pod's own otherwise. Redis images work in /data.
func (c *container) workingDir(at place) (string, error) {
	want := c.spec.WorkingDir
	if want == "" && len(c.spec.Command) == 0 {
		want = "/data"
	}
	if dir, ok := mounted(c.spec, want, at); ok {
		return dir, nil
	}
	if c.spec.WorkingDir != "" {
		return c.spec.WorkingDir, nil
	}
	dir := filepath.Join(c.w.k.podDir(c.w.uid), "work", c.spec.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the working directory: %w", err)
	}
	return dir, nil
}

// supervise watches a run until its end, and tells why it was ended if it was.
func (c *container) supervise(r execution) (exit process.Exit, why string) {
	living, end := context.WithCancel(c.w.killing) // while the process lives
	var tasks sync.WaitGroup
	tasks.Go(func() {
		select {
		case <-r.process.Done():
			end()
		case <-living.Done():
		}
	})
	defer func() {
		end()
		tasks.Wait()
		r.end()
		c.w.mu.Lock()
		close(c.logEnd)
		c.w.mu.Unlock()
	}()
	sick := make(chan string, 1)
	if hook := c.lifecycle().PostStart; hook != nil {
		if err := c.hook(living, r, hook); err != nil && living.Err() == nil {
			sick <- "postStart: " + err.Error()
		}
	}
	c.set(func() {
		c.state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(r.begin)}}
		c.started = c.spec.StartupProbe == nil
		c.ready = c.started && c.spec.ReadinessProbe == nil && !c.init
	})
	c.w.k.events.Eventf(c.w.current(), corev1.EventTypeNormal, "Started", "Started container %s", c.spec.Name)
	if !c.init {
		tasks.Go(func() { c.probes(living, r, sick) })
	}
	most := time.Duration(-1)
	select {
	case <-r.process.Done():
		return r.process.Exit(), ""
	case <-c.w.stopping.Done():
	case why = <-sick:
		most = c.sickGrace()
		c.w.k.events.Eventf(c.w.current(), corev1.EventTypeNormal, "Killing", "Container %s is restarted: %s", c.spec.Name, why)
	}
	return c.end(r, most), why
}

// end stops the process: the preStop hook, SIGTERM, and SIGKILL for the whole tree when the time is over. A pod
// that was deleted answers the requests that it has before that. A negative time leaves it to the pod.
func (c *container) end(r execution, most time.Duration) process.Exit {
	ctx, cancel := context.WithCancel(c.w.killing)
	if most >= 0 {
		ctx, cancel = context.WithTimeout(c.w.killing, most)
	}
	defer cancel()
	if pod := c.w.current(); pod.DeletionTimestamp != nil && !c.init && c.w.k.o.Drain != nil {
		c.w.k.o.Drain(ctx, c.w.uid, min(drainTimeout, grace(pod)/2))
	}
	if hook := c.lifecycle().PreStop; hook != nil {
		if err := c.hook(ctx, r, hook); err != nil && ctx.Err() == nil {
			c.w.k.events.Eventf(c.w.current(), corev1.EventTypeWarning, "FailedPreStopHook", "Container %s: %s", c.spec.Name, err)
		}
	}
	return r.process.Stop(ctx, syscall.SIGTERM)
}

func (c *container) lifecycle() corev1.Lifecycle {
	if c.spec.Lifecycle == nil {
		return corev1.Lifecycle{}
	}
	return *c.spec.Lifecycle
}

// sickGrace is how long a container has to stop that its liveness or startup probe condemned.
func (c *container) sickGrace() time.Duration {
	for _, p := range []*corev1.Probe{c.spec.LivenessProbe, c.spec.StartupProbe} {
		if p != nil && p.TerminationGracePeriodSeconds != nil {
			return time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
		}
	}
	return grace(c.w.current())
}
