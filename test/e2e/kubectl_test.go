package e2e

import (
	"bufio"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestKubectl uses the ordinary kubectl on the example, as somebody who knows Kubernetes would.
func TestKubectl(t *testing.T) {
	onlyEmbedded(t)
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("there is no kubectl on PATH")
	}
	c := theCluster(t)
	example := guestbookOnFreePort(t)
	kubectl := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "kubectl", append([]string{"--kubeconfig", c.kubeconfig()}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	wait := func(what string, re string, args ...string) {
		t.Helper()
		last := ""
		defer func() {
			if t.Failed() {
				t.Log(last)
			}
		}()
		eventually(t, time.Minute, what, func(context.Context) bool {
			last = kubectl(args...)
			return regexp.MustCompile(re).MatchString(last)
		})
	}

	kubectl("apply", "-f", example)
	t.Cleanup(func() { kubectl("delete", "-f", example) })
	kubectl("wait", "--for=condition=Ready", "redis/cache", "--timeout=90s")
	kubectl("rollout", "status", "deployment/frontend", "--timeout=90s")

	wait("the columns of pods", `(?m)^NAME +READY +STATUS +RESTARTS +AGE +REDIS-ROLE\s*$`, "get", "pods", "-L", "redis-role")
	wait("one master", `(?m)^cache-\d +1/1 +Running +\d.* master\s*$`, "get", "pods", "-L", "redis-role")
	wait("the Redis itself", `(?m)^cache +Sentinel +cache-\d +3/3 +Ready`, "get", "redis")
	wait("endpoints of the master", `(?m)^cache +127\.[\d.]+:6379 `, "get", "endpoints")

	kubectl("scale", "deployment", "frontend", "--replicas=5")
	wait("five pages", `(?m)^frontend +5/5 +5 +5 `, "get", "deployment", "frontend")
	kubectl("scale", "deployment", "frontend", "--replicas=3")

	before := kubectl("get", "pod", "cache-0", "-o", "jsonpath={.metadata.uid}")
	kubectl("delete", "pod", "cache-0")
	eventually(t, time.Minute, "cache-0 to come back", func(context.Context) bool {
		out, err := exec.Command("kubectl", "--kubeconfig", c.kubeconfig(), "get", "pod", "cache-0", "-o", "jsonpath={.metadata.uid}").Output()
		return err == nil && string(out) != "" && string(out) != before
	})
	kubectl("wait", "--for=condition=Ready", "pod/cache-0", "--timeout=60s")
	kubectl("wait", "--for=condition=Ready", "redis/cache", "--timeout=60s")

	if out := kubectl("describe", "redis", "cache"); !strings.Contains(out, "HandedOver") && !strings.Contains(out, "FailedOver") {
		t.Errorf("describe shows no event of the change of master:\n%s", out)
	}
	if out := kubectl("explain", "redis.spec.sentinel.quorum"); !strings.Contains(out, "quorum") {
		t.Errorf("explain says nothing:\n%s", out)
	}
	followLogs(t, c, "cache-0")
}

// followLogs reads the first line of kubectl logs -f, and then sees that it goes on waiting for more.
func followLogs(t *testing.T, c *cluster, pod string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", "--kubeconfig", c.kubeconfig(), "logs", "-f", pod)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) == "" {
		t.Errorf("logs -f printed %q, %v", line, err)
	}
	cancel()
	_ = cmd.Wait()
}
