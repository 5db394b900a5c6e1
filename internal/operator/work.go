package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

// invalidError says that a Redis breaks a rule of its own type.
type invalidError struct{ message string }

func (e invalidError) Error() string { return e.message }

// work does what is to be done next about a Redis, one thing at a time: its objects, a handover that was asked for, its size,
// restarts. It returns what is going on and when to look again.
func (c *redisController) work(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, live sets, token string) (doing, time.Duration, error) {
	if err := r.Validate().ToAggregate(); err != nil {
		return doing{}, lookCalm, invalidError{err.Error()}
	}
	if err := c.givenSecret(ctx, r, mem); err != nil {
		return doing{}, lookCalm, err
	}
	if r.Spec.Mode == v1alpha1.ModeCluster {
		return c.workCluster(ctx, r, mem, o, live, token)
	}
	want := ptr.Deref(r.Spec.Replicas, 1)
	next := size{replicas: want}
	switch have := existing(o.members); {
	case live.members != nil:
		next = nextSize(ptr.Deref(live.members.Spec.Replicas, 1), want, o.members)
	case have > want:
		// The StatefulSet is being made anew, or somebody deleted it: what exists is the size that it had.
		next = nextSize(have, want, o.members)
	}
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
	o.unserved = append(o.unserved, missing...)
	if err := c.applyAll(ctx, r, mem, o, live, next.replicas, grow); err != nil {
		return doing{}, lookBusy, err
	}
	monitor, err := c.podMonitor(ctx, r, mem)
	if err != nil {
		return doing{}, lookBusy, err
	}
	o.unserved = append(o.unserved, monitor...)
	if d, wait, err := c.handOver(ctx, r, o, token); d.reason != "" || err != nil {
		return d, wait, err
	}
	if d, wait, done, err := c.resize(ctx, r, mem, o, live, next, token); done || err != nil {
		return d, wait, err
	}
	if grow.remake {
		return doing{reason: v1alpha1.ReasonStorageGrowing, message: "the StatefulSet is made anew around its pods"}, lookNext, c.remake(ctx, live.members)
	}
	if d, wait, done, err := c.restart(ctx, r, mem, o); done || err != nil {
		return d, wait, err
	}
	d := settling(r, *o)
	if d.reason == "" && grow.waits != "" {
		d = doing{reason: v1alpha1.ReasonStorageGrowing, message: "waiting for " + grow.waits}
	}
	return d, settlingWait(r, mem, *o), nil
}

// existing is how many members a StatefulSet with these pods has.
func existing(members []instance) int32 {
	n := 0
	for _, x := range members {
		if x.pod != nil {
			n = max(n, x.ordinal+1)
		}
	}
	return int32(n)
}

// settling is what still goes on when there is nothing left to do: members come and go after a change of size.
func settling(r *v1alpha1.Redis, o observation) doing {
	d := doing{phase: v1alpha1.PhaseScaling, reason: v1alpha1.ReasonScaling}
	wanted := o.wanted(r)
	switch {
	case len(o.members) > len(wanted):
		d.message = fmt.Sprintf("%d members are stopping", len(o.members)-len(wanted))
	case r.Status.Phase == v1alpha1.PhaseScaling && notReady(wanted) != "":
		d.message = notReady(wanted)
	default:
		return doing{}
	}
	return d
}

// settlingWait is how long until the next look. Nobody tells the operator when an agent that did not answer does again, or takes up a
// role that its pod has already.
func settlingWait(r *v1alpha1.Redis, mem *memory, o observation) time.Duration {
	all := append(o.members[:len(o.members):len(o.members)], o.sentinels...)
	switch {
	case o.now.Sub(mem.changed) < lookCalm, len(o.members) != len(o.wanted(r)), notReady(all) != "":
		return lookBusy
	case slices.ContainsFunc(all, func(x instance) bool { return x.agent == nil }):
		return lookBusy
	case r.Spec.Mode != v1alpha1.ModeCluster && master(o.members) == nil:
		return lookBusy
	}
	return lookCalm
}

// explain turns errors that somebody has to do something about into what the status says. The error that remains is
// one that trying again may cure.
func explain(d doing, err error) (doing, error) {
	var invalid invalidError
	var secret secretError
	var taken takenError
	switch {
	case errors.As(err, &invalid):
		return doing{reason: v1alpha1.ReasonInvalidSpec, message: invalid.message, refused: true}, nil
	case errors.As(err, &secret):
		return doing{reason: secret.reason, message: secret.message, refused: true}, nil
	case errors.As(err, &taken):
		return doing{reason: v1alpha1.ReasonNameTaken, message: taken.message, refused: true}, err
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return doing{reason: v1alpha1.ReasonApplyFailed, message: err.Error(), blocked: true}, err
	}
	return d, err
}

// applyAll applies every object. The Secret comes after the Services and before the pods that need it: a client's pod
// that waits for its password finds the Services' variables in its environment.
func (c *redisController) applyAll(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, live sets, replicas int32, g growth) error {
	all, err := objects.Build(r, c.options(o, replicas))
	if err != nil {
		return err
	}
	secret := false
	for _, obj := range all {
		if s, ok := obj.(*appsv1.StatefulSet); ok {
			if !secret {
				if err := c.secret(ctx, r); err != nil {
					return err
				}
				secret = true
			}
			if deleting(live.members, s) || deleting(live.sentinels, s) {
				continue // its successor is made when it is gone
			}
			keepAgentImage(s, live.members, o.members)
			keepAgentImage(s, live.sentinels, o.sentinels)
			if s.Name == r.Name {
				g.keepClaims(s, live.members)
			}
		}
		if err := c.applier.apply(ctx, r, obj, mem.applied); err != nil {
			return err
		}
	}
	return c.prune(ctx, r, all)
}

func deleting(live, wanted *appsv1.StatefulSet) bool {
	return live != nil && live.Name == wanted.Name && live.DeletionTimestamp != nil
}

// keepAgentImage leaves the image of the agent as it is, in the live StatefulSet or, where it is being made anew, in its pods.
func keepAgentImage(wanted, live *appsv1.StatefulSet, pods []instance) {
	if live != nil {
		objects.KeepAgentImage(wanted, live)
		return
	}
	for _, x := range pods {
		if x.pod != nil {
			objects.KeepAgentImageOfPod(wanted, x.pod)
			return
		}
	}
}

// resize follows a change of the number of members; done says that it is not over.
func (c *redisController) resize(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation, live sets, next size, token string) (_ doing, wait time.Duration, done bool, err error) {
	want := ptr.Deref(r.Spec.Replicas, 1)
	d := doing{phase: v1alpha1.PhaseScaling, reason: v1alpha1.ReasonScaling}
	if live.members == nil {
		return doing{}, lookBusy, false, nil
	}
	have := ptr.Deref(live.members.Spec.Replicas, 1)
	if have != next.replicas {
		c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventScaled, "from %d to %d members", have, next.replicas)
		d.message = fmt.Sprintf("from %d to %d members", have, next.replicas)
		return d, lookBusy, true, nil
	}
	if next.waits != "" {
		d.message = fmt.Sprintf("from %d to %d members: %s", have, want, next.waits)
		if next.handOverTo == "" || o.now.Before(mem.resizeAfter) {
			return d, lookBusy, true, nil
		}
		id := fmt.Sprintf("scale-%d-%d", r.Generation, o.now.UnixMilli())
		if _, err := c.agents.handOver(ctx, token, *master(o.members), v1alpha1.HandoverRequest{ID: id, To: next.handOverTo}); err != nil {
			// The agents may not have seen yet which members stay. They are asked again, not in haste.
			mem.resizeAfter = o.now.Add(5 * time.Second)
			d.message += "; " + err.Error()
			return d, lookBusy, true, nil //nolint:nilerr // the condition tells it
		}
		return d, lookNext, true, nil
	}
	return doing{}, 0, false, nil
}

// restart restarts the next outdated member, or Sentinel when no member is outdated; done says that one is left.
func (c *redisController) restart(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation) (_ doing, wait time.Duration, done bool, err error) {
	wanted := o.wanted(r)
	if mem.deleted != "" && stillThere(mem.deleted, wanted, o.sentinels) {
		return doing{phase: v1alpha1.PhaseUpdating, reason: v1alpha1.ReasonRestarting, message: "a pod is stopping"}, lookBusy, true, nil
	}
	mem.deleted = ""
	all := wanted
	next := nextRestart
	if r.Spec.Mode == v1alpha1.ModeCluster {
		next = nextShardRestart
	}
	step := next(wanted, o.now)
	if step == (removal{}) {
		all = o.sentinels
		step = nextSentinelRestart(o.sentinels, o.now)
	}
	d := doing{phase: v1alpha1.PhaseUpdating, reason: v1alpha1.ReasonRestarting}
	switch {
	case step == (removal{}):
		return doing{}, 0, false, nil
	case step.stuck:
		d.reason, d.blocked, d.message = v1alpha1.ReasonRestartBlocked, true, "did not come back: "+step.waits
		return d, lookBusy, true, nil
	case step.waits != "":
		d.message = "waiting for " + step.waits
		if step.soon {
			return d, lookNext, true, nil
		}
		return d, lookBusy, true, nil
	}
	for _, x := range all {
		if x.name != step.pod {
			continue
		}
		// By its UID: should the cache be old, its successor of the same name is not meant.
		err := c.applier.client.Delete(ctx, x.pod, client.Preconditions{UID: &x.pod.UID})
		if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
			return d, 0, false, fmt.Errorf("delete pod %s: %w", step.pod, err)
		}
		mem.deleted = x.pod.UID
		c.events.Eventf(r, corev1.EventTypeNormal, v1alpha1.EventRestarting, "%s: %s", step.pod, step.why)
	}
	d.message = fmt.Sprintf("%s: %s", step.pod, step.why)
	return d, lookBusy, true, nil
}

// stillThere tells whether the pod of a UID is among instances.
func stillThere(uid types.UID, all ...[]instance) bool {
	for _, x := range slices.Concat(all...) {
		if x.pod != nil && x.pod.UID == uid {
			return true
		}
	}
	return false
}
