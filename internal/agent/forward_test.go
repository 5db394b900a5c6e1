//go:build unix

package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestClientsArePassedOn has a client whose Service goes on to send it to a master that stops.
func TestClientsArePassedOn(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeSentinel} {
		t.Run(string(mode), func(t *testing.T) {
			t.Setenv("TEST_SERVICE_LAG", "2s")
			c := newCluster(t, mode, 3, nil)
			before := c.ready()
			client := goredis.NewClient(&goredis.Options{
				Addr: before.address(v1alpha1.PortRedis), Password: password, MaxRetries: -1, DialTimeout: time.Second, DialerRetries: 1,
				ReadTimeout: time.Second, Protocol: 2, DisableIdentity: true,
			})
			defer client.Close()
			own := c.server(before)
			first, err := own.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				before.terminate(t)
			}()
			var acked []string
			passed := 0 // of them by another server than the one that was here
			for ended := false; !ended; {
				key := fmt.Sprint("k", len(acked))
				var set *goredis.StatusCmd
				var info *goredis.StringCmd
				_, err := client.Pipelined(t.Context(), func(p goredis.Pipeliner) error {
					set, info = p.Set(t.Context(), key, "v", 0), p.Info(t.Context(), "server")
					return nil
				})
				if set.Err() == nil {
					acked = append(acked, key)
				}
				if err == nil && !strings.Contains(info.Val(), first.RunID) {
					passed++
				}
				select {
				case <-stopped:
					ended = true
				case <-time.After(time.Millisecond):
				}
			}
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
			got, err := reader.Exists(t.Context(), acked...).Result()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d writes by the old address, %d of them passed on", len(acked), passed)
			if passed == 0 {
				t.Error("no client was passed on")
			}
			if int(got) != len(acked) {
				t.Errorf("%d of %d acknowledged writes are lost", len(acked)-int(got), len(acked))
			}
			c.start(before)
			c.ready()
		})
	}
}
