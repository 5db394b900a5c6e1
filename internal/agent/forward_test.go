//go:build unix

package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestClientsArePassedOn has a client whose Service goes on to send it to a master that stops, or whose server died.
func TestClientsArePassedOn(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeSentinel} {
		t.Run(string(mode), func(t *testing.T) {
			t.Setenv("TEST_SERVICE_LAG", "2s")
			c := newCluster(t, mode, 3, nil)
			t.Run("stop", func(t *testing.T) {
				before := c.ready()
				all, passed := c.writePast(t, before, func() { before.terminate(t) })
				c.holds(t, before, all)
				if len(passed) == 0 {
					t.Error("no client was passed on")
				}
				c.start(before)
			})
			t.Run("crash", func(t *testing.T) {
				before := c.ready()
				_, passed := c.writePast(t, before, func() {
					s, err := before.status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					run := s.Server.RunID
					if err := syscall.Kill(serverPID(t, before), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
					eventually(t, "its server is a replica", func() error {
						if s, err = before.status(t.Context()); err != nil || s.Server.RunID == run || !s.Server.LinkUp {
							return fmt.Errorf("%+v, %w", s.Server, err)
						}
						return nil
					})
				})
				// What the old server took last may be lost with it.
				c.holds(t, before, passed)
				if len(passed) == 0 {
					t.Error("no client was passed on")
				}
				c.ready()
			})
		})
	}
}

// writePast writes by the address of a master until what happens to it is over. all are the keys of writes that were acknowledged, and
// passed those of them that another server took than the one that was there before.
func (c *cluster) writePast(t *testing.T, before *pod, happen func()) (all, passed []string) {
	t.Helper()
	first, err := c.server(before).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(&goredis.Options{
		Addr: before.address(v1alpha1.PortRedis), Password: password, MaxRetries: -1, DialTimeout: time.Second, DialerRetries: 1,
		ReadTimeout: time.Second, Protocol: 2, DisableIdentity: true, PoolSize: 1000,
	})
	defer client.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		happen()
	}()
	for n := 0; ; n++ {
		key := fmt.Sprint(t.Name(), n)
		var set *goredis.StatusCmd
		var info *goredis.StringCmd
		_, err := client.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
			set, info = p.Set(t.Context(), key, "v", 0), p.Info(t.Context(), "server")
			return nil
		})
		if set.Err() == nil {
			all = append(all, key)
			if err == nil && !strings.Contains(info.Val(), first.RunID) {
				passed = append(passed, key)
			}
		}
		select {
		case <-over:
			t.Logf("%d writes by the old address, %d of them passed on", len(all), len(passed))
			return all, passed
		case <-time.After(time.Millisecond):
		}
	}
}

// holds checks that another member than before is master, and has keys.
func (c *cluster) holds(t *testing.T, before *pod, keys []string) {
	t.Helper()
	var master *pod
	eventually(t, "another member is master", func() error {
		for _, p := range c.members() {
			if s, err := p.status(t.Context()); p != before && err == nil && s.Role == v1alpha1.RoleMaster && s.Ready {
				master = p
				return nil
			}
		}
		return errors.New("none is")
	})
	reader := goredis.NewClient(&goredis.Options{Addr: master.address(v1alpha1.PortRedis), Password: password})
	defer reader.Close()
	if len(keys) == 0 {
		return
	}
	got, err := reader.Exists(t.Context(), keys...).Result()
	if err != nil {
		t.Fatal(err)
	}
	if int(got) != len(keys) {
		t.Errorf("%d of %d acknowledged writes are lost", len(keys)-int(got), len(keys))
	}
}
