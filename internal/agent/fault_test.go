//go:build unix

package agent_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
)

// writer writes one key after the other to whoever takes it, and remembers what was acknowledged.
type writer struct {
	clients []*goredis.Client
	stop    context.CancelFunc
	ended   sync.WaitGroup

	mu    sync.Mutex
	acked []int
	last  time.Time
	gap   time.Duration // longest time without an acknowledgement
}

func (c *cluster) write() *writer {
	ctx, stop := context.WithCancel(context.Background())
	w := &writer{stop: stop, last: time.Now()}
	for _, p := range c.members() {
		w.clients = append(w.clients, goredis.NewClient(&goredis.Options{
			Addr: p.address(v1alpha1.PortRedis), Password: password, MaxRetries: -1,
			DialTimeout: 200 * time.Millisecond, DialerRetries: 1, ReadTimeout: 200 * time.Millisecond, Protocol: 2, DisableIdentity: true,
		}))
	}
	w.ended.Go(func() { w.run(ctx) })
	c.t.Cleanup(w.end)
	return w
}

func (w *writer) run(ctx context.Context) {
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	at := 0
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if err := w.clients[at].Set(ctx, fmt.Sprint("k", n), n, 0).Err(); err != nil {
			at = (at + 1) % len(w.clients)
			continue
		}
		w.mu.Lock()
		now := time.Now()
		w.gap = max(w.gap, now.Sub(w.last))
		w.acked, w.last = append(w.acked, n), now
		w.mu.Unlock()
	}
}

// reset forgets the longest gap.
func (w *writer) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gap, w.last = 0, time.Now()
}

// longest waits until writes go on and returns the longest gap.
func (w *writer) longest(t *testing.T) time.Duration {
	t.Helper()
	w.mu.Lock()
	before := len(w.acked)
	w.mu.Unlock()
	eventually(t, "writes go on", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.acked) < before+100 {
			return fmt.Errorf("%d writes since", len(w.acked)-before)
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gap
}

func (w *writer) end() {
	w.stop()
	w.ended.Wait()
}

// lost counts acknowledged writes that the master does not have, of how many.
func (w *writer) lost(t *testing.T, master *pod) (lost, of int) {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: master.address(v1alpha1.PortRedis), Password: password})
	defer c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := 0; n < len(w.acked); n += 500 {
		var keys []string
		for _, k := range w.acked[n:min(n+500, len(w.acked))] {
			keys = append(keys, fmt.Sprint("k", k))
		}
		got, err := c.Exists(t.Context(), keys...).Result()
		if err != nil {
			t.Fatal(err)
		}
		lost += len(keys) - int(got)
	}
	return lost, len(w.acked)
}

func serverPID(t *testing.T, p *pod) int {
	t.Helper()
	s, err := p.status(t.Context())
	if err != nil || s.Server.PID == 0 {
		t.Fatalf("the server of %s: %+v, %v", p.name, s.Server, err)
	}
	return s.Server.PID
}

// TestFaults makes everything fail that a master can, with a writer running, and prints the write gaps.
func TestFaults(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeSentinel} {
		t.Run(string(mode), func(t *testing.T) {
			begin := time.Now()
			c := newCluster(t, mode, 3, nil)
			c.ready()
			t.Logf("%s: ready after %s", mode, time.Since(begin).Round(time.Millisecond))
			w := c.write()
			for _, f := range []struct {
				name string
				// lossless: no acknowledged write may be lost.
				lossless bool
				moves    bool // another member becomes master
				do       func(master *pod)
			}{
				{"handover asked for", true, true, func(p *pod) {
					if b, err := p.call(t.Context(), "POST", "/handover", `{"id":"1"}`, token); err != nil {
						t.Error(err)
					} else {
						t.Logf("%s", b)
					}
				}},
				{"SIGTERM of the master's agent", true, true, func(p *pod) {
					p.terminate(t)
					c.start(p)
				}},
				{"kill -9 of the master's server", false, true, func(p *pod) {
					if err := syscall.Kill(serverPID(t, p), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}},
				{"kill -9 of the master's agent", false, true, func(p *pod) {
					p.kill()
					w.longest(t)
					c.start(p)
				}},
				{"SIGSTOP of the master's server", false, true, func(p *pod) {
					if err := syscall.Kill(serverPID(t, p), syscall.SIGSTOP); err != nil {
						t.Fatal(err)
					}
				}},
			} {
				before := c.ready()
				w.longest(t)
				w.reset()
				f.do(before)
				gap := w.longest(t)
				after := c.ready()
				gap = max(gap, w.longest(t))
				lost, of := w.lost(t, after)
				t.Logf("%s: %-32s %s -> %s  gap %4d ms  lost %d of %d", mode, f.name, before.name, after.name, gap.Milliseconds(), lost, of)
				if f.moves && before == after {
					t.Errorf("%s: %s is still master", f.name, before.name)
				}
				if f.lossless && lost != 0 {
					t.Errorf("%s: %d acknowledged writes are lost", f.name, lost)
				}
				w.mu.Lock()
				w.acked = nil
				w.mu.Unlock()
			}
		})
	}
}
