package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
)

func newFailoverCommand(a *app) *cobra.Command {
	var request v1alpha1.HandoverRequest
	var timeout time.Duration
	var output string
	cmd := &cobra.Command{
		Use:   "failover NAME",
		Short: "Move the master to another member, planned, without losing a write",
		Long: `Hands the role of master over to another member. Writers wait for some milliseconds; no acknowledged write is
lost. If it cannot be done the old master stays master.

In mode Cluster every shard has a master: name the shard, or the replica that shall become master of its shard. There --force gives
the slots of masters that are lost for good to replicas, without the votes of a majority; redstart status says what that would cost.`,
		Example: `  redstart failover cache
  redstart failover cache --to cache-2
  redstart failover cache --shard 2`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "table", "json"); err != nil {
				return err
			}
			return arguments(1, 1)(cmd, args)
		},
		ValidArgsFunction: a.completeNames(client.Redises),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			request.ID = uuid.NewString()
			name, err := redisName(args[0])
			if err != nil {
				return err
			}
			done, err := handOver(cmd.Context(), c, name, request, timeout)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(a.out, done)
			}
			if done.From == "" {
				fmt.Fprintf(a.out, "%s: %s\n", name, done.Message)
				return nil
			}
			fmt.Fprintf(a.out, "%s: master moved from %s to %s in %d ms\n", name, done.From, done.To, done.Milliseconds)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.To, "to", "", "`MEMBER` that shall become master (default: the best replica)")
	f.StringVar(&request.Shard, "shard", "", "`SHARD` of mode Cluster whose master shall change, as redstart status numbers them")
	f.BoolVar(&request.Force, "force", false, "take a member that has missed writes too; they are lost")
	positiveVar(f, &timeout, "timeout", 30*time.Second, "how long to wait for the answer")
	f.StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	return cmd
}

// handOver asks the operator for a handover and waits for its answer.
func handOver(ctx context.Context, c *client.Client, name string, request v1alpha1.HandoverRequest, timeout time.Duration) (*v1alpha1.HandoverStatus, error) {
	redis, err := c.Redis(ctx, name)
	if err != nil {
		return nil, err
	}
	if redis.Spec.Mode == v1alpha1.ModeCluster && request.To == "" && request.Shard == "" && !request.Force {
		return nil, usagef("Redis %s has a master in every shard; name one: --shard N or --to MEMBER", name)
	}
	if redis.Spec.Mode != v1alpha1.ModeCluster && request.Shard != "" {
		return nil, usagef("Redis %s is of mode %s, which has no shards; leave --shard out", name, redis.Spec.Mode)
	}
	if request.To != "" {
		if _, err := redisMember(ctx, c, redis, request.To); err != nil {
			return nil, err
		}
		if request.To == redis.Status.Master {
			return nil, fmt.Errorf("%s is already the master of Redis %s", request.To, name)
		}
	}
	value, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationHandover: string(value)}}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	f, err := c.Follow(ctx, client.Redises)
	if err != nil {
		return nil, err
	}
	defer f.Stop()
	if err := awaitMaster(ctx, f, name, request.Force); err != nil {
		return nil, err
	}
	if _, err := c.Dynamic.Resource(client.Redises).Namespace(c.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: client.FieldManager}); err != nil {
		return nil, c.Explain(err)
	}
	running := false
	for ; ctx.Err() == nil; f.Wait(ctx) {
		for _, r := range client.All[v1alpha1.Redis](f, client.Redises) {
			h := r.Status.Handover
			if r.Name != name || h == nil || h.ID != request.ID {
				continue
			}
			switch h.Phase {
			case v1alpha1.HandoverSucceeded:
				return h, nil
			case v1alpha1.HandoverFailed:
				return nil, fmt.Errorf("failover of Redis %s failed: %s", name, h.Message)
			default:
				running = true
			}
		}
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, fmt.Errorf("failover of Redis %s: interrupted; it may still happen", name)
	}
	if running {
		return nil, fmt.Errorf("failover of Redis %s: %w: it is still running (see redstart status %s)", name, context.Cause(ctx), name)
	}
	return nil, fmt.Errorf("failover of Redis %s: %w from the operator; is it running? (redstart up runs it; on Kubernetes see its logs)", name, context.Cause(ctx))
}

// awaitMaster returns once a Redis has a master that could hand over: soon after a failover it may not. By force there
// need not be one.
func awaitMaster(ctx context.Context, f *client.Follower, name string, force bool) error {
	for ; ctx.Err() == nil; f.Wait(ctx) {
		for _, r := range client.All[v1alpha1.Redis](f, client.Redises) {
			if r.Name == name && (force || r.Spec.Mode == v1alpha1.ModeCluster || r.Status.Master != "" && r.Status.Phase != v1alpha1.PhaseFailingOver) {
				return nil
			}
		}
	}
	return fmt.Errorf("failover of Redis %s: it has no master that could hand over (see redstart status %s); with --force it need not", name, name)
}
