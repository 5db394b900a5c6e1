package migrate

import (
	"context"
	"errors"
	"fmt"

	"redstart.dev/redstart/internal/redis"
)

// ConflictError is a key that source and target hold with different values. Its slot stays open; see OnConflict.
type ConflictError struct {
	Key            string
	Slot           int
	Source, Target string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("slot %d is left open: key %.100q has one value at its source %s and another at its target %s; look at both, then migrate again and say which to keep",
		e.Slot, e.Key, e.Source, e.Target)
}

func isConflict(err error) bool {
	var c *ConflictError
	return errors.As(err, &c)
}

// doubt remembers keys that the target may hold although the source still has them.
func (r *run) doubt(f flow, parts ...part) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range parts {
		for _, k := range p.keys {
			r.unsure[k.name] = f.run
		}
	}
}

// doubted tells whether this run of the source may itself have left a copy of the key at the target: the source has had
// the key all the time, so nobody can have written to the copy.
func (r *run) doubted(name, run string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, ok := r.unsure[name]
	return ok && was != "" && was == run
}

// maxCompared is the largest value that is fetched from both sides to be compared.
const maxCompared = 64 << 20

// resolve moves the keys of a part of which the target has some already.
func (r *run) resolve(ctx context.Context, f flow, p part) error {
	run := f.source.runID(ctx)
	for _, k := range p.keys {
		replace, gone := false, false
		if !r.doubted(k.name, run) {
			same, here, there, err := compare(ctx, f, k)
			switch {
			case err != nil:
				return err
			case !here:
				continue
			case !there || same:
				replace = there
			case r.options.OnConflict == ConflictKeepSource:
				replace = true
			case r.options.OnConflict == ConflictKeepTarget:
				gone = true
			default:
				return &ConflictError{Key: k.name, Slot: k.slot, Source: f.source.addr, Target: f.target.addr}
			}
		} else {
			replace = true
		}
		if gone {
			if _, err := f.source.pipe(ctx, 1, func(int) []any { return []any{"UNLINK", k.name} }); err != nil {
				return fmt.Errorf("drop key %.100q at %s: %w", k.name, f.source.addr, err)
			}
			continue
		}
		busy, err := r.send(ctx, f, []part{{slot: k.slot, keys: []key{k}, bytes: k.bytes}}, replace)
		if err != nil {
			return err
		}
		if len(busy) > 0 {
			return fmt.Errorf("key %.100q came back at %s while it was moved there", k.name, f.target.addr)
		}
	}
	return nil
}

// compare tells who has the key, and whether both have the same value. Values too large to be fetched are not the same.
func compare(ctx context.Context, f flow, k key) (same, here, there bool, err error) {
	command := "DUMP"
	if k.bytes > maxCompared {
		command = "EXISTS"
	}
	mine, err := f.source.pipe(ctx, 1, func(int) []any { return []any{command, k.name} })
	if err != nil {
		return false, false, false, fmt.Errorf("compare key %.100q: %w", k.name, err)
	}
	theirs, err := f.target.pipe(ctx, 2, func(i int) []any { return [][]any{{"ASKING"}, {command, k.name}}[i] })
	if err != nil {
		return false, false, false, fmt.Errorf("compare key %.100q: %w", k.name, err)
	}
	a, here, err := value(mine[0])
	if err != nil {
		if isAsk(err) { // the source has it no more
			return false, false, true, nil
		}
		return false, false, false, fmt.Errorf("compare key %.100q at %s: %w", k.name, f.source.addr, err)
	}
	b, there, err := value(theirs[1])
	if err != nil {
		return false, false, false, fmt.Errorf("compare key %.100q at %s: %w", k.name, f.target.addr, err)
	}
	return here && there && command == "DUMP" && a == b, here, there, nil
}

func isAsk(err error) bool {
	return redis.IsRefusal(err) && len(err.Error()) > 4 && err.Error()[:4] == "ASK "
}
