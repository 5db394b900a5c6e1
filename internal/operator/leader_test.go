package operator_test

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator"
)

// TestTwoOperators runs two operators with leader election: one works, and the other takes over when it stops.
func TestTwoOperators(t *testing.T) {
	c := newCluster(t)
	start := func() (stop func()) {
		return background(t, "an operator", func(ctx context.Context) error {
			return operator.Run(ctx, c.config, operator.Options{LeaderElection: true, LeaderElectionNamespace: "default", Logger: c.log})
		})
	}
	holder := func() string {
		var l coordinationv1.Lease
		if c.get(operator.LeaderElectionID, &l) != nil {
			return ""
		}
		return ptr.Deref(l.Spec.HolderIdentity, "")
	}
	stopFirst := start()
	c.eventually("the first operator has the Lease", func(context.Context) bool { return holder() != "" })
	first := holder()
	start()
	c.must(c.client.Create(c.ctx(), newRedis("one", v1alpha1.ModeStandalone)))
	c.eventually("the first Redis has its StatefulSet", func(context.Context) bool { return c.get("one", &appsv1.StatefulSet{}) == nil })
	if got := holder(); got != first {
		t.Errorf("%s has the Lease while %s works", got, first)
	}
	stopFirst()
	c.must(c.client.Create(c.ctx(), newRedis("two", v1alpha1.ModeStandalone)))
	c.eventually("the second Redis has its StatefulSet", func(context.Context) bool { return c.get("two", &appsv1.StatefulSet{}) == nil })
	if got := holder(); got == first || got == "" {
		t.Errorf("%q has the Lease after %s stopped", got, first)
	}
}
