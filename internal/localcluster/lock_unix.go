//go:build !windows

package localcluster

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock takes a lock on f, or tells that somebody else holds one. A lock that is not exclusive is for looking, and
// is there for others to see until f is closed.
func tryLock(f *os.File, exclusive bool) (bool, error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, unix.EINTR):
			continue
		}
		return false, err
	}
}
