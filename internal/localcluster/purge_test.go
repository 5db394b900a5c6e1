package localcluster

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPurge(t *testing.T) {
	for _, tt := range []struct {
		name        string
		files, rest []string
		err         error
	}{
		{name: "a state directory", files: []string{"store.db", "up.lock", "up.log", "up-2026-01-31T12-00-00.000.log", "volumes/default/data-cache-0/dump.rdb", "pods/1/log", "kubeconfig", "token", "server.pem", "network", "last-pod-address", "processes"}},
		{name: "nothing", files: nil},
		{name: "what others keep there stays", files: []string{"store.db", "up.lock", "thesis.txt", "src/token/store.db", "tokens"}, rest: []string{"src", "thesis.txt", "tokens"}},
		{name: "any other directory", files: []string{"pods/1", "token"}, err: ErrNoStateDir, rest: []string{"pods", "token"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, f := range tt.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			rest, err := Purge(dir)
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.rest, rest); err == nil && diff != "" {
				t.Error(diff)
			}
			var left []string
			entries, err := os.ReadDir(dir)
			for _, e := range entries {
				left = append(left, e.Name())
			}
			if diff := cmp.Diff(tt.rest, left); diff != "" {
				t.Error(diff)
			}
			if len(tt.rest) == 0 && !os.IsNotExist(err) {
				t.Errorf("the directory is left: %v", err)
			}
		})
	}
}
