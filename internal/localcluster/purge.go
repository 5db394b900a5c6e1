package localcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ownFiles are patterns of all that a cluster makes in its state directory, the lock last: as long as it is there, the
// directory is known as one.
var ownFiles = []string{
	"store.db", "volumes", "pods", "gateways", "processes", networkFile, "last-pod-address",
	kubeconfigFile, kubeconfigFile + ".tmp", "token", "token.tmp", "server.pem", "server.pem.tmp", "up.log", "up-*.log", ".writable-*", lockFile,
}

// ErrNoStateDir says that no cluster ever ran on a directory.
var ErrNoStateDir = errors.New("is not a state directory of redstart up (no store.db in it)")

// Purge deletes what clusters made in a state directory that none runs on, all data included, and then the directory. Files of others in it stay,
// and so does the directory then: rest names them.
func Purge(stateDir string) (rest []string, err error) {
	entries, err := os.ReadDir(stateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state directory: %w", err)
	}
	known := len(entries) == 0
	for _, e := range entries {
		known = known || e.Name() == "store.db" || e.Name() == lockFile
	}
	if !known {
		return nil, fmt.Errorf("%s %w", stateDir, ErrNoStateDir)
	}
	for _, pattern := range ownFiles {
		for _, e := range entries {
			if ok, _ := filepath.Match(pattern, e.Name()); !ok {
				continue
			}
			if err := os.RemoveAll(filepath.Join(stateDir, e.Name())); err != nil {
				return nil, fmt.Errorf("empty the state directory: %w", err)
			}
		}
	}
	if entries, err = os.ReadDir(stateDir); err != nil {
		return nil, fmt.Errorf("read the state directory: %w", err)
	}
	for _, e := range entries {
		rest = append(rest, e.Name())
	}
	if len(rest) > 0 {
		return rest, nil
	}
	if err := os.Remove(stateDir); err != nil {
		return nil, fmt.Errorf("delete the state directory: %w", err)
	}
	return nil, nil
}
