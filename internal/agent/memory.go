package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"redstart.dev/redstart/api/v1alpha1"
)

// memory is redstart.json: what an agent must not forget of the data beside it.
type memory struct {
	// Term is the highest under which this member held the data, 0 for an empty one.
	Term int64 `json:"term"`
	// ReplID and Offset are the last replication history.
	ReplID string `json:"replID,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	// Running, in mode Cluster: a server was started and has not been seen to end in order.
	Running bool `json:"running,omitempty"`
}

// copyOfConfig is agent-cache.json: what the API said last, for a restart while it is away.
type copyOfConfig struct {
	Config   v1alpha1.AgentConfig `json:"config"`
	Password string               `json:"password,omitempty"`
	Token    string               `json:"token"`
}

const (
	memoryFile = "redstart.json"
	cacheFile  = "redstart-cache.json"
	// maxFileBytes is far above what either file has.
	maxFileBytes = 1 << 20
)

// loadJSON reads file in dir into v; ok is false when there is none.
func loadJSON(dir, file string, v any) (ok bool, err error) {
	path := filepath.Join(dir, file)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil && info.Size() > maxFileBytes {
		return false, fmt.Errorf("read %s: it has %d bytes, expected at most %d", path, info.Size(), maxFileBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read what the agent remembers: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return true, nil
}

// saveJSON replaces file in dir as a whole.
func saveJSON(dir, file string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = replaceFile(filepath.Join(dir, file), b)
	}
	if err != nil {
		return fmt.Errorf("write what the agent remembers: %w", err)
	}
	return nil
}

// replaceFile makes b what is in the file at path: a power failure, whenever it comes, leaves all of b there or all that was there
// before. Without the sync some file systems leave an empty file.
func replaceFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}
