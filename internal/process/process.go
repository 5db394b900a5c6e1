// Package process runs operating system processes that must never be left behind: each in a process group of its
// own (a job object on Windows), killed as a whole tree when its main process ends, when it is told to, and when
// the process that started it dies, even by kill -9.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// drainTime is how long the output of a process is still read after its end. Its tree is dead by then, so this is
// only ever used up when something left the tree and kept the pipe.
const drainTime = time.Second

// Command says what to run.
type Command struct {
	// Path of the executable; a bare name is looked up on PATH.
	Path string
	// Args without the executable's own name.
	Args []string
	// Env is the whole environment, as KEY=VALUE.
	Env []string
	// Dir is the working directory; empty for the caller's.
	Dir string
	// Stdout and Stderr get the output; nil discards it. An *os.File is handed to the process as it is; anything
	// else is written to from a goroutine of its own, so the two must not be the same unless it locks.
	Stdout, Stderr io.Writer
	// SameGroup leaves the process in the caller's process group, for a child that has to die with its parent.
	// Kill then kills the process alone.
	SameGroup bool
	// Reaper, when given, kills the tree should this process die without doing it.
	Reaper *Reaper
}

// Process is a running or ended process. Its methods may be called at any time, from any goroutine.
type Process struct {
	os   *os.Process
	tree *tree
	done chan struct{}
	exit Exit // valid when done is closed
}

// Start runs c. The error names the executable; errors.Is(err, exec.ErrNotFound) tells that there is none.
//
// On Linux the process is killed when the caller dies. The kernel ties that to the thread that started it, so one
// goroutine keeps its thread for as long as the process lives; it would be blocked in wait on it anyway.
func Start(c Command) (*Process, error) {
	path, err := exec.LookPath(c.Path)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	if c.Dir != "" { // the system's own error would name the executable
		if _, err := os.Stat(c.Dir); err != nil {
			return nil, fmt.Errorf("start %s: working directory: %w", c.Path, err)
		}
	}
	cmd := &exec.Cmd{Path: path, Args: append([]string{c.Path}, c.Args...), Env: c.Env, Dir: c.Dir, SysProcAttr: attributes(c.SameGroup)}
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	out, err := connect(cmd, c.Stdout, c.Stderr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(cmd, c, out, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	return p, nil
}

// run starts cmd and waits for it, all on one thread.
func (p *Process) run(cmd *exec.Cmd, c Command, out *output, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := time.Now()
	err := cmd.Start()
	out.closeWriters()
	if err != nil {
		out.finish(0)
		started <- err
		return
	}
	p.os = cmd.Process
	p.tree = newTree(cmd.Process, c.SameGroup)
	if c.Reaper != nil && !c.SameGroup {
		c.Reaper.add(cmd.Process.Pid)
	}
	started <- nil

	state, err := p.tree.wait()
	p.exit = exitOf(state, err)
	p.exit.Started, p.exit.Finished = begin, time.Now()
	if c.Reaper != nil && !c.SameGroup {
		c.Reaper.remove(cmd.Process.Pid)
	}
	out.finish(drainTime)
	close(p.done)
}

// PID is the process ID.
func (p *Process) PID() int { return p.os.Pid }

// Done is closed when the process has ended, its tree is killed and its output is written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit tells how the process ended; zero before Done is closed.
func (p *Process) Exit() Exit {
	select {
	case <-p.done:
		return p.exit
	default:
		return Exit{}
	}
}

// Signal sends sig to the main process alone. It is no error if the process has ended already. On Windows any
// signal but os.Kill is sent as CTRL_BREAK.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.PID(), err)
	}
	return nil
}

// Kill kills the whole tree at once. It does not wait; Done tells when it is over.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		p.tree.kill()
	}
}

// Stop sends sig, waits until the process has ended or ctx has, and kills then. It returns when all is over.
func (p *Process) Stop(ctx context.Context, sig os.Signal) Exit {
	if err := p.Signal(sig); err == nil {
		select {
		case <-p.done:
		case <-ctx.Done():
		}
	}
	p.Kill()
	<-p.done
	return p.exit
}

// output copies what a process writes to the writers it was given.
type output struct {
	readers, writers []*os.File
	copies           sync.WaitGroup
}

// connect gives cmd its output files: files as they are, pipes for other writers.
func connect(cmd *exec.Cmd, stdout, stderr io.Writer) (*output, error) {
	o := &output{}
	for _, s := range []struct {
		to   io.Writer
		into *io.Writer
	}{{stdout, &cmd.Stdout}, {stderr, &cmd.Stderr}} {
		if f, ok := s.to.(*os.File); ok || s.to == nil {
			if f != nil {
				*s.into = f
			}
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			o.closeWriters()
			o.finish(0)
			return nil, fmt.Errorf("make an output pipe: %w", err)
		}
		o.readers, o.writers = append(o.readers, r), append(o.writers, w)
		*s.into = w
		o.copies.Go(func() { drain(s.to, r) })
	}
	return o, nil
}

// drain copies until the end; when to fails it goes on reading, so that the process never blocks on a full disk.
func drain(to io.Writer, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		_, _ = io.Copy(io.Discard, from)
	}
}

func (o *output) closeWriters() {
	for _, w := range o.writers {
		_ = w.Close()
	}
}

// finish waits until all is copied, at most for d.
func (o *output) finish(d time.Duration) {
	for _, r := range o.readers {
		_ = r.SetReadDeadline(time.Now().Add(d))
	}
	o.copies.Wait()
	for _, r := range o.readers {
		_ = r.Close()
	}
}
