package e2e

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

var (
	//go:embed testdata/sentinel_client.py
	sentinelClientPython string
	//go:embed testdata/cluster_client.py
	clusterClientPython string
)

// foreignClients are clients in other languages, as far as they are installed: a name and the command that starts script, for
// both "sentinel_client" and "cluster_client".
func foreignClients(script string) map[string][]string {
	all := map[string][]string{}
	if python := pythonWithRedis(); python != "" {
		all["redis-py"] = []string{python, "-c", map[string]string{"sentinel_client": sentinelClientPython, "cluster_client": clusterClientPython}[script]}
	}
	if node, err := exec.LookPath("node"); err == nil {
		if _, err := os.Stat(filepath.Join("testdata", "ioredis", "node_modules", "ioredis")); err == nil {
			all["ioredis"] = []string{node, filepath.Join("testdata", "ioredis", script+".js")}
		}
	}
	return all
}

// TestSentinelClients finds the master through the Sentinels with go-redis, redis-py and ioredis, with passwords on, before and
// after a failover.
func TestSentinelClients(t *testing.T) {
	beyondCore(t)
	in := theCluster(t, needProcesses).create(t, redisSpec(v1alpha1.ModeSentinel))
	in.waitSettled()
	sentinels := in.redis(context.Background()).Status.Endpoints.Sentinels
	if len(sentinels) == 0 {
		t.Fatal("status.endpoints.sentinels is empty")
	}
	foreign := foreignClients("sentinel_client")
	check := func(when string) {
		t.Helper()
		c := throughSentinels(sentinels, in.name, in.password)()
		defer func() { _ = c.Close() }()
		eventually(t, 30*time.Second, "go-redis to write "+when, func(ctx context.Context) bool {
			return c.Set(ctx, "go", when, 0).Err() == nil
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for name, command := range foreign {
			cmd := exec.CommandContext(ctx, command[0], command[1:]...)
			cmd.Args = append(append(cmd.Args, in.name, when), sentinels...)
			cmd.Stdin = strings.NewReader(in.password)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v\n%s", name, when, err, out)
			}
		}
	}
	check("before")
	before := in.master()
	in.kill(in.serverPID(before))
	in.waitMoved(before)
	check("after")
	if len(foreign) < 2 {
		t.Skipf("go-redis passed, and of redis-py and ioredis these: %v; the others are not installed", foreign)
	}
}

// foreignWriter is a client in another language that writes to a Redis Cluster until it is told to stop.
type foreignWriter struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs strings.Builder
}

func startForeignWriter(t *testing.T, name string, command []string, address, password string) *foreignWriter {
	t.Helper()
	w := &foreignWriter{name: name, cmd: exec.Command(command[0], append(command[1:], address)...)}
	var err, err2 error
	w.in, err = w.cmd.StdinPipe()
	out, err2 := w.cmd.StdoutPipe()
	w.cmd.Stderr = &w.errs
	if err := errors.Join(err, err2, w.cmd.Start()); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill() })
	w.out = bufio.NewReader(out)
	if _, err := io.WriteString(w.in, password+"\n"); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if line, err := w.out.ReadString('\n'); line != "writing\n" {
		t.Fatalf("%s does not write: %q, %v\n%s", name, line, err, w.errs.String())
	}
	return w
}

// foreignResult is what a client in another language says in the end. Failed are the writes whose error its own retries did not hide,
// Stumbled those that ended in an error of its own making.
type foreignResult struct {
	Acked, Failed, Stumbled, Lost int
	Error                         string
}

// stop ends the writing, and checks that hardly an error reached the application: a client gives up after some tens of redirections in
// a row, which two nodes that disagree for some milliseconds about a slot can give.
func (w *foreignWriter) stop(t *testing.T) (told foreignResult) {
	t.Helper()
	_ = w.in.Close()
	line, err := w.out.ReadString('\n')
	if jsonErr := json.Unmarshal([]byte(line), &told); jsonErr != nil {
		t.Fatalf("%s: %v, %v\n%s", w.name, err, jsonErr, w.errs.String())
	}
	t.Logf("%s: %d writes acknowledged, %d lost, %d failed %s, %d ended in an error of the client's own", w.name, told.Acked, told.Lost, told.Failed, told.Error, told.Stumbled)
	if told.Acked == 0 || told.Failed*100 > told.Acked {
		t.Errorf("%s: %d writes acknowledged, %d failed: %s", w.name, told.Acked, told.Failed, told.Error)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", w.name, err, w.errs.String())
	}
	return told
}

// pythonWithRedis is a Python that has redis-py: the system's own, which Debian's python3-redis belongs to, or the one
// on PATH.
func pythonWithRedis() string {
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import redis.sentinel").Run() == nil {
			return python
		}
	}
	return ""
}
