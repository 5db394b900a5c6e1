// Package redisstore keeps a guestbook in Redis: writes go to the master, reads to the replicas.
//
// All keys have the hash tag {guestbook}, so that they share a slot of Redis Cluster:
//
//	{guestbook}:message:ID   hash    one message
//	{guestbook}:index        zset    all IDs, every score 0, ordered by ID
//	{guestbook}:log          stream  the last writes, each with the whole message
//	{guestbook}:token:TOKEN  string  "ID POSITION" of what the token made, for a day
package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"redstart.dev/redstart/internal/guestbook"
)

const (
	keyIndex   = "{guestbook}:index"
	keyLog     = "{guestbook}:log"
	keyProbe   = "{guestbook}:probe" // never exists
	prefixMsg  = "{guestbook}:message:"
	prefixTok  = "{guestbook}:token:"
	tokenTTL   = 24 * time.Hour
	logEntries = 1000
)

//go:embed post.lua
var postLua string

var postScript = redis.NewScript(postLua)

// Options of a Store, besides where it finds its servers.
type Options struct {
	// Budget is how long one call may retry. Default: 5s.
	Budget time.Duration
	// WaitReplicas is how many replicas must have a write before it counts as kept (WAIT); 0 for the master alone.
	WaitReplicas int
	// MaxMessages that are kept at most. Default: 100,000.
	MaxMessages int
}

// Store is a guestbook.Store in Redis.
type Store struct {
	opts    Options
	master  *redis.Client
	replica *redis.Client // nil: reads go to the master
	feed    *guestbook.Feed
	health  *health
	metrics *Metrics
}

var _ guestbook.Store = (*Store)(nil)

// New makes a Store of the servers that at tells. It connects to nothing yet: Run does, and each call.
func New(at Endpoints, opts Options, feed *guestbook.Feed, metrics *Metrics) *Store {
	if opts.Budget <= 0 {
		opts.Budget = 5 * time.Second
	}
	if opts.MaxMessages <= 0 {
		opts.MaxMessages = 100_000
	}
	master, replica := at.clients()
	return &Store{opts: opts, master: master, replica: replica, feed: feed, health: newHealth(feed, metrics), metrics: metrics}
}

// Close closes all connections. Call it after Run has returned.
func (s *Store) Close() error {
	err := s.master.Close()
	if s.replica != nil {
		err = errors.Join(err, s.replica.Close())
	}
	return err
}

// Status implements guestbook.Store.
func (s *Store) Status() guestbook.Status { return s.health.status() }

// Post implements guestbook.Store.
func (s *Store) Post(ctx context.Context, d guestbook.Draft) (guestbook.Receipt, error) {
	now := time.Now()
	id := guestbook.NewID(now)
	var receipt guestbook.Receipt
	err := s.write(ctx, "post", func(ctx context.Context, conn *redis.Conn) error {
		keys := []string{prefixTok + d.Token, prefixMsg + id, keyIndex, keyLog}
		reply, err := postScript.Run(ctx, conn, keys, id, now.UnixMilli(), d.Owner, d.Name, d.Text,
			int(tokenTTL.Seconds()), s.opts.MaxMessages, logEntries).Slice()
		if err != nil {
			return err
		}
		if len(reply) != 3 {
			return fmt.Errorf("post.lua answered %d values, expected 3", len(reply))
		}
		keptID, _ := reply[0].(string)
		position, _ := reply[1].(string)
		repeated, _ := reply[2].(int64)
		receipt = guestbook.Receipt{Position: guestbook.Position(position), Repeated: repeated == 1}
		if err := s.wait(ctx, conn); err != nil {
			return err
		}
		receipt.Message, err = readMessage(ctx, conn, keptID)
		return err
	})
	if redis.HasErrorPrefix(err, "FULL") {
		return receipt, guestbook.ErrFull
	}
	return receipt, wrap(err, "keep message")
}

// Edit implements guestbook.Store. The version is checked under WATCH, so that nothing changes between check and EXEC;
// the token of the last change is kept with the message, to know a change again whose answer was lost.
func (s *Store) Edit(ctx context.Context, c guestbook.Change) (guestbook.Receipt, error) {
	key := prefixMsg + c.ID
	var receipt guestbook.Receipt
	attempt := func(ctx context.Context, tx *redis.Conn) error {
		if err := tx.Do(ctx, "watch", key).Err(); err != nil {
			return err
		}
		values, err := tx.HGetAll(ctx, key).Result()
		if err != nil {
			return err
		}
		m, err := parseMessage(values)
		if err != nil {
			return err
		}
		switch {
		case m.Owner != c.Owner:
			return guestbook.ErrNotOwner
		case values["change"] == c.Token && m.Version == c.Version+1:
			// A write, so that WAIT waits for the replicas on this connection too.
			if err := tx.HSet(ctx, key, "change", c.Token).Err(); err != nil {
				return err
			}
			last, err := tx.XRevRangeN(ctx, keyLog, "+", "-", 1).Result()
			if err != nil {
				return err
			}
			receipt = guestbook.Receipt{Message: m, Repeated: true}
			if len(last) > 0 {
				receipt.Position = guestbook.Position(last[0].ID)
			}
			return s.wait(ctx, tx)
		case m.Version != c.Version:
			return &guestbook.ConflictError{Current: m}
		}
		m.Name, m.Text, m.Version, m.Edited = c.Name, c.Text, c.Version+1, time.Now().Truncate(time.Millisecond)
		fields := messageFields(m)
		var at *redis.StringCmd
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, key, append(fields, "change", c.Token)...)
			at = p.XAdd(ctx, &redis.XAddArgs{Stream: keyLog, MaxLen: logEntries, Approx: true, Values: fields})
			return nil
		})
		if err != nil {
			return err
		}
		receipt = guestbook.Receipt{Message: m, Position: guestbook.Position(at.Val())}
		return s.wait(ctx, tx)
	}
	err := s.write(ctx, "edit", func(ctx context.Context, conn *redis.Conn) error {
		err := attempt(ctx, conn)
		if err != nil && !errors.Is(err, redis.TxFailedErr) {
			// EXEC has not run: the connection goes back to the pool without the WATCH.
			_ = conn.Do(ctx, "unwatch").Err()
		}
		return err
	})
	return receipt, wrap(err, "edit message "+c.ID)
}

// Message implements guestbook.Store.
func (s *Store) Message(ctx context.Context, id string) (guestbook.Message, error) {
	var m guestbook.Message
	err := s.retry(ctx, "read", func(ctx context.Context) error {
		var err error
		m, err = readMessage(ctx, s.master, id)
		return err
	})
	return m, wrap(err, "read message "+id)
}

// wait returns once as many replicas as wanted have what was written on this connection.
func (s *Store) wait(ctx context.Context, conn *redis.Conn) error {
	if s.opts.WaitReplicas == 0 {
		return nil
	}
	n, err := conn.Wait(ctx, s.opts.WaitReplicas, time.Second/2).Result()
	if err != nil {
		return err
	}
	if int(n) < s.opts.WaitReplicas {
		return fmt.Errorf("%w: %d of %d replicas have the write", errNotReplicated, n, s.opts.WaitReplicas)
	}
	return nil
}

func readMessage(ctx context.Context, c redis.Cmdable, id string) (guestbook.Message, error) {
	values, err := c.HGetAll(ctx, prefixMsg+id).Result()
	if err != nil {
		return guestbook.Message{}, err
	}
	return parseMessage(values)
}

func messageFields(m guestbook.Message) []any {
	edited := int64(0)
	if !m.Edited.IsZero() {
		edited = m.Edited.UnixMilli()
	}
	return []any{
		"id", m.ID, "created", m.Created.UnixMilli(), "edited", edited, "version", m.Version,
		"owner", m.Owner, "name", m.Name, "text", m.Text,
	}
}

func parseMessage(values map[string]string) (guestbook.Message, error) {
	if len(values) == 0 {
		return guestbook.Message{}, guestbook.ErrNotFound
	}
	number := func(field string) int64 {
		n, _ := strconv.ParseInt(values[field], 10, 64)
		return n
	}
	m := guestbook.Message{
		ID: values["id"], Name: values["name"], Text: values["text"], Owner: values["owner"],
		Version: int(number("version")), Created: time.UnixMilli(number("created")),
	}
	if edited := number("edited"); edited > 0 {
		m.Edited = time.UnixMilli(edited)
	}
	return m, nil
}
