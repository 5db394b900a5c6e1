package migrate

import "time"

// key is a key to move, with what MEMORY USAGE says of it at its source.
type key struct {
	name  string
	slot  int
	bytes int64
}

// part is keys of one slot, which one MIGRATE moves: a command may not name keys of two.
type part struct {
	slot  int
	keys  []key
	bytes int64
}

// cost of a key in bytes: beside what it holds, it costs both servers a command.
const keyCost = 128

func (k key) cost() int64 { return k.bytes + keyCost }

// maxPartKeys bounds one MIGRATE, whose answer and arguments the servers hold in memory.
const maxPartKeys = 1024

// nextBatch takes keys from the front, in order, until they cost budget, or are as many as a batch may have; at least
// one. A big key is a batch of its own.
func nextBatch(keys []key, budget, big int64) (batch []part, rest []key) {
	var cost int64
	n := 0
	for n < len(keys) && n < maxPartKeys {
		k := keys[n]
		if n > 0 && (k.bytes >= big || cost+k.cost() > budget) {
			break
		}
		if last := len(batch) - 1; last >= 0 && batch[last].slot == k.slot {
			batch[last].keys = append(batch[last].keys, k)
			batch[last].bytes += k.bytes
		} else {
			batch = append(batch, part{slot: k.slot, keys: []key{k}, bytes: k.bytes})
		}
		cost += k.cost()
		n++
		if k.bytes >= big {
			break
		}
	}
	return batch, keys[n:]
}

// pace is how much a batch may cost, so that it takes the time wanted.
type pace struct {
	budget int64
	aim    time.Duration
}

// Bounds of a batch's budget. Below some fifty small keys it is the way between the servers, and waiting for a
// processor, that takes the time, and smaller batches would only mean more of that.
const (
	minBudget   = 16 << 10
	firstBudget = 16 << 10
	maxBudget   = 8 << 20
)

func newPace(aim time.Duration) pace { return pace{budget: firstBudget, aim: aim} }

// took learns from a batch of that cost. It doubles or halves at most, and follows half of the way, for a single
// measurement says as much of the machine as of the batch. A batch that was far from its budget says nothing.
func (p *pace) took(cost int64, d time.Duration) {
	if cost < p.budget/2 && d < p.aim {
		return
	}
	fit := float64(cost) * float64(p.aim) / float64(max(d, time.Microsecond))
	fit = max(float64(p.budget)/2, min(float64(p.budget)*2, fit))
	p.budget = min(maxBudget, max(minBudget, (p.budget+int64(fit))/2))
}
