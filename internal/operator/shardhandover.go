package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
)

// shardHandover is what the annotation redstart.dev/handover asks for in mode Cluster: a handover of the master at, or, force, that
// replicas take over from lost masters. status answers at once where nothing has to be started; it is nil when nothing
// was ever asked for.
type shardHandover struct {
	request v1alpha1.HandoverRequest
	at      *instance
	force   bool
	status  *v1alpha1.HandoverStatus
}

// nextShardHandover reads the annotation.
func nextShardHandover(r *v1alpha1.Redis, members []instance) shardHandover {
	text, last := r.Annotations[v1alpha1.AnnotationHandover], r.Status.Handover
	if text == "" {
		return shardHandover{status: last}
	}
	h := shardHandover{}
	if err := json.Unmarshal([]byte(text), &h.request); err != nil || h.request.ID == "" {
		return shardHandover{status: &v1alpha1.HandoverStatus{
			Phase:   v1alpha1.HandoverFailed,
			Message: fmt.Sprintf(`annotation %s: expected JSON like {"id":"1","shard":"2"} or {"id":"1","to":"%s-1"}`, v1alpha1.AnnotationHandover, r.Name),
		}}
	}
	req := h.request
	shards := plan.ClusterShards(clusterMembers(members, r.Status.Members))
	if last != nil && last.ID == req.ID {
		if last.Phase == v1alpha1.HandoverRunning {
			last = interruptedShard(*last, shards)
		}
		return shardHandover{status: last}
	}
	if req.Force {
		h.force = true
		return h
	}
	master := ""
	for i, s := range shards {
		if s.Master == req.To {
			h.status = &v1alpha1.HandoverStatus{ID: req.ID, Phase: v1alpha1.HandoverSucceeded, From: req.To, To: req.To, Message: req.To + " is master already"}
			return h
		}
		if slices.Contains(s.Replicas, req.To) || req.To == "" && shardName(i) == req.Shard {
			master = s.Master
		}
	}
	switch x := find(members, master); {
	case req.To == "" && req.Shard == "":
		h.status = refuse(req, "mode Cluster has a master in every shard; name a shard (1 to %d) or a member", len(shards))
	case master == "" && req.To != "":
		h.status = refuse(req, "%s is no replica of any shard", req.To)
	case master == "":
		h.status = refuse(req, "there is no shard %s; they are 1 to %d", req.Shard, len(shards))
	case x == nil || x.agent == nil:
		h.status = refuse(req, "the agent of the master %s does not answer", master)
	default:
		h.at = x
	}
	return h
}

// interruptedShard judges a handover whose outcome was not seen, by whether the old master still is one.
func interruptedShard(s v1alpha1.HandoverStatus, shards []plan.ClusterShard) *v1alpha1.HandoverStatus {
	s.Phase = v1alpha1.HandoverSucceeded
	for _, x := range shards {
		if x.Master == s.From {
			s.Phase, s.Message = v1alpha1.HandoverFailed, s.From+" is still master; ask again with another id"
		}
	}
	return &s
}

// handOverShard serves the annotation.
func (c *redisController) handOverShard(ctx context.Context, r *v1alpha1.Redis, o *observation, seen plan.ClusterObservation, token string) (doing, time.Duration, error) {
	h := nextShardHandover(r, o.members)
	if h.at == nil && !h.force {
		if failed(h.status) && !failed(r.Status.Handover) {
			c.events.Event(r, corev1.EventTypeWarning, v1alpha1.EventHandoverFailed, h.status.Message)
		}
		r.Status.Handover = h.status
		return doing{}, 0, nil
	}
	from := ""
	if h.at != nil {
		from = h.at.name
	}
	before := r.DeepCopy()
	r.Status.Handover = &v1alpha1.HandoverStatus{ID: h.request.ID, Phase: v1alpha1.HandoverRunning, From: from, To: h.request.To}
	if err := c.applier.client.Status().Patch(ctx, r.DeepCopy(), client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return doing{}, 0, fmt.Errorf("write that the handover %q starts: %w", h.request.ID, err)
	}
	var done v1alpha1.HandoverStatus
	var err error
	if h.force {
		done, err = c.forceShards(ctx, r, o, seen, token)
	} else {
		done, err = c.agents.handOver(ctx, token, *h.at, h.request)
	}
	if err != nil {
		done = v1alpha1.HandoverStatus{Phase: v1alpha1.HandoverFailed, Message: err.Error()}
	}
	done.ID = h.request.ID
	if done.From == "" {
		done.From = from
	}
	if failed(&done) {
		c.events.Event(r, corev1.EventTypeWarning, v1alpha1.EventHandoverFailed, done.Message)
	}
	r.Status.Handover = &done
	c.agents.look(ctx, token, o.members)
	return doing{reason: v1alpha1.ReasonHandingOver, message: orElse(done.Message, "to "+done.To)}, lookNext, nil
}

// forceShards does what internal/plan would not do without somebody's word: replicas take over without votes, and masters whose
// data is gone are given up.
func (c *redisController) forceShards(ctx context.Context, r *v1alpha1.Redis, o *observation, seen plan.ClusterObservation, token string) (v1alpha1.HandoverStatus, error) {
	seen.Force = true
	step := plan.DecideCluster(seen)
	if step.Kind != plan.ClusterElecting && step.Kind != plan.ClusterForgetting || len(step.Lost) == 0 {
		return v1alpha1.HandoverStatus{}, fmt.Errorf("no master is lost for good, so there is nothing to force; %s", orElse(step.Why, "every shard is served"))
	}
	if err := c.carryOut(ctx, r, c.remember(client.ObjectKeyFromObject(r), r.UID), o, step, token); err != nil {
		return v1alpha1.HandoverStatus{}, err
	}
	c.events.Eventf(r, corev1.EventTypeWarning, v1alpha1.EventFailedOver, "by force: %s", strings.Join(step.Lost, "; "))
	return v1alpha1.HandoverStatus{Phase: v1alpha1.HandoverSucceeded, Message: strings.Join(step.Lost, "; ")}, nil
}
