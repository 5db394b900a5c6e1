package redisstore

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"redstart.dev/redstart/internal/guestbook"
)

const (
	// probeEvery is the pause between two probes of a master that works, probeFast of one that does not.
	probeEvery = time.Second
	probeFast  = 100 * time.Millisecond
)

// health knows whether writes work, from the writes themselves and from probes, and tells readers of the feed.
type health struct {
	feed    *guestbook.Feed
	metrics *Metrics
	trouble chan struct{} // wakes the prober

	mu  sync.Mutex
	now guestbook.Status
}

func newHealth(feed *guestbook.Feed, metrics *Metrics) *health {
	return &health{feed: feed, metrics: metrics, trouble: make(chan struct{}, 1), now: guestbook.Status{Since: time.Now()}}
}

func (h *health) status() guestbook.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// wrote takes note of how a write ended.
func (h *health) wrote(err error) {
	switch classify(err) {
	case done:
		h.update(func(s *guestbook.Status) { s.Writable = true })
	case broken, refused:
		h.update(func(s *guestbook.Status) { s.Writable = false })
		select {
		case h.trouble <- struct{}{}:
		default:
		}
	}
}

// update changes the status and publishes it if it is news.
func (h *health) update(change func(*guestbook.Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.now
	change(&h.now)
	if h.now.Writable != before.Writable {
		h.now.Since = time.Now()
		if h.now.Writable && h.now.Known {
			h.now.LastOutage = h.now.Since.Sub(before.Since)
			h.metrics.failover.Observe(h.now.LastOutage.Seconds())
		}
	}
	h.now.Known = h.now.Known || h.now.Writable
	if h.now != before {
		s := h.now
		h.feed.Publish(guestbook.Event{Status: &s})
	}
}

// probe asks the servers who they are, until ctx ends.
func (s *Store) probe(ctx context.Context) {
	for {
		master, err := identify(ctx, s.master, true)
		if ctx.Err() != nil {
			return
		}
		replica := ""
		if s.replica != nil {
			replica, _ = identify(ctx, s.replica, false)
		}
		s.health.update(func(st *guestbook.Status) {
			st.Writable = err == nil
			if err == nil {
				st.Master = master
			}
			st.Replica = replica
		})
		pause := probeEvery
		if err != nil {
			pause = probeFast
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.health.trouble:
			timer.Stop()
		}
	}
}

// identify asks a server for its own address, which behind a Service is not the one that was dialled. For a master it
// also does a write that changes nothing, which fails wherever a real one would.
func identify(ctx context.Context, client *redis.Client, write bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	conn := client.Conn()
	defer conn.Close()
	if write {
		if err := conn.Del(ctx, keyProbe).Err(); err != nil {
			if classify(err) == refused {
				_ = conn.Do(ctx, "quit").Err()
			}
			return "", err
		}
	}
	return serverAddress(ctx, conn)
}

func serverAddress(ctx context.Context, conn *redis.Conn) (string, error) {
	info, err := conn.Do(ctx, "client", "info").Text()
	if err != nil {
		return "", err
	}
	for field := range strings.FieldsSeq(info) {
		if address, ok := strings.CutPrefix(field, "laddr="); ok {
			return address, nil
		}
	}
	return "unknown", nil
}
