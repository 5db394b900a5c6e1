package process

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// identity tells the process pid from any other that ever had or will have the same number, by its start time.
// Empty when there is no such process.
func identity(pid int) string {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(info.Proc.P_pid) != pid {
		return ""
	}
	t := info.Proc.P_starttime
	return fmt.Sprintf("%s/%d.%06d", bootID(), t.Sec, t.Usec)
}

// bootID changes with every boot of the machine.
func bootID() string {
	t, err := unix.SysctlTimeval("kern.boottime")
	if err != nil {
		return "boot"
	}
	return fmt.Sprint(t.Sec)
}

// groupAlive tells whether any process is in the group that has not ended.
func groupAlive(group int) bool { return syscall.Kill(-group, 0) == nil }
