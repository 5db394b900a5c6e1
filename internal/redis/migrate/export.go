package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// exportLook is how often a source is asked how far its export is, and exportCount how often the target is for its keys.
	exportLook  = 50 * time.Millisecond
	exportCount = 4 * exportLook
	// exportSample is how many keys of each slot are measured to estimate what an export moves.
	exportSample = 1
)

// exportJob is an export of slots as CLUSTER GETSLOTMIGRATIONS tells it at the source.
type exportJob struct {
	name, target, state, message string
	slots                        v1alpha1.SlotSet
	left                         int64 // bytes that wait to be sent
}

// ended tells whether the server has given the job up or finished it.
func (j *exportJob) ended() bool {
	return j.state == "success" || j.state == "failed" || j.state == "cancelled"
}

// exports tells whether slots of this source move to this target by CLUSTER MIGRATESLOTS. Servers with a slot that was opened by
// SETSLOT refuse that until it is closed.
func (c *Cluster) exports(source, target string) bool {
	can := func(v View) bool {
		return v.Err == nil && v.Version.MovesSlots() && len(openOf(v)) == 0
	}
	n := 0
	for _, v := range c.Views() {
		if (v.ID == source || v.ID == target) && can(v) {
			n++
		}
	}
	return n == 2
}

// export has the source move slots by itself. It sends their keys as it sends all to a replica, then what was written meanwhile, and
// hands them over in one moment: clients see no ASK and no TRYAGAIN. What fails leaves every slot where it was. What is left running when
// this returns is followed by the next call, or cancelled by stopExports.
func (r *run) export(ctx context.Context, source, target *node, slots []int) error {
	r.mu.Lock()
	r.exporting[source] = true
	r.mu.Unlock()
	wanted := v1alpha1.Slots(slots...)
	before, err := source.exportJobs(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, j := range before {
		known[j.name] = true
		both := j.slots.Intersect(wanted)
		if j.ended() || len(both) == 0 {
			continue
		}
		// Whoever began it was interrupted. The server goes on.
		bytes, err := source.estimate(ctx, slices.Collect(both.All()))
		if err != nil {
			return err
		}
		if err := r.follow(ctx, source, j.name, both, bytes); err != nil {
			return err
		}
		if j.target != target.id {
			return fmt.Errorf("slots %s were on their way from %s to node %s", both, source.addr, j.target)
		}
		wanted = wanted.Minus(both)
	}
	if len(wanted) == 0 {
		return nil
	}
	bytes, err := source.estimate(ctx, slices.Collect(wanted.All()))
	if err != nil {
		return err
	}
	args := []any{"CLUSTER", "MIGRATESLOTS", "SLOTSRANGE"}
	for _, s := range wanted {
		args = append(args, s.First, s.Last)
	}
	args = append(args, "NODE", target.id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// The answer is waited for in any case: a request on its way could come after the one that cancels it.
	answers, err := source.pipe(context.WithoutCancel(ctx), 1, func(int) []any { return args })
	if err == nil {
		err = answers[0].Err()
	}
	if err != nil {
		return fmt.Errorf("CLUSTER MIGRATESLOTS %s at %s: %w", wanted, source.addr, err)
	}
	after, err := source.exportJobs(ctx)
	if err != nil {
		return err
	}
	for _, j := range after {
		if !known[j.name] && j.target == target.id && j.slots.Equal(wanted) {
			return r.follow(ctx, source, j.name, wanted, bytes)
		}
	}
	return fmt.Errorf("CLUSTER MIGRATESLOTS %s at %s: the server does not know of it", wanted, source.addr)
}

// follow waits for the end of an export, and counts what it moves of slots, each key as bytes of them.
func (r *run) follow(ctx context.Context, source *node, name string, slots v1alpha1.SlotSet, bytes float64) error {
	list := slices.Collect(slots.All())
	look := time.NewTicker(exportLook)
	defer look.Stop()
	var last exportJob
	var moved int64
	changed, counted := time.Now(), time.Time{}
	for {
		j, err := source.exportJob(ctx, name)
		if err != nil {
			return err
		}
		target := r.cluster.node(j.target)
		if target != nil && (j.ended() || time.Since(counted) > exportCount) {
			keys, err := target.countKeys(ctx, list)
			if err == nil && keys > moved {
				r.counts.keys.Add(keys - moved)
				r.counts.bytes.Add(int64(float64(keys-moved) * bytes))
				moved, changed = keys, time.Now()
			}
			counted = time.Now()
		}
		switch {
		case j.state == "success":
			r.counts.slots.Add(int64(slots.Len()))
			return nil
		case j.ended():
			return fmt.Errorf("slots %s stay at %s: the server says %s: %s", slots, source.addr, j.state, j.message)
		case j.state != last.state || j.left != last.left:
			last, changed = j, time.Now()
		case time.Since(changed) > r.options.Patience:
			return errors.Join(fmt.Errorf("slots %s stay at %s: the server is %s, and got no further for %s", slots, source.addr, j.state, r.options.Patience),
				source.cancelExports(ctx))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// stopExports cancels what was begun.
func (r *run) stopExports(ctx context.Context) error {
	var errs []error
	for source := range r.exporting {
		errs = append(errs, source.cancelExports(ctx))
	}
	return errors.Join(errs...)
}

// cancelExports ends all exports of a source; their slots stay. The server offers no way to end a single one.
func (n *node) cancelExports(ctx context.Context) error {
	answers, err := n.pipe(context.WithoutCancel(ctx), 1, func(int) []any { return []any{"CLUSTER", "CANCELSLOTMIGRATIONS"} })
	if err == nil {
		err = answers[0].Err()
	}
	if err != nil && !strings.Contains(err.Error(), "No migrations ongoing") {
		return fmt.Errorf("CLUSTER CANCELSLOTMIGRATIONS at %s: %w", n.addr, err)
	}
	return nil
}

// estimate is about how many bytes a key of slots occupies.
func (n *node) estimate(ctx context.Context, slots []int) (float64, error) {
	var weights [v1alpha1.SlotCount]int64
	keys, err := n.weigh(ctx, slots, ByMemory, exportSample, &weights)
	if err != nil {
		return 0, fmt.Errorf("estimate what slots weigh: %w", err)
	}
	if keys == 0 {
		return 0, nil
	}
	var sum int64
	for _, slot := range slots {
		sum += weights[slot]
	}
	return float64(sum) / float64(keys), nil
}

// exportJob is the export of that name.
func (n *node) exportJob(ctx context.Context, name string) (exportJob, error) {
	jobs, err := n.exportJobs(ctx)
	if err != nil {
		return exportJob{}, err
	}
	for _, j := range jobs {
		if j.name == name {
			return j, nil
		}
	}
	return exportJob{}, fmt.Errorf("%s does not know its export of slots any more: it was restarted", n.addr)
}

// exportJobs are all exports that a source works at, and the last of those that have ended (cluster-slot-migration-log-max-len).
func (n *node) exportJobs(ctx context.Context) ([]exportJob, error) {
	answers, err := n.pipe(ctx, 1, func(int) []any { return []any{"CLUSTER", "GETSLOTMIGRATIONS"} })
	if err != nil {
		return nil, err
	}
	list, err := answers[0].Slice()
	if err != nil {
		return nil, fmt.Errorf("CLUSTER GETSLOTMIGRATIONS at %s: %w", n.addr, err)
	}
	var jobs []exportJob
	for _, item := range list {
		fields := map[string]string{}
		pairs, _ := item.([]any)
		for i := 0; i+1 < len(pairs); i += 2 {
			fields[fmt.Sprint(pairs[i])] = fmt.Sprint(pairs[i+1])
		}
		if fields["operation"] != "EXPORT" {
			continue
		}
		j := exportJob{name: fields["name"], target: fields["target_node"], state: fields["state"], message: fields["message"]}
		j.left, _ = strconv.ParseInt(fields["remaining_repl_size"], 10, 64)
		if j.slots, err = v1alpha1.ParseSlots(fields["slot_ranges"]); err != nil {
			return nil, fmt.Errorf("CLUSTER GETSLOTMIGRATIONS at %s: %w", n.addr, err)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}
