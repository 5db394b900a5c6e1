package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator"
)

// The charts under test.
const (
	operatorChart = "../../charts/redstart"
	redisChart    = "../../charts/redis-ha"
)

// helm is Helm's own program, with the cluster under test.
type helm struct {
	t *testing.T
	*cluster
	binary string
}

// helm builds it from its module, which is that of the charts' tests.
func (c *cluster) helm(t *testing.T) *helm {
	t.Helper()
	h := &helm{t: t, cluster: c, binary: filepath.Join(t.TempDir(), "helm")}
	build := exec.Command("go", "build", "-o", h.binary, "helm.sh/helm/v3/cmd/helm")
	build.Dir = filepath.Join("..", "charts")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build helm: %v\n%s", err, out)
	}
	return h
}

func (h *helm) run(args ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.binary, append([]string{"--kubeconfig", h.kubeconfig()}, args...)...)
	dir := filepath.Dir(h.binary)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// values writes a file of them.
func (h *helm) values(yaml string) string {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// operator are the arguments for a release of the operator: two of them, of the image under test.
func (h *helm) operator(namespace, chart string) []string {
	h.t.Helper()
	k, ok := h.backend.(*kubernetes)
	if !ok {
		h.t.Fatal("the charts need a real Kubernetes")
	}
	repository, tag, _ := strings.Cut(k.image, ":")
	return []string{
		"redstart", chart, "-n", namespace, "--wait", "--timeout", "5m", "--set", "replicas=2",
		"--set", "image.repository=" + repository, "--set-string", "image.tag=" + tag, "--set", "image.pullPolicy=IfNotPresent",
	}
}

// TestHelm goes through the life of both charts: the operator, twice and with definitions of an older release, in a namespace that
// admits restricted pods alone; a Redis in another such; changes of its values under load; and what is left when both are uninstalled.
func TestHelm(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needKubernetes)
	h := c.helm(t)
	c.withoutOperator(t)
	system, data := c.namespace(t), c.namespace(t)
	c.restrict(t, system)
	c.restrict(t, data)

	// The definitions are there already, as redstart uninstall leaves them.
	h.run(append([]string{"install", "--take-ownership"}, h.operator(system, olderChart(t))...)...)
	if columns := c.columns(t); !slices.Contains(columns, "Leader") {
		t.Fatalf("the definition of the older chart is not there: its columns are %q", columns)
	}
	h.run(append([]string{"upgrade"}, h.operator(system, operatorChart)...)...)
	if columns := c.columns(t); slices.Contains(columns, "Leader") || !slices.Contains(columns, "Master") {
		t.Errorf("the upgrade did not upgrade the definitions: the columns are %q", columns)
	}

	values := `{auth: true, persistentVolume: {size: 1Gi}, redis: {config: {maxmemory: 100mb}}, servers: {annotations: {example.com/team: none}}}`
	notes := h.run("install", "cache", redisChart, "-n", data, "-f", h.values(values))
	in := c.instance(t, data, "cache")
	if told := c.followNotes(t, notes); told == "" || told != in.password {
		t.Errorf("the command of the notes prints %q, which is not the password:\n%s", told, notes)
	}
	in.waitSettled()
	c.stopLeader(t, system)

	upgrade := func(name, values string, effect func(context.Context) bool) *writer {
		t.Helper()
		prefix := strconv.FormatInt(time.Now().UnixNano(), 36)
		w := startWriter(prefix, in.writes())
		t.Cleanup(w.stop)
		eventually(t, time.Minute, "the first writes", func(context.Context) bool { return w.count(time.Time{}) > 500 })
		start := time.Now()
		h.run("upgrade", "cache", redisChart, "-n", data, "-f", h.values(values))
		eventually(t, 5*time.Minute, "the effect of "+name, effect)
		in.waitReady()
		after := time.Now()
		eventually(t, time.Minute, "writes afterwards", func(context.Context) bool { return w.count(after) > 500 })
		w.stop()
		lost, err := w.lost(context.Background(), in.writes())
		if err != nil {
			t.Fatal(err)
		}
		gap := w.gap(start)
		t.Logf("%s: gap %s, %d of %d acknowledged writes lost, %d failed attempts (last: %v)",
			name, gap.Round(time.Millisecond/10), lost, len(w.acked), w.failures, w.lastErr)
		results.add(result{scenario: name, system: "Redstart, charts", took: gap, lost: lost})
		if lost > 0 {
			t.Errorf("%s: %d acknowledged writes were lost", name, lost)
		}
		return w
	}

	before := in.runs()
	values = `{auth: true, persistentVolume: {size: 1Gi}, redis: {config: {maxmemory: 200mb}},
		servers: {annotations: {example.com/team: a}}, exporter: {serviceMonitor: {enabled: true}}}`
	upgrade("helm upgrade: setting, annotation, monitor", values, func(ctx context.Context) bool {
		s := &corev1.Service{}
		return in.Get(ctx, in.key("cache"), s) == nil && s.Annotations["example.com/team"] == "a" && in.everywhere(ctx, "maxmemory", fmt.Sprint(200<<20))
	})
	if now := in.runs(); !slices.Equal(before, now) {
		t.Errorf("what needs no restart restarted pods: %v before, %v now", before, now)
	}

	old := in.uids()
	w := upgrade("helm upgrade: resources", strings.Replace(values, "redis: {", "redis: {resources: {requests: {memory: 32Mi}}, ", 1), func(ctx context.Context) bool {
		for _, p := range in.pods(ctx, v1alpha1.ComponentMember) {
			if old[string(p.UID)] {
				return false
			}
		}
		return true
	})
	for _, run := range in.runs() {
		if !strings.HasSuffix(run, " 0") {
			t.Errorf("a container was restarted besides: %s", run)
		}
	}

	h.run("uninstall", "cache", "-n", data, "--wait")
	in.waitGone()
	h.run("install", "cache", redisChart, "-n", data, "-f", h.values(values))
	in = c.instance(t, data, "cache")
	if lost, err := w.lost(context.Background(), in.writes()); err != nil || lost > 0 {
		t.Errorf("the Redis that was installed again lacks %d of %d writes, %v", lost, len(w.acked), err)
	}

	before = in.runs()
	h.run("uninstall", "redstart", "-n", system, "--wait")
	in.waitWrites()
	if now := in.runs(); !slices.Equal(before, now) {
		t.Errorf("pods restarted when the operator was uninstalled: %v before, %v now", before, now)
	}
	if len(c.columns(t)) == 0 {
		t.Error("the definitions went with the chart")
	}
}

// withoutOperator removes the suite's own operator for the time of a test that installs one by other means.
func (c *cluster) withoutOperator(t *testing.T) {
	t.Helper()
	k, ok := c.backend.(*kubernetes)
	if !ok {
		t.Fatal("this needs a real Kubernetes")
	}
	if out, err := c.redstart("uninstall"); err != nil {
		t.Fatalf("redstart uninstall: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if err := k.install(k.image); err != nil {
			t.Error(err)
		}
	})
}

// restrict lets a namespace admit pods of the restricted standard alone.
func (c *cluster) restrict(t *testing.T, namespace string) {
	t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = namespace
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
	if err := c.Patch(context.Background(), ns, patch); err != nil {
		t.Fatal(err)
	}
}

// olderChart is the operator's chart with a definition that has another column.
func olderChart(t *testing.T) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "redstart")
	if err := os.CopyFS(chart, os.DirFS(operatorChart)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(chart, "files", "crds", "redstart.dev_redises.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	older := strings.Replace(string(text), "name: Master\n", "name: Leader\n", 1)
	if err := os.WriteFile(file, []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	return chart
}

// columns are those that the definition of a Redis in the cluster has for kubectl get.
func (c *cluster) columns(t *testing.T) []string {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := c.Get(context.Background(), client.ObjectKey{Name: "redises.redstart.dev"}, u); err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	var names []string
	for _, v := range versions {
		columns, _, _ := unstructured.NestedSlice(v.(map[string]any), "additionalPrinterColumns")
		for _, column := range columns {
			names = append(names, fmt.Sprint(column.(map[string]any)["name"]))
		}
	}
	return names
}

// followNotes runs the command that a chart's notes give for the password.
func (c *cluster) followNotes(t *testing.T, notes string) string {
	t.Helper()
	for line := range strings.Lines(notes) {
		if !strings.Contains(line, "get secret") {
			continue
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig())
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return string(out)
	}
	return ""
}

// stopLeader deletes the pod of the operator that works, and waits until the other one has taken over.
func (c *cluster) stopLeader(t *testing.T, namespace string) {
	t.Helper()
	leader := func(ctx context.Context) string {
		lease := &coordinationv1.Lease{}
		key := client.ObjectKey{Namespace: namespace, Name: operator.LeaderElectionID}
		if c.Get(ctx, key, lease) != nil || lease.Spec.HolderIdentity == nil {
			return ""
		}
		pod, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
		return pod
	}
	first := leader(context.Background())
	p := &corev1.Pod{}
	p.Namespace, p.Name = namespace, first
	if err := c.Delete(context.Background(), p); err != nil {
		t.Fatalf("delete the operator that works, %q: %v", first, err)
	}
	eventually(t, time.Minute, "another operator than "+first+" to work", func(ctx context.Context) bool {
		now := leader(ctx)
		return now != "" && now != first
	})
}

// everywhere tells whether all members have a setting.
func (in *instance) everywhere(ctx context.Context, name, value string) bool {
	for _, addr := range in.addresses() {
		c := direct(addr, in.password)()
		m, err := c.ConfigGet(ctx, name).Result()
		_ = c.Close()
		if err != nil || m[name] != value {
			return false
		}
	}
	return true
}

// waitGone waits until the Redis and its pods are gone, and sees that the volumes of the members stay.
func (in *instance) waitGone() {
	in.t.Helper()
	eventually(in.t, 3*time.Minute, in.name+" to be gone", func(ctx context.Context) bool {
		pods := &corev1.PodList{}
		err := in.List(ctx, pods, client.InNamespace(in.namespace), client.MatchingLabels{v1alpha1.LabelName: in.name})
		return in.redis(ctx).Name == "" && err == nil && len(pods.Items) == 0
	})
	claims := &corev1.PersistentVolumeClaimList{}
	if err := in.List(context.Background(), claims, client.InNamespace(in.namespace)); err != nil {
		in.t.Fatal(err)
	}
	if len(claims.Items) < 3 || slices.ContainsFunc(claims.Items, func(p corev1.PersistentVolumeClaim) bool { return p.DeletionTimestamp != nil }) {
		in.t.Errorf("the volumes did not stay: %d claims", len(claims.Items))
	}
}
