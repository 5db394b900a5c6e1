package process

import (
	"os"
	"syscall"
)

// attributes: there is no parent-death signal here; the reaper does it alone.
func attributes(sameGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: !sameGroup}
}

// wait returns when the main process has ended and the rest of the tree is killed. A group's number stays taken
// while anybody is in it, and an empty group's is not given out again within these microseconds.
func (t *tree) wait() (*os.ProcessState, error) {
	state, err := t.process.Wait()
	t.killRest()
	return state, err
}

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
