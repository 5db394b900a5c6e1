package operator_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/agent"
	"redstart.dev/redstart/internal/localcluster/address"
	"redstart.dev/redstart/internal/localcluster/kubelet"
	"redstart.dev/redstart/internal/process"
)

// The test binary plays the command redstart: in the pods it is the agent.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "reaper":
			process.ReaperMain(os.Stdin)
			return
		case "agent":
			if err := agentMain(); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

func agentMain() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o, err := agent.OptionsFromEnv(os.Getenv)
	if err != nil {
		return err
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	config, err := agent.KubeConfig(os.Getenv)
	if err != nil {
		return err
	}
	cluster, err := agent.NewCluster(config, o.Namespace, o.Redis, o.Name)
	if err != nil {
		return err
	}
	return agent.Run(ctx, o, cluster)
}

// kubelet runs pods, with real agents and servers, until the test ends.
func (c *cluster) kubelet() {
	c.t.Helper()
	// An own network for each test process keeps them apart on a shared machine.
	addresses, err := address.Loopback(byte(130+os.Getpid()%60), filepath.Join(c.dir, "address"))
	c.must(err)
	k, err := kubelet.New(kubelet.Options{
		Config: c.config, StateDir: c.dir, NodeName: "local", Executable: os.Args[0],
		KubeconfigPath: filepath.Join(c.dir, "kubeconfig"), Addresses: addresses, Logger: c.log,
	})
	c.must(err)
	background(c.t, "the kubelet", k.Run)
	c.t.Cleanup(c.showLogs)
}

// showLogs shows what the agents of a failed test said.
func (c *cluster) showLogs() {
	if !c.t.Failed() {
		return
	}
	_ = filepath.WalkDir(filepath.Join(c.dir, "pods"), func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			b, _ := os.ReadFile(path)
			c.t.Logf("%s:\n%s", path, b)
		}
		return nil
	})
}

// pods are those of a component of a Redis, by name.
func (c *cluster) pods(redis, component string) map[string]corev1.Pod {
	c.t.Helper()
	var list corev1.PodList
	c.must(c.client.List(c.ctx(), &list, client.InNamespace("default"),
		client.MatchingLabels{v1alpha1.LabelName: redis, v1alpha1.LabelComponent: component}))
	found := map[string]corev1.Pod{}
	for _, p := range list.Items {
		found[p.Name] = p
	}
	return found
}

func (c *cluster) untilReady(name, ready string) *v1alpha1.Redis {
	c.t.Helper()
	begin := time.Now()
	r := c.until(name, "ready "+ready, func(r *v1alpha1.Redis) bool {
		return r.Status.ObservedGeneration == r.Generation && r.Status.Phase == v1alpha1.PhaseReady && r.Status.Ready == ready
	})
	c.t.Logf("%s is ready %s after %d ms", name, ready, time.Since(begin).Milliseconds())
	return r
}

// counted is the sum of a metric over all Redises.
func (c *cluster) counted(metric string) (sum float64) {
	c.t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	c.must(err)
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// TestRedis lives through the days of a Redis: it is made, handed over, reconfigured, restarted, grown and shrunk.
func TestRedis(t *testing.T) {
	for _, mode := range []v1alpha1.Mode{v1alpha1.ModeReplication, v1alpha1.ModeSentinel} {
		t.Run(string(mode), func(t *testing.T) { testRedis(t, mode) })
	}
}

func testRedis(t *testing.T, mode v1alpha1.Mode) {
	c := newCluster(t)
	c.kubelet()
	stop := c.operator()
	c.must(c.client.Create(c.ctx(), newRedis("cache", mode)))
	r := c.untilReady("cache", "3/3")
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionMasterAvailable, v1alpha1.ConditionReplicasInSync, v1alpha1.ConditionConfigApplied} {
		if !meta.IsStatusConditionTrue(r.Status.Conditions, kind) {
			t.Errorf("%s is not true: %+v", kind, r.Status.Conditions)
		}
	}
	if r.Status.Engine == "" || r.Status.Version == "" || r.Status.Endpoints.Write == "" {
		t.Errorf("engine %q, version %q, endpoints %+v", r.Status.Engine, r.Status.Version, r.Status.Endpoints)
	}

	// A handover, and the operator restarts before it could do it twice.
	first, counted := r.Status.Master, c.counted("redstart_failovers_total")
	to := "cache-2"
	if first == to {
		to = "cache-1"
	}
	c.change("cache", func(r *v1alpha1.Redis) {
		r.Annotations = map[string]string{v1alpha1.AnnotationHandover: fmt.Sprintf(`{"id":"a","to":%q}`, to)}
	})
	r = c.until("cache", "the handover ends", func(r *v1alpha1.Redis) bool {
		return r.Status.Handover != nil && r.Status.Handover.Phase != v1alpha1.HandoverRunning
	})
	if h := r.Status.Handover; h.Phase != v1alpha1.HandoverSucceeded || h.ID != "a" || h.From != first || h.To != to && mode != v1alpha1.ModeSentinel {
		t.Fatalf("handover %+v", h)
	}
	to = r.Status.Handover.To // the Sentinels have the last word
	t.Logf("handed over from %s to %s in %d ms", first, to, r.Status.Handover.Milliseconds)
	c.eventually("it is counted", func(context.Context) bool { return c.counted("redstart_failovers_total") == counted+1 })
	stop()
	c.operator()
	r = c.untilReady("cache", "3/3")
	if r.Status.Master != to || r.Status.LastFailover.From != first || r.Status.LastFailover.To != to {
		t.Errorf("master %s, last failover %+v", r.Status.Master, r.Status.LastFailover)
	}

	// A setting that Redis takes live restarts nobody; another one restarts all members.
	before := c.pods("cache", v1alpha1.ComponentMember)
	hash := r.Status.Members[0].ConfigHash
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Config = map[string]string{"maxmemory": "100mb"} })
	c.until("cache", "all run with the new configuration", func(r *v1alpha1.Redis) bool {
		for _, m := range r.Status.Members {
			if m.ConfigHash == hash || m.ConfigHash == "" {
				return false
			}
		}
		return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionConfigApplied)
	})
	for name, p := range c.pods("cache", v1alpha1.ComponentMember) {
		if p.UID != before[name].UID {
			t.Errorf("%s restarted for a live setting", name)
		}
	}
	begin := time.Now()
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Config["databases"] = "32" })
	c.eventually("all members restarted", func(context.Context) bool { return c.replaced("cache", before) })
	r = c.untilReady("cache", "3/3")
	t.Logf("the rolling restart took %d ms; last failover %+v", time.Since(begin).Milliseconds(), r.Status.LastFailover)
	if f := r.Status.LastFailover; r.Status.Master == to || f.From != to || !f.Planned {
		t.Errorf("the master %s was not the last to restart: %+v", to, f)
	}

	// Growing, and shrinking when the master has to move first.
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Replicas = ptr.To[int32](4) })
	c.untilReady("cache", "4/4")
	c.change("cache", func(r *v1alpha1.Redis) { r.Annotations[v1alpha1.AnnotationHandover] = `{"id":"b","to":"cache-3"}` })
	c.until("cache", "the handover ends", func(r *v1alpha1.Redis) bool {
		h := r.Status.Handover
		return h != nil && h.ID == "b" && h.Phase == v1alpha1.HandoverSucceeded && r.Status.Master == h.To
	})
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Replicas = ptr.To[int32](2) })
	r = c.untilReady("cache", "2/2")
	// The Sentinels may choose the other member that goes away first: then it hands over in its turn.
	if from := r.Status.LastFailover.From; len(r.Status.Members) != 2 || from < "cache-2" || !r.Status.LastFailover.Planned {
		t.Errorf("members %+v, last failover %+v", r.Status.Members, r.Status.LastFailover)
	}
}

// replaced tells whether all members are others than before.
func (c *cluster) replaced(name string, before map[string]corev1.Pod) bool {
	now := c.pods(name, v1alpha1.ComponentMember)
	for n, p := range before {
		if now[n].UID == p.UID || now[n].UID == "" {
			return false
		}
	}
	return true
}

// TestMemberThatCannotStart: the condition says what the kubelet says, and the cure reaches members that never ran.
func TestMemberThatCannotStart(t *testing.T) {
	c := newCluster(t)
	c.kubelet()
	c.operator()
	r := newRedis("cache", v1alpha1.ModeReplication)
	r.Spec.Replicas = ptr.To[int32](2)
	r.Spec.PodMetadata = &v1alpha1.PodMetadata{Annotations: map[string]string{"note": "one"}}
	// There is no redis-server: the agent ends at once.
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	c.must(c.client.Create(c.ctx(), r))
	r = c.until("cache", "the condition says why", func(r *v1alpha1.Redis) bool {
		return reason(r, v1alpha1.ConditionReady) == v1alpha1.ReasonPodCannotStart
	})
	t.Log(meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady).Message)
	t.Setenv("PATH", path)
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.PodMetadata.Annotations["note"] = "two" })
	c.untilReady("cache", "2/2")
	c.eventually("every member is of the new template", func(context.Context) bool {
		for _, p := range c.pods("cache", v1alpha1.ComponentMember) {
			if p.Annotations["note"] != "two" {
				return false
			}
		}
		return true
	})
}
