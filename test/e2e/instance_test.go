package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	kubeclient "k8s.io/client-go/kubernetes"
	listersv1 "k8s.io/client-go/listers/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// instance is one Redis of the cluster, under test.
type instance struct {
	t *testing.T
	*cluster
	name, namespace string
	password, token string
	// sharded: it is of mode Cluster.
	sharded bool
	// watched are its pods as the API tells them by itself: to ask for them all the time would slow down what is measured.
	watched listersv1.PodLister
}

// create makes a Redis in a namespace of its own and waits until it is ready.
func (c *cluster) create(t *testing.T, spec v1alpha1.RedisSpec) *instance {
	t.Helper()
	return c.createIn(t, c.namespace(t), "cache", spec)
}

// namespace makes one for the test. Everything in it goes with the test.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	ns := &corev1.Namespace{}
	ns.GenerateName = "e2e-"
	if err := c.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(ctx, ns); err != nil {
			t.Error(err)
		}
		eventually(t, 2*time.Minute, "namespace "+ns.Name+" to be gone", func(ctx context.Context) bool {
			pods := &corev1.PodList{}
			return c.List(ctx, pods, client.InNamespace(ns.Name)) == nil && len(pods.Items) == 0
		})
	})
	return ns.Name
}

func (c *cluster) createIn(t *testing.T, namespace, name string, spec v1alpha1.RedisSpec) *instance {
	t.Helper()
	r := &v1alpha1.Redis{Spec: spec}
	r.Name, r.Namespace = name, namespace
	if err := c.Create(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return c.instance(t, namespace, name)
}

// instance waits until a Redis is ready.
func (c *cluster) instance(t *testing.T, namespace, name string) *instance {
	t.Helper()
	in := &instance{t: t, cluster: c, name: name, namespace: namespace}
	in.sharded = in.redis(context.Background()).Spec.Mode == v1alpha1.ModeCluster
	in.dumpIfFailed()
	in.watchPods()
	in.waitReady()
	secret := &corev1.Secret{}
	if err := c.Get(context.Background(), in.key(name), secret); err != nil {
		t.Fatal(err)
	}
	in.password = string(secret.Data[v1alpha1.SecretKeyPassword])
	in.token = string(secret.Data[v1alpha1.SecretKeyAgentToken])
	return in
}

// in is the same Redis in a test of its own.
func (in *instance) in(t *testing.T) *instance {
	c := *in
	c.t = t
	return &c
}

func (in *instance) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: in.namespace, Name: name}
}

// redis reads the object; errors make it look empty, so that a waiting caller goes on waiting.
func (in *instance) redis(ctx context.Context) *v1alpha1.Redis {
	r := &v1alpha1.Redis{}
	if in.Get(ctx, in.key(in.name), r) != nil {
		return &v1alpha1.Redis{}
	}
	r.Default() // a real API server stores what was written
	return r
}

// waitReady waits until every pod is there, ready and labelled with its role, and nothing goes on any more.
func (in *instance) waitReady() {
	in.t.Helper()
	eventually(in.t, 5*time.Minute, in.namespace+"/"+in.name+" to be ready", in.ready)
}

func (in *instance) ready(ctx context.Context) bool {
	r := in.redis(ctx)
	if r.Status.Phase != v1alpha1.PhaseReady || r.Status.ObservedGeneration != r.Generation {
		return false
	}
	pods := &corev1.PodList{}
	if in.List(ctx, pods, client.InNamespace(in.namespace), client.MatchingLabels{v1alpha1.LabelName: in.name}) != nil {
		return false
	}
	masters, want := 1, r.MemberCount()
	switch r.Spec.Mode {
	case v1alpha1.ModeSentinel:
		want += *r.Spec.Sentinel.Replicas
	case v1alpha1.ModeCluster:
		if masters = int(*r.Spec.Shards); !shardsComplete(r) {
			return false
		}
	}
	for _, p := range pods.Items {
		if !podReady(&p) {
			return false
		}
		if p.Labels[v1alpha1.LabelRole] == string(v1alpha1.RoleMaster) {
			masters--
		}
	}
	return masters == 0 && len(pods.Items) == int(want)
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// service is the address of one of the Redis' Services.
func (in *instance) service(name string, port int32) string {
	in.t.Helper()
	s := &corev1.Service{}
	if err := in.Get(context.Background(), in.key(name), s); err != nil {
		in.t.Fatal(err)
	}
	return v1alpha1.ServiceAddress(s, port)
}

// writes dials where clients write: the master, or in mode Cluster every shard's.
func (in *instance) writes() dialer {
	addr := in.service(in.name, v1alpha1.PortRedis)
	if in.sharded {
		return clustered(in.password, false, addr)
	}
	return direct(addr, in.password)
}

// reads dials where clients that only read may do so: replicas, and in mode Cluster masters too.
func (in *instance) reads() dialer {
	if in.sharded {
		return clustered(in.password, true, in.service(in.name, v1alpha1.PortRedis))
	}
	return direct(in.service(in.name+"-replicas", v1alpha1.PortRedis), in.password)
}

func (in *instance) pods(ctx context.Context, component string) []corev1.Pod {
	pods := &corev1.PodList{}
	if in.List(ctx, pods, client.InNamespace(in.namespace),
		client.MatchingLabels{v1alpha1.LabelName: in.name, v1alpha1.LabelComponent: component}) != nil {
		return nil
	}
	return pods.Items
}

// watchPods keeps watched up to date until the end of the test.
func (in *instance) watchPods() {
	in.t.Helper()
	clientset, err := kubeclient.NewForConfig(in.config)
	if err != nil {
		in.t.Fatal(err)
	}
	f := informers.NewSharedInformerFactoryWithOptions(clientset, 0, informers.WithNamespace(in.namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = v1alpha1.LabelName + "=" + in.name }))
	in.watched = f.Core().V1().Pods().Lister()
	stop := make(chan struct{})
	f.Start(stop)
	in.t.Cleanup(func() {
		close(stop)
		f.Shutdown()
	})
	eventually(in.t, time.Minute, "the watch of pods", func(ctx context.Context) bool {
		for _, ok := range f.WaitForCacheSync(ctx.Done()) {
			return ok
		}
		return false
	})
}

// members are the pods of redis-servers, as the watch told them last where there is one.
func (in *instance) members() []*corev1.Pod {
	if in.watched == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var out []*corev1.Pod
		for _, p := range in.pods(ctx, v1alpha1.ComponentMember) {
			out = append(out, &p)
		}
		return out
	}
	pods, err := in.watched.List(labels.SelectorFromSet(labels.Set{v1alpha1.LabelComponent: v1alpha1.ComponentMember}))
	if err != nil {
		return nil
	}
	return pods
}

// addresses is where each member's redis-server is now.
func (in *instance) addresses() map[string]string {
	m := map[string]string{}
	for _, p := range in.members() {
		if a := v1alpha1.PodAddress(p, v1alpha1.PortRedis); a != "" {
			m[p.Name] = a
		}
	}
	return m
}

// master is the pod that is master; in mode Cluster that of victimSlot.
func (in *instance) master() string {
	in.t.Helper()
	var name string
	eventually(in.t, time.Minute, "a master", func(ctx context.Context) bool {
		for _, p := range in.pods(ctx, v1alpha1.ComponentMember) {
			if in.isMaster(&p) {
				name = p.Name
				return true
			}
		}
		return false
	})
	return name
}

// waitMoved waits until another pod is master.
func (in *instance) waitMoved(before string) {
	in.t.Helper()
	eventually(in.t, time.Minute, "a master other than "+before, func(context.Context) bool {
		return slices.ContainsFunc(in.members(), func(p *corev1.Pod) bool { return p.Name != before && in.isMaster(p) })
	})
}

func (in *instance) isMaster(p *corev1.Pod) bool {
	if !in.sharded {
		return p.Labels[v1alpha1.LabelRole] == string(v1alpha1.RoleMaster) && p.DeletionTimestamp == nil
	}
	s, err := in.status(p.Name)
	return err == nil && s.Cluster != nil && s.Cluster.Myself() != nil && s.Cluster.Myself().Slots.Contains(victimSlot)
}

// status asks an agent, as the operator does.
func (in *instance) status(pod string) (v1alpha1.AgentStatus, error) {
	var s v1alpha1.AgentStatus
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p := &corev1.Pod{}
	if err := in.Get(ctx, in.key(pod), p); err != nil {
		return s, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v1alpha1.PodAddress(p, v1alpha1.PortAgent)+"/status", nil)
	if err != nil {
		return s, err
	}
	req.Header.Set("Authorization", "Bearer "+in.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("status of %s: %s", pod, resp.Status)
	}
	return s, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s)
}

// serverPID is the process of a member's redis-server, as this machine numbers it.
func (in *instance) serverPID(pod string) int {
	in.t.Helper()
	p := &corev1.Pod{}
	if err := in.Get(context.Background(), in.key(pod), p); err != nil {
		in.t.Fatal(err)
	}
	var pid int
	eventually(in.t, 10*time.Second, "the process of the server of "+pod, func(context.Context) bool {
		s, err := in.status(pod)
		if err != nil || s.Server.PID == 0 {
			return false
		}
		pid, err = in.process(string(p.UID), s.Server.PID)
		return err == nil
	})
	return pid
}

// agentPID is the parent of a member's redis-server.
func (in *instance) agentPID(pod string) int {
	in.t.Helper()
	return parent(in.t, in.serverPID(pod))
}

func (in *instance) kill(pid int) { signalPID(in.t, pid, syscall.SIGKILL) }

// deletePod deletes one pod, as a drain does.
func (in *instance) deletePod(name string) {
	in.t.Helper()
	p := &corev1.Pod{}
	p.Name, p.Namespace = name, in.namespace
	if err := in.Delete(context.Background(), p); err != nil {
		in.t.Fatal(err)
	}
}

func (in *instance) deletePods(component string) {
	in.t.Helper()
	if err := in.DeleteAllOf(context.Background(), &corev1.Pod{}, client.InNamespace(in.namespace),
		client.MatchingLabels{v1alpha1.LabelName: in.name, v1alpha1.LabelComponent: component}); err != nil {
		in.t.Fatal(err)
	}
}

func (in *instance) update(change func(*v1alpha1.Redis)) {
	in.t.Helper()
	r := in.redis(context.Background())
	base := r.DeepCopy()
	change(r)
	if err := in.Patch(context.Background(), r, client.MergeFrom(base)); err != nil {
		in.t.Fatal(err)
	}
}

// dumpIfFailed dumps, when the test ends, what a failed one left.
func (in *instance) dumpIfFailed() {
	in.t.Cleanup(func() {
		if in.t.Failed() {
			in.dump()
		}
	})
}

// dump tells what a failed scenario left, for the reader of the log.
func (in *instance) dump() {
	secret := &corev1.Secret{}
	if in.token == "" && in.Get(context.Background(), in.key(in.name), secret) == nil {
		in.token = string(secret.Data[v1alpha1.SecretKeyAgentToken])
	}
	if out, err := in.redstart("-n", in.namespace, "get", "events"); err == nil {
		in.t.Log("events:\n" + out)
	}
	if out, err := in.redstart("-n", in.namespace, "status"); err == nil {
		in.t.Log("redstart status:\n" + out)
	}
	if out, err := in.redstart("-n", in.namespace, "get", "pods", "-L", "redis-role", "-o", "wide"); err == nil {
		in.t.Log("pods:\n" + out)
	}
	for _, component := range []string{v1alpha1.ComponentMember, v1alpha1.ComponentSentinel} {
		for _, p := range in.pods(context.Background(), component) {
			if s, err := in.status(p.Name); err == nil {
				b, _ := json.Marshal(s)
				in.t.Log(p.Name, string(b))
			}
			if out, err := in.redstart("-n", in.namespace, "logs", p.Name, "--tail", "60"); err == nil {
				in.t.Log("log of " + p.Name + ":\n" + out)
			}
		}
	}
}
