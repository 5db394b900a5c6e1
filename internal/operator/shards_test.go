package operator_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestCluster lives through the days of a Redis in mode Cluster: it forms itself, hands a shard over, loses a server, a disk and all
// its addresses, and grows and shrinks, with an operator that is stopped while slots move.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	c.kubelet()
	stop := c.operator()
	r := newRedis("shards", v1alpha1.ModeCluster)
	r.Spec.Replicas, r.Spec.Shards, r.Spec.ReplicasPerShard = nil, ptr.To[int32](3), ptr.To[int32](1)
	c.must(c.client.Create(c.ctx(), r))
	r = c.untilWhole("shards", 3, 1)
	c.fillShards("shards", 20_000)

	// A planned failover of a shard.
	shard := r.Status.Shards[1]
	c.change("shards", func(r *v1alpha1.Redis) {
		r.Annotations = map[string]string{v1alpha1.AnnotationHandover: `{"id":"a","shard":"2"}`}
	})
	r = c.until("shards", "the handover ends", func(r *v1alpha1.Redis) bool {
		return r.Status.Handover != nil && r.Status.Handover.Phase != v1alpha1.HandoverRunning
	})
	if h := r.Status.Handover; h.Phase != v1alpha1.HandoverSucceeded || h.From != shard.Master || h.To != shard.Replicas[0] {
		t.Fatalf("handover %+v of %+v", h, shard)
	}
	t.Logf("handed over in %d ms", r.Status.Handover.Milliseconds)

	// The server of a master dies, with its disk.
	r = c.untilWhole("shards", 3, 1)
	victim := r.Status.Shards[0].Master
	id := nodeID(r, victim)
	c.emptyDisk(victim)
	c.killServer(r, victim)
	c.until("shards", "another master", func(r *v1alpha1.Redis) bool { return len(r.Status.Shards) == 3 && r.Status.Shards[0].Master != victim })
	r = c.untilWhole("shards", 3, 1)
	if now := nodeID(r, victim); now == id || r.Status.Shards[0].Master == victim {
		t.Errorf("%s lost its disk; its node was %s, is %s: %+v", victim, id, now, r.Status.Shards)
	}

	// All pods at once, without an operator.
	stop()
	before := c.pods("shards", v1alpha1.ComponentMember)
	for _, p := range before {
		c.must(c.client.Delete(c.ctx(), &p))
	}
	c.eventually("all pods are others", func(context.Context) bool { return c.replaced("shards", before) })
	c.eventually("every slot is served again", func(ctx context.Context) bool { return c.served(ctx, "shards") })

	// Growing. The operator is stopped while slots move, and the next one goes on.
	stop = c.operator()
	c.untilWhole("shards", 3, 1)
	c.change("shards", func(r *v1alpha1.Redis) { *r.Spec.Shards = 4 })
	c.until("shards", "slots move", func(r *v1alpha1.Redis) bool { return r.Status.Cluster != nil && r.Status.Cluster.Migration != nil })
	stop()
	c.operator()
	c.untilWhole("shards", 4, 1)
	c.checkShards("shards", 20_000)
	c.change("shards", func(r *v1alpha1.Redis) { *r.Spec.Shards, *r.Spec.ReplicasPerShard = 3, 0 })
	c.untilWhole("shards", 3, 0)
	c.checkShards("shards", 20_000)
}

// untilWhole waits until a Redis has so many shards, with all slots and replicas, and nothing goes on.
func (c *cluster) untilWhole(name string, shards, replicas int) *v1alpha1.Redis {
	c.t.Helper()
	begin := time.Now()
	r := c.until(name, fmt.Sprintf("%d shards of %d replicas", shards, replicas), func(r *v1alpha1.Redis) bool {
		if r.Status.ObservedGeneration != r.Generation || r.Status.Phase != v1alpha1.PhaseReady || len(r.Status.Shards) != shards || len(r.Status.Members) != shards*(1+replicas) {
			return false
		}
		slots := int32(0)
		for _, s := range r.Status.Shards {
			slots += s.SlotCount
			if len(s.Replicas) != replicas || s.Message != "" {
				return false
			}
		}
		return slots == v1alpha1.SlotCount
	})
	c.t.Logf("%d shards are whole after %d ms", shards, time.Since(begin).Milliseconds())
	return r
}

// shardsClient is a client of the cluster, by its access Service' pods.
func (c *cluster) shardsClient(name string) *goredis.ClusterClient {
	c.t.Helper()
	var addresses []string
	for _, p := range c.pods(name, v1alpha1.ComponentMember) {
		if a := v1alpha1.PodAddress(&p, v1alpha1.PortRedis); a != "" {
			addresses = append(addresses, a)
		}
	}
	return goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addresses, Password: c.password(name), DisableIdentity: true})
}

func (c *cluster) fillShards(name string, keys int) {
	c.t.Helper()
	rdb := c.shardsClient(name)
	defer func() { _ = rdb.Close() }()
	for i := 0; i < keys; i += 1000 {
		_, err := rdb.Pipelined(c.ctx(), func(p goredis.Pipeliner) error {
			for j := i; j < i+1000; j++ {
				p.Set(c.ctx(), "k"+strconv.Itoa(j), j, 0)
			}
			return nil
		})
		c.must(err)
	}
}

func (c *cluster) checkShards(name string, keys int) {
	c.t.Helper()
	rdb := c.shardsClient(name)
	defer func() { _ = rdb.Close() }()
	missing := 0
	for i := 0; i < keys; i += 1000 {
		var got []*goredis.StringCmd
		_, err := rdb.Pipelined(c.ctx(), func(p goredis.Pipeliner) error {
			for j := i; j < i+1000; j++ {
				got = append(got, p.Get(c.ctx(), "k"+strconv.Itoa(j)))
			}
			return nil
		})
		if err != nil && err != goredis.Nil { //nolint:errorlint // as the client gives it
			c.must(err)
		}
		for j, g := range got {
			if g.Val() != strconv.Itoa(i+j) {
				missing++
			}
		}
	}
	if missing > 0 {
		c.t.Errorf("%d of %d keys are gone", missing, keys)
	}
}

// served tells whether a key of every shard can be written.
func (c *cluster) served(ctx context.Context, name string) bool {
	rdb := c.shardsClient(name)
	defer func() { _ = rdb.Close() }()
	for i := range 30 {
		if rdb.Set(ctx, "probe"+strconv.Itoa(i), i, 0).Err() != nil {
			return false
		}
	}
	return true
}

func nodeID(r *v1alpha1.Redis, member string) string {
	for _, m := range r.Status.Members {
		if m.Name == member {
			return m.NodeID
		}
	}
	return ""
}

// killServer kills the redis-server of a member.
func (c *cluster) killServer(r *v1alpha1.Redis, member string) {
	c.t.Helper()
	for _, m := range r.Status.Members {
		if m.Name != member {
			continue
		}
		rdb := goredis.NewClient(&goredis.Options{Addr: m.Address, Password: c.password(r.Name), DisableIdentity: true})
		info, err := rdb.Info(c.ctx(), "server").Result()
		_ = rdb.Close()
		c.must(err)
		_, rest, _ := strings.Cut(info, "process_id:")
		pid, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]))
		c.must(err)
		c.must(syscall.Kill(pid, syscall.SIGKILL))
	}
}

// password of the default user.
func (c *cluster) password(name string) string {
	c.t.Helper()
	var s corev1.Secret
	c.must(c.get(name, &s))
	return string(s.Data[v1alpha1.SecretKeyPassword])
}

// emptyDisk removes the data of a member, as the loss of its disk would.
func (c *cluster) emptyDisk(member string) {
	c.t.Helper()
	dir := filepath.Join(c.dir, "volumes", "default", "data-"+member)
	entries, err := os.ReadDir(dir)
	c.must(err)
	for _, e := range entries {
		c.must(os.RemoveAll(filepath.Join(dir, e.Name())))
	}
}
