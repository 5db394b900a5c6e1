package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
)

// actionTimeout bounds one command to one server.
const actionTimeout = 2 * time.Second

// workCluster is work in mode Cluster: internal/plan says what comes next, and it is done here.
func (c *redisController) workCluster(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, live sets, token string) (doing, time.Duration, error) {
	seen := observeCluster(r, *o, live)
	seen.Migrating = mem.migration.running()
	seen.Unfinished = !seen.Migrating && r.Status.Cluster != nil && r.Status.Cluster.Migration != nil
	step := plan.DecideCluster(seen)
	grow, err := c.grow(ctx, r, mem, o, live.members)
	if err != nil {
		return doing{}, lookBusy, err
	}
	o.unserved = c.unserved(r, mem)
	external, missing, err := c.external(ctx, r, o)
	if err != nil {
		return doing{}, lookBusy, err
	}
	o.external = external
	o.unserved = append(append(o.unserved, missing...), withoutHostnames(r, o.members)...)
	if err := c.applyAll(ctx, r, mem, o, live, int32(step.Members), grow); err != nil {
		return doing{}, lookBusy, err
	}
	monitor, err := c.podMonitor(ctx, r, mem)
	if err != nil {
		return doing{}, lookBusy, err
	}
	o.unserved = append(o.unserved, monitor...)
	if grow.remake {
		return doing{reason: v1alpha1.ReasonStorageGrowing, message: "the StatefulSet is made anew around its pods"}, lookNext, c.remake(ctx, live.members)
	}
	if live.members != nil && step.Members != seen.Have {
		c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventScaled, "from %d to %d members", seen.Have, step.Members)
	}
	if d, wait, err := c.handOverShard(ctx, r, o, seen, token); d.reason != "" || err != nil {
		return d, wait, err
	}
	c.tellMigration(r, mem)
	d := doingStep(step, mem.migration)
	if len(step.Actions) > 0 {
		err := c.carryOut(ctx, r, mem, o, step, token)
		if err != nil {
			d.message += "; " + err.Error()
			c.log.Warn("A step failed and is tried again", "redis", client.ObjectKeyFromObject(r), "step", step.Kind, "error", err)
			return d, lookBusy, nil
		}
		return d, lookNext, nil
	}
	if step.Kind == plan.ClusterSettled && !mem.formed {
		mem.formed = true
		if !hasServed(r.Status.Phase) {
			c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventFormed, "%d shards serve all slots", seen.Shards)
		}
	}
	if step.Kind == plan.ClusterSettled || step.Kind == plan.ClusterWaiting {
		if d, wait, done, err := c.restart(ctx, r, mem, o); done || err != nil {
			return d, wait, err
		}
	}
	switch {
	case step.Kind == plan.ClusterSettled:
		return settling(r, *o), settlingWait(r, mem, *o), nil
	case step.Kind == plan.ClusterWaiting && !mem.formed, step.Kind == plan.ClusterForming, step.Kind == plan.ClusterMigrating:
		return d, lookNext, nil
	}
	return d, lookBusy, nil
}

// observeCluster is what is seen, for internal/plan.
func observeCluster(r *v1alpha1.Redis, o observation, live sets) plan.ClusterObservation {
	seen := plan.ClusterObservation{
		Members:          clusterMembers(o.members, r.Status.Members),
		Shards:           int(ptr.Deref(r.Spec.Shards, v1alpha1.DefaultShards)),
		ReplicasPerShard: int(ptr.Deref(r.Spec.ReplicasPerShard, v1alpha1.DefaultReplicasPerShard)),
		Ephemeral:        r.Spec.Storage != nil && r.Spec.Storage.Ephemeral,
	}
	if live.members != nil {
		seen.Have = int(ptr.Deref(live.members.Spec.Replicas, 1))
	}
	return seen
}

// doingStep is a step as the status tells it.
func doingStep(step plan.ClusterDecision, m *migration) doing {
	d := doing{message: step.Why, step: step.Kind}
	switch step.Kind {
	case plan.ClusterSettled:
		return doing{}
	case plan.ClusterBlocked:
		d.reason, d.blocked = v1alpha1.ReasonNeedsDecision, true
	case plan.ClusterForming:
		d.reason = v1alpha1.ReasonForming
	case plan.ClusterMigrating:
		d.phase, d.reason = v1alpha1.PhaseScaling, v1alpha1.ReasonRebalancing
		if s := m.status(); s != nil {
			d.migration = s
			d.message = fmt.Sprintf("%d of %d slots have moved", s.SlotsMoved, s.SlotsTotal)
		}
	case plan.ClusterShrinking, plan.ClusterHandingOver:
		d.phase, d.reason = v1alpha1.PhaseScaling, v1alpha1.ReasonScaling
	default:
		d.reason = v1alpha1.ReasonRepairing
	}
	return d
}

// carryOut does the actions of a step, those at different members at the same time, and those at one member in order.
func (c *redisController) carryOut(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, step plan.ClusterDecision, token string) error {
	password, err := c.password(ctx, r)
	if err != nil {
		return err
	}
	byMember := map[string][]plan.ClusterAction{}
	for _, a := range step.Actions {
		byMember[memberOf(a)] = append(byMember[memberOf(a)], a)
	}
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for name, actions := range byMember {
		all.Go(func() {
			for _, a := range actions {
				if err := c.act(ctx, r, mem, o, a, name, password, token); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("%s: %w", a, err))
					mu.Unlock()
					return
				}
			}
		})
	}
	all.Wait()
	if tells(step.Kind) && len(errs) < len(step.Actions) {
		c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventRepaired, "%s: %s", step.Kind, step.Why)
	}
	if len(errs) > 0 {
		return errors.Join(errs[:min(3, len(errs))]...)
	}
	return nil
}

// tells is which steps are worth an event.
func tells(kind plan.ClusterStepKind) bool {
	switch kind {
	case plan.ClusterElecting, plan.ClusterForgetting, plan.ClusterJoining, plan.ClusterReplicating:
		return true
	}
	return false
}

// memberOf is the member that an action is for; empty for the operator itself.
func memberOf(a plan.ClusterAction) string {
	switch a := a.(type) {
	case plan.ClusterSetEpoch:
		return a.At
	case plan.ClusterMeet:
		return a.At
	case plan.ClusterAddSlots:
		return a.At
	case plan.ClusterReplicate:
		return a.At
	case plan.ClusterForget:
		return a.At
	case plan.ClusterReset:
		return a.At
	case plan.ClusterElect:
		return a.At
	case plan.ClusterHandOver:
		return a.At
	}
	return ""
}

// act carries one action out.
func (c *redisController) act(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, a plan.ClusterAction, name, password, token string) error {
	c.log.Info("Step of mode Cluster", "redis", client.ObjectKeyFromObject(r), "action", a.String())
	if move, ok := a.(plan.ClusterMigrate); ok {
		return c.startMigration(ctx, r, mem, o, move, password)
	}
	x := find(o.members, name)
	if x == nil || x.pod == nil {
		return fmt.Errorf("%s does not exist", name)
	}
	if h, ok := a.(plan.ClusterHandOver); ok {
		done, err := c.agents.handOver(ctx, token, *x, v1alpha1.HandoverRequest{ID: fmt.Sprintf("cluster-%d", o.now.UnixMilli()), To: h.To})
		if err == nil && failed(&done) {
			err = errors.New(done.Message)
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, actionTimeout)
	defer cancel()
	s := redis.NewClient(v1alpha1.PodAddress(x.pod, v1alpha1.PortRedis), password)
	defer s.Close()
	switch a := a.(type) {
	case plan.ClusterSetEpoch:
		return s.ClusterSetConfigEpoch(ctx, a.Epoch)
	case plan.ClusterMeet:
		return s.ClusterMeet(ctx, a.Address, a.BusPort)
	case plan.ClusterAddSlots:
		return s.ClusterAddSlots(ctx, a.Slots)
	case plan.ClusterReplicate:
		return s.ClusterReplicate(ctx, a.MasterID)
	case plan.ClusterForget:
		if err := s.ClusterForget(ctx, a.ID); err != nil && !strings.Contains(err.Error(), "Unknown node") {
			return err
		}
		return nil
	case plan.ClusterReset:
		return s.ClusterReset(ctx, false)
	case plan.ClusterElect:
		if a.Takeover {
			return s.ClusterTakeover(ctx)
		}
		return s.ClusterFailover(ctx, redis.FailoverForce)
	}
	return fmt.Errorf("unknown action %T", a)
}

// password is that of the members, empty where auth is off.
func (c *redisController) password(ctx context.Context, r *v1alpha1.Redis) (string, error) {
	if !r.AuthEnabled() {
		return "", nil
	}
	var s corev1.Secret
	key := types.NamespacedName{Namespace: r.Namespace, Name: r.AuthSecretName()}
	err := c.applier.client.Get(ctx, key, &s)
	if apierrors.IsNotFound(err) {
		err = c.applier.direct.Get(ctx, key, &s)
	}
	if err != nil {
		return "", fmt.Errorf("read Secret %s: %w", key.Name, err)
	}
	return string(s.Data[v1alpha1.SecretKeyPassword]), nil
}
