package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// plainHook is what some charts add: a master that is told to stop asks for a failover first.
const plainHook = "{preStop: {exec: {command: [sh, /scripts/stop.sh]}}}"

// plainPods is plain Redis with Sentinel in pods, from testdata/plain.yaml. Its clients ask the Sentinels for the master.
type plainPods struct {
	*instance
	sentinels []string
}

// TestPlainPods measures plain redis-server and redis-sentinel in pods under faults that Redstart is measured under, with the time
// after which Redstart's own Sentinels hold a master for dead.
func TestPlainPods(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needKubernetes, needProcesses, needNodes)
	const tutorial, chart = "plain Sentinel, 5 s", "plain Sentinel, 5 s, hook"
	stop := map[string]string{tutorial: "{}", chart: plainHook}
	for _, f := range []struct {
		scenario string
		systems  []string
		inject   func(p *plainPods, master string)
	}{
		{"kill -9 of the master's server", []string{tutorial}, (*plainPods).killServer},
		{"pod of the master deleted", []string{tutorial, chart}, (*plainPods).deleteMaster},
		{"planned failover", []string{tutorial}, (*plainPods).failover},
		{"drain of the master's node", []string{tutorial, chart}, (*plainPods).drain},
		{"node of the master powered off", []string{tutorial}, (*plainPods).loseNode},
	} {
		for _, system := range f.systems {
			t.Run(f.scenario+"/"+system, func(t *testing.T) {
				for range *trials {
					p := c.plainPods(t, stop[system])
					o := underLoad(t, throughSentinels(p.sentinels, plainMaster, ""), []string{"plain"}, func() {
						f.inject(p, p.masterPod())
						p.waitSettled()
					})
					t.Logf("gap %s, %d of %d acknowledged writes lost, %d failed attempts (last: %v)",
						o.gap.Round(time.Millisecond/10), o.lost, o.acked, o.failures, o.lastErr)
					results.add(result{scenario: f.scenario, system: system, took: o.gap, lost: o.lost})
				}
			})
		}
	}
}

// plainPods installs it in a namespace of its own and waits until it is whole.
func (c *cluster) plainPods(t *testing.T, lifecycle string) *plainPods {
	t.Helper()
	p := &plainPods{instance: &instance{t: t, cluster: c, name: plainMaster, namespace: c.namespace(t)}}
	text, err := os.ReadFile(filepath.Join("testdata", "plain.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "plain.yaml")
	objects := strings.NewReplacer("DOWN_AFTER", strconv.FormatInt(v1alpha1.DefaultDownAfter.Milliseconds(), 10), "LIFECYCLE", lifecycle).Replace(string(text))
	if err := os.WriteFile(file, []byte(objects), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := c.redstart("-n", p.namespace, "apply", "-f", file); err != nil {
		t.Fatalf("redstart apply: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			p.dump()
		}
	})
	for i := range 3 {
		p.sentinels = append(p.sentinels, p.service(fmt.Sprintf("%s-%d", plainMaster, i), v1alpha1.PortSentinel))
	}
	p.waitSettled()
	return p
}

// waitSettled waits until all pods are ready, and all Sentinels agree about a master and see each other and two replicas in sync.
func (p *plainPods) waitSettled() {
	p.t.Helper()
	eventually(p.t, 5*time.Minute, "plain Redis to be whole", func(ctx context.Context) bool {
		pods := p.pods(ctx)
		for i := range pods {
			if !podReady(&pods[i]) {
				return false
			}
		}
		return len(pods) == len(p.sentinels) && p.agreed(ctx) != "" && sentinelsWhole(ctx, p.sentinels)
	})
}

// agreed is the host of the master that all Sentinels name; empty while they do not.
func (p *plainPods) agreed(ctx context.Context) (master string) {
	for i, addr := range p.sentinels {
		named := masterOf(ctx, addr)
		if named == "" || i > 0 && named != master {
			return ""
		}
		master = named
	}
	return master
}

// masterOf asks a Sentinel for the host of the master; empty when it does not answer.
func masterOf(ctx context.Context, sentinel string) string {
	c := redis.NewSentinelClient(&redis.Options{Addr: sentinel, MaxRetries: -1, DialTimeout: attemptTimeout, ReadTimeout: attemptTimeout})
	defer func() { _ = c.Close() }()
	addr, err := c.GetMasterAddrByName(ctx, plainMaster).Result()
	if err != nil {
		return ""
	}
	return addr[0]
}

// masterPod is the pod behind the Service that the Sentinels name.
func (p *plainPods) masterPod() string {
	p.t.Helper()
	master := p.agreed(p.t.Context())
	for i, addr := range p.sentinels {
		if host, _, _ := net.SplitHostPort(addr); host == master {
			return fmt.Sprintf("%s-%d", plainMaster, i)
		}
	}
	p.t.Fatalf("the master %q is at none of %v", master, p.sentinels)
	return ""
}

func (p *plainPods) pods(ctx context.Context) []corev1.Pod {
	pods := &corev1.PodList{}
	if p.List(ctx, pods, client.InNamespace(p.namespace), client.MatchingLabels{"app": plainMaster}) != nil {
		return nil
	}
	return pods.Items
}

func (p *plainPods) pod(name string) *corev1.Pod {
	p.t.Helper()
	pod := &corev1.Pod{}
	if err := p.Get(p.t.Context(), p.key(name), pod); err != nil {
		p.t.Fatal(err)
	}
	return pod
}

// plainServer is the ID of the container of a pod's redis-server.
func plainServer(p *corev1.Pod) string { return containerID(p, "redis") }

// waitAnother waits until a pod runs another redis-server than before.
func (p *plainPods) waitAnother(before *corev1.Pod) {
	p.t.Helper()
	eventually(p.t, 2*time.Minute, before.Name+" to have another server", func(ctx context.Context) bool {
		now := &corev1.Pod{}
		return p.Get(ctx, p.key(before.Name), now) == nil && podReady(now) && plainServer(now) != plainServer(before)
	})
}

func (p *plainPods) killServer(master string) {
	p.t.Helper()
	pod := p.pod(master)
	pid, err := p.process(plainServer(pod), 1)
	if err != nil {
		p.t.Fatal(err)
	}
	signalPID(p.t, pid, syscall.SIGKILL)
	p.waitAnother(pod)
}

func (p *plainPods) deleteMaster(master string) {
	p.t.Helper()
	pod := p.pod(master)
	p.deletePod(master)
	p.waitAnother(pod)
}

func (p *plainPods) failover(master string) {
	p.t.Helper()
	c := redis.NewSentinelClient(&redis.Options{Addr: p.sentinels[0]})
	defer func() { _ = c.Close() }()
	if err := c.Failover(p.t.Context(), plainMaster).Err(); err != nil {
		p.t.Fatal(err)
	}
	p.waitMoved(master)
}

func (p *plainPods) drain(master string) {
	p.t.Helper()
	pod := p.pod(master)
	p.cordon(pod.Spec.NodeName, true)
	p.t.Cleanup(func() { p.cordon(pod.Spec.NodeName, false) })
	if err := p.SubResource("eviction").Create(p.t.Context(), pod, &policyv1.Eviction{}); err != nil {
		p.t.Fatal(err)
	}
	p.waitAnother(pod)
}

func (p *plainPods) loseNode(master string) {
	p.t.Helper()
	node := p.nodeOf(master)
	p.powerOff(node)
	p.waitMoved(master)
	eventually(p.t, time.Minute, "a write", func(ctx context.Context) bool {
		c := throughSentinels(p.sentinels, plainMaster, "")()
		defer func() { _ = c.Close() }()
		return c.Set(ctx, "again", "yes", 0).Err() == nil
	})
	p.powerOn(node)
}

// waitMoved waits until a Sentinel names another master.
func (p *plainPods) waitMoved(before string) {
	p.t.Helper()
	old, _, _ := net.SplitHostPort(p.service(before, v1alpha1.PortRedis))
	eventually(p.t, time.Minute, "a master other than "+before, func(ctx context.Context) bool {
		for _, addr := range p.sentinels {
			if now := masterOf(ctx, addr); now != "" && now != old {
				return true
			}
		}
		return false
	})
}

// dump tells what a failed test left.
func (p *plainPods) dump() {
	commands := [][]string{{"get", "events"}, {"get", "pods", "-o", "wide"}}
	for _, pod := range p.pods(context.Background()) {
		commands = append(commands, []string{"logs", pod.Name, "--tail", "60"})
	}
	for _, args := range commands {
		out, err := p.redstart(append([]string{"-n", p.namespace}, args...)...)
		p.t.Logf("redstart %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
