package main

import (
	"bufio"
	"context"
	"errors"
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
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := localcluster.StateDir(a.stateDir)
			if err != nil {
				return err
			}
			if purge && !yes {
				if err := a.confirm(fmt.Sprintf("Delete what redstart up keeps in %s, with all data?", state)); err != nil {
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
			return a.purge(state)
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

// purge deletes what up made in a state directory. What is not one is left alone, and so is what somebody else put there.
func (a *app) purge(state string) error {
	rest, err := localcluster.Purge(state)
	switch {
	case errors.Is(err, localcluster.ErrNoStateDir):
		return fmt.Errorf("%w; delete it yourself if you mean it", err)
	case err != nil:
		return err
	case len(rest) > 0:
		fmt.Fprintf(a.out, "Deleted what redstart up kept in %s. What it did not make is left: %s.\n", state, strings.Join(rest, ", "))
	default:
		fmt.Fprintf(a.out, "Deleted %s.\n", state)
	}
	return nil
}
