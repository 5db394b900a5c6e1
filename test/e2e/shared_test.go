package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestSharedAddress runs the guestbook as on macOS, where pods and Services share 127.0.0.1 and have ports of their own:
// through a planned change of master, the death of a master, and a restart of everything.
func TestSharedAddress(t *testing.T) {
	onlyEmbedded(t)
	dir := t.TempDir()
	bin, err := redstartBinary(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := embeddedIn(bin, filepath.Join(dir, "state"))
	run := func(want string, args ...string) string {
		t.Helper()
		out, err := c.redstart(args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("redstart %s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
		}
		return out
	}
	type summary struct {
		Services []struct{ Address string }
		Redises  []v1alpha1.Endpoints
	}
	up := func(args ...string) (s summary) {
		t.Helper()
		out := run("{", append([]string{"up", "-d", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Services) != 1 || len(s.Redises) != 1 {
			t.Fatalf("redstart up -o json: %v\n%s", err, out)
		}
		if err := c.connect(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := up("--addresses", "shared", "-f", guestbookOnFreePort(t))
	t.Cleanup(func() {
		if out, err := c.redstart("down"); err != nil {
			t.Errorf("redstart down: %v\n%s", err, out)
		}
	})
	in := &instance{t: t, cluster: c, name: "cache", namespace: "default"}
	t.Cleanup(func() {
		if t.Failed() {
			in.dump()
		}
	})
	in.waitReady()
	secret := &corev1.Secret{}
	if err := c.Get(context.Background(), in.key("cache"), secret); err != nil {
		t.Fatal(err)
	}
	in.password, in.token = string(secret.Data[v1alpha1.SecretKeyPassword]), string(secret.Data[v1alpha1.SecretKeyAgentToken])

	pods := in.checkPorts()
	write := first.Redises[0].Write
	if got := in.service("cache", v1alpha1.PortRedis); got != write {
		t.Errorf("the summary says %s for writes, the Service %s", write, got)
	}
	run(write, "status", "cache")
	run(pods[in.master()], "get", "endpoints", "cache")
	run(strings.TrimPrefix(write, "127.0.0.1:")+"->6379/TCP", "get", "services")
	run("OK", "cli", "cache", "--", "SET", "a", "b")
	page := first.Services[0].Address
	post(t, page, "hello")

	before := in.master()
	run("master moved from "+before, "failover", "cache")
	in.waitMoved(before)
	in.waitSettled()
	before = in.master()
	w, s := startWriter("service", in.writes()), startWriter("sentinels", throughSentinels(first.Redises[0].Sentinels, "cache", in.password))
	defer w.stop()
	defer s.stop()
	eventually(t, 30*time.Second, "the first writes", func(context.Context) bool {
		return w.count(time.Time{}) > 100 && s.count(time.Time{}) > 100
	})
	died := time.Now()
	in.kill(in.serverPID(before))
	in.waitMoved(before)
	for _, w := range []*writer{w, s} {
		eventually(t, 30*time.Second, "writes to go on", func(context.Context) bool { return w.count(died.Add(time.Second)) > 0 })
		w.stop()
		t.Logf("%s: %d writes, longest gap %s", w.prefix, len(w.acked), w.gap(time.Time{}).Round(time.Millisecond))
	}
	post(t, page, "still here")

	run("Stopped", "down")
	again := up()
	in.waitReady()
	in.checkPorts()
	if now := again.Redises[0].Write; now != write {
		t.Errorf("the Service for writes moved from %s to %s", write, now)
	}
	run("b", "cli", "cache", "--", "GET", "a")
	post(t, again.Services[0].Address, "and again")
}

// guestbookOnFreePort is the example, published where no other program is.
func guestbookOnFreePort(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"redis.yaml", "frontend.yaml"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "examples", "guestbook", name))
		if err != nil {
			t.Fatal(err)
		}
		s := strings.ReplaceAll(string(b), " port: 8080", " port: "+freePort(t))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkPorts makes sure that everything is on 127.0.0.1, at ports that nobody shares, and returns where the members are.
func (in *instance) checkPorts() map[string]string {
	in.t.Helper()
	pods := in.addresses()
	owner := map[string]string{}
	take := func(who, address string) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host != "127.0.0.1" || port == "6379" || owner[port] != "" {
			in.t.Errorf("%s is at %q, where %q is too", who, address, owner[port])
		}
		owner[port] = who
	}
	for name, address := range pods {
		take(name, address)
	}
	for _, p := range in.pods(context.Background(), v1alpha1.ComponentSentinel) {
		take(p.Name, v1alpha1.PodAddress(&p, v1alpha1.PortSentinel))
	}
	services := &corev1.ServiceList{}
	if err := in.List(context.Background(), services, client.InNamespace(in.namespace)); err != nil {
		in.t.Fatal(err)
	}
	for i := range services.Items {
		s := &services.Items[i]
		if s.Spec.ClusterIP != corev1.ClusterIPNone {
			take("Service "+s.Name, v1alpha1.ServiceAddress(s, s.Spec.Ports[0].Port))
		}
	}
	return pods
}

// post leaves a message in the guestbook and finds it on its page. The page is read from replicas, which may be a moment
// behind.
func post(t *testing.T, page, message string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"text": message})
	if err != nil {
		t.Fatal(err)
	}
	answers := func(ctx context.Context, method, path, want string) bool {
		req, err := http.NewRequestWithContext(ctx, method, page+path, bytes.NewReader(body))
		if err != nil {
			return false
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return err == nil && resp.StatusCode < 300 && strings.Contains(string(b), want)
	}
	eventually(t, 20*time.Second, "the guestbook at "+page+" to take a message", func(ctx context.Context) bool {
		return answers(ctx, http.MethodPost, "/api/v1/messages", message)
	})
	eventually(t, 20*time.Second, "the message on its page", func(ctx context.Context) bool {
		return answers(ctx, http.MethodGet, "/", message)
	})
}
