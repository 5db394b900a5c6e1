//go:build unix

package agent

import (
	"errors"
	"os"
	"syscall"
)

// terminate asks a server to save and end.
const terminate = syscall.SIGTERM

// syncDir makes a rename in dir survive a power failure. There are file systems that have no such call.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
