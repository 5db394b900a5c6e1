package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Files in a state directory.
const (
	lockFile       = "up.lock"
	networkFile    = "network"
	kubeconfigFile = "kubeconfig"
)

// StateDirEnv names the environment variable with the state directory.
const StateDirEnv = "REDSTART_STATE_DIR"

// StateDir is the absolute path of the state directory: flag (--state-dir) if it is not empty, else $REDSTART_STATE_DIR,
// else redstart in the directory where the system keeps a user's state. It need not exist.
func StateDir(flag string) (string, error) {
	dir := flag
	if dir == "" {
		dir = os.Getenv(StateDirEnv)
	}
	if dir == "" {
		base, err := userStateDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "redstart")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("state directory %s: %w", dir, err)
	}
	return abs, nil
}

func userStateDir() (string, error) {
	if runtime.GOOS == "windows" {
		if d := os.Getenv("LOCALAPPDATA"); d != "" {
			return d, nil
		}
	} else if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return d, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no home directory to keep the state in (%w); name one with --state-dir or %s", err, StateDirEnv)
	}
	return filepath.Join(home, ".local", "state"), nil
}

// Running is a cluster that runs.
type Running struct {
	// PID of its process; 0 while it is only just starting.
	PID int
	// KubeconfigPath is there when its API is, or was before.
	KubeconfigPath string
}

// Find returns the cluster that runs on stateDir, nil if there is none. It is running as long as its process holds the
// lock, which the system takes from it when it dies, in whatever way.
func Find(stateDir string) (*Running, error) {
	path := filepath.Join(stateDir, lockFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a running cluster: %w; choose another state directory with --state-dir", err)
	}
	defer f.Close()
	free, err := tryLock(f, false)
	if err != nil {
		return nil, fmt.Errorf("look for a running cluster: %s: %w", path, err)
	}
	if free {
		return nil, nil
	}
	return &Running{PID: pidIn(f), KubeconfigPath: filepath.Join(stateDir, kubeconfigFile)}, nil
}

// FindStaying is Find for who wants to start a cluster of his own: one that is about to end, killed a moment ago perhaps, is none.
func FindStaying(ctx context.Context, stateDir string) (*Running, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	again := time.NewTicker(lockRetry)
	defer again.Stop()
	for {
		running, err := Find(stateDir)
		if running == nil || err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return running, nil
		case <-again.C:
		}
	}
}

// pidIn reads the PID that the holder of the lock wrote; 0 if it has not done so yet.
func pidIn(f *os.File) int {
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if n == 0 && err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
