package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/guestbook"
)

// TestTraefik releases the guestbook of examples/canary on a real cluster, behind a gateway that is not ours: by the
// commands of docs/rollouts.md, as a blue-green release, and with the checks of that page, which ask a Prometheus and stop
// a bad version. Visitors come all the time by Traefik's Service; none of their requests may fail but those that the bad
// version itself refuses.
func TestTraefik(t *testing.T) {
	beyondCore(t)
	r := startBehindTraefik(t)
	asWritten := r.route()
	stop := r.visit()
	writers := r.write()

	r.page("release")
	r.waitStep(1)
	r.share(2000, "v2", 20)
	r.page("testers")
	r.waitStep(2)
	r.share(2000, "v2", 0)
	r.share(2000, "v2", 100, "X-Tester=yes")
	r.page("half")
	r.waitStep(3)
	r.share(2000, "v2", 50)

	r.page("abort")
	r.waitPhase(v1alpha1.RolloutAborted)
	r.none("v2")
	r.unchanged(asWritten)
	r.retryToTheEnd()
	r.unchanged(asWritten)
	r.page("undo")
	r.waitStep(1)
	r.share(2000, "v1", 20)
	r.page("undone")
	r.waitPhase(v1alpha1.RolloutHealthy)
	r.all("v1")

	r.strategy(blueGreenIn(3))
	r.run("redstart apply -f examples/canary/v2")
	r.waitStep(1)
	r.none("v2")
	r.run("redstart rollout abort frontend")
	r.waitPhase(v1alpha1.RolloutAborted)
	r.none("v2")
	r.run("redstart rollout retry frontend")
	r.waitStep(1)
	r.run("redstart rollout approve frontend")
	r.waitPhase(v1alpha1.RolloutHealthy)
	r.all("v2")
	r.unchanged(asWritten)
	writers.only(http.StatusCreated)

	// Nobody approves anything from here on.
	strategy := pageBlocks(t, "traefik", "yaml")["strategy"]
	if !strings.Contains(strategy, "prometheus.monitoring") {
		t.Fatal("docs/rollouts.md has no strategy for Traefik with a Prometheus in the namespace monitoring")
	}
	r.strategy(strings.ReplaceAll(strategy, "prometheus.monitoring", "prometheus."+r.namespace))
	r.waitPhase(v1alpha1.RolloutHealthy)
	r.letPassAndStop(writers)
	r.unchanged(asWritten)
	r.told("RollingBack", "check success-rate failed")
	writers.reset()
	time.Sleep(2 * time.Second)
	writers.only(http.StatusCreated)
	stop()
}

// startBehindTraefik starts Traefik and Prometheus in a namespace of their own, and the example behind them.
func startBehindTraefik(t *testing.T) *canary {
	t.Helper()
	c := theCluster(t, needGateway)
	lab, ok := c.backend.(*kubernetes)
	if !ok {
		t.Fatalf("a backend %T offers a gateway", c.backend)
	}
	if err := lab.control("gateway"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &canary{
		t: t, cluster: c, namespace: c.namespace(t), workDir: dir, blocks: pageBlocks(t, "canary", "sh"), http: newVisitor(t),
		env: []string{"KUBECONFIG=" + filepath.Join(dir, "kubeconfig")},
	}
	r.stayIn(filepath.Join(dir, "kubeconfig"))
	r.copyExample()
	r.edit("route.yaml", "gatewayClassName: redstart", "gatewayClassName: "+r.namespace)
	text, err := os.ReadFile(filepath.Join("testdata", "traefik.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("NAMESPACE"), []byte(r.namespace))
	if err := os.WriteFile(filepath.Join(dir, "traefik.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"rollout", "status", "frontend"}, {"logs", "-l", "app=traefik", "--tail", "60"}} {
				out, err := c.redstart(append([]string{"-n", r.namespace}, args...)...)
				t.Logf("redstart %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
		r.run("redstart delete --ignore-not-found -f examples/canary -f traefik.yaml")
	})
	r.run("redstart apply -f traefik.yaml")
	for _, name := range []string{"traefik", "prometheus"} {
		eventually(t, 2*time.Minute, name+" to be ready", func(ctx context.Context) bool {
			d := &appsv1.Deployment{}
			return c.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: name}, d) == nil && d.Status.ReadyReplicas == *d.Spec.Replicas
		})
	}
	r.run("redstart apply -f examples/canary")
	svc := &corev1.Service{}
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: r.namespace, Name: "traefik"}, svc); err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + v1alpha1.ServiceAddress(svc, 8000)
	r.waitPhase(v1alpha1.RolloutHealthy)
	eventually(t, time.Minute, "both Traefiks to lead to the guestbook", func(context.Context) bool {
		for range 20 {
			// A connection of its own for each: kube-proxy chooses a Traefik for a connection.
			r.http.CloseIdleConnections()
			if r.ask("/").code != http.StatusOK {
				return false
			}
		}
		return true
	})
	return r
}

// stayIn writes a kubeconfig whose namespace is that of the test, so that commands need not name it.
func (r *canary) stayIn(file string) {
	r.t.Helper()
	config, err := clientcmd.LoadFromFile(r.kubeconfig())
	if err != nil {
		r.t.Fatal(err)
	}
	config.Contexts[config.CurrentContext].Namespace = r.namespace
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		r.t.Fatal(err)
	}
}

// stable is the revision that was released last.
func (r *canary) stable() string {
	r.t.Helper()
	ro := &v1alpha1.Rollout{}
	if err := r.Get(context.Background(), r.key(), ro); err != nil {
		r.t.Fatal(err)
	}
	return ro.Status.StableRevision
}

// route is the HTTPRoute as its author sees it.
func (r *canary) route() gatewayv1.HTTPRouteSpec {
	r.t.Helper()
	route := &gatewayv1.HTTPRoute{}
	if err := r.Get(context.Background(), r.key(), route); err != nil {
		r.t.Fatal(err)
	}
	return route.Spec
}

func (r *canary) unchanged(asWritten gatewayv1.HTTPRouteSpec) {
	r.t.Helper()
	if is := r.route(); !equality.Semantic.DeepEqual(is, asWritten) {
		r.t.Errorf("the HTTPRoute is %+v, it was %+v", is, asWritten)
	}
}

// told waits for an event of the Rollout.
func (r *canary) told(reason, text string) {
	r.t.Helper()
	eventually(r.t, 30*time.Second, "an event "+reason+" that says: "+text, func(ctx context.Context) bool {
		events := &corev1.EventList{}
		if r.List(ctx, events, client.InNamespace(r.namespace)) != nil {
			return false
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Kind == "Rollout" && e.Reason == reason && strings.Contains(e.Message, text) {
				r.t.Logf("event %s: %s", e.Reason, e.Message)
				return true
			}
		}
		return false
	})
}

// writers post messages all the time, and count the answers.
type writers struct {
	t       *testing.T
	mu      sync.Mutex
	answers map[int]int // by status; 0 is none
	other   string      // the last answer that was not 201
}

// write starts a writer that posts ten messages a second, fewer than one visitor may.
func (r *canary) write() *writers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{t: r.t, answers: map[int]int{}}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			code, answer := r.post(fmt.Sprintf("message %d", n))
			w.mu.Lock()
			w.answers[code]++
			if code != http.StatusCreated {
				w.other = fmt.Sprintf("%s: %d %s", time.Now().Format(time.TimeOnly), code, answer)
			}
			w.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
	})
	r.t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	return w
}

// post sends one message, once.
func (r *canary) post(text string) (code int, answer string) {
	body, err := json.Marshal(map[string]string{"text": text, "token": guestbook.NewSecret()})
	if err != nil {
		return 0, err.Error()
	}
	resp, err := r.http.Post(r.url+"/api/v1/messages", "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, math.MaxUint16))
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// only fails the test when there was an answer of another status since the last time, and returns how many there were.
func (w *writers) only(statuses ...int) map[int]int {
	w.t.Helper()
	answers, other := w.reset()
	w.t.Logf("answers to those who write, by status: %v", answers)
	rest := 0
	for _, n := range answers {
		rest += n
	}
	for _, s := range statuses {
		rest -= answers[s]
	}
	if rest > 0 || answers[http.StatusCreated] == 0 {
		w.t.Errorf("answers to those who write: %v, expected %v alone; the last of another kind than 201: %s", answers, statuses, other)
	}
	return answers
}

func (w *writers) reset() (answers map[int]int, other string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	answers, other = w.answers, w.other
	w.answers, w.other = map[int]int{}, ""
	return answers, other
}
