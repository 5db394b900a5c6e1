package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"redstart.dev/redstart/internal/guestbook"
)

const (
	// attemptTimeout bounds one attempt, so that a server that hangs is given up.
	attemptTimeout = 1500 * time.Millisecond
	firstPause     = 20 * time.Millisecond
	longestPause   = 250 * time.Millisecond
)

var errNotReplicated = errors.New("not enough replicas")

// write runs do on one connection to the master until it succeeds, fails for good, or the budget is spent.
func (s *Store) write(ctx context.Context, op string, do func(context.Context, *redis.Conn) error) error {
	return s.retry(ctx, op, func(ctx context.Context) error {
		conn := s.master.Conn()
		defer conn.Close()
		err := do(ctx, conn)
		if kind := classify(err); kind == refused {
			// A server that refuses may be a former master: let the next attempt find the new one. The pool notices
			// that the connection is closed.
			_ = conn.Do(ctx, "quit").Err()
		}
		s.health.wrote(err)
		return err
	})
}

// retry calls do until it succeeds, fails for good, or the budget is spent, with growing random pauses.
func (s *Store) retry(ctx context.Context, op string, do func(context.Context) error) error {
	// The budget limits when an attempt may begin; a write on its way is not broken off.
	deadline := time.Now().Add(s.opts.Budget)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := do(attempt)
		cancel()
		kind := classify(err)
		if kind == done || kind == final {
			return err
		}
		s.metrics.errors.WithLabelValues(op, kind.String()).Inc()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", guestbook.ErrUnavailable, err)
		}
		wait := pause/2 + rand.N(pause/2)
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("%w: gave up after %s: %w", guestbook.ErrUnavailable, s.opts.Budget, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		s.metrics.retries.WithLabelValues(op).Inc()
	}
}

// outcome of an attempt.
type outcome int

const (
	done    outcome = iota
	final           // trying again would give the same
	broken          // the connection failed; nobody knows whether the server did it
	refused         // the server said that it cannot at the moment
	again           // the server works, and the same has to be looked at once more
)

func (o outcome) String() string {
	return [...]string{"done", "final", "connection", "refused", "again"}[o]
}

// passing are the errors of a server that is changing its role, starting, or cut off.
var passing = []string{
	"READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED", "BUSY",
	"max number of clients reached",
}

func classify(err error) outcome {
	var conflict *guestbook.ConflictError
	switch {
	case err == nil:
		return done
	case errors.Is(err, guestbook.ErrNotFound), errors.Is(err, guestbook.ErrNotOwner), errors.As(err, &conflict):
		return final
	case errors.Is(err, redis.TxFailedErr), errors.Is(err, errNotReplicated):
		return again
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		if redis.IsAuthError(err) || redis.IsPermissionError(err) {
			return final
		}
		return broken
	}
	// Before Redis 7 an error inside a script comes wrapped in text of its own.
	for _, code := range passing {
		if strings.Contains(reply.Error(), code) {
			return refused
		}
	}
	return final
}

func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
