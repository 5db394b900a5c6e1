package migrate

import (
	"context"
	"fmt"
	"slices"

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
		if _, err := n.weigh(ctx, slots, by, sampleKeys, &weights); err != nil {
			return nil, fmt.Errorf("weigh slots by %s: %w", by, err)
		}
	}
	return &weights, nil
}

// weigh fills in the weights of slots at a node, by sample keys of each where it is by memory, and tells how many keys they
// hold together.
func (n *node) weigh(ctx context.Context, slots []int, by By, sample int, weights *[v1alpha1.SlotCount]int64) (int64, error) {
	var keys int64
	for some := range slices.Chunk(slots, countAtOnce) {
		counts, err := n.countEach(ctx, some)
		if err != nil {
			return 0, err
		}
		for i, count := range counts {
			weights[some[i]] = count
			keys += count
		}
		if by == ByKeys {
			continue
		}
		sampled, err := n.list(ctx, some, sample)
		if err != nil {
			return 0, err
		}
		bytes, measured := map[int]int64{}, map[int]int64{}
		for _, k := range sampled {
			if k.bytes > 0 { // else it is gone
				bytes[k.slot] += k.bytes
				measured[k.slot]++
			}
		}
		for slot, count := range measured {
			weights[slot] = int64(float64(bytes[slot]) / float64(count) * float64(max(count, weights[slot])))
		}
	}
	return keys, nil
}
