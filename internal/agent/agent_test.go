//go:build unix

package agent_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/agent"
	"redstart.dev/redstart/internal/redis"
)

// setConfig writes the configuration anew.
func (c *cluster) setConfig() {
	c.t.Helper()
	maps := c.client.CoreV1().ConfigMaps("default")
	m, err := maps.Get(c.t.Context(), redisName, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	m.Data = map[string]string{v1alpha1.ConfigMapKeyAgent: c.configJSON()}
	if _, err := maps.Update(c.t.Context(), m, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func TestOneMember(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeStandalone, 1, nil)
	p := c.ready()
	ctx := t.Context()

	t.Run("only the token opens its API", func(t *testing.T) {
		for _, call := range []struct{ method, path string }{
			{"GET", "/status"}, {"POST", "/handover"}, {"POST", "/takeover"}, {"POST", "/nudge"},
		} {
			for _, wrong := range []string{"", "x" + token} {
				if _, err := p.call(ctx, call.method, call.path, "{}", wrong); err == nil || !strings.Contains(err.Error(), "401") {
					t.Errorf("%s %s with token %q: %v", call.method, call.path, wrong, err)
				}
			}
		}
		for _, path := range []string{"/livez", "/readyz"} {
			if _, err := p.call(ctx, http.MethodGet, path, "", ""); err != nil {
				t.Error(err)
			}
		}
		if _, err := p.call(ctx, "POST", "/handover", "{", token); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("half a body: %v", err)
		}
	})
	t.Run("metrics have the known names", func(t *testing.T) {
		b, err := p.call(ctx, http.MethodGet, "/metrics", "", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"redis_up 1", "redis_connected_slaves 0", `role="master"`, "redstart_ready 1", "redis_memory_used_bytes "} {
			if !strings.Contains(string(b), line) {
				t.Errorf("no %s in\n%s", line, b)
			}
		}
	})
	t.Run("a handover to nobody fails and says why", func(t *testing.T) {
		b, err := p.call(ctx, "POST", "/handover", `{"id":"7"}`, token)
		if err != nil || !strings.Contains(string(b), `"Failed"`) || !strings.Contains(string(b), "no other member") {
			t.Errorf("%s, %v", b, err)
		}
	})
	t.Run("configuration is applied live", func(t *testing.T) {
		c.config.Config = map[string]string{"appendonly": "yes", "save": "", "maxmemory": "77mb", "databases": "3"}
		c.setConfig()
		r := c.server(p)
		eventually(t, "maxmemory is set", func() error {
			got, err := r.ConfigGet(ctx, "maxmemory")
			if err != nil {
				return err
			}
			s, err := p.status(ctx)
			if err != nil {
				return err
			}
			if got["maxmemory"] != fmt.Sprint(77<<20) || fmt.Sprint(s.PendingRestart) != "[databases]" {
				return fmt.Errorf("%v, pending %v", got, s.PendingRestart)
			}
			return nil
		})
		p.terminate(t)
		c.start(p)
		c.ready()
		s, err := p.status(ctx)
		if err != nil || len(s.PendingRestart) != 0 || s.ConfigHash != redis.SettingsHash(c.config.Config) {
			t.Errorf("after a restart %+v, %v", s, err)
		}
	})
	t.Run("a server that hangs meanwhile gets its configuration too", func(t *testing.T) {
		pid := serverPID(t, p)
		signalServer(t, pid, syscall.SIGSTOP)
		c.config.Config["maxmemory"] = "78mb"
		c.setConfig()
		eventually(t, "the server does not take it", func() error {
			b, err := os.ReadFile(p.log.Name())
			if err == nil && !strings.Contains(string(b), "the configuration is not applied") {
				err = errors.New("the agent has not tried yet")
			}
			return err
		})
		signalServer(t, pid, syscall.SIGCONT)
		eventually(t, "it is in force", func() error {
			s, err := p.status(ctx)
			if err == nil && s.ConfigHash != redis.SettingsHash(c.config.Config) {
				err = fmt.Errorf("%+v", s)
			}
			return err
		})
		if again := serverPID(t, p); again != pid {
			t.Errorf("the server is process %d, was %d: the test shows nothing", again, pid)
		}
	})
	t.Run("what the server refuses is said, and all else applied", func(t *testing.T) {
		r := c.server(p)
		expect := func(what, refused, maxmemory, lag string) {
			t.Helper()
			eventually(t, what, func() error {
				got, err := r.ConfigGet(ctx, "m*")
				if err != nil {
					return err
				}
				s, err := p.status(ctx)
				if err != nil {
					return err
				}
				if got["maxmemory-policy"] != maxmemory || got["min-replicas-max-lag"] != lag || !strings.Contains(s.ConfigError, refused) || refused == "" && s.ConfigError != "" {
					return fmt.Errorf("%v, %q", got, s.ConfigError)
				}
				return nil
			})
		}
		c.config.Config["maxmemory"], c.config.Config["maxmemory-policy"], c.config.MaxLagSeconds = "100 mb", "allkeys-lru", 7
		c.setConfig()
		expect("the refusal is told", `set maxmemory to "100 mb"`, "allkeys-lru", "7")
		c.config.Config["maxmemory"] = "100mb"
		c.setConfig()
		expect("nothing is refused any more", "", "allkeys-lru", "7")
	})
	t.Run("it is the same after its agent was killed", func(t *testing.T) {
		before, err := p.status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p.kill()
		c.start(p)
		c.ready()
		if after, err := p.status(ctx); err != nil || after.Boot == before.Boot || after.Term <= before.Term {
			t.Errorf("before %+v, after %+v, %v", before, after, err)
		}
	})
}

// TestAllPodsComeBack with new addresses, all at the same time.
func TestAllPodsComeBack(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeSentinel} {
		t.Run(string(mode), func(t *testing.T) {
			c := newCluster(t, mode, 3, nil)
			c.ready()
			w := c.write()
			w.longest(t)
			w.end()
			for _, p := range c.pods {
				p.kill()
			}
			for _, p := range c.pods {
				if err := c.client.CoreV1().Pods("default").Delete(t.Context(), p.name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
					t.Fatal(err)
				}
				c.schedule(p)
				c.start(p)
			}
			if lost, _ := w.lost(t, c.ready()); lost != 0 {
				t.Errorf("%d acknowledged writes are lost", lost)
			}
		})
	}
}

// inStep waits until all replicas hold what the master holds.
func (c *cluster) inStep(master *pod) {
	c.t.Helper()
	eventually(c.t, "all replicas are in step", func() error {
		m, err := master.status(c.t.Context())
		if err != nil {
			return err
		}
		for _, p := range c.members() {
			s, err := p.status(c.t.Context())
			if err != nil {
				return err
			}
			if s.Server.Offset < m.Server.Offset {
				return fmt.Errorf("%s has %d of %d bytes", p.name, s.Server.Offset, m.Server.Offset)
			}
		}
		return nil
	})
}

// TestEmptiedMaster: the master comes back with nothing, and takes nothing from those that have it all.
func TestEmptiedMaster(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeReplication, 3, nil)
	master := c.ready()
	w := c.write()
	w.longest(t)
	w.end()
	c.inStep(master)
	for _, p := range c.pods {
		p.kill()
	}
	if err := os.RemoveAll(master.data); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(master.data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.pods {
		c.start(p)
	}
	next := c.ready()
	if next == master {
		t.Errorf("the emptied %s is master", master.name)
	}
	if lost, _ := w.lost(t, next); lost != 0 {
		t.Errorf("%d acknowledged writes are lost", lost)
	}
}

func TestPasswordIsRotatedWithoutARestart(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeSentinel, 2, nil)
	master := c.ready()
	ctx := t.Context()
	pid := serverPID(t, master)
	secrets := c.client.CoreV1().Secrets("default")
	s, err := secrets.Get(ctx, redisName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Data[v1alpha1.SecretKeyPassword] = []byte("not\nthis")
	if s, err = secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.pods {
		eventually(t, p.name+" refuses a password that Sentinels would not take", func() error {
			b, err := os.ReadFile(p.log.Name())
			if err == nil && !strings.Contains(string(b), "has the control character U+000A as byte 4") {
				err = errors.New("it does not say so")
			}
			return err
		})
	}
	if again := c.ready(); again != master {
		t.Errorf("%s is master, want %s", again.name, master.name)
	}
	s.Data[v1alpha1.SecretKeyPassword] = []byte("another")
	if _, err := secrets.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range c.pods {
		port := v1alpha1.PortRedis
		if p.component == v1alpha1.ComponentSentinel {
			port = v1alpha1.PortSentinel
		}
		eventually(t, "the new password is the only one of "+p.name, func() error {
			now, before := redis.NewClient(p.address(port), "another"), redis.NewClient(p.address(port), password)
			defer now.Close()
			defer before.Close()
			if err := now.Ping(ctx); err != nil {
				return err
			}
			if err := before.Ping(ctx); !redis.IsWrongPassword(err) {
				return errors.Join(errors.New("the former password still lets in, or does not say no"), err)
			}
			return nil
		})
	}
	if again := c.ready(); again != master || serverPID(t, master) != pid {
		t.Errorf("after the rotation %s is master, its server process %d; want %s, %d", again.name, serverPID(t, master), master.name, pid)
	}
	if _, err := master.call(ctx, "POST", "/handover", `{"id":"1"}`, token); err != nil {
		t.Error(err)
	}
	if c.ready() == master {
		t.Error("no handover after the rotation")
	}
}

// TestChangesOfMasterAreRecorded truly: handovers as such, whoever learns of them first, and why. The first master is none.
func TestChangesOfMasterAreRecorded(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeSentinel} {
		t.Run(string(mode), func(t *testing.T) {
			c := newCluster(t, mode, 3, nil)
			for n, change := range []struct {
				planned bool
				event   string
				reason  string // %s is the old master
				do      func(master *pod)
			}{
				{true, "HandedOver", "handover asked for", func(p *pod) {
					if _, err := p.call(t.Context(), "POST", "/handover", `{"id":"1"}`, token); err != nil {
						t.Fatal(err)
					}
				}},
				{true, "HandedOver", "%s is stopping", func(p *pod) {
					p.terminate(t)
					c.start(p)
				}},
				{false, "FailedOver", "the server of %s ended: killed by signal 9", func(p *pod) {
					if err := syscall.Kill(serverPID(t, p), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}},
			} {
				before := c.ready()
				change.do(before)
				var after *pod
				eventually(t, "another is master", func() error {
					if after = c.ready(); after == before {
						return fmt.Errorf("%s is still master", before.name)
					}
					return nil
				})
				s, err := after.status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := strings.ReplaceAll(change.reason, "%s", before.name)
				if f := s.LastFailover; f == nil || f.From != before.name || f.To != after.name || f.Planned != change.planned || f.Reason != want {
					t.Errorf("the record is %+v, want it planned %v from %s: %s", f, change.planned, before.name, want)
				} else {
					t.Logf("%s: %+v", mode, *f)
				}
				eventually(t, "there is one Event of each change", func() error {
					events, err := c.client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
					if err != nil {
						return err
					}
					if len(events.Items) != n+1 {
						return fmt.Errorf("%d Events, want %d", len(events.Items), n+1)
					}
					for _, e := range events.Items {
						if e.Reason == change.event && strings.HasPrefix(e.Message, after.name+" is master instead of "+before.name) && strings.HasSuffix(e.Message, want) {
							return nil
						}
					}
					return fmt.Errorf("no %s of %s: %s", change.event, before.name, want)
				})
			}
		})
	}
}

// TestHandoverToANamedMember of those that the Sentinels choose from.
func TestHandoverToANamedMember(t *testing.T) {
	c := newCluster(t, v1alpha1.ModeSentinel, 3, nil)
	ctx := t.Context()
	for range 2 {
		before := c.ready()
		to := c.members()[0]
		for _, p := range c.members() {
			if p != before {
				to = p // the last one: nothing else speaks for it
			}
		}
		b, err := before.call(ctx, "POST", "/handover", fmt.Sprintf(`{"id":"1","to":%q}`, to.name), token)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", b)
		var h v1alpha1.HandoverStatus
		if err := json.Unmarshal(b, &h); err != nil || h.Phase != v1alpha1.HandoverSucceeded || h.To != to.name {
			t.Errorf("%s, want it to %s, %v", b, to.name, err)
		}
		if after := c.ready(); after != to {
			t.Errorf("%s is master, want %s", after.name, to.name)
		}
		for _, p := range c.members() {
			if got, err := c.server(p).ConfigGet(ctx, "replica-priority"); err != nil || got["replica-priority"] != "100" {
				t.Errorf("%s: %v, %v", p.name, got, err)
			}
		}
	}
	master := c.ready()
	b, err := master.call(ctx, "POST", "/handover", `{"id":"2","to":"cache-7"}`, token)
	if err != nil || !strings.Contains(string(b), `"Failed"`) || !strings.Contains(string(b), "cache-7") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestOptionsFromEnv(t *testing.T) {
	env := func(change map[string]string) func(string) string {
		m := map[string]string{
			"POD_NAME": "cache-0", "POD_NAMESPACE": "default", "POD_UID": "u", "POD_IP": "127.0.0.9", "REDSTART_REDIS": "cache",
			"REDSTART_COMPONENT": "member", "REDSTART_MOUNT_DATA": "/d",
		}
		for k, v := range change {
			m[k] = v
		}
		return func(k string) string { return m[k] }
	}
	o, err := agent.OptionsFromEnv(env(map[string]string{"REDSTART_PORT_6379": "7001"}))
	if err != nil || o.Port != 7001 || o.AgentPort != v1alpha1.PortAgent || o.Dir != "/d" {
		t.Errorf("%+v, %v", o, err)
	}
	for change, want := range map[[2]string]string{
		{"POD_IP", ""}:                   "environment variable POD_IP is not set: expected the pod's IP (downward API, status.podIP)",
		{"POD_IP", "cache"}:              `environment variable POD_IP: expected an IP address, got "cache"`,
		{"REDSTART_COMPONENT", "proxy"}:  `environment variable REDSTART_COMPONENT: expected member or sentinel, got "proxy"`,
		{"REDSTART_PORT_6379", "70000"}:  `environment variable REDSTART_PORT_6379: expected a port from 1 to 65535, got "70000"`,
		{"REDSTART_PORT_9379", "redis!"}: `environment variable REDSTART_PORT_9379: expected a port from 1 to 65535, got "redis!"`,
	} {
		if _, err := agent.OptionsFromEnv(env(map[string]string{change[0]: change[1]})); err == nil || err.Error() != want {
			t.Errorf("%s=%q: %v, want %s", change[0], change[1], err, want)
		}
	}
}

func TestDataDirectoryMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	err := agent.Run(t.Context(), agent.Options{Dir: dir}, nil)
	if want := "data directory " + dir + ": expected a directory: mount a volume there, or set REDSTART_MOUNT_DATA"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
