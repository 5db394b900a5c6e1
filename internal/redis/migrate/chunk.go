package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// chunk moves some slots of a pair, wherever they are on their way. Everything in it may be done again.
func (r *run) chunk(ctx context.Context, p *pair, slots []int) error {
	target, err := r.cluster.successor(p.to)
	if err != nil {
		return err
	}
	bySource := map[string][]int{}
	for _, slot := range slots {
		owner := r.cluster.Owner(slot)
		if owner == "" {
			return fmt.Errorf("slot %d has no owner that answers", slot)
		}
		bySource[owner] = append(bySource[owner], slot)
	}
	for owner, slots := range bySource {
		source := r.cluster.node(owner)
		if source == nil {
			return fmt.Errorf("the address of node %s is not known", owner)
		}
		switch {
		case source == target:
			err = r.finish(ctx, nil, target, slots)
		case r.cluster.exports(source.id, target.id):
			err = r.export(ctx, source, target, slots)
		default:
			err = r.move(ctx, source, target, slots)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// move takes slots through all steps of the protocol.
func (r *run) move(ctx context.Context, source, target *node, slots []int) error {
	if err := heard(r.cluster.Views(), source.id, target.id); err != nil {
		return err
	}
	slots, keys, err := r.listMovable(ctx, source, slots)
	if err != nil || len(slots) == 0 {
		return err
	}
	f := flow{source: source, target: target, run: runIDIn(r.cluster.Views(), source.id)}
	if wrong := mistaken(r.cluster.Views(), target.id, slots, source.id); len(wrong) > 0 {
		if err := setSlots(ctx, target, wrong, redis.SlotNode, source.id); err != nil {
			return err
		}
	}
	// IMPORTING comes first: once the source is MIGRATING, it sends clients to the target, which must let them in.
	if err := setSlots(ctx, target, slots, redis.SlotImporting, source.id); err != nil {
		return err
	}
	// Keys that came before the slot was open are found by counting again; while it is MIGRATING no new ones come. It is
	// said again before the last look, should somebody have closed the slot meanwhile: a source that is not MIGRATING
	// takes new keys, and drops them when the target takes the slot.
	for {
		if err := setSlots(ctx, source, slots, redis.SlotMigrating, target.id); err != nil {
			return err
		}
		if err := r.moveKeys(ctx, f, keys); err != nil {
			return err
		}
		if err := setSlots(ctx, source, slots, redis.SlotMigrating, target.id); err != nil {
			return err
		}
		left, err := source.countKeys(ctx, slots)
		if err != nil {
			return err
		}
		if left == 0 {
			break
		}
		if keys, err = source.list(ctx, slots, listAtOnce); err != nil {
			return err
		}
	}
	return r.finish(ctx, source, target, slots)
}

// listMovable lists the keys of slots, and leaves out slots with a key that is too large to be moved.
func (r *run) listMovable(ctx context.Context, source *node, slots []int) ([]int, []key, error) {
	keys, err := source.list(ctx, slots, listAtOnce)
	if err != nil {
		return nil, nil, err
	}
	left := map[int]bool{}
	for _, k := range keys {
		if k.bytes > r.options.MaxKey && !left[k.slot] {
			left[k.slot] = true
			r.leave(k)
		}
	}
	if len(left) == 0 {
		return slots, keys, nil
	}
	var movable []int
	for _, slot := range slots {
		if !left[slot] {
			movable = append(movable, slot)
		}
	}
	kept := keys[:0]
	for _, k := range keys {
		if !left[k.slot] {
			kept = append(kept, k)
		}
	}
	return movable, kept, nil
}

func (r *run) leave(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = r.left.Union(v1alpha1.Slots(k.slot))
	r.report.Left = append(r.report.Left, BigKey{Key: k.name, Slot: k.slot, Bytes: k.bytes})
}

// finish gives slots to the target: on the target first, so that there is no moment in which nobody owns them; then on
// the source and the other masters, which would learn it from the target anyway. source is nil where it has lost
// the slots already.
func (r *run) finish(ctx context.Context, source, target *node, slots []int) error {
	if err := r.take(ctx, target, slots); err != nil {
		return err
	}
	r.counts.slots.Add(int64(len(slots)))
	// The target owns them now, by the higher epoch: whoever cannot be told hears of it from the target. agree looks
	// whether all have.
	var told sync.WaitGroup
	for _, other := range r.cluster.masters() {
		if other != target && other != source {
			told.Go(func() { _ = setSlots(ctx, other, slots, redis.SlotNode, target.id) })
		}
	}
	if source != nil {
		_ = setSlots(ctx, source, slots, redis.SlotNode, target.id)
	}
	told.Wait()
	return nil
}

// take makes the target the owner of slots that it imports.
//
// A server that takes an importing slot tells all others at once, each time with the map of all its slots, and going through
// thousands of those is what would keep every server of the cluster busiest. So Redis is made to take them in one
// transaction, all but the last as if they were not importing, which is silent: one message tells of all. The epoch is bumped in the same
// transaction, hence before anything is saved or sent: there is no moment in which the claim could lose against the source's.
func (r *run) take(ctx context.Context, target *node, slots []int) error {
	if len(slots) == 1 || engineIn(r.cluster.Views(), target.id) != redis.EngineRedis {
		return setSlots(ctx, target, slots, redis.SlotNode, target.id)
	}
	transaction := [][]any{{"MULTI"}}
	for i, slot := range slots {
		if i < len(slots)-1 {
			transaction = append(transaction, []any{"CLUSTER", "SETSLOT", slot, redis.SlotStable})
		}
		transaction = append(transaction, []any{"CLUSTER", "SETSLOT", slot, redis.SlotNode, target.id})
	}
	transaction = append(transaction, []any{"CLUSTER", "BUMPEPOCH"}, []any{"EXEC"})
	answers, err := target.pipe(ctx, len(transaction), func(i int) []any { return transaction[i] })
	if err == nil {
		err = firstError(answers)
	}
	if err == nil {
		err = transactionError(answers[len(answers)-1])
	}
	if err != nil {
		return fmt.Errorf("CLUSTER SETSLOT %s NODE at %s: %w", v1alpha1.Slots(slots...), target.addr, err)
	}
	return nil
}

// transactionError is the first error among what EXEC answered.
func transactionError(exec *goredis.Cmd) error {
	answers, err := exec.Slice()
	if err != nil {
		return err
	}
	for _, a := range answers {
		if err, ok := a.(error); ok {
			return err
		}
	}
	return nil
}

// setSlots changes slots on one node in one round trip.
func setSlots(ctx context.Context, n *node, slots []int, state, id string) error {
	answers, err := n.pipe(ctx, len(slots), func(i int) []any {
		if state == redis.SlotStable {
			return []any{"CLUSTER", "SETSLOT", slots[i], state}
		}
		return []any{"CLUSTER", "SETSLOT", slots[i], state, id}
	})
	if err == nil {
		err = firstError(answers)
	}
	if err != nil {
		return fmt.Errorf("CLUSTER SETSLOT %s %s at %s: %w", v1alpha1.Slots(slots...), state, n.addr, err)
	}
	return nil
}

// agree waits until every node that answers knows the owners that moves made, at most ten seconds.
func (c *Cluster) agree(ctx context.Context, moves []v1alpha1.SlotMove, left v1alpha1.SlotSet) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		err := c.Refresh(ctx)
		if err == nil {
			c.closeStray(ctx, moves)
			err = c.disagreement(moves, left)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// disagreement is an error that names a node that does not know the owners that moves made.
func (c *Cluster) disagreement(moves []v1alpha1.SlotMove, left v1alpha1.SlotSet) error {
	for _, v := range c.Views() {
		if v.Err != nil {
			continue
		}
		for _, m := range moves {
			to, err := c.successor(m.To)
			if err != nil {
				return err
			}
			want := m.Slots.Minus(left)
			if n := v.View.Node(to.id); n == nil || len(want.Minus(n.Slots)) > 0 {
				return fmt.Errorf("slots %s moved to %s, but %s does not know yet", want, to.addr, v.Address)
			}
			// Who moves these slots on must know the epoch that they were taken under; see heard.
			if epoch := epochOf(c.Views(), to.id); v.View.Node(to.id).ConfigEpoch < epoch {
				return fmt.Errorf("%s has not heard of the config epoch %d of %s", v.Address, epoch, to.addr)
			}
			if open := openOf(v).Intersect(want); len(open) > 0 {
				return fmt.Errorf("slots %s moved to %s, but %s still has them open", open, to.addr, v.Address)
			}
		}
	}
	return nil
}

// openOf is the slots that a node itself has open.
func openOf(v View) v1alpha1.SlotSet {
	me := v.View.Myself()
	if v.Err != nil || me == nil {
		return nil
	}
	var open []v1alpha1.SlotRange
	for _, s := range append(append([]v1alpha1.OpenSlot(nil), me.Migrating...), me.Importing...) {
		open = append(open, v1alpha1.SlotRange{First: s.Slot, Last: s.Slot})
	}
	return v1alpha1.SlotsOf(open...)
}

// closeStray closes moved slots that a node still has open although it has heard who owns them: a source that was down
// when it should have been told.
func (c *Cluster) closeStray(ctx context.Context, moves []v1alpha1.SlotMove) {
	for _, v := range c.Views() {
		open := openOf(v)
		for _, m := range moves {
			var stray []int
			for slot := range open.Intersect(m.Slots).All() {
				if owner := v.View.Owner(slot); owner == c.Owner(slot) && (owner != v.ID || len(v.View.Myself().Importing) > 0) {
					stray = append(stray, slot)
				}
			}
			if n := c.node(v.ID); len(stray) > 0 && n != nil {
				_ = setSlots(ctx, n, stray, redis.SlotStable, "") // what is still open is an error of agree
			}
		}
	}
}
