package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// nextHandover reads the annotation redstart.dev/handover. When the request is new and can be served, it is start, and agent
// is the member to ask: the master, or, without one and by force, the member that is to become master. Otherwise status
// is what is known of the request, nil when there is none.
func nextHandover(r *v1alpha1.Redis, members []instance) (start *v1alpha1.HandoverRequest, agent *instance, status *v1alpha1.HandoverStatus) {
	text := r.Annotations[v1alpha1.AnnotationHandover]
	last := r.Status.Handover
	if text == "" {
		return nil, nil, last
	}
	var req v1alpha1.HandoverRequest
	if err := json.Unmarshal([]byte(text), &req); err != nil || req.ID == "" {
		return nil, nil, &v1alpha1.HandoverStatus{
			Phase:   v1alpha1.HandoverFailed,
			Message: fmt.Sprintf(`annotation %s: expected JSON like {"id":"1","to":"%s-1"}`, v1alpha1.AnnotationHandover, r.Name),
		}
	}
	m := master(members)
	if last != nil && last.ID == req.ID {
		if last.Phase != v1alpha1.HandoverRunning {
			return nil, nil, last
		}
		return nil, nil, interrupted(*last, m)
	}
	to := find(members, req.To)
	switch {
	case req.To != "" && to == nil:
		return nil, nil, refuse(req, "%s is no member of this Redis", req.To)
	case m != nil && m == to:
		return nil, nil, &v1alpha1.HandoverStatus{
			ID: req.ID, Phase: v1alpha1.HandoverSucceeded, From: m.name, To: m.name,
			Message: m.name + " is master already",
		}
	case m != nil && m.agent != nil:
		// There is a master whose data is the newest: nothing needs to be forced.
		req.Force = false
		return &req, m, nil
	case m != nil:
		return nil, nil, refuse(req, "the agent of the master %s does not answer", m.name)
	case !req.Force:
		return nil, nil, refuse(req, "no member is master that could hand over")
	}
	if to == nil {
		to = newest(members)
	}
	if to == nil || to.agent == nil {
		return nil, nil, refuse(req, "the agent of the member that is to become master does not answer")
	}
	req.To = to.name
	return &req, to, nil
}

func refuse(req v1alpha1.HandoverRequest, format string, args ...any) *v1alpha1.HandoverStatus {
	return &v1alpha1.HandoverStatus{ID: req.ID, Phase: v1alpha1.HandoverFailed, Message: fmt.Sprintf(format, args...)}
}

func find(members []instance, name string) *instance {
	for i := range members {
		if members[i].name == name {
			return &members[i]
		}
	}
	return nil
}

// newest is the member whose agent answers and that has the most of the latest data.
func newest(members []instance) *instance {
	var best *instance
	for i := range members {
		x := &members[i]
		if x.agent == nil || x.agent.Stopping {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(x.agent.Term, best.agent.Term), cmp.Compare(x.agent.Server.Offset, best.agent.Server.Offset)) > 0 {
			best = x
		}
	}
	return best
}

// interrupted judges a handover whose outcome was not seen, because the operator restarted meanwhile: by who is master now. It is
// never started twice.
func interrupted(s v1alpha1.HandoverStatus, m *instance) *v1alpha1.HandoverStatus {
	switch {
	case m == nil:
		return &s // wait for a master
	case m.name != s.From:
		s.Phase, s.To = v1alpha1.HandoverSucceeded, m.name
	default:
		s.Phase, s.Message = v1alpha1.HandoverFailed, m.name+" is still master; ask again with another id"
	}
	return &s
}

// handOver serves the annotation. That it runs is written before it starts, against the version of the Redis that was read,
// so that no other operator and no later look starts it again.
func (c *redisController) handOver(ctx context.Context, r *v1alpha1.Redis, o *observation, token string) (doing, time.Duration, error) {
	start, agent, status := nextHandover(r, o.members)
	if start == nil {
		if failed(status) && !failed(r.Status.Handover) {
			c.events.Event(r, corev1.EventTypeWarning, v1alpha1.EventHandoverFailed, status.Message)
		}
		r.Status.Handover = status
		return doing{}, 0, nil
	}
	from := ""
	if !start.Force {
		from = agent.name
	}
	before := r.DeepCopy()
	r.Status.Handover = &v1alpha1.HandoverStatus{ID: start.ID, Phase: v1alpha1.HandoverRunning, From: from, To: start.To}
	running := r.DeepCopy()
	if err := c.applier.client.Status().Patch(ctx, running, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return doing{}, 0, fmt.Errorf("write that the handover %q starts: %w", start.ID, err)
	}
	done, err := c.agents.handOver(ctx, token, *agent, *start)
	if err != nil {
		done = v1alpha1.HandoverStatus{Phase: v1alpha1.HandoverFailed, Message: err.Error()}
	}
	done.ID = start.ID
	if done.From == "" {
		done.From = from
	}
	if start.To != "" && done.To != "" && done.To != start.To {
		done.Message = fmt.Sprintf("%s was asked for, the Sentinels chose %s", start.To, done.To)
	}
	if failed(&done) {
		c.events.Event(r, corev1.EventTypeWarning, v1alpha1.EventHandoverFailed, done.Message)
	}
	r.Status.Handover = &done
	// The members have changed roles since they were asked.
	c.agents.look(ctx, token, o.members)
	return doing{reason: v1alpha1.ReasonHandingOver, message: "to " + orElse(done.To, "another member")}, lookNext, nil
}

func failed(s *v1alpha1.HandoverStatus) bool { return s != nil && s.Phase == v1alpha1.HandoverFailed }
