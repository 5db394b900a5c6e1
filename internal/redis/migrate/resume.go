package migrate

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/redis"
)

// Opening is a slot that is open somewhere.
type Opening struct {
	Slot int
	// Owner is the master that owns it, empty where nobody that answers does.
	Owner string
	// MigratingTo is where the owner is sending it, empty where the owner does not.
	MigratingTo string
	// Importing are the masters that are importing it.
	Importing []string
	// Stray are masters that have it open although they are not its owner (migrating), or although they are (importing).
	Stray []string
}

// Openings finds every open slot in what the masters say of themselves, in ascending order.
func Openings(views []View) []Opening {
	open := map[int]*Opening{}
	at := func(slot int) *Opening {
		if open[slot] == nil {
			open[slot] = &Opening{Slot: slot, Owner: OwnerIn(views, slot)}
		}
		return open[slot]
	}
	for _, v := range views {
		me := v.View.Myself()
		if v.Err != nil || me == nil || me.Role != v1alpha1.RoleMaster {
			continue
		}
		for _, s := range me.Migrating {
			if o := at(s.Slot); o.Owner == me.ID {
				o.MigratingTo = s.NodeID
			} else {
				o.Stray = append(o.Stray, me.ID)
			}
		}
		for _, s := range me.Importing {
			if o := at(s.Slot); o.Owner != me.ID {
				o.Importing = append(o.Importing, me.ID)
			} else {
				o.Stray = append(o.Stray, me.ID)
			}
		}
	}
	list := make([]Opening, 0, len(open))
	for _, o := range open {
		list = append(list, *o)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Slot < list[j].Slot })
	return list
}

// Repair says what becomes of an open slot: it moves on to To, and is closed (STABLE) at Close; or Err says why it
// needs somebody who looks at it.
type Repair struct {
	To    string
	Close []string
	Err   error
}

// Decide is what to do about an open slot. held is how many keys of it each master holds, by node ID; successor
// names the master that a node is now, or that took over from it.
//
// It never gives a key up: a slot goes on to the master that imports it, or that its owner sends it to, unless nothing
// has moved yet and one of the two ends is gone; then it is closed where it is.
func Decide(o Opening, held map[string]int64, successor func(string) (string, error)) Repair {
	repair := Repair{Close: append([]string(nil), o.Stray...)}
	if o.Owner == "" {
		repair.Err = fmt.Errorf("slot %d is open and has no owner that answers", o.Slot)
		return repair
	}
	var full []string
	for _, id := range o.Importing {
		if held[id] > 0 {
			full = append(full, id)
		}
	}
	sent := ""
	if o.MigratingTo != "" {
		if id, err := successor(o.MigratingTo); err == nil && id != o.Owner {
			sent = id
		}
	}
	switch {
	case len(full) > 1:
		repair.Err = fmt.Errorf("slot %d has keys at two masters that import it, %s and %s", o.Slot, full[0], full[1])
		return repair
	case len(full) == 1:
		repair.To = full[0]
	case sent != "":
		repair.To = sent
	default:
		// Nothing has moved: the target is not there, or the source was never opened or has failed over since.
		repair.Close = append(repair.Close, o.Importing...)
		if o.MigratingTo != "" {
			repair.Close = append(repair.Close, o.Owner)
		}
		return repair
	}
	for _, id := range o.Importing {
		if id != repair.To {
			repair.Close = append(repair.Close, id)
		}
	}
	return repair
}

// Resume finds slots that an earlier migration, ours or another tool's, left open, and finishes them, or closes those
// of which nothing has moved and whose other end is gone. It looks at the cluster anew. Nobody else may be migrating
// meanwhile. Where there is nothing to do it does nothing.
func Resume(ctx context.Context, c *Cluster, options Options) (Report, error) {
	if err := c.Refresh(ctx); err != nil {
		return Report{}, err
	}
	views := c.Views()
	openings := Openings(views)
	if len(openings) == 0 {
		return Report{}, nil
	}
	held, err := c.held(ctx, openings)
	if err != nil {
		return Report{}, err
	}
	var errs []error
	var closed v1alpha1.SlotSet
	moves := map[[2]string][]v1alpha1.SlotRange{}
	for _, o := range openings {
		repair := Decide(o, held[o.Slot], func(id string) (string, error) { return successorIn(views, id) })
		if repair.Err != nil {
			errs = append(errs, repair.Err)
			continue
		}
		if repair.To == "" {
			closed = closed.Union(v1alpha1.Slots(o.Slot))
		} else {
			pair := [2]string{o.Owner, repair.To}
			moves[pair] = append(moves[pair], v1alpha1.SlotRange{First: o.Slot, Last: o.Slot})
		}
		for _, id := range repair.Close {
			if err := setSlots(ctx, c.node(id), []int{o.Slot}, redis.SlotStable, ""); err != nil {
				errs = append(errs, err)
			}
		}
	}
	var list []v1alpha1.SlotMove
	for pair, slots := range moves {
		list = append(list, v1alpha1.SlotMove{From: pair[0], To: pair[1], Slots: v1alpha1.SlotsOf(slots...)})
	}
	report, err := Migrate(ctx, c, list, options)
	report.Closed = closed
	return report, errors.Join(append(errs, err)...)
}

// held counts the keys of open slots at every master that has something to do with them.
func (c *Cluster) held(ctx context.Context, openings []Opening) (map[int]map[string]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	held := map[int]map[string]int64{}
	slots := map[string][]int{}
	for _, o := range openings {
		held[o.Slot] = map[string]int64{}
		for _, id := range o.Importing {
			slots[id] = append(slots[id], o.Slot)
		}
	}
	for id, list := range slots {
		n := c.node(id)
		answers, err := n.pipe(ctx, len(list), func(i int) []any { return []any{"CLUSTER", "COUNTKEYSINSLOT", list[i]} })
		if err != nil {
			return nil, fmt.Errorf("count keys in open slots: %w", err)
		}
		for i, a := range answers {
			count, err := a.Int64()
			if err != nil {
				return nil, fmt.Errorf("count keys in open slots at %s: %w", n.addr, err)
			}
			held[list[i]][id] = count
		}
	}
	return held, nil
}
