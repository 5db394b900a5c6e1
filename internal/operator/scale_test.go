package operator_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator"
)

// redises is how many BenchmarkOperator has. It takes many minutes, most of them the API server's disk, so it is run by name alone:
//
//	go test ./internal/operator -run '^$' -bench Operator -benchtime 1x -timeout 1h -redises 200
var redises = flag.Int("redises", 0, "how many Redises BenchmarkOperator has; 0 skips it")

const (
	// steady is for how long an operator that has nothing to do is watched.
	steady = 2 * time.Minute
	// crowded bounds what all Redises together wait for.
	crowded = 40 * time.Minute
)

// operatorMain is an operator in a process of its own, so that its memory and its CPU time are its own.
func operatorMain(ctx context.Context, args []string) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	return operator.Run(ctx, cfg, operator.Options{MetricsAddress: args[1]})
}

// BenchmarkOperator runs one operator for many Redises against a real API server, the embedded one, with the workload
// controllers. The members are simulated at the pod level: nothing runs in a pod, a goroutine gives every pod an
// address and makes it ready, as a kubelet does, and one HTTP server answers as all agents.
func BenchmarkOperator(b *testing.B) {
	many := *redises
	if many == 0 {
		b.Skip("-redises says for how many")
	}
	for range b.N {
		c := newCluster(b)
		agents := simulateAgents(b)
		background(b, "the kubelet of simulated pods", func(ctx context.Context) error { return c.simulatePods(ctx, agents) })
		metrics := freeAddress(b)
		p := c.operatorProcess(metrics)
		begin := time.Now()
		for i := range many {
			c.must(c.client.Create(b.Context(), newRedis(fmt.Sprintf("r%03d", i), v1alpha1.ModeReplication)))
		}
		c.soon("all are ready", func(ctx context.Context) bool {
			var list v1alpha1.RedisList
			if c.client.List(ctx, &list) != nil {
				return false
			}
			n := 0
			for i := range list.Items {
				if list.Items[i].Status.Phase == v1alpha1.PhaseReady {
					n++
				}
			}
			return n == many
		})
		b.ReportMetric(time.Since(begin).Seconds(), "s/converge")
		b.ReportMetric(p.cpu(b), "cpu-s/converge")

		// The looks become seldom when nothing changes.
		<-time.After(2 * time.Minute)
		before, cpu, at := scrape(b, metrics), p.cpu(b), time.Now()
		<-time.After(steady)
		after, seconds := scrape(b, metrics), time.Since(at).Seconds()
		b.ReportMetric((after["controller_runtime_reconcile_total"]-before["controller_runtime_reconcile_total"])/seconds, "reconciles/s")
		b.ReportMetric((after["rest_client_requests_total"]-before["rest_client_requests_total"])/seconds, "requests/s")
		b.ReportMetric(100*(p.cpu(b)-cpu)/seconds, "cpu-%")
		b.ReportMetric(p.rss(b), "RSS-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

// soon is eventually, for many.
func (c *cluster) soon(what string, ok func(context.Context) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), crowded)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			c.t.Fatalf("not within %s: %s", crowded, what)
		case <-tick.C:
		}
	}
}

// simulated are the agents of simulated pods, by address.
type simulated struct {
	port int
	mu   sync.Mutex
	pods map[string]string // address to name
}

// simulateAgents serves GET /status at one port of every loopback address.
func simulateAgents(tb testing.TB) *simulated {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &simulated{port: l.Addr().(*net.TCPAddr).Port, pods: map[string]string{}}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	background(tb, "the simulated agents", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		if err := server.Serve(l); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	})
	return s
}

func (s *simulated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	host, _, _ := net.SplitHostPort(local.String())
	s.mu.Lock()
	name := s.pods[host]
	s.mu.Unlock()
	status := v1alpha1.AgentStatus{
		Name: name, Boot: "b", Role: v1alpha1.RoleReplica, Ready: true, Term: 1, APIReachable: true, ConfigHash: "h",
		Server: v1alpha1.ServerStatus{Up: true, Role: v1alpha1.RoleReplica, LinkUp: true, Engine: "redis", Version: "7.2.0", Offset: 100},
	}
	if strings.HasSuffix(name, "-0") {
		status.Role, status.Server.Role, status.Server.LinkUp = v1alpha1.RoleMaster, v1alpha1.RoleMaster, false
	}
	_ = json.NewEncoder(w).Encode(status)
}

// simulatePods makes every pod ready, until ctx ends.
func (c *cluster) simulatePods(ctx context.Context, s *simulated) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := 0
	for {
		var list corev1.PodList
		if err := c.client.List(ctx, &list); err != nil && ctx.Err() == nil {
			return err
		}
		for i := range list.Items {
			p := &list.Items[i]
			if p.Status.PodIP != "" || ctx.Err() != nil {
				continue
			}
			next++
			ip := fmt.Sprintf("127.200.%d.%d", next/250, next%250+1)
			s.mu.Lock()
			s.pods[ip] = p.Name
			s.mu.Unlock()
			p.Annotations = map[string]string{v1alpha1.AnnotationPorts: fmt.Sprintf(`{"9379":%d}`, s.port)}
			p.Labels[v1alpha1.LabelRole] = string(v1alpha1.RoleReplica)
			if strings.HasSuffix(p.Name, "-0") {
				p.Labels[v1alpha1.LabelRole] = string(v1alpha1.RoleMaster)
			}
			if err := c.client.Update(ctx, p); err != nil {
				continue // it is looked at again
			}
			p.Status = corev1.PodStatus{
				Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}},
				ContainerStatuses: []corev1.ContainerStatus{{
					Name: "redis", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
				}},
			}
			if err := c.client.Status().Update(ctx, p, &client.SubResourceUpdateOptions{}); err != nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// process is an operator in a process of its own.
type operatorProcess struct{ pid int }

func (c *cluster) operatorProcess(metrics string) operatorProcess {
	c.t.Helper()
	cmd := exec.Command(os.Args[0], "operator", filepath.Join(c.dir, "kubeconfig"), metrics)
	cmd.Stderr = testWriter()
	c.must(cmd.Start())
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return operatorProcess{cmd.Process.Pid}
}

// cpu is its CPU time so far, in seconds.
func (p operatorProcess) cpu(tb testing.TB) float64 {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		tb.Skipf("the benchmark reads /proc: %v", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	ticks := 0.0
	for _, s := range f[11:13] { // utime and stime, in hundredths of a second
		n, _ := strconv.ParseFloat(s, 64)
		ticks += n
	}
	return ticks / 100
}

// rss is its resident memory, in MiB.
func (p operatorProcess) rss(tb testing.TB) float64 {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// scrape sums the series of every metric.
func scrape(tb testing.TB, address string) map[string]float64 {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	sums := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		name, _, _ := strings.Cut(f[0], "{")
		n, _ := strconv.ParseFloat(f[1], 64)
		sums[name] += n
	}
	return sums
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
