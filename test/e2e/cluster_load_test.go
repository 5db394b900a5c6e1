package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// victimTag is the hash tag of the shard that faults are aimed at: the one of the key that mastersWatcher writes.
const victimTag = "{watcher}"

// clustered makes a cluster-aware client that follows redirections, as every one does, and tries nothing else again.
func clustered(addr, password string) dialer {
	return func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: []string{addr}, Password: password, MaxRedirects: 3, PoolSize: 2, Protocol: 2,
			MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 5 * time.Millisecond,
			DialTimeout: attemptTimeout, ReadTimeout: 4 * attemptTimeout, WriteTimeout: attemptTimeout, ContextTimeoutEnabled: true,
			DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
	}
}

func clusterSpec(shards, replicas int32) v1alpha1.RedisSpec {
	return v1alpha1.RedisSpec{
		Mode: v1alpha1.ModeCluster, Shards: &shards, ReplicasPerShard: &replicas,
		Config: map[string]string{"appendonly": "yes"},
	}
}

// createCluster makes a Redis in mode Cluster and waits until it is ready.
func (c *cluster) createCluster(t *testing.T, namespace, name string, spec v1alpha1.RedisSpec) *instance {
	t.Helper()
	r := &v1alpha1.Redis{Spec: spec}
	r.Name, r.Namespace = name, namespace
	if err := c.Create(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	in := &instance{t: t, cluster: c, name: name, namespace: namespace}
	in.dumpIfFailed()
	in.waitCluster()
	secret := &corev1.Secret{}
	if err := c.Get(context.Background(), in.key(name), secret); err != nil {
		t.Fatal(err)
	}
	in.password = string(secret.Data[v1alpha1.SecretKeyPassword])
	in.token = string(secret.Data[v1alpha1.SecretKeyAgentToken])
	return in
}

// waitCluster waits until every shard has its master, its replicas and its label, and nothing goes on any more.
func (in *instance) waitCluster() *v1alpha1.Redis {
	in.t.Helper()
	var r *v1alpha1.Redis
	eventually(in.t, 3*time.Minute, in.namespace+"/"+in.name+" to be ready", func(ctx context.Context) bool {
		r = in.redis(ctx)
		if r.Status.Phase != v1alpha1.PhaseReady || r.Status.ObservedGeneration != r.Generation || len(r.Status.Shards) != int(ptr.Deref(r.Spec.Shards, 3)) {
			return false
		}
		masters := map[string]bool{}
		for _, s := range r.Status.Shards {
			masters[s.Master] = true
			if len(s.Replicas) != int(ptr.Deref(r.Spec.ReplicasPerShard, 1)) {
				return false
			}
		}
		pods := in.pods(ctx, v1alpha1.ComponentMember)
		for _, p := range pods {
			if !podReady(&p) || (p.Labels[v1alpha1.LabelRole] == string(v1alpha1.RoleMaster)) != masters[p.Name] {
				return false
			}
		}
		return len(pods) == int(r.MemberCount())
	})
	return r
}

// clusterClient is a dialer of the access Service.
func (in *instance) clusterClient() dialer {
	return clustered(in.service(in.name, v1alpha1.PortRedis), in.password)
}

// victim is the member that serves the slot of victimTag.
func (in *instance) victim() string {
	in.t.Helper()
	var name string
	eventually(in.t, time.Minute, "a master of the slot of "+victimTag, func(ctx context.Context) bool {
		c := in.clusterClient()()
		defer func() { _ = c.Close() }()
		slot, err := c.ClusterKeySlot(ctx, victimTag).Result()
		if err != nil {
			return false
		}
		for _, p := range in.pods(ctx, v1alpha1.ComponentMember) {
			s, err := in.status(p.Name)
			if err != nil || s.Cluster == nil || s.Cluster.Myself() == nil {
				continue
			}
			if s.Cluster.Myself().Slots.Contains(int(slot)) {
				name = p.Name
				return true
			}
		}
		return false
	})
	return name
}

// waitVictimMoved waits until another member serves the slot of victimTag.
func (in *instance) waitVictimMoved(before string) {
	in.t.Helper()
	eventually(in.t, time.Minute, "another master than "+before, func(context.Context) bool { return in.victim() != before })
}

// lostInCluster reads back what was acknowledged, wherever it is.
func lostInCluster(ctx context.Context, w *writer, dial dialer) (int, error) {
	c := dial()
	defer func() { _ = c.Close() }()
	lost := 0
	for i := 0; i < len(w.acked); i += 500 {
		batch := w.acked[i:min(i+500, len(w.acked))]
		got := make([]*redis.StringCmd, len(batch))
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for j, a := range batch {
				got[j] = p.Get(ctx, w.key(a.n))
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return 0, fmt.Errorf("read back what was acknowledged: %w", err)
		}
		for j, g := range got {
			if g.Val() != strconv.Itoa(batch[j].n) {
				lost++
			}
		}
	}
	return lost, nil
}

// deletePod deletes one pod, as a drain does.
func (in *instance) deletePod(name string) {
	in.t.Helper()
	p := &corev1.Pod{}
	p.Name, p.Namespace = name, in.namespace
	if err := in.Delete(context.Background(), p); err != nil && client.IgnoreNotFound(err) != nil {
		in.t.Fatal(err)
	}
}
