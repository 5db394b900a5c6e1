package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"redstart.dev/redstart/internal/guestbook"
)

const (
	// block is how long one XREAD waits for news.
	block = time.Second
	// overlap is read again after each reconnection: the clock of a new master, which numbers the entries of the log,
	// may be behind that of the old one. The feed drops what it has.
	overlap = 10 * time.Second
)

// Run watches the servers and the log and feeds what happens to the feed, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.probe(ctx) })
	wg.Go(func() { s.tail(ctx) })
	wg.Wait()
}

// tail follows the log on the master: a replica's may stand still without its readers noticing.
func (s *Store) tail(ctx context.Context) {
	var last guestbook.Position
	for ctx.Err() == nil {
		err := s.tailOnce(ctx, &last)
		slog.DebugContext(ctx, "reading the log ended", "position", last, "error", err)
		timer := time.NewTimer(probeFast/2 + rand.N(probeFast))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

var errMasterMoved = errors.New("another server is master now")

// tailOnce reads on one connection until it fails or leads to a server that is no longer master.
func (s *Store) tailOnce(ctx context.Context, last *guestbook.Position) error {
	conn := s.master.Conn()
	defer conn.Close()
	here, err := serverAddress(ctx, conn)
	if err != nil {
		return fmt.Errorf("ask the master for its address: %w", err)
	}
	if *last == "" {
		if *last, err = s.readRecent(ctx, conn); err != nil {
			return fmt.Errorf("read the end of the log: %w", err)
		}
	}
	from := last.Rewind(overlap)
	for ctx.Err() == nil { // a cancelled context does not wake XREAD, but it returns after block
		entries, err := readLog(ctx, conn, from)
		if err != nil {
			return fmt.Errorf("read the log after %s: %w", from, err)
		}
		for _, e := range entries {
			s.publish(e)
			from = guestbook.Position(e.ID)
			if last.Less(from) {
				*last = from
			}
		}
		if st := s.Status(); st.Writable && st.Master != here {
			_ = conn.Do(ctx, "quit").Err()
			return errMasterMoved
		}
	}
	return ctx.Err()
}

// readRecent fills the feed at the start.
func (s *Store) readRecent(ctx context.Context, conn *redis.Conn) (guestbook.Position, error) {
	const recent = 100
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	entries, err := conn.XRevRangeN(ctx, keyLog, "+", "-", recent).Result()
	if err != nil {
		return "", err
	}
	if len(entries) == 0 {
		return "0-0", nil
	}
	if len(entries) == recent {
		s.feed.ForgetTo(guestbook.Position(entries[recent-1].ID))
	}
	for i := len(entries) - 1; i >= 0; i-- {
		s.publish(entries[i])
	}
	return guestbook.Position(entries[0].ID), nil
}

func readLog(ctx context.Context, conn *redis.Conn, from guestbook.Position) ([]redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, block+attemptTimeout)
	defer cancel()
	streams, err := conn.XRead(ctx, &redis.XReadArgs{Streams: []string{keyLog, string(from)}, Count: 100, Block: block}).Result()
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return streams[0].Messages, nil
}

func (s *Store) publish(e redis.XMessage) {
	values := make(map[string]string, len(e.Values))
	for k, v := range e.Values {
		values[k], _ = v.(string)
	}
	m, err := parseMessage(values)
	if err != nil || !guestbook.ValidID(m.ID) {
		return // not ours
	}
	s.feed.Publish(guestbook.Event{Position: guestbook.Position(e.ID), Message: &m})
}
