package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
	"redstart.dev/redstart/internal/guestbook"
)

// errBehind: this replica has not got what the reader wrote.
var errBehind = errors.New("replica is behind the reader's own writes")

// List implements guestbook.Store. A replica answers if it has every write that the reader knows of; otherwise, and
// when it fails, the master does.
func (s *Store) List(ctx context.Context, q guestbook.Query) (guestbook.Page, error) {
	var page guestbook.Page
	err := s.retry(ctx, "list", func(ctx context.Context) error {
		var err error
		if s.replica != nil {
			if page, err = list(ctx, s.replica, q, q.After); err == nil {
				s.metrics.reads.WithLabelValues("replica").Inc()
				return nil
			}
		}
		// A write that a failover lost is never there: the master's word is final, whatever the reader knows.
		if page, err = list(ctx, s.master, q, ""); err == nil {
			s.metrics.reads.WithLabelValues("master").Inc()
		}
		return err
	})
	return page, wrap(err, "list messages")
}

// list reads on one connection, because the next one of a Service may lead to another replica.
func list(ctx context.Context, client *redis.Client, q guestbook.Query, atLeast guestbook.Position) (guestbook.Page, error) {
	conn := client.Conn()
	defer conn.Close()

	var last *redis.XMessageSliceCmd
	var ids *redis.StringSliceCmd
	from := "+"
	if q.Before != "" {
		from = "(" + q.Before
	}
	if _, err := conn.TxPipelined(ctx, func(p redis.Pipeliner) error {
		last = p.XRevRangeN(ctx, keyLog, "+", "-", 1)
		ids = p.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: keyIndex, Start: from, Stop: "-", ByLex: true, Rev: true,
			Count: guestbook.PageSize + 1,
		})
		return nil
	}); err != nil {
		return guestbook.Page{}, err
	}

	page := guestbook.Page{Position: "0-0"}
	if entries := last.Val(); len(entries) > 0 {
		page.Position = guestbook.Position(entries[0].ID)
	}
	if page.Position.Less(atLeast) {
		return guestbook.Page{}, errBehind
	}
	wanted := ids.Val()
	if page.Older = len(wanted) > guestbook.PageSize; page.Older {
		wanted = wanted[:guestbook.PageSize]
	}
	hashes := make([]*redis.MapStringStringCmd, len(wanted))
	if _, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range wanted {
			hashes[i] = p.HGetAll(ctx, prefixMsg+id)
		}
		return nil
	}); err != nil {
		return guestbook.Page{}, err
	}
	for _, h := range hashes {
		m, err := parseMessage(h.Val())
		if errors.Is(err, guestbook.ErrNotFound) {
			continue // somebody deleted it by hand
		}
		page.Messages = append(page.Messages, m)
	}
	return page, nil
}
