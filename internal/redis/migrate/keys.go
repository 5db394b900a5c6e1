package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/internal/redis"
)

// listAtOnce bounds how many keys of a slot are listed at a time. countAtOnce, slotsAtOnce and measureAtOnce are how many
// commands go in one round trip: a server does all that it has read (16 KiB at most) before it serves others, so that many would
// hold up writers as a large batch of keys does. To list a key takes it about a microsecond, to measure one two or three.
const (
	listAtOnce    = 1024
	countAtOnce   = 1024
	slotsAtOnce   = 8
	measureAtOnce = 256
)

// list asks a node for keys in slots, of each the first perSlot, and measures them.
func (n *node) list(ctx context.Context, slots []int, perSlot int) ([]key, error) {
	var keys []key
	for some := range slices.Chunk(slots, slotsAtOnce) {
		answers, err := n.pipe(ctx, len(some), func(i int) []any { return []any{"CLUSTER", "GETKEYSINSLOT", some[i], perSlot} })
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		for i, a := range answers {
			names, err := a.StringSlice()
			if err != nil {
				return nil, fmt.Errorf("list keys of slot %d at %s: %w", some[i], n.addr, err)
			}
			for _, name := range names {
				keys = append(keys, key{name: name, slot: some[i]})
			}
		}
	}
	return keys, n.measure(ctx, keys)
}

// measure fills in what keys occupy; keys that are gone meanwhile count nothing.
func (n *node) measure(ctx context.Context, keys []key) error {
	for some := range slices.Chunk(keys, measureAtOnce) {
		answers, err := n.pipe(ctx, len(some), func(i int) []any { return []any{"MEMORY", "USAGE", some[i].name} })
		if err != nil {
			return fmt.Errorf("measure keys: %w", err)
		}
		for i, a := range answers {
			bytes, err := a.Int64()
			if err != nil && !redis.IsRefusal(err) {
				return fmt.Errorf("measure keys at %s: %w", n.addr, err)
			}
			some[i].bytes = bytes
		}
	}
	return nil
}

// flow is where keys come from and go to, with the run ID of the source when its slots were opened.
type flow struct {
	source, target *node
	run            string
}

// moveKeys moves keys in batches.
func (r *run) moveKeys(ctx context.Context, f flow, keys []key) error {
	for len(keys) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if keys, err = r.moveBatch(ctx, f, keys); err != nil {
			return err
		}
	}
	return nil
}

// moveBatch moves the next batch and returns the keys that are left. It is the only place where keys move, but for
// conflicts: a source works at one batch at a time, a target at no more than two.
func (r *run) moveBatch(ctx context.Context, f flow, keys []key) ([]key, error) {
	source, target := f.source, f.target
	source.sending.Lock()
	defer source.sending.Unlock()
	select {
	case target.receiving <- struct{}{}:
		defer func() { <-target.receiving }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if source.onThisMachine() && target.onThisMachine() {
		select {
		case r.cluster.here <- struct{}{}:
			defer func() { <-r.cluster.here }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if source.pace.aim == 0 {
		source.pace = newPace(r.options.Blocking)
	}
	batch, rest := nextBatch(keys, source.pace.budget, r.options.BigKey)
	began := time.Now()
	failed, err := r.send(ctx, f, batch, false)
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	if big := batch[0].keys[0]; big.bytes >= r.options.BigKey {
		r.tellBig(big, took)
	} else if len(failed) == 0 {
		var cost int64
		for _, p := range batch {
			cost += p.bytes + int64(len(p.keys))*keyCost
		}
		source.pace.took(cost, took)
	}
	for _, p := range failed {
		if err := r.resolve(ctx, f, p); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (r *run) tellBig(k key, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.BigKeys = append(r.report.BigKeys, BigKey{Key: k.name, Slot: k.slot, Bytes: k.bytes, Blocked: took})
}

// send has the source MIGRATE each part, in one round trip, and returns those in which a key was busy: some of their
// keys may have moved. Any other failure is an error, after which keys that may be on both sides are remembered.
func (r *run) send(ctx context.Context, f flow, batch []part, replace bool) (busy []part, err error) {
	source, target := f.source, f.target
	host, port, err := net.SplitHostPort(target.addr)
	if err != nil {
		return nil, fmt.Errorf("address of node %s: %w", target.id, err)
	}
	var bytes int64
	for _, p := range batch {
		bytes += p.bytes
	}
	silence := silenceFor(bytes)
	// The servers give up by themselves; ours only ends a connection to a source that hangs. A cancelled ctx does not
	// end the wait, for the source goes on anyway, and what it did is worth knowing.
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*silence+callTimeout)
	defer cancel()
	answers, err := source.pipeUntil(waiting, len(batch), func(i int) []any {
		args := make([]any, 0, len(batch[i].keys)+12)
		args = append(args, "MIGRATE", host, port, "", 0, silence.Milliseconds())
		if replace {
			args = append(args, "REPLACE")
		}
		args = append(args, r.cluster.credentials.migrateAuth()...)
		args = append(args, "KEYS")
		for _, k := range batch[i].keys {
			args = append(args, k.name)
		}
		return args
	})
	if err != nil {
		r.doubt(f, batch...)
		return nil, fmt.Errorf("MIGRATE to %s: %w", target.addr, err)
	}
	var errs []error
	for i, a := range answers {
		switch err := a.Err(); {
		case err == nil:
			r.counts.keys.Add(int64(len(batch[i].keys)))
			r.counts.bytes.Add(batch[i].bytes)
		case strings.Contains(err.Error(), "BUSYKEY"):
			busy = append(busy, batch[i])
		default:
			if !isTargetRefusal(err) {
				r.doubt(f, batch[i])
			}
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("MIGRATE slot %d from %s to %s: %w", batch[0].slot, source.addr, target.addr, errors.Join(dedupe(errs)...))
	}
	return busy, nil
}

// silenceFor is how long source and target may wait for one another within a MIGRATE: a key is restored in one go,
// and the target says nothing until it is done. Four megabytes a second is far below what any server does.
func silenceFor(bytes int64) time.Duration {
	return 5*time.Second + time.Duration(bytes/(4<<20))*time.Second
}

func (c Credentials) migrateAuth() []any {
	switch {
	case c.Username != "":
		return []any{"AUTH2", c.Username, c.Password}
	case c.Password != "":
		return []any{"AUTH", c.Password}
	}
	return nil
}

// isTargetRefusal tells an answer of the target from a lost connection to it.
func isTargetRefusal(err error) bool {
	return redis.IsRefusal(err) && !strings.HasPrefix(err.Error(), "IOERR")
}

func dedupe(errs []error) []error {
	seen := map[string]bool{}
	var out []error
	for _, err := range errs {
		if !seen[err.Error()] {
			seen[err.Error()] = true
			out = append(out, err)
		}
	}
	return out
}

// runID of the server, empty where it does not say.
func (n *node) runID(ctx context.Context) string {
	answers, err := n.pipe(ctx, 1, func(int) []any { return infoServer })
	if err != nil {
		return ""
	}
	return infoOf(answers[0])["run_id"]
}

var infoServer = []any{"INFO", "server"}

// infoOf parses an answer to INFO; an error has no fields.
func infoOf(answer *goredis.Cmd) redis.Info {
	text, err := answer.Text()
	if err != nil {
		return nil
	}
	return redis.ParseInfo(text)
}

// value is what DUMP (or EXISTS) answered, and whether there is one.
func value(a *goredis.Cmd) (string, bool, error) {
	switch v, err := a.Result(); {
	case errors.Is(err, goredis.Nil):
		return "", false, nil
	case err != nil:
		return "", false, err
	default:
		s := fmt.Sprint(v)
		return s, s != "0", nil
	}
}
