package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"redstart.dev/redstart/internal/process"
)

// Back-off of restarts: at once the first time, then doubling, and over again after a while of running.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
	goodRun      = 10 * time.Second
)

// server is the process of the redis-server or the Sentinel. It belongs to the loop of its agent; others must not use it.
type server struct {
	opts *Options
	log  *slog.Logger

	process   *process.Process // nil while there is none
	startedAt time.Time
	backoff   time.Duration
	// notBefore is when the next start is due.
	notBefore time.Time
	// child is the process ID for those beside the loop. It is not taken back: its exit is the supervisor's to collect.
	child atomic.Int64
}

// start writes conf and runs the server with it. It is a child in the agent's own process group, and dies with it.
func (s *server) start(file string, conf []byte, args ...string) error {
	path := filepath.Join(s.opts.Dir, file)
	if err := replaceFile(path, conf); err != nil { // that of a Sentinel has the epoch in which it voted
		return s.failed(fmt.Errorf("write the server's configuration: %w", err))
	}
	p, err := process.Start(process.Command{
		Path: s.opts.Server, Args: append([]string{path}, args...), Dir: s.opts.Dir,
		Env:    os.Environ(),
		Stdout: s.opts.Output, Stderr: s.opts.Output, SameGroup: true,
	})
	if err != nil {
		return s.failed(err)
	}
	s.process, s.startedAt = p, time.Now()
	s.child.Store(int64(p.PID()))
	s.log.Info("server started", "pid", p.PID())
	return nil
}

func (s *server) failed(err error) error {
	s.delay()
	return err
}

// delay puts the next start off.
func (s *server) delay() {
	s.notBefore = time.Now().Add(s.backoff/2 + rand.N(s.backoff/2+1))
	s.backoff = min(max(2*s.backoff, firstBackoff), maxBackoff)
}

// done is closed when the server ended; nil while there is none.
func (s *server) done() <-chan struct{} {
	if s.process == nil {
		return nil
	}
	return s.process.Done()
}

// reap notices an exit and says whether there was one.
func (s *server) reap() (process.Exit, bool) {
	if s.process == nil {
		return process.Exit{}, false
	}
	select {
	case <-s.process.Done():
	default:
		return process.Exit{}, false
	}
	exit := s.process.Exit()
	s.process = nil
	if time.Since(s.startedAt) > goodRun {
		s.backoff = 0
	}
	s.delay()
	s.log.Warn("server ended", "exit", exit.String(), "ran", time.Since(s.startedAt).Round(time.Millisecond))
	return exit, true
}

func (s *server) running() bool { return s.process != nil }

func (s *server) pid() int {
	if s.process == nil {
		return 0
	}
	return s.process.PID()
}

// kill ends the server by SIGKILL and returns when it is gone.
func (s *server) kill(ctx context.Context) error {
	if s.process == nil {
		return nil
	}
	s.process.Kill()
	select {
	case <-s.process.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill the server, process %d: %w", s.process.PID(), ctx.Err())
	}
}
