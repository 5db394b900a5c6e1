package process

import (
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

func attributes(sameGroup bool) *syscall.SysProcAttr {
	if sameGroup {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// reaperNeeded: the system ends jobs by itself.
const reaperNeeded = false

// tree is a job object that kills all in it when its last handle is closed, be it by our own death. A child that
// the process starts within the microseconds before it is put into the job is not in it.
type tree struct {
	process *os.Process
	mu      sync.Mutex
	job     windows.Handle // 0: no job of its own, or closed
}

func newTree(p *os.Process, sameGroup bool) *tree {
	t := &tree{process: p}
	if sameGroup {
		return t // children are in their parent's job
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return t
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err == nil {
		err = assign(job, p.Pid)
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return t
	}
	t.job = job
	return t
}

func assign(job windows.Handle, pid int) error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(pid))
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	return windows.AssignProcessToJobObject(job, h)
}

// kill ends all in the job; without one, the process alone.
func (t *tree) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.job == 0 || windows.TerminateJobObject(t.job, 128+9) != nil {
		_ = t.process.Kill()
	}
}

// wait returns when the main process has ended and the rest of the tree is killed.
func (t *tree) wait() (*os.ProcessState, error) {
	state, err := t.process.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.job != 0 {
		_ = windows.CloseHandle(t.job)
		t.job = 0
	}
	return state, err
}

func (p *Process) signal(sig os.Signal) error {
	if sig == os.Kill {
		return p.os.Kill()
	}
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.PID()))
}

func deathSignal(*os.ProcessState) int { return 0 }

// killGroup: nothing to do, jobs die with their handle.
func killGroup(int) error { return nil }

func ownSession() *syscall.SysProcAttr { return nil }
