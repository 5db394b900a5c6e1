package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

// TestOperatorConfig: the operator is not held back by client-go, whose default lets five requests a second of each kind pass.
func TestOperatorConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: a, context: {cluster: a}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	cmd.Flags().String("kubeconfig", file, "")
	cmd.Flags().String("context", "", "")
	cfg, err := operatorConfig(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.QPS >= 0 {
		t.Errorf("the operator may make %v requests a second, want no limit of its own", cfg.QPS)
	}
}
