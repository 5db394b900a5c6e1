//go:build linux || darwin

package process

import (
	"errors"
	"os"
	"syscall"
)

// reaperNeeded: nothing but the reaper kills whole groups when their owner is gone.
const reaperNeeded = true

// tree is a process group, or a single process in its parent's group.
type tree struct {
	process *os.Process
	group   int // 0: no group of its own
}

func newTree(p *os.Process, sameGroup bool) *tree {
	if sameGroup {
		return &tree{process: p}
	}
	return &tree{process: p, group: p.Pid}
}

// kill sends SIGKILL to all. A group that is gone already is what was wanted.
func (t *tree) kill() {
	if t.group == 0 {
		_ = t.process.Kill()
		return
	}
	_ = killGroup(t.group)
}

// killRest kills what the ended main process left behind.
func (t *tree) killRest() {
	if t.group != 0 {
		_ = killGroup(t.group)
	}
}

// killGroup sends SIGKILL to a process group; none there is no error.
func killGroup(group int) error {
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

func (p *Process) signal(sig os.Signal) error { return p.os.Signal(sig) }

func deathSignal(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return int(w.Signal())
	}
	return 0
}
