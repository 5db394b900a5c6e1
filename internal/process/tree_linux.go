package process

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func attributes(sameGroup bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: !sameGroup, Pdeathsig: syscall.SIGKILL}
}

// wait returns when the main process has ended and the rest of the tree is killed. The kill comes before the main
// process is reaped: until then nobody else can be given its number.
func (t *tree) wait() (*os.ProcessState, error) {
	for {
		// An error other than this one comes back from Wait.
		if err := unix.Waitid(unix.P_PID, t.process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	t.killRest()
	return t.process.Wait()
}

func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
