package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/install"
)

// apiMachine is where test/kubelab runs the API server.
const apiMachine = "api"

// cutTime is how long a partition lasts that must change nothing: several times what a Lease holds.
const cutTime = 15 * time.Second

// nodeScenarios are faults and changes of the cluster around a Redis.
var nodeScenarios = []scenario{
	{
		name: "node of the master powered off", moves: true, needs: []need{needNodes}, core: bothModes,
		inject: func(in *instance, master string) {
			node := in.nodeOf(master)
			in.powerOff(node)
			in.waitMoved(master)
			in.waitWrites()
			in.powerOn(node)
		},
	},
	{
		name: "master's node cut off alone", moves: true, needs: []need{needPartition}, core: bothModes,
		inject: func(in *instance, master string) {
			node := in.nodeOf(master)
			in.cut([]string{node}, append(in.otherNodes(node), apiMachine))
			in.waitMoved(master)
			in.waitWrites()
			in.heal()
		},
	},
	{
		name: "API server cut off from all nodes", planned: true, needs: []need{needPartition}, core: replicationMode,
		inject: func(in *instance, _ string) {
			in.cut([]string{apiMachine}, in.otherNodes(""))
			in.hold(cutTime)
			in.heal()
		},
		check: (*instance).checkSameMaster,
	},
	{
		// The master keeps a majority of the members, which see no API either.
		name: "master and one replica cut off from the rest", planned: true, modes: replicationMode, needs: []need{needPartition}, core: replicationMode,
		inject: func(in *instance, master string) {
			node := in.nodeOf(master)
			others := in.otherNodes(node)
			in.cut([]string{node, others[0]}, []string{others[1], apiMachine})
			in.hold(cutTime)
			in.heal()
		},
		check: (*instance).checkSameMaster,
	},
	{
		// The master keeps the API, and with it its Lease.
		name: "replicas cut off from the master and the API server", planned: true, modes: replicationMode, needs: []need{needPartition},
		inject: func(in *instance, master string) {
			node := in.nodeOf(master)
			in.cut([]string{node, apiMachine}, in.otherNodes(node))
			in.hold(cutTime)
			in.heal()
		},
		check: (*instance).checkSameMaster,
	},
	{
		name: "drain of the master's node", planned: true, moves: true, needs: []need{needNodes}, core: bothModes,
		inject: func(in *instance, master string) {
			node := in.nodeOf(master)
			in.cordon(node, true)
			in.t.Cleanup(func() { in.cordon(node, false) })
			in.evictAll(node)
			in.waitReady()
		},
		check: func(in *instance, _ string) {
			if f := in.redis(context.Background()).Status.LastFailover; f == nil || !f.Planned {
				in.t.Errorf("the drain was no handover: %+v", f)
			}
		},
	},
	{
		name: "operator killed while the master changes", moves: true, needs: []need{needKubernetes, needProcesses}, core: replicationMode,
		inject: func(in *instance, master string) {
			in.kill(in.serverPID(master))
			in.killOperator()
			in.waitMoved(master)
		},
	},
	{
		name: "operator upgraded", planned: true, needs: []need{needKubernetes}, core: replicationMode,
		inject: func(in *instance, _ string) {
			before := in.runs()
			in.upgradeOperator()
			in.touch()
			in.waitReady()
			if now := in.runs(); !slices.Equal(before, now) {
				in.t.Errorf("the upgrade restarted members: %v before, %v now", before, now)
			}
		},
		check: (*instance).checkSameMaster,
	},
}

func (in *instance) checkSameMaster(before string) {
	if now := in.master(); now != before {
		in.t.Errorf("the master moved from %s to %s", before, now)
	}
}

// kubernetes is the backend of a scenario that asked for a real cluster.
func (in *instance) kubernetes() *kubernetes {
	in.t.Helper()
	k, ok := in.backend.(*kubernetes)
	if !ok {
		in.t.Fatal("this needs a real Kubernetes")
	}
	return k
}

func (in *instance) control(args ...string) {
	in.t.Helper()
	if err := in.kubernetes().control(args...); err != nil {
		in.t.Fatal(err)
	}
}

func (in *instance) nodeOf(pod string) string {
	in.t.Helper()
	p := &corev1.Pod{}
	if err := in.Get(context.Background(), in.key(pod), p); err != nil {
		in.t.Fatal(err)
	}
	return p.Spec.NodeName
}

// otherNodes are all nodes but one.
func (in *instance) otherNodes(but string) []string {
	in.t.Helper()
	nodes := &corev1.NodeList{}
	if err := in.List(context.Background(), nodes); err != nil {
		in.t.Fatal(err)
	}
	var names []string
	for _, n := range nodes.Items {
		if n.Name != but {
			names = append(names, n.Name)
		}
	}
	return names
}

func (in *instance) powerOff(node string) {
	in.t.Helper()
	number := strings.TrimPrefix(node, "kn")
	in.control("node", "kill", number)
	in.t.Cleanup(func() {
		if in.t.Failed() {
			_ = in.kubernetes().control("node", "start", number) // it may be on already
		}
	})
}

// powerOn starts a node and waits until the API says that it is ready again.
func (in *instance) powerOn(node string) {
	in.t.Helper()
	in.control("node", "start", strings.TrimPrefix(node, "kn"))
	eventually(in.t, 3*time.Minute, "node "+node+" to be ready", func(ctx context.Context) bool {
		n := &corev1.Node{}
		return in.Get(ctx, client.ObjectKey{Name: node}, n) == nil && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
}

func (in *instance) cut(a, b []string) {
	in.t.Helper()
	in.control("partition", strings.Join(a, ","), "from", strings.Join(b, ","))
	in.t.Cleanup(func() {
		if in.t.Failed() {
			_ = in.kubernetes().control("heal")
		}
	})
}

func (in *instance) heal() {
	in.t.Helper()
	in.control("heal")
}

// hold lets a fault last: what is tested is that nothing happens in that time.
func (in *instance) hold(d time.Duration) { time.Sleep(d) }

// waitWrites waits until the Service takes a write.
func (in *instance) waitWrites() {
	in.t.Helper()
	eventually(in.t, time.Minute, "the Service to take a write", func(ctx context.Context) bool {
		c := in.writes()()
		defer func() { _ = c.Close() }()
		return c.Set(ctx, "again", "yes", 0).Err() == nil
	})
}

func (in *instance) cordon(node string, unschedulable bool) {
	n := &corev1.Node{}
	n.Name = node
	patch := client.RawPatch("application/merge-patch+json", []byte(fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, unschedulable)))
	if err := in.Patch(context.Background(), n, patch); err != nil {
		in.t.Error(err)
	}
}

// evictAll evicts the pods of the Redis from a node, as kubectl drain does: what a budget does not allow is asked for again.
func (in *instance) evictAll(node string) {
	in.t.Helper()
	eventually(in.t, 3*time.Minute, "the pods of "+node+" to be evicted", func(ctx context.Context) bool {
		pods := slices.Concat(in.pods(ctx, v1alpha1.ComponentMember), in.pods(ctx, v1alpha1.ComponentSentinel))
		left := 0
		for i := range pods {
			p := &pods[i]
			if p.Spec.NodeName != node {
				continue
			}
			left++
			if p.DeletionTimestamp != nil {
				continue
			}
			err := in.SubResource("eviction").Create(ctx, p, &policyv1.Eviction{})
			if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) {
				in.t.Logf("evict %s: %v", p.Name, err)
			}
		}
		return left == 0 && len(pods) > 0
	})
}

// operatorPods are the running pods of the operator.
func (in *instance) operatorPods() []corev1.Pod {
	in.t.Helper()
	d := &appsv1.Deployment{}
	key := client.ObjectKey{Namespace: install.DefaultNamespace, Name: install.Name}
	if err := in.Get(context.Background(), key, d); err != nil {
		in.t.Fatal(err)
	}
	pods := &corev1.PodList{}
	err := in.List(context.Background(), pods, client.InNamespace(install.DefaultNamespace), client.MatchingLabels(d.Spec.Selector.MatchLabels))
	if err != nil {
		in.t.Fatal(err)
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
}

// killOperator kills the process of the operator.
func (in *instance) killOperator() {
	in.t.Helper()
	pods := in.operatorPods()
	if len(pods) == 0 {
		in.t.Fatal("no operator runs")
	}
	for _, p := range pods {
		pid, err := in.process(containerID(&p, "operator"), 1)
		if err != nil {
			in.t.Fatal(err)
		}
		signalPID(in.t, pid, syscall.SIGKILL)
	}
}

// upgradeOperator replaces the operator by one of another image name, as a new version has, and waits for it.
func (in *instance) upgradeOperator() {
	in.t.Helper()
	k := in.kubernetes()
	image := upgradedImage
	if k.image == upgradedImage {
		image = defaultImage
	}
	if err := k.install(image); err != nil {
		in.t.Fatal(err)
	}
}

// touch makes the operator look at the Redis, and waits until it has.
func (in *instance) touch() {
	in.t.Helper()
	in.update(func(r *v1alpha1.Redis) { r.Spec.Config["maxmemory"] = "234mb" })
	eventually(in.t, 2*time.Minute, "the new operator to look at "+in.name, func(ctx context.Context) bool {
		r := in.redis(ctx)
		return r.Generation > 0 && r.Status.ObservedGeneration == r.Generation
	})
}

// runs tells one run of each pod of the Redis from the next: pods by UID, and how often their containers were restarted.
func (in *instance) runs() []string {
	var all []string
	for _, component := range []string{v1alpha1.ComponentMember, v1alpha1.ComponentSentinel} {
		for _, p := range in.pods(context.Background(), component) {
			for _, c := range p.Status.ContainerStatuses {
				all = append(all, fmt.Sprintf("%s %s %d", p.Name, p.UID, c.RestartCount))
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestNodesAreSpread looks where the members of a Redis are: a node that is lost must cost one of them.
func TestNodesAreSpread(t *testing.T) {
	beyondCore(t)
	in := theCluster(t, needNodes).create(t, redisSpec(v1alpha1.ModeSentinel))
	for _, component := range []string{v1alpha1.ComponentMember, v1alpha1.ComponentSentinel} {
		nodes := map[string]string{}
		for _, p := range in.pods(context.Background(), component) {
			if other, taken := nodes[p.Spec.NodeName]; taken {
				t.Errorf("%s and %s are on the same node, %s", p.Name, other, p.Spec.NodeName)
			}
			nodes[p.Spec.NodeName] = p.Name
		}
	}
}
