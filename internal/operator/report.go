package operator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// report writes the status of a Redis, when there is something new to say, and counts failovers. stored is the
// Redis as it was read, r the same with what the operator did to its status meanwhile. news tells whether there was more to
// say than figures.
func (c *redisController) report(ctx context.Context, stored, r *v1alpha1.Redis, mem *memory, o observation, d doing) (news bool, err error) {
	next := nextStatus(r, o, d)
	c.metrics.observe(stored, meta.IsStatusConditionTrue(next.Conditions, v1alpha1.ConditionReady))
	news = !sameButFigures(stored.Status, next)
	if !c.worthWriting(stored.Status, next, mem, o) {
		return news, nil
	}
	written := stored.DeepCopy()
	written.Status = next
	if err := c.applier.client.Status().Patch(ctx, written, client.MergeFrom(stored)); err != nil {
		if apierrors.IsNotFound(err) {
			return news, nil // deleted meanwhile
		}
		return news, fmt.Errorf("write the status of Redis %s: %w", r.Name, err)
	}
	mem.statusWritten = o.now
	c.tellRefusal(stored, d)
	c.tellUnserved(stored, next)
	c.countFailover(stored, next.LastFailover, mem)
	return news, nil
}

// worthWriting tells whether a status says something new. Figures alone, which change with every write of a client,
// are written seldom.
func (c *redisController) worthWriting(old, next v1alpha1.RedisStatus, mem *memory, o observation) bool {
	if equality.Semantic.DeepEqual(old, next) {
		return false
	}
	return !sameButFigures(old, next) || o.now.Sub(mem.statusWritten) >= lookCalm
}

// tellRefusal tells once why a Redis is not acted upon.
func (c *redisController) tellRefusal(stored *v1alpha1.Redis, d doing) {
	if !d.refused && !d.blocked {
		return
	}
	if p := meta.FindStatusCondition(stored.Status.Conditions, v1alpha1.ConditionProgressing); p != nil && p.Message == d.message {
		return
	}
	c.events.Event(stored, corev1.EventTypeWarning, d.reason, d.message)
}

// tellUnserved tells once of fields that do not take effect.
func (c *redisController) tellUnserved(stored *v1alpha1.Redis, next v1alpha1.RedisStatus) {
	now := meta.FindStatusCondition(next.Conditions, v1alpha1.ConditionSpecServed)
	if now == nil || now.Status == metav1.ConditionTrue {
		return
	}
	if was := meta.FindStatusCondition(stored.Status.Conditions, v1alpha1.ConditionSpecServed); was != nil && was.Message == now.Message {
		return
	}
	c.events.Event(stored, corev1.EventTypeWarning, now.Reason, now.Message)
}

// countFailover counts a change of master that was not counted yet. A Redis' first master follows on none. The event of it
// is the new master's agent's, which tells it whether or not there is an operator.
func (c *redisController) countFailover(stored *v1alpha1.Redis, f *v1alpha1.FailoverStatus, mem *memory) {
	if f == nil || f.From == "" || !f.Time.After(mem.failover) {
		return
	}
	if old := stored.Status.LastFailover; old != nil && !f.Time.After(old.Time.Time) {
		return
	}
	mem.failover = f.Time.Time
	c.metrics.failedOver(stored, f.Planned)
}
