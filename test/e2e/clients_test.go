package e2e

import (
	"context"
	_ "embed"
	"os/exec"
	"strings"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

//go:embed testdata/sentinel_client.py
var sentinelClientPython string

// TestSentinelClients finds the master through the Sentinels with go-redis and redis-py, with passwords on, before and
// after a failover.
func TestSentinelClients(t *testing.T) {
	beyondCore(t)
	in := theCluster(t, needProcesses).create(t, redisSpec(v1alpha1.ModeSentinel))
	in.waitSettled()
	sentinels := in.redis(context.Background()).Status.Endpoints.Sentinels
	if len(sentinels) == 0 {
		t.Fatal("status.endpoints.sentinels is empty")
	}
	python := pythonWithRedis()
	check := func(when string) {
		t.Helper()
		c := throughSentinels(sentinels, in.name, in.password)()
		defer func() { _ = c.Close() }()
		eventually(t, 30*time.Second, "go-redis to write "+when, func(ctx context.Context) bool {
			return c.Set(ctx, "go", when, 0).Err() == nil
		})
		if python == "" {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, python, "-c", sentinelClientPython, in.name, when)
		cmd.Args = append(cmd.Args, sentinels...)
		cmd.Stdin = strings.NewReader(in.password)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("redis-py %s: %v\n%s", when, err, out)
		}
	}
	check("before")
	before := in.master()
	in.kill(in.serverPID(before))
	in.waitMoved(before)
	check("after")
	if python == "" {
		t.Skip("go-redis passed; redis-py is not installed")
	}
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
