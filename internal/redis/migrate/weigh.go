package migrate

import (
	"context"
	"fmt"

	"redstart.dev/redstart/api/v1alpha1"
)

// By is what a slot is weighed by.
type By string

// What slots can be weighed by.
const (
	ByKeys   By = "keys"
	ByMemory By = "memory"
)

// sampleKeys is how many keys of a slot are measured to weigh it by memory; the rest are taken to be like them.
const sampleKeys = 32

// Weigh asks the masters for the weight of every slot: its keys, or about how many bytes they occupy.
func Weigh(ctx context.Context, c *Cluster, by By) (*[v1alpha1.SlotCount]int64, error) {
	var weights [v1alpha1.SlotCount]int64
	for _, n := range c.masters() {
		var slots []int
		for _, v := range c.Views() {
			if v.ID == n.id {
				for slot := range v.View.Myself().Slots.All() {
					slots = append(slots, slot)
				}
			}
		}
		for first := 0; first < len(slots); first += 1024 {
			some := slots[first:min(first+1024, len(slots))]
			if err := n.weigh(ctx, some, by, sampleKeys, &weights); err != nil {
				return nil, fmt.Errorf("weigh slots by %s: %w", by, err)
			}
		}
	}
	return &weights, nil
}

func (n *node) weigh(ctx context.Context, slots []int, by By, sample int, weights *[v1alpha1.SlotCount]int64) error {
	counts, err := n.pipe(ctx, len(slots), func(i int) []any { return []any{"CLUSTER", "COUNTKEYSINSLOT", slots[i]} })
	if err != nil {
		return err
	}
	for i, a := range counts {
		if weights[slots[i]], err = a.Int64(); err != nil {
			return fmt.Errorf("%s: %w", n.addr, err)
		}
	}
	if by == ByKeys {
		return nil
	}
	samples, err := n.pipe(ctx, len(slots), func(i int) []any { return []any{"CLUSTER", "GETKEYSINSLOT", slots[i], sample} })
	if err != nil {
		return err
	}
	var keys []key
	for i, a := range samples {
		names, err := a.StringSlice()
		if err != nil {
			return fmt.Errorf("%s: %w", n.addr, err)
		}
		for _, name := range names {
			keys = append(keys, key{name: name, slot: slots[i]})
		}
	}
	if err := measure(ctx, n, keys); err != nil {
		return err
	}
	bytes, measured := map[int]int64{}, map[int]int64{}
	for _, k := range keys {
		bytes[k.slot] += k.bytes
		measured[k.slot]++
	}
	for slot, count := range measured {
		weights[slot] = int64(float64(bytes[slot]) / float64(count) * float64(max(count, weights[slot])))
	}
	return nil
}
