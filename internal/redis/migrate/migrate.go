// Package migrate moves hash slots with their keys between the masters of a running Redis Cluster, while clients
// read and write.
//
// A slot moves in the order that the protocol of Redis Cluster demands: IMPORTING on the target, MIGRATING on the
// source, then every key by MIGRATE (which the source does atomically for each key: it deletes a key once the target
// has confirmed it), then NODE on the target, which takes the slot under a new config epoch, on the source, and on the
// others. At every point in between all keys are where a client that follows MOVED and ASK finds them. Whatever ends the
// work early (this program, a server, the network) leaves slots open; Resume finishes them.
//
// Where both masters are of an engine that moves slots by itself, they are told to: see export.go.
//
// What makes it fast otherwise: many slots are open at once, several pairs of masters work side by side, and commands for many
// slots share a round trip, so that each server writes its nodes.conf once for all of them. What keeps writers' latency
// flat: a source does one batch at a time, whose size follows the time that the last ones took.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"redstart.dev/redstart/api/v1alpha1"
)

// OnConflict says what happens to a key that both masters hold with different values. That takes a server that lost
// deletions (it came back older), or somebody who wrote behind the cluster's back.
type OnConflict int

// The ways.
const (
	// ConflictStop leaves the slot open with both values, and names the key.
	ConflictStop OnConflict = iota
	// ConflictKeepSource overwrites the target's value.
	ConflictKeepSource
	// ConflictKeepTarget deletes the source's value.
	ConflictKeepTarget
)

// Options of Migrate and Resume. The zero value is fine.
type Options struct {
	// Blocking is for how long one batch may occupy its source and its target; batches shrink and grow to meet it.
	// Default 500 µs.
	Blocking time.Duration
	// OpenSlots is how many slots of one pair of masters are open at a time. Default 128.
	OpenSlots int
	// BigKey is from how many bytes (MEMORY USAGE) on a key is moved alone and reported. Default 1 MiB.
	BigKey int64
	// MaxKey is the largest key that is moved. A slot that holds a larger one stays with its source, and Report.Left
	// names it: both servers serve nobody while it moves, and one that is silent for cluster-node-timeout is failed over.
	// Default 512 MiB.
	MaxKey int64
	// Patience is for how long a pair may make no progress (a server is down, or fails over) before it gives up.
	// Default 60 s.
	Patience   time.Duration
	OnConflict OnConflict
	// Progress, where it is set, is called about ten times a second and once at the end, never concurrently.
	Progress func(Progress)
}

func (o Options) withDefaults() Options {
	if o.Blocking <= 0 {
		o.Blocking = 500 * time.Microsecond
	}
	if o.OpenSlots <= 0 {
		o.OpenSlots = 128
	}
	if o.BigKey <= 0 {
		o.BigKey = 1 << 20
	}
	if o.MaxKey <= 0 {
		o.MaxKey = 512 << 20
	}
	if o.Patience <= 0 {
		o.Patience = time.Minute
	}
	return o
}

// Report is what Migrate or Resume did.
type Report struct {
	Progress Progress `json:"progress"`
	// BigKeys were moved alone.
	BigKeys []BigKey `json:"bigKeys,omitempty"`
	// Left are slots that stayed with their source because of a key above MaxKey.
	Left []BigKey `json:"left,omitempty"`
	// Closed are slots that were open for nothing, and were closed where they are.
	Closed v1alpha1.SlotSet `json:"closed,omitempty"`
}

// BigKey is a key that was moved alone, or that was not moved.
type BigKey struct {
	Key   string `json:"key"`
	Slot  int    `json:"slot"`
	Bytes int64  `json:"bytes"`
	// Blocked is for how long both servers served nobody else; 0 for a key that was not moved.
	Blocked time.Duration `json:"blocked,omitempty"`
}

// Migrate carries moves out and returns when every node knows the new owners, or with an error that says what stopped
// it; slots that are open then are finished by Resume, or by Migrate with the same moves. Slots that their target owns
// already are done. An error of one pair does not stop the others; the end of ctx stops all within a batch's time.
func Migrate(ctx context.Context, c *Cluster, moves []v1alpha1.SlotMove, options Options) (Report, error) {
	r := &run{cluster: c, options: options.withDefaults(), started: time.Now(), unsure: map[string]string{}, exporting: map[*node]bool{}}
	pairs, err := r.pairs(moves)
	if err != nil {
		return Report{}, err
	}
	// What the nodes believed when the caller planned may be old, and old config epochs would deceive heard.
	if err := c.Refresh(ctx); err != nil {
		return Report{}, err
	}
	if err := r.countKeys(ctx, pairs); err != nil {
		return Report{}, err
	}
	stop := r.tell()
	err = r.all(ctx, pairs)
	if err == nil {
		err = c.agree(ctx, moves, r.left)
	}
	stop()
	r.report.Progress = r.progress()
	if r.options.Progress != nil {
		r.options.Progress(r.report.Progress)
	}
	return r.report, err
}

// run is one call of Migrate.
type run struct {
	cluster *Cluster
	options Options
	started time.Time
	counts  counts

	mu     sync.Mutex
	report Report
	left   v1alpha1.SlotSet
	// unsure are keys that the target may hold too, because a MIGRATE had no answer: key to the run ID of the source,
	// whose value counts as long as it is the same run.
	unsure map[string]string
	// exporting are the masters that were told to move slots by themselves.
	exporting map[*node]bool
}

// pair is the work from one master to another.
type pair struct {
	from, to string
	slots    []int
	mu       sync.Mutex
}

// take hands out the next n slots.
func (p *pair) take(n int) []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.slots))
	chunk := p.slots[:n]
	p.slots = p.slots[n:]
	return chunk
}

func (r *run) pairs(moves []v1alpha1.SlotMove) ([]*pair, error) {
	var all v1alpha1.SlotSet
	var pairs []*pair
	for _, m := range moves {
		if m.From == "" {
			return nil, fmt.Errorf("migrate slots %s: they have no owner; slots without data are given by CLUSTER ADDSLOTS", m.Slots)
		}
		for _, id := range []string{m.From, m.To} {
			if r.cluster.node(id) == nil {
				return nil, fmt.Errorf("migrate slots %s: the cluster has no node %s", m.Slots, id)
			}
		}
		if twice := all.Intersect(m.Slots); len(twice) > 0 || m.From == m.To {
			return nil, fmt.Errorf("migrate slots %s from %s to %s: slots %s are moved twice, or to where they are", m.Slots, m.From, m.To, twice)
		}
		all = all.Union(m.Slots)
		p := &pair{from: m.From, to: m.To}
		for slot := range m.Slots.All() {
			p.slots = append(p.slots, slot)
		}
		pairs = append(pairs, p)
	}
	r.counts.slotsTotal.Store(int64(all.Len()))
	return pairs, nil
}

// workersPerPair: while one of two closes its slots, the other's keys move.
const workersPerPair = 2

func (r *run) all(ctx context.Context, pairs []*pair) error {
	var group errgroup.Group // without a context: a pair that fails does not stop the others
	errs := make([]error, len(pairs)*workersPerPair)
	for i, p := range pairs {
		size, workers := r.window(p)
		for w := range workers {
			group.Go(func() error {
				for ctx.Err() == nil {
					chunk := p.take(size)
					if len(chunk) == 0 {
						return nil
					}
					if err := r.persist(ctx, p, chunk); err != nil {
						errs[i*workersPerPair+w] = errors.Join(errs[i*workersPerPair+w], err)
						if !isConflict(err) {
							p.take(v1alpha1.SlotCount) // nothing is left for the other worker
							return nil
						}
					}
				}
				return nil
			})
		}
	}
	_ = group.Wait() // the errors are in errs
	if err := ctx.Err(); err != nil {
		err = fmt.Errorf("migrate slots: stopped after %d of %d: %w", r.counts.slots.Load(), r.counts.slotsTotal.Load(), err)
		return errors.Join(err, r.stopExports(ctx))
	}
	return errors.Join(errs...)
}

// window is how many slots of a pair are taken at a time, and by how many workers.
func (r *run) window(p *pair) (size, workers int) {
	if r.cluster.exports(p.from, p.to) {
		return max(1, len(p.slots)), 1 // each export forks the source
	}
	// Half of the open slots each, and no more than half of all, so that both have work to the end.
	return max(1, min(r.options.OpenSlots, len(p.slots))/workersPerPair), workersPerPair
}

// persist moves a chunk of a pair's slots, and begins again with a fresh look at the cluster when something fails,
// until there was no progress for Options.Patience.
func (r *run) persist(ctx context.Context, p *pair, slots []int) error {
	last, progress := time.Now(), r.counts.done()
	wait := 50 * time.Millisecond
	for {
		err := r.chunk(ctx, p, slots)
		if err == nil || isConflict(err) || ctx.Err() != nil {
			return err
		}
		if now := r.counts.done(); now != progress {
			last, progress, wait = time.Now(), now, 50*time.Millisecond
		}
		if time.Since(last) > r.options.Patience {
			return fmt.Errorf("migrate slots %s from %s to %s: no progress for %s: %w", v1alpha1.Slots(slots...), p.from, p.to, r.options.Patience, err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
		// The old view is good enough to try again with.
		_ = r.cluster.Refresh(ctx)
	}
}
