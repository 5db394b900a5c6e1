package migrate

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Progress of a migration. Keys and bytes that clients add meanwhile count as moved too, so that either may pass its
// total.
type Progress struct {
	Slots      int64 `json:"slots"`
	SlotsTotal int64 `json:"slotsTotal"`
	Keys       int64 `json:"keys"`
	KeysTotal  int64 `json:"keysTotal"`
	// Bytes that the moved keys occupied at their source.
	Bytes   int64         `json:"bytes"`
	Elapsed time.Duration `json:"elapsed"`
	// Left is an estimate of the time left, 0 while there is none.
	Left time.Duration `json:"left,omitempty"`
}

// counts are what Progress is made of.
type counts struct {
	slots, slotsTotal, keys, keysTotal, bytes atomic.Int64
}

// done grows with every bit of progress.
func (c *counts) done() int64 { return c.slots.Load() + c.keys.Load() }

func (r *run) progress() Progress {
	p := Progress{
		Slots: r.counts.slots.Load(), SlotsTotal: r.counts.slotsTotal.Load(), Keys: r.counts.keys.Load(), KeysTotal: r.counts.keysTotal.Load(),
		Bytes: r.counts.bytes.Load(), Elapsed: time.Since(r.started),
	}
	p.Left = timeLeft(p)
	return p
}

// timeLeft takes what is left to go on as fast as what is done. A slot without keys costs about as much as ten keys.
func timeLeft(p Progress) time.Duration {
	const slotCost = 10
	done := p.Keys + slotCost*p.Slots
	left := max(0, p.KeysTotal-p.Keys) + slotCost*(p.SlotsTotal-p.Slots)
	if done <= 0 || left <= 0 {
		return 0
	}
	return time.Duration(float64(p.Elapsed) * float64(left) / float64(done)).Round(time.Millisecond)
}

// tell calls Options.Progress until the function that it returns is called.
func (r *run) tell() (stop func()) {
	if r.options.Progress == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				r.options.Progress(r.progress())
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// countKeys asks the sources how many keys there are to move.
func (r *run) countKeys(ctx context.Context, pairs []*pair) error {
	for _, p := range pairs {
		n, err := r.cluster.node(p.from).countKeys(ctx, p.slots)
		if err != nil {
			return err
		}
		r.counts.keysTotal.Add(n)
	}
	return nil
}

// countKeys counts the keys that a node holds of slots, those of a slot that is still on its way to it too.
func (n *node) countKeys(ctx context.Context, slots []int) (int64, error) {
	counts, err := n.countEach(ctx, slots)
	var sum int64
	for _, keys := range counts {
		sum += keys
	}
	return sum, err
}

// countEach counts the keys that a node holds of each of slots.
func (n *node) countEach(ctx context.Context, slots []int) ([]int64, error) {
	counts := make([]int64, 0, len(slots))
	for some := range slices.Chunk(slots, countAtOnce) {
		answers, err := n.pipe(ctx, len(some), func(i int) []any { return []any{"CLUSTER", "COUNTKEYSINSLOT", some[i]} })
		if err != nil {
			return nil, fmt.Errorf("count keys: %w", err)
		}
		for _, a := range answers {
			keys, err := a.Int64()
			if err != nil {
				return nil, fmt.Errorf("count keys at %s: %w", n.addr, err)
			}
			counts = append(counts, keys)
		}
	}
	return counts, nil
}

// firstError is the first error among answers.
func firstError(answers []*goredis.Cmd) error {
	for _, a := range answers {
		if err := a.Err(); err != nil {
			return err
		}
	}
	return nil
}
