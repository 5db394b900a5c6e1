package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/guestbook/browsertest"
)

// TestCanary runs the commands of docs/rollouts.md on the example, in the order of the page, and measures at each step
// who answers. Visitors come all the time, and none of their requests may fail.
func TestCanary(t *testing.T) {
	onlyEmbedded(t)
	window := browsertest.Start(t)
	r := startCanary(t)
	window.Open(r.url)
	window.Write("Ada", "Written in v1")
	window.See("v1 and the message", browsertest.Shows("v1")+" && "+browsertest.Times("Written in v1")+" === 1")
	stop := r.visit()

	r.page("release")
	r.waitStep(1)
	r.share(2000, "v2", 20)
	r.page("testers")
	r.waitStep(2)
	r.share(2000, "v2", 0)
	r.share(2000, "v2", 100, "X-Tester=yes")
	window.Headers(map[string]any{"X-Tester": "yes"})
	window.Open(r.url)
	window.See("v2 for a tester", browsertest.Shows("v2")+" && "+browsertest.Times("Written in v1")+" === 1")
	window.Headers(nil)
	r.page("half")
	r.waitStep(3)
	r.share(2000, "v2", 50)

	r.page("abort")
	r.waitPhase(v1alpha1.RolloutAborted)
	r.none("v2")
	r.retryToTheEnd()
	window.Open(r.url)
	window.See("v2 for everybody", browsertest.Shows("v2")+" && "+browsertest.Times("Written in v1")+" === 1")

	r.page("undo")
	r.waitStep(1)
	r.share(2000, "v1", 20)
	r.page("undone")
	r.waitPhase(v1alpha1.RolloutHealthy)
	r.all("v1")

	// The same files as a blue-green release: a second set beside the first one, and then all traffic at once.
	r.strategy(blueGreenIn(1))
	r.run("redstart apply -f examples/canary/v2")
	r.waitStep(1)
	r.none("v2")
	r.run("redstart rollout approve frontend")
	r.waitPhase(v1alpha1.RolloutHealthy)
	r.all("v2")
	r.judgedByTheGateway()
	stop()
}

// TestPartitionTraffic releases the guestbook in place: pods are replaced one by one, and the route says what share of the visitors
// gets the new ones. A Job judges the first step. None of the visitors' requests may fail.
func TestPartitionTraffic(t *testing.T) {
	onlyEmbedded(t)
	r := startCanary(t)
	r.strategy(`
partition:
  steps:
    - traffic: 20%
      pause: {}
      analysis:
        - name: smoke
          job: {timeout: 1m, spec: {backoffLimit: 0, template: {spec: {containers: [{name: smoke, image: none, command: [sh, -c, "echo looked at it"]}]}}}}
    - matches: [{headers: [{name: x-tester, value: "yes"}]}]
      pause: {}
    - {traffic: 50%, replicas: 2, pause: {}}
    - {traffic: 100%, replicas: 100%, pause: {}}
  trafficRoutings: [{service: frontend, gracePeriodSeconds: 1, gateway: {httpRouteName: frontend}}]`)
	stop := r.visit()
	r.page("release")
	r.waitStep(1)
	r.share(2000, "v2", 20)
	if out := r.run("redstart rollout status frontend"); !strings.Contains(out, "20% to the new version") || !strings.Contains(out, "●●  2/2 ready") || !strings.Contains(out, "●  1/1 ready") {
		t.Errorf("the picture of step 1 is\n%s", out)
	}
	if out := r.run("redstart get jobs"); !strings.Contains(out, "Complete") || !strings.Contains(out, "1/1") {
		t.Errorf("the Jobs are\n%s", out)
	}
	if out := r.run("redstart logs job/$(redstart get jobs -o name | cut -d/ -f2)"); out != "looked at it\n" {
		t.Errorf("the log of the Job is %q", out)
	}
	r.run("redstart rollout approve frontend")
	r.waitStep(2)
	r.share(2000, "v2", 0)
	r.share(2000, "v2", 100, "X-Tester=yes")
	r.run("redstart rollout approve frontend")
	r.waitStep(3)
	r.share(2000, "v2", 50)
	r.page("abort")
	r.wait("v1 is back", func(st *v1alpha1.RolloutStatus) bool {
		return st.Phase == v1alpha1.RolloutHealthy && st.History[0].Outcome == v1alpha1.ReleaseAborted
	})
	r.none("v2")

	// The Deployment was given v1 again, so asking for v2 once more is asking for what was given up.
	r.page("release")
	r.waitPhase(v1alpha1.RolloutAborted)
	r.retryToTheEnd()
	stop()
}

// retryToTheEnd releases v2 once more, which was given up, and everybody gets it.
func (r *canary) retryToTheEnd() {
	r.t.Helper()
	r.page("retry")
	r.waitStep(1)
	r.page("everybody")
	r.waitStep(4)
	r.share(2000, "v2", 100)
	r.page("done")
	r.waitPhase(v1alpha1.RolloutHealthy)
	r.all("v2")
}

// judgedByTheGateway releases a good version and one that takes no more than one message: the numbers of the gateway let the
// first one pass and stop the second. Nobody approves anything, and there is no Prometheus.
func (r *canary) judgedByTheGateway() {
	r.t.Helper()
	writers := r.write()
	r.strategy(`
canary:
  steps:
    - traffic: 50%
      analysis: [{name: success-rate, prometheus: {template: success-rate}, initialDelay: 5s, interval: 1s, count: 5}]
  trafficRoutings: [{service: frontend, gracePeriodSeconds: 1, gateway: {httpRouteName: frontend}}]`)
	r.letPassAndStop(writers)
}

// letPassAndStop releases v3, and then v4, which takes no more than one message: whoever writes to it is refused. The checks of the
// strategy let the first pass and stop the second.
func (r *canary) letPassAndStop(writers *writers) {
	r.t.Helper()
	next, before := filepath.Join("v2", "frontend.yaml"), r.stable()
	r.edit(next, "value: v2", "value: v3")
	r.run("redstart apply -f examples/canary/v2")
	r.wait("the checks let v3 pass", func(st *v1alpha1.RolloutStatus) bool {
		return st.Phase == v1alpha1.RolloutHealthy && st.StableRevision != before
	})
	r.all("v3")
	writers.only(http.StatusCreated)

	r.edit(next, "value: v3", "value: v4\n            - name: MAX_MESSAGES\n              value: \"1\"")
	r.run("redstart apply -f examples/canary/v2")
	r.waitPhase(v1alpha1.RolloutAborted)
	refused := writers.only(http.StatusCreated, http.StatusInsufficientStorage)[http.StatusInsufficientStorage]
	r.t.Logf("v4 refused %d messages before the checks stopped it", refused)
	if refused == 0 {
		r.t.Error("v4 refused no message; the checks had nothing to find")
	}
	r.told("RolledBack", "check success-rate failed")
	r.all("v3")
}

// canary is the example in a cluster, or a namespace, of its own.
type canary struct {
	t *testing.T
	*cluster
	namespace    string
	url, workDir string
	env          []string          // of the commands
	blocks       map[string]string // the commands of the page, by name
	http         *http.Client
}

func startCanary(t *testing.T) *canary {
	t.Helper()
	dir := t.TempDir()
	bin, err := redstartBinary(dir)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	state := filepath.Join(dir, "state")
	r := &canary{
		t: t, cluster: embeddedIn(bin, state), namespace: "default", url: "http://127.0.0.1:" + port, workDir: dir,
		env: []string{"REDSTART_STATE_DIR=" + state}, blocks: pageBlocks(t, "canary", "sh"), http: newVisitor(t),
	}
	r.copyExample()
	r.edit("route.yaml", "port: 8000", "port: "+port) // 8000 may be taken on this machine
	// The embedded gateway follows a change at once.
	r.edit("rollout.yaml", "- service: frontend", "- service: frontend\n          gracePeriodSeconds: 1")
	t.Cleanup(func() {
		if t.Failed() {
			out, err := r.redstart("rollout", "status", "frontend")
			t.Logf("%v\n%s", err, out)
		}
		if out, err := r.redstart("down"); err != nil {
			t.Errorf("redstart down: %v\n%s", err, out)
		}
	})
	if out := r.page("start"); !strings.Contains(out, r.url) {
		t.Fatalf("the summary of up does not tell where the Gateway is, %s:\n%s", r.url, out)
	}
	if err := r.connect(); err != nil {
		t.Fatal(err)
	}
	r.waitPhase(v1alpha1.RolloutHealthy)
	eventually(t, time.Minute, "the guestbook to answer", func(context.Context) bool { return r.ask("/").code == http.StatusOK })
	return r
}

func (r *canary) copyExample() {
	r.t.Helper()
	example := filepath.Join("examples", "canary")
	if err := os.CopyFS(filepath.Join(r.workDir, example), os.DirFS(filepath.Join("..", "..", example))); err != nil {
		r.t.Fatal(err)
	}
}

// edit changes the test's copy of a file of the example.
func (r *canary) edit(file, from, to string) {
	r.t.Helper()
	path := filepath.Join(r.workDir, "examples", "canary", file)
	text, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	if n := strings.Count(string(text), from); n != 1 {
		r.t.Fatalf("%s has %q %d times, expected once", file, from, n)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// pageBlocks are the blocks of docs/rollouts.md, of a language, that are marked <!-- MARK: NAME -->, by name.
func pageBlocks(t *testing.T, mark, language string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "rollouts.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, rest := range strings.Split(string(text), "<!-- "+mark+": ")[1:] {
		name, rest, _ := strings.Cut(rest, " -->\n```"+language+"\n")
		blocks[name], _, _ = strings.Cut(rest, "\n```")
	}
	return blocks
}

// page runs the commands of the page that have a name.
func (r *canary) page(name string) string {
	r.t.Helper()
	if r.blocks[name] == "" {
		r.t.Fatalf("docs/rollouts.md has no commands named %s", name)
	}
	return r.run(r.blocks[name])
}

// run runs commands as the shell of a user does.
func (r *canary) run(commands string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", commands)
	cmd.Dir, cmd.WaitDelay = r.workDir, 5*time.Second
	cmd.Env = append(append(os.Environ(), r.env...), "PATH="+filepath.Dir(r.binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", commands, err, out)
	}
	return string(out)
}

// wait waits until the Rollout is as it should be.
func (r *canary) wait(what string, ok func(*v1alpha1.RolloutStatus) bool) {
	r.t.Helper()
	start := time.Now()
	eventually(r.t, 4*time.Minute, what, func(ctx context.Context) bool {
		ro := &v1alpha1.Rollout{}
		return r.Get(ctx, r.key(), ro) == nil && ro.Status.ObservedGeneration == ro.Generation && ok(&ro.Status)
	})
	r.t.Logf("%s after %s", what, time.Since(start).Round(100*time.Millisecond))
}

func (r *canary) waitStep(n int32) {
	r.t.Helper()
	r.wait(fmt.Sprintf("step %d waits", n), func(st *v1alpha1.RolloutStatus) bool {
		return st.Phase == v1alpha1.RolloutPaused && st.CurrentStep == n && st.PauseReason == v1alpha1.PauseApproval
	})
}

func (r *canary) waitPhase(phase v1alpha1.RolloutPhase) {
	r.t.Helper()
	r.wait("the Rollout is "+string(phase), func(st *v1alpha1.RolloutStatus) bool { return st.Phase == phase && st.PendingRevision == "" })
}

// key is that of all that is called frontend: the Rollout, its Deployment, Service and HTTPRoute.
func (r *canary) key() client.ObjectKey {
	return client.ObjectKey{Namespace: r.namespace, Name: "frontend"}
}

// blueGreenIn is a blue-green release that waits once, with the time that the gateway may take to follow.
func blueGreenIn(grace int) string {
	return fmt.Sprintf(`
blueGreen:
  steps: [{traffic: 0%%, pause: {}}, {traffic: 100%%}]
  scaleDownDelay: 1s
  trafficRoutings: [{service: frontend, gracePeriodSeconds: %d, gateway: {httpRouteName: frontend}}]`, grace)
}

// strategy gives the Rollout another strategy.
func (r *canary) strategy(strategy string) {
	r.t.Helper()
	eventually(r.t, time.Minute, "the strategy to be changed", func(ctx context.Context) bool {
		ro := &v1alpha1.Rollout{}
		if r.Get(ctx, r.key(), ro) != nil {
			return false
		}
		ro.Spec.Strategy = v1alpha1.RolloutStrategy{}
		if err := yaml.UnmarshalStrict([]byte(strategy), &ro.Spec.Strategy); err != nil {
			r.t.Fatal(err)
		}
		return r.Update(ctx, ro) == nil
	})
	r.waitPhase(v1alpha1.RolloutHealthy)
}

// ask visits a path with headers of the form Name=value. The version is that which /api/v1/release tells.
func (r *canary) ask(path string, headers ...string) reply {
	a := ask(r.http, r.url+path, headers...)
	var who struct{ Release string }
	if a.code == http.StatusOK && path == "/api/v1/release" {
		if err := json.Unmarshal([]byte(a.text), &who); err != nil {
			return reply{text: err.Error()}
		}
	}
	a.version = who.Release
	return a
}

// all and none are quick looks at whether a version answers every request, or no request.
func (r *canary) all(version string)  { r.t.Helper(); r.share(400, version, 100) }
func (r *canary) none(version string) { r.t.Helper(); r.share(400, version, 0) }

// share measures which share of requests a version answers: it must be within 3 points of what is wanted, and exactly
// that where it is all or nothing.
func (r *canary) share(visits int, version string, percent float64, headers ...string) {
	r.t.Helper()
	const visitors = 8
	var answered atomic.Int64
	var all sync.WaitGroup
	for range visitors {
		all.Go(func() {
			for range visits / visitors {
				switch a := r.ask("/api/v1/release", headers...); {
				case a.code != http.StatusOK:
					r.t.Errorf("a request failed: %+v", a)
				case a.version == version:
					answered.Add(1)
				}
			}
		})
	}
	all.Wait()
	got := 100 * float64(answered.Load()) / float64(visits)
	within := 3.0
	if percent == 0 || percent == 100 {
		within = 0
	}
	r.t.Logf("%s answers %.1f %% of %d requests %s", version, got, visits, strings.Join(headers, " "))
	if math.Abs(got-percent) > within {
		r.t.Errorf("%s answers %.1f %% of the requests, expected %.0f within %.0f", version, got, percent, within)
	}
}

// visit sends visitors to the page, and programs to its API, until the function that it returns is called. None of
// their requests may fail.
func (r *canary) visit() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var visits atomic.Int64
	var all sync.WaitGroup
	for _, path := range []string{"/", "/api/v1/messages", "/api/v1/release"} {
		all.Go(func() {
			for ctx.Err() == nil {
				if a := r.ask(path); a.code != http.StatusOK {
					r.t.Errorf("%s: a request for %s failed: %+v", time.Now().Format(time.TimeOnly), path, a)
				}
				visits.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
		r.t.Logf("visitors made %d requests meanwhile", visits.Load())
	})
	r.t.Cleanup(stop)
	return stop
}
