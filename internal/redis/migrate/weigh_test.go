package migrate_test

import (
	"strings"
	"testing"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis/migrate"
)

// TestWeigh: a plan by weight moves what weighs, and planned again after it was carried out there is nothing to do.
func TestWeigh(t *testing.T) {
	nodes := formThree(t, nil, 0)
	client := clusterClient(t, nodes, "")
	fill(t, client, 5_000)
	heavy := strings.Repeat("v", 4096)
	for _, tag := range []string{"fill:1", "fill:2", "fill:3", "fill:4"} {
		for _, n := range strings.Split("abcdefghij", "") {
			if err := client.Set(t.Context(), "{"+tag+"}"+n, heavy, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := connect(t, nodes, migrate.Credentials{})
	for _, by := range []migrate.By{migrate.ByKeys, migrate.ByMemory} {
		var last int64
		for round := range 2 {
			if err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			weights, err := migrate.Weigh(t.Context(), c, by)
			if err != nil {
				t.Fatal(err)
			}
			var sum int64
			for _, w := range weights {
				sum += w
			}
			if by == migrate.ByKeys && sum != 5_040 || by == migrate.ByMemory && (sum < 5_000*min(50, leastBytes(t))+40*4096 || sum > 5_000*200+40*6000) {
				t.Errorf("all slots together weigh %d by %s", sum, by)
			}
			l := plan.SlotLayout{Owners: map[string]v1alpha1.SlotSet{}, Weights: weights}
			for _, v := range c.Views() {
				l.Masters = append(l.Masters, v.ID)
				l.Owners[v.ID] = v.View.Myself().Slots
			}
			p, err := plan.PlanSlots(l)
			if err != nil {
				t.Fatal(err)
			}
			if round == 1 && (len(p.Moves) > 0 || sum != last) {
				t.Errorf("by %s, again: %d slots to move, all weigh %d and then %d", by, p.Slots(), last, sum)
			}
			last = sum
			if _, err := migrate.Migrate(t.Context(), c, p.Moves, migrate.Options{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkFill(t, client, 5_000)
}
