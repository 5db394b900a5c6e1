package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis/migrate"
)

// rebalanceFlags are the flags of rebalance.
type rebalanceFlags struct {
	by, keep string
	dryRun   bool
}

func newRebalanceCommand(a *app) *cobra.Command {
	var target clusterTarget
	var flags rebalanceFlags
	cmd := &cobra.Command{
		Use:   "rebalance {NAME | --addr HOST:PORT}",
		Short: "Move slots between the masters of a Redis Cluster until they are balanced",
		Long: `Finishes what an earlier migration left open, and then moves the fewest slots after which the masters have the same
number of slots, keys or bytes, masters without slots included. Clients read and write meanwhile. Interrupted at any point,
nothing is lost; call it again.`,
		Example: `  redstart rebalance cache --by memory
  redstart rebalance --addr 10.0.0.1:6379 --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			if flags.by != "slots" && flags.by != string(migrate.ByKeys) && flags.by != string(migrate.ByMemory) {
				return usagef("--by %q is not known; expected slots, keys or memory", flags.by)
			}
			if flags.keep != "" && flags.keep != "source" && flags.keep != "target" {
				return usagef("--keep %q is not known; expected source or target", flags.keep)
			}
			return target.check(cmd, args)
		},
		ValidArgsFunction: a.completeNames(client.Redises),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.openCluster(ctx, target, strings.Join(args, ""))
			if err != nil {
				return err
			}
			defer c.Close()
			return a.rebalance(ctx, c, flags)
		},
	}
	target.flags(cmd.Flags())
	cmd.Flags().StringVar(&flags.by, "by", "slots", "`WHAT` to balance: slots, keys or memory")
	cmd.Flags().StringVar(&flags.keep, "keep", "", "where two masters hold the same key with different values, keep that of source or target (default: stop)")
	cmd.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would move, and move nothing")
	return cmd
}

// openCluster connects to a cluster that is not ours by the address of a node, to one of ours by its pods.
func (a *app) openCluster(ctx context.Context, target clusterTarget, name string) (*migrate.Cluster, error) {
	if target.addr != "" {
		credentials, err := target.credentials()
		if err != nil {
			return nil, err
		}
		return connectCluster(ctx, []string{target.addr}, credentials)
	}
	_, pods, password, err := a.clusterMembers(ctx, name)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for i := range pods {
		if address := v1alpha1.PodAddress(&pods[i], v1alpha1.PortRedis); address != "" {
			addrs = append(addrs, address)
		}
	}
	return connectCluster(ctx, addrs, migrate.Credentials{Password: password})
}

func (a *app) rebalance(ctx context.Context, c *migrate.Cluster, flags rebalanceFlags) error {
	view := newMigrationView(a.out)
	options := migrate.Options{Progress: view.show}
	switch flags.keep {
	case "source":
		options.OnConflict = migrate.ConflictKeepSource
	case "target":
		options.OnConflict = migrate.ConflictKeepTarget
	}
	if open := migrate.Openings(c.Views()); len(open) > 0 {
		fmt.Fprintf(a.out, "%d slots are open from an earlier migration\n", len(open))
		if !flags.dryRun {
			report, err := migrate.Resume(ctx, c, options)
			view.end()
			if err != nil {
				return err
			}
			a.tellReport(report)
		}
	}
	moves, err := planRebalance(ctx, c, flags.by)
	if err != nil {
		return err
	}
	if len(moves) == 0 {
		fmt.Fprintln(a.out, "nothing to move: the masters are balanced")
		return nil
	}
	if flags.dryRun {
		for _, m := range moves {
			fmt.Fprintf(a.out, "%5d slots from %s to %s: %s\n", m.Slots.Len(), nodeAddress(c, m.From), nodeAddress(c, m.To), m.Slots)
		}
		return nil
	}
	report, err := migrate.Migrate(ctx, c, moves, options)
	view.end()
	a.tellReport(report)
	return err
}

// planRebalance plans for all masters of the cluster, which must all answer.
func planRebalance(ctx context.Context, c *migrate.Cluster, by string) ([]v1alpha1.SlotMove, error) {
	layout := plan.SlotLayout{Owners: map[string]v1alpha1.SlotSet{}}
	for _, v := range c.Views() {
		if v.Err != nil {
			if owns(c, v.ID) {
				return nil, fmt.Errorf("%s owns slots and does not answer: %w (see redstart cluster check)", v.Address, v.Err)
			}
			continue
		}
		if me := v.View.Myself(); me != nil && me.Role == v1alpha1.RoleMaster {
			layout.Masters = append(layout.Masters, me.ID)
			layout.Owners[me.ID] = me.Slots
		}
	}
	if by != "slots" {
		var err error
		if layout.Weights, err = migrate.Weigh(ctx, c, migrate.By(by)); err != nil {
			return nil, err
		}
	}
	p, err := plan.PlanSlots(layout)
	if err != nil {
		return nil, err
	}
	if len(p.Assign) > 0 {
		return nil, errors.New("some slots have no owner: look at redstart cluster check first, for their keys may be lost")
	}
	return p.Moves, nil
}

// owns tells whether any node believes that the node id owns slots.
func owns(c *migrate.Cluster, id string) bool {
	for _, v := range c.Views() {
		if n := v.View.Node(id); n != nil && len(n.Slots) > 0 {
			return true
		}
	}
	return false
}

func nodeAddress(c *migrate.Cluster, id string) string {
	for _, v := range c.Views() {
		if v.ID == id {
			return v.Address
		}
	}
	return id
}

func (a *app) tellReport(r migrate.Report) {
	if p := r.Progress; p.Slots > 0 {
		fmt.Fprintf(a.out, "moved %d slots with %d keys (%s) in %s\n", p.Slots, p.Keys, megabytes(p.Bytes), p.Elapsed.Round(10*time.Millisecond))
	}
	if len(r.Closed) > 0 {
		fmt.Fprintf(a.out, "closed slots of which nothing had moved: %s\n", r.Closed)
	}
	for _, k := range r.BigKeys {
		fmt.Fprintf(a.out, "key %q of %s was moved alone; its two masters served nobody for %s\n", k.Key, megabytes(k.Bytes), k.Blocked.Round(time.Millisecond))
	}
	for _, k := range r.Left {
		fmt.Fprintf(a.out, "slot %d stays where it is: key %q has %s\n", k.Slot, k.Key, megabytes(k.Bytes))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// migrationView shows progress: a bar that is redrawn on a terminal, a line every five seconds elsewhere.
type migrationView struct {
	w     io.Writer
	size  func() (columns, rows int) // nil: no terminal
	last  time.Time
	drawn bool
}

func newMigrationView(w io.Writer) *migrationView { return &migrationView{w: w, size: terminal(w)} }

func (v *migrationView) show(p migrate.Progress) {
	if v.size == nil {
		if time.Since(v.last) >= 5*time.Second && p.Slots < p.SlotsTotal {
			fmt.Fprintln(v.w, describeProgress(p))
			v.last = time.Now()
		}
		return
	}
	line := progressBar(p, 24) + " " + describeProgress(p)
	if columns, _ := v.size(); len(line) >= columns {
		line = line[:max(0, columns-1)]
	}
	fmt.Fprintf(v.w, "\r%s\x1b[K", line)
	v.drawn = true
}

// end leaves the bar on the screen.
func (v *migrationView) end() {
	if v.drawn {
		fmt.Fprintln(v.w)
		v.drawn = false
	}
}

func describeProgress(p migrate.Progress) string {
	s := fmt.Sprintf("%d/%d slots, %d keys, %s", p.Slots, p.SlotsTotal, p.Keys, megabytes(p.Bytes))
	if p.Left > 0 {
		s += fmt.Sprintf(", %s left", p.Left.Round(time.Second/10))
	}
	return s
}

func progressBar(p migrate.Progress, width int) string {
	done := 0
	if total := p.SlotsTotal + p.KeysTotal; total > 0 {
		done = int(min(int64(width), int64(width)*(p.Slots+p.Keys)/total))
	}
	return "[" + strings.Repeat("#", done) + strings.Repeat("-", width-done) + "]"
}
