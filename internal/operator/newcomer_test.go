package operator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis/clustertest"
)

// TestNewcomer lets a server join a cluster while one of the masters stands still, and so cannot tell it which slots are its own. It
// refuses keys of these, and is neither ready nor made a replica, of which all nodes would tell clients, before it knows the owner.
func TestNewcomer(t *testing.T) {
	// A time-out that is not over before the test is: the master that stands still has not failed.
	nodes := clustertest.Start(t, 4, clustertest.Settings{"cluster-node-timeout": "60000", "cluster-require-full-coverage": "no"})
	clustertest.Form(t, nodes[:3], 3)
	newcomer, silent := nodes[3], nodes[2]
	last, err := silent.ClusterView(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asleep := true
	views := func(ctx context.Context) (all []v1alpha1.ClusterView, err error) {
		for _, n := range nodes {
			v, e := last, error(nil)
			if n != silent || !asleep {
				v, e = n.ClusterView(ctx)
			}
			all, err = append(all, v), errors.Join(err, e)
		}
		return all, err
	}
	key := keyOf(t, silent, last.Myself().Slots)
	direct := goredis.NewClient(&goredis.Options{Addr: newcomer.Addr})
	defer func() { _ = direct.Close() }()

	if err := silent.Process().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = silent.Process().Signal(syscall.SIGCONT) }
	defer resume()
	if err := nodes[0].ClusterMeet(t.Context(), newcomer.Addr, 0); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "the newcomer and the masters that answer know each other", func(ctx context.Context) error {
		all, err := views(ctx)
		if err != nil {
			return err
		}
		for i, n := range nodes[:2] {
			if k := all[3].Node(n.ID); k == nil || k.Handshake || len(k.Slots) == 0 {
				return fmt.Errorf("it knows %+v of %s", k, n.Addr)
			}
			if k := all[i].Node(newcomer.ID); k == nil || k.Handshake {
				return fmt.Errorf("the master %s does not know it", n.Addr)
			}
		}
		return nil
	})
	all, err := views(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := direct.Get(t.Context(), key).Err(); err == nil || !strings.HasPrefix(err.Error(), "CLUSTERDOWN") {
		t.Errorf("a key of an owner that it has not heard of: %v, want CLUSTERDOWN", err)
	}
	if d := decideWith(nodes, all, silent); d.Kind != plan.ClusterWaiting || replicates(d) {
		t.Errorf("the decision is %s: %s, %v; want it to wait until the newcomer has heard of all owners", d.Kind, d.Why, d.Actions)
	}
	if readyWith(nodes, all) {
		t.Error("it is ready, and refuses keys")
	}

	resume()
	asleep = false
	clustertest.Eventually(t, "the newcomer is given a place", func(ctx context.Context) error {
		all, err := views(ctx)
		if err != nil {
			return err
		}
		d := decideWith(nodes, all, nil)
		if !replicates(d) {
			return fmt.Errorf("the decision is %s: %s", d.Kind, d.Why)
		}
		return nil
	})
	clustertest.Eventually(t, "the newcomer is ready", func(ctx context.Context) error {
		all, err := views(ctx)
		if err == nil && !readyWith(nodes, all) {
			err = errors.New("not ready")
		}
		return err
	})
	if err := direct.Get(t.Context(), key).Err(); err == nil || !strings.HasPrefix(err.Error(), "MOVED") {
		t.Errorf("a key of the last owner: %v, want MOVED", err)
	}
}

// keyOf is a key of one of slots.
func keyOf(t *testing.T, n *clustertest.Node, slots v1alpha1.SlotSet) string {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: n.Addr})
	defer func() { _ = c.Close() }()
	for i := range 1000 {
		key := fmt.Sprint("key", i)
		slot, err := c.ClusterKeySlot(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		if slots.Contains(int(slot)) {
			return key
		}
	}
	t.Fatalf("no key of slots %s", slots)
	return ""
}

// decideWith is what the operator would do next about three masters that are to have a replica each; down does not answer it.
func decideWith(nodes []*clustertest.Node, views []v1alpha1.ClusterView, down *clustertest.Node) plan.ClusterDecision {
	o := plan.ClusterObservation{Shards: 3, ReplicasPerShard: 1, Have: 6}
	for i, n := range nodes {
		m := plan.ClusterMember{Name: fmt.Sprint("cache-", i), Ordinal: i, Address: n.Addr, LastID: n.ID}
		if n != down {
			m.Up, m.View = true, views[i]
		}
		o.Members = append(o.Members, m)
	}
	return plan.DecideCluster(o)
}

func replicates(d plan.ClusterDecision) bool {
	for _, a := range d.Actions {
		if r, ok := a.(plan.ClusterReplicate); ok && r.At == "cache-3" {
			return true
		}
	}
	return false
}

// readyWith tells whether the agent of the last member would call it ready; the agents of all others answer.
func readyWith(nodes []*clustertest.Node, views []v1alpha1.ClusterView) bool {
	o := plan.NodeObservation{Now: time.Hour, ServerRunning: true, ServerStartedAt: time.Minute, ServerAnsweredAt: time.Hour}
	for i, n := range nodes {
		m := plan.Member{Address: n.Addr, Reachable: true, AskedAt: time.Hour}
		m.Name, m.Cluster = fmt.Sprint("cache-", i), &views[i]
		m.Server = v1alpha1.ServerStatus{Up: true, Role: v1alpha1.RoleMaster, Address: n.Addr}
		if i == len(nodes)-1 {
			o.Self = m
		} else {
			o.Peers = append(o.Peers, m)
		}
	}
	return plan.DecideNode(o).Ready
}
