package scale_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// newRedis makes number i: of ten, six are in mode Replication, two in mode Sentinel and two in mode Cluster.
func newRedis(i int) *v1alpha1.Redis {
	r := &v1alpha1.Redis{}
	r.Namespace = namespaceOf(i / 10)
	switch i % 10 {
	case 3, 7:
		r.Name, r.Spec.Mode = fmt.Sprintf("sentinel-%d", i), v1alpha1.ModeSentinel
	case 5, 9:
		r.Name, r.Spec.Mode = fmt.Sprintf("cluster-%d", i), v1alpha1.ModeCluster
		r.Spec.Shards, r.Spec.ReplicasPerShard = ptr.To[int32](shards), ptr.To[int32](1)
	default:
		r.Name, r.Spec.Mode = fmt.Sprintf("cache-%d", i), v1alpha1.ModeReplication
	}
	return r
}

// modeOf is the mode of the Redis of that name.
func modeOf(name string) v1alpha1.Mode {
	switch {
	case strings.HasPrefix(name, "cluster-"):
		return v1alpha1.ModeCluster
	case strings.HasPrefix(name, "sentinel-"):
		return v1alpha1.ModeSentinel
	}
	return v1alpha1.ModeReplication
}

// settled tells that everything about a Redis has been done, for its present generation.
func settled(o runtime.Object) bool {
	r, ok := o.(*v1alpha1.Redis)
	return ok && r.Status.ObservedGeneration == r.Generation && r.Status.Phase == v1alpha1.PhaseReady &&
		meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady) &&
		meta.IsStatusConditionFalse(r.Status.Conditions, v1alpha1.ConditionProgressing)
}

// TestRedises: all become ready; then nothing is done about them while nothing changes; an operator that starts anew finds nothing to do; a
// change of all is taken over.
func TestRedises(t *testing.T) {
	needPrograms(t)
	p := newControlPlane(t)
	a := newAgents(t)
	p.startNodes(a)
	o := p.startOperator("operator")
	var results table
	results.begin(t, fmt.Sprintf("%d Redises (6 of 10 Replication, 2 Sentinel, 2 Cluster)", *redises))
	allSettled := func(ctx context.Context) error { return p.count(ctx, &v1alpha1.RedisList{}, settled) }

	empty := o.read()
	results.add("no Redis yet", empty, empty, "redis")

	before := o.read()
	each(t, *redises, func(ctx context.Context, i int) error { return p.client.Create(ctx, newRedis(i)) })
	eventually(t, "all are ready", patience, allSettled)
	results.add("until all are ready", before, o.read(), "redis")

	pass(t, *calm)
	before = o.read()
	pass(t, *steady)
	after := o.read()
	results.add("nothing changes", before, after, "redis")
	quiet(t, before, after)

	a.busy.Store(true)
	before = o.read()
	pass(t, *steady)
	results.add("clients write, nothing else changes", before, o.read(), "redis")
	a.busy.Store(false)

	before = o.read()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"config":{"maxmemory":"64mb"}}}`))
	each(t, *redises, func(ctx context.Context, i int) error { return p.client.Patch(ctx, newRedis(i), patch) })
	eventually(t, "the change is everywhere", patience, allSettled)
	results.add("a setting of all changes", before, o.read(), "redis")

	pass(t, time.Minute) // what is still to be written is written
	o.stop()
	o = p.startOperator("operator-2")
	pass(t, time.Minute)
	again := o.read()
	eventually(t, "all are ready still", patience, allSettled)
	results.add("the first minute of another operator", reading{at: again.at.Add(-time.Minute), families: nil}, again, "redis")
	// On a machine that is slow an agent may answer too late, which the status of its Redis tells.
	if _, writes := again.requests(); writes > float64(*redises)/50 {
		t.Errorf("an operator that started anew wrote %.0f times, though nothing had changed", writes)
	}

	each(t, *redises, func(ctx context.Context, i int) error { return p.client.Delete(ctx, newRedis(i)) })
	eventually(t, "all are gone", patience, func(ctx context.Context) error {
		var list v1alpha1.RedisList
		if err := p.client.List(ctx, &list); err != nil {
			return err
		}
		if n := len(list.Items); n > 0 {
			return fmt.Errorf("%d are there", n)
		}
		return nil
	})
	results.print()
}

// quiet fails when an operator works although nothing changes: it looks now and then, and writes nothing.
func quiet(t *testing.T, before, after reading) {
	t.Helper()
	seconds := after.at.Sub(before.at).Seconds()
	most := max(1, float64(*redises)/200) // a second
	if rate := (after.reconciles("redis") - before.reconciles("redis")) / seconds; rate > most {
		t.Errorf("%.2f reconciles a second in the steady state, want at most %.2f", rate, most)
	}
	_, wrote := before.requests()
	if _, writes := after.requests(); writes != wrote {
		t.Errorf("%.0f writes in the steady state, want none", writes-wrote)
	}
}
