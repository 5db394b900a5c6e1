package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// nextHandover reads the annotation redstart.dev/handover and says what to do about it: start is a request that is new and can be
// served; otherwise status is what is known of it, nil when there is no request.
func nextHandover(r *v1alpha1.Redis, members []instance) (start *v1alpha1.HandoverRequest, status *v1alpha1.HandoverStatus) {
	text := r.Annotations[v1alpha1.AnnotationHandover]
	last := r.Status.Handover
	if text == "" {
		return nil, last
	}
	var req v1alpha1.HandoverRequest
	if err := json.Unmarshal([]byte(text), &req); err != nil || req.ID == "" {
		return nil, &v1alpha1.HandoverStatus{
			Phase:   v1alpha1.HandoverFailed,
			Message: fmt.Sprintf(`annotation %s: expected JSON like {"id":"1","to":"%s-1"}`, v1alpha1.AnnotationHandover, r.Name),
		}
	}
	m := master(members)
	if last != nil && last.ID == req.ID {
		if last.Phase != v1alpha1.HandoverRunning {
			return nil, last
		}
		return nil, interrupted(*last, m)
	}
	fail := func(format string, args ...any) *v1alpha1.HandoverStatus {
		return &v1alpha1.HandoverStatus{ID: req.ID, Phase: v1alpha1.HandoverFailed, Message: fmt.Sprintf(format, args...)}
	}
	if m == nil || m.agent == nil {
		return nil, fail("no member is master that could hand over")
	}
	if req.To == "" {
		return &req, nil
	}
	for _, x := range members {
		if x.name != req.To {
			continue
		}
		if x.name == m.name {
			return nil, &v1alpha1.HandoverStatus{ID: req.ID, Phase: v1alpha1.HandoverSucceeded, From: m.name, To: m.name,
				Message: m.name + " is master already"}
		}
		return &req, nil
	}
	return nil, fail("%s is no member of this Redis", req.To)
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
	start, status := nextHandover(r, o.members)
	if start == nil {
		if failed(status) && !failed(r.Status.Handover) {
			c.events.Event(r, corev1.EventTypeWarning, v1alpha1.EventHandoverFailed, status.Message)
		}
		r.Status.Handover = status
		return doing{}, 0, nil
	}
	m := *master(o.members)
	before := r.DeepCopy()
	r.Status.Handover = &v1alpha1.HandoverStatus{ID: start.ID, Phase: v1alpha1.HandoverRunning, From: m.name, To: start.To}
	running := r.DeepCopy()
	if err := c.applier.client.Status().Patch(ctx, running, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return doing{}, 0, fmt.Errorf("write that the handover %q starts: %w", start.ID, err)
	}
	done, err := c.agents.handOver(ctx, token, m, *start)
	if err != nil {
		done = v1alpha1.HandoverStatus{Phase: v1alpha1.HandoverFailed, Message: err.Error()}
	}
	done.ID = start.ID
	if done.From == "" {
		done.From = m.name
	}
	if failed(&done) {
		c.events.Event(r, corev1.EventTypeWarning, v1alpha1.EventHandoverFailed, done.Message)
	}
	r.Status.Handover = &done
	// The members have changed roles since they were asked.
	c.agents.look(ctx, token, o.members)
	return doing{reason: v1alpha1.ReasonHandingOver, message: "handed over from " + done.From}, lookNext, nil
}

func failed(s *v1alpha1.HandoverStatus) bool { return s != nil && s.Phase == v1alpha1.HandoverFailed }
