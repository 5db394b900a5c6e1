package localcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// lockPatience outlasts those who only look whether the lock is held.
	lockPatience = 300 * time.Millisecond
	lockRetry    = 10 * time.Millisecond
)

// RunningError says that another process runs a cluster on the same state directory.
type RunningError struct {
	StateDir string
	PID      int
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("redstart already runs on %s, as process %d; stop it with redstart down, or choose another directory with --state-dir", e.StateDir, e.PID)
}

// lock takes the state directory for this process, until the file is closed or the process ends.
func lock(ctx context.Context, stateDir string) (*os.File, error) {
	path := filepath.Join(stateDir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	for {
		got, err := tryLock(f, true)
		if err == nil && got {
			err = writePID(f)
			if err == nil {
				return f, nil
			}
		}
		if err == nil {
			select {
			case <-again.C:
				continue
			case <-ctx.Done():
				err = &RunningError{StateDir: stateDir, PID: pidIn(f)}
			}
		} else {
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		_ = f.Close()
		return nil, err
	}
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
