package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestExternalNodePorts reaches a Redis and each of its members from outside of the cluster, by ports of nodes, before and after the
// master moved.
func TestExternalNodePorts(t *testing.T) {
	beyondCore(t)
	spec := redisSpec(v1alpha1.ModeReplication)
	spec.Service = &v1alpha1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Annotations: map[string]string{"example.com/team": "a"},
		External: &v1alpha1.ExternalSpec{Type: corev1.ServiceTypeNodePort, Annotations: map[string]string{"example.com/one": "b"}},
	}
	in := theCluster(t, needNodes).create(t, spec)
	in.annotated("cache", "example.com/team", "a")
	in.annotated("cache-replicas", "example.com/team", "a")
	in.annotated(v1alpha1.ExternalName("cache-0"), "example.com/one", "b")

	addresses := in.externals()
	nodes := in.nodeAddresses()
	for pod, a := range addresses {
		host, _, err := net.SplitHostPort(a)
		if err != nil || host != nodes[in.nodeOf(pod)] {
			in.t.Errorf("%s is announced at %q, its node is at %s", pod, a, nodes[in.nodeOf(pod)])
		}
	}
	in.checkExternals(addresses)
	before := in.master()
	if out, err := in.redstart("-n", in.namespace, "failover", in.name); err != nil {
		t.Fatalf("redstart failover: %v\n%s", err, out)
	}
	in.waitMoved(before)
	in.waitReady()
	in.checkExternals(addresses)

	s := &corev1.Service{}
	if err := in.Get(context.Background(), in.key("cache"), s); err != nil {
		t.Fatal(err)
	}
	for node, ip := range nodes {
		in.writesAt(net.JoinHostPort(ip, fmt.Sprint(s.Spec.Ports[0].NodePort)), "the port of node "+node)
	}
}

// TestExternalLoadBalancers is the same for load balancers. The lab has no cloud that makes any: the test writes the addresses into the
// status of the Services, as the controller of a cloud does, and kube-proxy leads them to the pods.
func TestExternalLoadBalancers(t *testing.T) {
	beyondCore(t)
	spec := redisSpec(v1alpha1.ModeReplication)
	class := "example.com/test"
	spec.Service = &v1alpha1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class, Annotations: map[string]string{"example.com/scheme": "internal"},
		External: &v1alpha1.ExternalSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class},
	}
	in := theCluster(t, needNodes).create(t, spec)
	in.annotated("cache", "example.com/scheme", "internal")
	served := in.condition(v1alpha1.ConditionSpecServed)
	if served.Status != metav1.ConditionFalse || !strings.Contains(served.Message, "no address yet outside the cluster for cache-0, cache-1, cache-2") {
		t.Errorf("before there are load balancers the condition %s is %s: %s", served.Type, served.Status, served.Message)
	}
	in.balance(map[string]string{
		"cache": "10.96.255.1", "cache-replicas": "10.96.255.2", v1alpha1.ExternalName("cache-0"): "10.96.255.10",
		v1alpha1.ExternalName("cache-1"): "10.96.255.11", v1alpha1.ExternalName("cache-2"): "10.96.255.12",
	})
	addresses := in.externals()
	for i := range 3 {
		if got, want := addresses[fmt.Sprintf("cache-%d", i)], fmt.Sprintf("10.96.255.%d:6379", 10+i); got != want {
			t.Errorf("cache-%d is announced at %q, want %s", i, got, want)
		}
	}
	in.checkExternals(addresses)
	eventually(t, time.Minute, "the condition SpecServed", func(context.Context) bool {
		return in.condition(v1alpha1.ConditionSpecServed).Status == metav1.ConditionTrue
	})
	in.writesAt("10.96.255.1:6379", "the load balancer of the master")
}

// TestExternalCluster: clients outside need all members of mode Cluster, and are told their load balancers.
func TestExternalCluster(t *testing.T) {
	beyondCore(t)
	spec := redisSpec(v1alpha1.ModeCluster)
	spec.Replicas = nil
	class := "example.com/test"
	spec.Service = &v1alpha1.ServiceSpec{External: &v1alpha1.ExternalSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class}}
	in := theCluster(t, needNodes).create(t, spec)
	balancers := map[string]string{}
	for i := range in.members() {
		balancers[v1alpha1.ExternalName(fmt.Sprintf("cache-%d", i))] = fmt.Sprintf("10.96.254.%d", 10+i)
	}
	in.balance(balancers)
	addresses := in.externals()
	var told []string
	eventually(t, time.Minute, "the members to name the load balancers", func(ctx context.Context) bool {
		c := direct(addresses["cache-0"], in.password)()
		defer func() { _ = c.Close() }()
		slots, err := c.ClusterSlots(ctx).Result()
		told = nil
		for _, s := range slots {
			for _, n := range s.Nodes {
				told = append(told, n.Addr)
			}
		}
		for _, a := range addresses {
			if !slices.Contains(told, a) {
				return false
			}
		}
		return err == nil && len(told) == len(addresses)
	})
	c := clustered(in.password, false, addresses["cache-0"])()
	defer func() { _ = c.Close() }()
	for i := range 100 {
		if err := c.Set(context.Background(), "key"+strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatalf("write by the load balancers %v: %v", told, err)
		}
	}
}

// annotated sees that a Service has an annotation.
func (in *instance) annotated(service, key, value string) {
	in.t.Helper()
	s := &corev1.Service{}
	if err := in.Get(context.Background(), in.key(service), s); err != nil {
		in.t.Fatal(err)
	}
	if s.Annotations[key] != value {
		in.t.Errorf("Service %s has the annotations %v, want %s: %s", service, s.Annotations, key, value)
	}
}

func (in *instance) condition(kind string) metav1.Condition {
	if c := meta.FindStatusCondition(in.redis(context.Background()).Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{Type: kind}
}

// externals are the addresses outside the cluster that the status tells, when it tells one of every member.
func (in *instance) externals() map[string]string {
	in.t.Helper()
	var all map[string]string
	eventually(in.t, time.Minute, "an address outside the cluster of every member", func(ctx context.Context) bool {
		all = map[string]string{}
		members := in.redis(ctx).Status.Members
		for _, m := range members {
			if m.External != "" {
				all[m.Name] = m.External
			}
		}
		return len(all) > 0 && len(all) == len(members)
	})
	return all
}

// checkExternals asks every member by its address outside the cluster: one is the master, takes writes, and lists the others by
// the addresses at which clients outside reach them.
func (in *instance) checkExternals(addresses map[string]string) {
	in.t.Helper()
	var others []string
	master := in.master()
	for pod, a := range addresses {
		if pod != master {
			others = append(others, a)
		}
	}
	slices.Sort(others)
	c := direct(addresses[master], in.password)()
	defer func() { _ = c.Close() }()
	value := strconv.FormatInt(time.Now().UnixNano(), 36)
	// The kube-proxies follow a moment after an address is known.
	eventually(in.t, 30*time.Second, "a write to "+master+" at "+addresses[master], func(ctx context.Context) bool {
		return c.Set(ctx, "outside", value, 0).Err() == nil
	})
	var listed []string
	in.noteUnlessEqual(&listed, others, "the master to list its replicas by "+strings.Join(others, ", "), func(ctx context.Context) []string {
		return rolesReplicas(ctx, c)
	})
	for _, a := range listed {
		r := direct(a, in.password)()
		eventually(in.t, 30*time.Second, "what was written at "+a, func(ctx context.Context) bool { return r.Get(ctx, "outside").Val() == value })
		_ = r.Close()
	}
}

// noteUnlessEqual waits until a list is as wanted, and logs what it was where it never is.
func (in *instance) noteUnlessEqual(got *[]string, want []string, what string, list func(context.Context) []string) {
	in.t.Helper()
	defer func() {
		if !slices.Equal(*got, want) {
			in.t.Logf("it was %q", *got)
		}
	}()
	eventually(in.t, time.Minute, what, func(ctx context.Context) bool {
		*got = list(ctx)
		return slices.Equal(*got, want)
	})
}

// rolesReplicas are the addresses of the replicas that a master answers ROLE with, sorted.
func rolesReplicas(ctx context.Context, c redis.UniversalClient) []string {
	role, err := c.Do(ctx, "ROLE").Slice()
	if err != nil || len(role) < 3 || role[0] != "master" {
		return nil
	}
	var all []string
	replicas, _ := role[2].([]any)
	for _, r := range replicas {
		if one, ok := r.([]any); ok && len(one) == 3 {
			all = append(all, net.JoinHostPort(fmt.Sprint(one[0]), fmt.Sprint(one[1])))
		}
	}
	slices.Sort(all)
	return all
}

func (in *instance) nodeAddresses() map[string]string {
	in.t.Helper()
	nodes := &corev1.NodeList{}
	if err := in.List(context.Background(), nodes); err != nil {
		in.t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				all[n.Name] = a.Address
			}
		}
	}
	return all
}

func (in *instance) writesAt(address, what string) {
	in.t.Helper()
	c := direct(address, in.password)()
	defer func() { _ = c.Close() }()
	eventually(in.t, 30*time.Second, "a write by "+what, func(ctx context.Context) bool {
		return c.Set(ctx, "outside", "yes", 0).Err() == nil
	})
}

// balance gives Services addresses as the controller of a cloud's load balancers does.
func (in *instance) balance(addresses map[string]string) {
	in.t.Helper()
	for name, ip := range addresses {
		s := &corev1.Service{}
		eventually(in.t, time.Minute, "Service "+name, func(ctx context.Context) bool { return in.Get(ctx, in.key(name), s) == nil })
		if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
			in.t.Fatalf("Service %s is of type %s", name, s.Spec.Type)
		}
		base := s.DeepCopy()
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
		if err := in.Status().Patch(context.Background(), s, client.MergeFrom(base)); err != nil {
			in.t.Fatal(err)
		}
	}
	// The balancer of a cloud is ready when it tells its address. Here the kube-proxies follow a moment after that.
	for name, ip := range addresses {
		eventually(in.t, time.Minute, "the load balancer of "+name, func(ctx context.Context) bool {
			d := net.Dialer{Timeout: time.Second}
			conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip, fmt.Sprint(v1alpha1.PortRedis)))
			if err != nil {
				return false
			}
			return conn.Close() == nil
		})
	}
}
