package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redstart.dev/redstart/internal/localcluster"
)

func newDownCommand(a *app) *cobra.Command {
	var purge, yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop what up started on this machine; the data stays",
		Example: `  redstart down
  redstart down --purge    # delete the data too`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := localcluster.StateDir(a.stateDir)
			if err != nil {
				return err
			}
			if purge && !yes {
				if err := a.confirm(fmt.Sprintf("Delete everything in %s, with all data?", state)); err != nil {
					return err
				}
			}
			running, err := localcluster.Find(state)
			if err != nil {
				return err
			}
			if running != nil {
				if err := stopUp(cmd.Context(), state, running.PID, timeout); err != nil {
					return err
				}
				fmt.Fprintln(a.out, "Stopped.")
			} else if !purge {
				fmt.Fprintf(a.out, "Nothing runs with the state directory %s.\n", state)
			}
			if !purge {
				return nil
			}
			if err := purgeState(state); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "Deleted %s.\n", state)
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&purge, "purge", false, "delete the state directory with all data")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	positiveVar(f, &timeout, "timeout", stopTimeout, "how long it may take to stop")
	return cmd
}

// confirm asks on the terminal; without one --yes is needed.
func (a *app) confirm(question string) error {
	if !isTerminal(a.in) {
		return usagef("%s Say so with --yes", question)
	}
	fmt.Fprintf(a.errOut, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing was changed")
}

// stopUp asks a running up to end and waits until it has.
func stopUp(ctx context.Context, state string, pid int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("still stopping after %s", timeout))
	defer cancel()
	process, err := os.FindProcess(pid)
	if err == nil {
		err = terminate(process)
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		running, err := localcluster.Find(state)
		if err != nil || running == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d: %w", pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// purgeState deletes a state directory. What is not one is left alone.
func purgeState(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) || err == nil && len(entries) == 0 {
		return os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "store.db" || e.Name() == "up.lock" {
			return os.RemoveAll(dir)
		}
	}
	return fmt.Errorf("%s is not a state directory of redstart up (no store.db in it); delete it yourself if you mean it", dir)
}
