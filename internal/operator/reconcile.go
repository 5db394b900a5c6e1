package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
	"redstart.dev/redstart/internal/redis"
)

const (
	// lookCalm and lookBusy are how long until the agents are asked again when nothing is going on and when something
	// is. A change of a pod's role or readiness asks them at once.
	lookCalm = 10 * time.Second
	lookBusy = 2 * time.Second
	// lookSeldom is what lookCalm grows to, doubling, while the looks find nothing new: what matters comes as a change of a pod, and what
	// is left are the figures of the status.
	lookSeldom = 5 * time.Minute
	// lookJitter is by which part of it that pause may be longer, so that the looks at many Redises, which an operator begins all at
	// once, drift apart.
	lookJitter = 0.1
	// lookNext is the same after a step that another one follows.
	lookNext = 250 * time.Millisecond
)

// redisController reconciles Redises.
type redisController struct {
	applier    applier
	agents     agents
	events     record.EventRecorder
	metrics    *metrics
	agentImage string
	namespace  string // of the operator
	monitors   kindCheck
	nodes      nodes
	log        *slog.Logger
	now        func() time.Time

	migrations migrations

	memories sync.Map // types.NamespacedName to *memory
}

// memory is what is worth remembering of a Redis between two looks. Losing it costs a request, no more. A Redis is
// reconciled by one goroutine at a time, so that it needs no lock.
type memory struct {
	uid types.UID
	// statusWritten is when the status was written last.
	statusWritten time.Time
	// secretName was there at secretSeen.
	secretName string
	secretSeen time.Time
	// applied are the versions of the objects that the operator applied last; see applier.
	applied map[string]string
	// generation was first seen at changed: for a while after a change the agents may have something new to say.
	generation int64
	changed    time.Time
	// deleted is the pod that the operator deleted last: until it is gone from the cache, what the cache says is old.
	deleted types.UID
	// failover is the last one that was counted.
	failover time.Time
	// growthRefused is why the API server refused growthSize for the storage at growthAsked; empty when it did not.
	growthRefused, growthSize string
	growthAsked               time.Time
	// calm counts the looks since the last that found anything new.
	calm int
	// monitor is what was done about the PodMonitor last, at monitorAt.
	monitor   string
	monitorAt time.Time
	// resizeAfter is when a handover that a smaller size needs is tried again.
	resizeAfter time.Time
	// silentSince is since when a pod does not come up without saying why; zero while none does.
	silentSince time.Time
	// migration moves slots, nil while none do.
	migration *migration
	// formed: the cluster of mode Cluster was seen whole.
	formed bool
}

// Reconcile brings one Redis a step closer to what is wanted, and reports.
func (c *redisController) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var stored v1alpha1.Redis
	if err := c.applier.client.Get(ctx, req.NamespacedName, &stored); err != nil {
		if apierrors.IsNotFound(err) {
			c.forget(req.NamespacedName)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read Redis %s: %w", req.NamespacedName, err)
	}
	if stored.DeletionTimestamp != nil {
		c.forget(req.NamespacedName)
		return reconcile.Result{}, nil
	}
	mem := c.remember(req.NamespacedName, stored.UID)
	if mem.generation != stored.Generation {
		mem.generation, mem.changed = stored.Generation, c.now()
	}
	r := stored.DeepCopy()
	r.Default()

	o, live, token, err := c.observe(ctx, r)
	if err != nil {
		return reconcile.Result{}, err
	}
	c.troubles(ctx, r, mem, &o)
	d, next, workErr := c.work(ctx, r, mem, &o, live, token)
	if d, workErr = explain(d, workErr); workErr != nil && d.reason == "" {
		return reconcile.Result{}, workErr
	}
	news, err := c.report(ctx, &stored, r, mem, o, d)
	if err != nil {
		return reconcile.Result{}, err
	}
	if workErr != nil {
		return reconcile.Result{}, workErr
	}
	if news || next != lookCalm || d.refused {
		mem.calm = 0 // of what somebody has to mend, such as a Secret of his own, nobody tells
	} else {
		next = wait.Jitter(calmWait(mem.calm), lookJitter)
		mem.calm++
	}
	return reconcile.Result{RequeueAfter: next}, nil
}

// calmWait is the pause after a number of looks that found nothing new.
func calmWait(looks int) time.Duration { return min(lookCalm<<min(looks, 8), lookSeldom) }

func (c *redisController) remember(key types.NamespacedName, uid types.UID) *memory {
	if m, ok := c.memories.Load(key); ok && m.(*memory).uid == uid {
		return m.(*memory)
	}
	m := &memory{uid: uid, applied: map[string]string{}}
	c.memories.Store(key, m)
	return m
}

func (c *redisController) forget(key types.NamespacedName) {
	if m, ok := c.memories.LoadAndDelete(key); ok {
		m.(*memory).migration.stop()
	}
	c.metrics.forget(key)
}

// options are what the objects of a Redis depend on besides itself.
func (c *redisController) options(o *observation, replicas int32) objects.Options {
	return objects.Options{Replicas: replicas, AgentImage: c.agentImage, OperatorNamespace: c.namespace, Announce: o.external}
}

// sets are the live StatefulSets of a Redis, nil where there is none.
type sets struct{ members, sentinels *appsv1.StatefulSet }

// observe reads the cache and asks the agents.
func (c *redisController) observe(ctx context.Context, r *v1alpha1.Redis) (o observation, live sets, token string, err error) {
	if live.members, err = c.set(ctx, r, r.Name); err != nil {
		return o, live, "", err
	}
	members, err := c.pods(ctx, r, v1alpha1.ComponentMember)
	if err != nil {
		return o, live, "", err
	}
	o.members = instances(r.Name, r.MemberCount(), members)
	if r.Spec.Mode == v1alpha1.ModeSentinel && r.Spec.Sentinel != nil {
		name := v1alpha1.SentinelName(r.Name)
		if live.sentinels, err = c.set(ctx, r, name); err != nil {
			return o, live, "", err
		}
		sentinels, err := c.pods(ctx, r, v1alpha1.ComponentSentinel)
		if err != nil {
			return o, live, "", err
		}
		o.sentinels = instances(name, ptr.Deref(r.Spec.Sentinel.Replicas, 0), sentinels)
	}
	var secret corev1.Secret
	err = c.applier.client.Get(ctx, client.ObjectKeyFromObject(r), &secret)
	if client.IgnoreNotFound(err) != nil {
		return o, live, "", fmt.Errorf("read Secret %s: %w", r.Name, err)
	}
	token = string(secret.Data[v1alpha1.SecretKeyAgentToken])
	all := append(o.members[:len(o.members):len(o.members)], o.sentinels...)
	c.agents.look(ctx, token, all)
	o.now = c.now()
	restartedAt, settings := c.restartedAt(r), redis.SettingsHash(objects.AgentConfig(r).Config)
	for i := range all {
		set := live.members
		if i >= len(o.members) {
			set = live.sentinels
		} else {
			all[i].unaware = unaware(all[i], settings)
		}
		all[i].outdated = outdated(all[i], set, restartedAt, o.now)
	}
	o.members, o.sentinels = all[:len(o.members)], all[len(o.members):]
	o.endpoints, err = c.endpoints(ctx, r)
	return o, live, token, err
}

// restartedAt is when a rolling restart was asked for, zero if never.
func (c *redisController) restartedAt(r *v1alpha1.Redis) time.Time {
	text := r.Annotations[v1alpha1.AnnotationRestart]
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		c.log.Warn("The annotation is no time like 2026-01-31T12:00:00Z and is ignored",
			"redis", client.ObjectKeyFromObject(r), "annotation", v1alpha1.AnnotationRestart, "value", text)
	}
	return t
}

func (c *redisController) set(ctx context.Context, r *v1alpha1.Redis, name string) (*appsv1.StatefulSet, error) {
	var s appsv1.StatefulSet
	err := c.applier.client.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read StatefulSet %s: %w", name, err)
	}
	return &s, nil
}

func (c *redisController) pods(ctx context.Context, r *v1alpha1.Redis, component string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := c.applier.client.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingLabels(objects.Selector(r, component)))
	if err != nil {
		return nil, fmt.Errorf("list the pods of Redis %s: %w", r.Name, err)
	}
	return list.Items, nil
}

// endpoints are the Services' DNS names, or on one machine, which has no such names, their addresses.
func (c *redisController) endpoints(ctx context.Context, r *v1alpha1.Redis) (*v1alpha1.Endpoints, error) {
	var err error
	address := func(name string, port int32) string {
		if c.agentImage != "" {
			return fmt.Sprintf("%s.%s.svc:%d", name, r.Namespace, port)
		}
		var s corev1.Service
		e := c.applier.client.Get(ctx, types.NamespacedName{Namespace: r.Namespace, Name: name}, &s)
		if client.IgnoreNotFound(e) != nil {
			err = errors.Join(err, fmt.Errorf("read Service %s: %w", name, e))
		}
		return v1alpha1.ServiceAddress(&s, port)
	}
	e := &v1alpha1.Endpoints{Write: address(r.MasterServiceName(), v1alpha1.PortRedis)}
	if r.Spec.Mode != v1alpha1.ModeCluster {
		e.Read = address(r.ReplicasServiceName(), v1alpha1.PortRedis)
	}
	if r.Spec.Mode == v1alpha1.ModeSentinel {
		if a := address(v1alpha1.SentinelName(r.Name), v1alpha1.PortSentinel); a != "" {
			e.Sentinels = []string{a}
		}
		e.SentinelMasterName = r.Name
	}
	return e, err
}
