package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
)

func newRolloutCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Watch and steer the release of a new version",
		Long: `Shows how far a Rollout is, and gives it commands. A command is an annotation of the Rollout, which the controller
follows once and answers in the status; see docs/rollouts.md for how to give it with GitOps.`,
		Example: `  redstart rollout status frontend -w
  redstart rollout approve frontend
  redstart rollout abort frontend
  redstart rollout undo frontend --to 3`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q of rollout; see redstart rollout --help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRolloutStatusCommand(a), newRolloutHistoryCommand(a))
	for _, c := range []struct{ verb, short string }{
		{"approve", "Go on at a step that waits"},
		{"pause", "Stay at the present step"},
		{"resume", "Go on after pause, or after a failure"},
		{"abort", "Go back to the old version: traffic first, then pods"},
		{"retry", "Try again what failed or was given up"},
		{"restart", "Start again at the first step"},
		{"skip", "Go on with the next step, without the checks and the wait of this one"},
	} {
		cmd.AddCommand(newSteeringCommand(a, c.verb, c.short))
	}
	return addSteeringWithFlags(a, cmd)
}

// addSteeringWithFlags adds the commands that take a flag.
func addSteeringWithFlags(a *app, cmd *cobra.Command) *cobra.Command {
	var step int
	jump := newSteeringCommand(a, "jump", "Go to a step, forwards or backwards")
	jump.Flags().IntVar(&step, "step", 0, "`NUMBER` of the step, from 1")
	jump.Example += " --step 2"
	jump.Args = func(cmd *cobra.Command, args []string) error {
		if step < 1 {
			return usagef("--step is missing; expected the number of a step, from 1")
		}
		return arguments(1, 1)(cmd, args)
	}
	jump.RunE = func(cmd *cobra.Command, args []string) error {
		return a.steer(cmd.Context(), args[0], "jump "+strconv.Itoa(step))
	}
	var full bool
	promote := newSteeringCommand(a, "promote", "Go on; with --full, skip all steps that are left")
	promote.Flags().BoolVar(&full, "full", false, "skip all steps that are left, their checks and waits")
	promote.RunE = func(cmd *cobra.Command, args []string) error {
		command := "approve"
		if full {
			command = "promote"
		}
		return a.steer(cmd.Context(), args[0], command)
	}
	var to string
	undo := newSteeringCommand(a, "undo", "Release an older version again, by the same steps")
	undo.Flags().StringVar(&to, "to", "", "`REVISION` or number of the release (default: the one before)")
	undo.RunE = func(cmd *cobra.Command, args []string) error {
		return a.steer(cmd.Context(), args[0], strings.TrimSpace("undo "+to))
	}
	cmd.AddCommand(jump, promote, undo)
	return cmd
}

func newSteeringCommand(a *app, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NAME",
		Short:             short,
		Example:           "  redstart rollout " + verb + " frontend",
		Args:              arguments(1, 1),
		ValidArgsFunction: a.completeNames(client.Rollouts),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.steer(cmd.Context(), args[0], verb) },
	}
}

// answerTimeout bounds the wait for the controller's answer.
const answerTimeout = 30 * time.Second

// steer gives a Rollout a command, and waits for the answer.
func (a *app) steer(ctx context.Context, name, command string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	name = strings.TrimPrefix(name, "rollout/")
	text := command + " #" + uuid.NewString()[:8]
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationRolloutCommand: text}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %s", answerTimeout))
	defer cancel()
	f, err := c.Follow(ctx, client.Rollouts)
	if err != nil {
		return err
	}
	defer f.Stop()
	if _, err := c.Dynamic.Resource(client.Rollouts).Namespace(c.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: client.FieldManager}); err != nil {
		return c.Explain(err)
	}
	for ; ctx.Err() == nil; f.Wait(ctx) {
		for _, r := range client.All[v1alpha1.Rollout](f, client.Rollouts) {
			answer := r.Status.LastCommand
			if r.Name != name || answer == nil || answer.Command != text {
				continue
			}
			if !answer.Accepted {
				return fmt.Errorf("Rollout %s: %s: %s", name, command, answer.Message)
			}
			fmt.Fprintf(a.out, "%s: %s\n", name, answer.Message)
			return nil
		}
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return fmt.Errorf("Rollout %s: interrupted; the command may still be followed", name)
	}
	return fmt.Errorf("Rollout %s: %w from the controller; is it running? (redstart up runs it; on Kubernetes the operator does)", name, context.Cause(ctx))
}
