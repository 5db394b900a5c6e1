package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis/clustertest"
)

// TestClusterOfOthers checks and rebalances a Redis Cluster that is not ours.
func TestClusterOfOthers(t *testing.T) {
	nodes := clustertest.Start(t, 3, clustertest.Settings{"requirepass": "secret", "masterauth": "secret"})
	clustertest.Form(t, nodes, 3, append(plan.EvenSlots(2), nil)...)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (int, string) {
		var out, errOut bytes.Buffer
		if !slices.Contains(args, "--addr") {
			args = append(args, "--addr", nodes[0].Addr)
		}
		args = append(append([]string{"redstart"}, args...), "--password-file", file)
		code := run(t.Context(), args, strings.NewReader(""), &out, &errOut)
		return code, out.String() + errOut.String()
	}
	expect := func(code int, out string, wantCode int, words ...string) {
		t.Helper()
		if code != wantCode {
			t.Errorf("exit code %d, want %d:\n%s", code, wantCode, out)
		}
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in:\n%s", w, out)
			}
		}
	}
	code, out := call("cluster", "check")
	expect(code, out, 1, "EmptyMaster: "+nodes[2].Addr+" is a master and owns no slots", "NoReplica")
	code, out = call("cluster", "check", "-o", "json")
	var check clusterCheck
	if err := json.Unmarshal([]byte(out), &check); err != nil || code != 1 || check.Nodes != 3 || check.Masters != 2 || len(check.Findings) != 3 {
		t.Errorf("%d, %+v, %v", code, check, err)
	}
	code, out = call("rebalance", "--dry-run")
	expect(code, out, 0, " slots from "+nodes[0].Addr+" to "+nodes[2].Addr)
	code, out = call("rebalance")
	expect(code, out, 0, "moved 5461 slots with 0 keys")
	code, out = call("rebalance")
	expect(code, out, 0, "nothing to move")
	code, out = call("rebalance", "--by", "memory")
	expect(code, out, 0, "nothing to move")
	code, out = call("rebalance", "--by", "weight")
	expect(code, out, 2, "expected slots, keys or memory")
	code, out = call("cluster", "check", "cache")
	expect(code, out, 2, "name one Redis, or a node with --addr")
	code, out = call("cluster", "check", "--addr", "10.0.0.1")
	expect(code, out, 2, `--addr: expected HOST:PORT, such as 10.0.0.1:6379, got "10.0.0.1"`)
	if err := nodes[1].OnlyPassword(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	code, out = call("cluster", "check")
	expect(code, out, 1, "ERROR Refused: "+nodes[1].Addr+" does not let us in", "WRONGPASS")
	code, out = call("cluster", "check", "--addr", nodes[1].Addr)
	expect(code, out, 1, "WRONGPASS", "give --password-file FILE, or set REDISCLI_AUTH")
	for _, n := range nodes[1:] {
		n.Kill()
	}
	code, out = call("cluster", "check")
	expect(code, out, 1, "ERROR Unreachable: "+nodes[1].Addr, "ERROR NoMajority: 2 of 3 masters")
	code, out = call("rebalance")
	expect(code, out, 1, "owns slots and does not answer")
}

func TestClusterCheckOfNoCluster(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"redstart", "cluster", "check", "--addr", "127.0.0.1:1"}, strings.NewReader(""), &out, &errOut); code != 1 || !strings.Contains(errOut.String(), "127.0.0.1:1") {
		t.Errorf("%d: %s", code, errOut.String())
	}
}
