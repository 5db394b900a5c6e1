package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// buildProgram builds the program into dir, or takes $REDSTART_BIN.
func buildProgram(t *testing.T, dir string) string {
	t.Helper()
	if bin := os.Getenv("REDSTART_BIN"); bin != "" {
		abs, err := filepath.Abs(bin)
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	bin := filepath.Join(dir, "redstart")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// session runs the program with a state directory of its own.
type session struct {
	t   *testing.T
	bin string
	env []string
	dir string
}

func newSession(t *testing.T) *session {
	t.Helper()
	dir := t.TempDir()
	bin := buildProgram(t, dir)
	s := &session{t: t, bin: bin, dir: dir, env: append(os.Environ(),
		"REDSTART_STATE_DIR="+filepath.Join(dir, "state"),
		"PATH="+filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"))}
	t.Cleanup(func() {
		if out, err := s.run("redstart", "down"); err != nil {
			t.Errorf("redstart down: %v\n%s", err, out)
		}
	})
	return s
}

// run runs a program, bounded, and gives back everything that it printed.
func (s *session) run(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if program == "redstart" {
		program = s.bin
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *session) must(args ...string) string {
	s.t.Helper()
	out, err := s.run("redstart", args...)
	if err != nil {
		s.t.Fatalf("redstart %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *session) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// logged is how much the pods wrote, in bytes.
func (s *session) logged() (bytes int64) {
	s.t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.dir, "state/pods/*/logs/*/*"))
	if err != nil || len(logs) == 0 {
		s.t.Fatalf("no logs of pods: %v", err)
	}
	for _, log := range logs {
		info, err := os.Stat(log)
		if err != nil {
			s.t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes
}

// The commands of the pages that are marked with <!-- run --> work, in the order of the page, on the Redis of the quick start.
func TestPages(t *testing.T) {
	blocks := map[string][]string{}
	n := 0
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks[page] = runnable(string(text))
		n += len(blocks[page])
	}
	if n == 0 {
		t.Fatal("no page has a runnable block")
	}
	s := newSession(t)
	s.write("cache.yaml", cacheYAML)
	s.must("up", "-d", "-f", "cache.yaml")
	for page, list := range blocks {
		for _, block := range list {
			if out, err := s.run("sh", "-euc", block); err != nil {
				t.Errorf("%s: %v\n%s\n%s", page, err, block, out)
			}
		}
	}
}

// runnable finds the sh blocks after a line <!-- run -->.
func runnable(markdown string) []string {
	var out []string
	for _, rest := range strings.Split(markdown, "<!-- run -->\n```sh\n")[1:] {
		block, _, _ := strings.Cut(rest, "\n```")
		out = append(out, block)
	}
	return out
}

// Every link in the pages to a file of the repository leads somewhere.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, top...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "](")[1:] {
			link, _, _ := strings.Cut(part, ")")
			link, _, _ = strings.Cut(link, "#")
			if link == "" || strings.Contains(link, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), link)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, link)
			}
		}
	}
}

// The README says the same in both languages: as many chapters, the same commands and files, the same links.
func TestReadmes(t *testing.T) {
	comments, links := regexp.MustCompile(`(?m) +#.*$`), regexp.MustCompile(`\]\(([^)]*)\)`)
	gist := func(page string) (all []string) {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "```") {
			if i%2 == 1 {
				all = append(all, comments.ReplaceAllString(part, ""))
				continue
			}
			for range strings.Count(part, "\n## ") {
				all = append(all, "a chapter")
			}
			for _, row := range regexp.MustCompile("(?m)^\\| .*(`.*`) \\|$").FindAllStringSubmatch(part, -1) {
				all = append(all, row[1])
			}
			for _, link := range links.FindAllStringSubmatch(part, -1) {
				if target := strings.Replace(link[1], ".zh-CN", "", 1); target != "README.md" {
					all = append(all, target)
				}
			}
		}
		return all
	}
	if diff := cmp.Diff(gist("README.md"), gist("README.zh-CN.md")); diff != "" {
		t.Errorf("the READMEs differ (-English +Chinese):\n%s", diff)
	}
}

// The life of a cluster in the background: start, use, refuse, change, stop, start again with the data, purge.
func TestUpAndDown(t *testing.T) {
	s := newSession(t)
	s.write("cache.yaml", strings.Replace(cacheYAML, "Sentinel", "Standalone", 1))
	summary := s.must("up", "-d", "-f", "cache.yaml")
	for _, want := range []string{"Running after", "writes", "kubeconfig", "redstart down"} {
		if !strings.Contains(summary, want) {
			t.Errorf("the summary lacks %q:\n%s", want, summary)
		}
	}
	if strings.Contains(summary, "failover") {
		t.Errorf("the summary advises a failover of a Redis of one member:\n%s", summary)
	}
	s.must("cli", "cache", "--", "SET", "greeting", "hello")
	s.write("far.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: far}\nspec: {ports: [{port: 80}]}\n")
	s.must("apply", "-f", "far.yaml")
	s.must("status", strings.TrimSpace(s.must("get", "redis", "-o", "name")))
	for _, format := range []string{"jsonpath={.status.master}{.none}", "go-template={{.status.master}}"} {
		if out := s.must("get", "redis", "cache", "-o", format); out != "cache-0" {
			t.Errorf("get -o %s prints %q, want cache-0", format, out)
		}
	}
	s.write("all.yaml", s.must("get", "redis,services", "-o", "yaml"))
	if out := s.must("apply", "-f", "all.yaml", "--dry-run"); !strings.HasPrefix(out, "5 objects are valid") {
		t.Errorf("what get prints of two kinds is %s", out)
	}

	for _, tt := range []struct{ args, want string }{
		{"up -d -f cache.yaml", "redstart: redstart up already runs with the state directory"},
		{"failover nobody", `redstart: redises.redstart.dev "nobody" not found`},
		{"get pods cache-0 nobody", `redstart: pods "nobody" not found`},
		{"port-forward cache 6380:99999", `redstart: "6380:99999" is not [LOCAL:]REMOTE`},
		{"status nobody -w", `redstart: redises.redstart.dev "nobody" not found`},
		{"scale secret/cache --replicas 2", `redstart: Secret cache cannot be scaled; expected a redis, deployment or statefulset`},
		{"get unicorns", `redstart: the cluster has no kind "unicorns"; try pods, services, deployments or redises`},
		{"cli cache --member cache-7 -- PING", `redstart: Redis cache has no member "cache-7"; its members are cache-0`},
		{"logs service/far", `redstart: Service far selects no pods; name a pod`},
		{"status deployment/cache", `redstart: "deployment/cache" is no Redis; write the name of one, or redis/NAME`},
		{"scale statefulset/cache --shards 4", `redstart: only a Redis of mode Cluster has shards; scale StatefulSet cache with --replicas`},
		{"logs nobody", `redstart: no pod, Redis, Deployment, StatefulSet or Service is named "nobody" in namespace default`},
	} {
		out, err := s.run("redstart", strings.Fields(tt.args)...)
		if err == nil || !strings.HasPrefix(out, tt.want) || strings.Count(out, "\n") != 1 {
			t.Errorf("redstart %s: error %v, printed\n%swant one line that begins with\n%s", tt.args, err, out, tt.want)
		}
	}

	// A file with one good and one bad object changes nothing.
	s.write("bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: bad}\n")
	if out, err := s.run("redstart", "apply", "-f", "bad.yaml"); err == nil || !strings.Contains(out, "bad.yaml: document 2 (Widget bad): kind:") {
		t.Errorf("apply of an unknown kind: %v\n%s", err, out)
	}
	if out := s.must("get", "configmaps", "-o", "name"); strings.Contains(out, "configmap/good") {
		t.Errorf("the good half of a bad file was applied:\n%s", out)
	}

	if out := s.must("delete", "redis", "cache", "--dry-run"); out != "Redis cache would be deleted\n" {
		t.Errorf("delete --dry-run prints %q", out)
	}
	if out := s.must("get", "pods", "-L", "redis-role", "--no-headers"); !strings.HasSuffix(strings.TrimSpace(out), "master") {
		t.Errorf("get pods -L redis-role prints\n%s", out)
	}
	s.must("down")
	// What the API refuses is refused before anything of the last time starts.
	s.write("other.yaml", strings.Replace(cacheYAML, "Sentinel", "Replication", 1))
	before := s.logged()
	for _, args := range []string{"up -f other.yaml", "up -d -f other.yaml"} {
		out, err := s.run("redstart", strings.Fields(args)...)
		want := "redstart: other.yaml: document 1 (Redis cache): spec.mode: Invalid value: \"Replication\": it is Standalone and cannot be changed; make another Redis\n"
		if err == nil || out != want {
			t.Errorf("redstart %s: error %v, printed\n%swant\n%s", args, err, out, want)
		}
	}
	if after := s.logged(); after != before {
		t.Errorf("the pods wrote %d bytes of logs while up refused a file", after-before)
	}
	s.must("up", "-d")
	if out := s.must("cli", "cache", "--", "GET", "greeting"); out != "hello\n" {
		t.Errorf("after a restart greeting is %q, want hello", out)
	}
	// What is in another namespace is waited for too, now and at the next start.
	s.write("team.yaml", `apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle, namespace: team}
spec:
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec: {containers: [{name: main, image: idle, command: [sleep, "600"]}]}
`)
	s.must("apply", "-f", "team.yaml", "--wait", "--timeout", "30s")
	s.must("down")
	if out := s.must("up", "-d", "--wait-timeout", "30s"); !strings.Contains(out, "Deployment idle") {
		t.Errorf("up does not show the Deployment of another namespace:\n%s", out)
	}
	s.must("delete", "redis/cache")
	if pods := s.must("get", "pods", "-o", "name"); pods != "" {
		t.Errorf("pods are left after their Redis was deleted:\n%s", pods)
	}
	// The directory was somebody's own perhaps: what he keeps there stays.
	s.write("state/thesis.txt", "years of work")
	if out := s.must("down", "--purge", "--yes"); !strings.Contains(out, "What it did not make is left: thesis.txt.") {
		t.Errorf("down --purge prints %s", out)
	}
	if err := os.Remove(filepath.Join(s.dir, "state", "thesis.txt")); err != nil {
		t.Error(err)
	}
	if out := s.must("down", "--purge", "--yes"); !strings.Contains(out, "Deleted") {
		t.Errorf("down --purge prints %s", out)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "state")); !os.IsNotExist(err) {
		t.Errorf("the state directory is left: %v", err)
	}
}

// Whoever ends what is still starting in the background is told so in both places.
func TestDownDuringUp(t *testing.T) {
	s := newSession(t)
	s.write("never.yaml", `apiVersion: apps/v1
kind: Deployment
metadata: {name: never}
spec:
  selector: {matchLabels: {app: never}}
  template:
    metadata: {labels: {app: never}}
    spec:
      containers:
        - name: main
          image: never
          command: [sleep, "600"]
          readinessProbe: {exec: {command: ["false"]}}
`)
	type result struct {
		out string
		err error
	}
	started := make(chan result, 1)
	go func() {
		out, err := s.run("redstart", "up", "-d", "-f", "never.yaml")
		started <- result{out, err}
	}()
	there := func() bool {
		out, _ := s.run("redstart", "get", "pods", "-o", "name")
		return strings.HasPrefix(out, "pod/never")
	}
	for deadline := time.Now().Add(time.Minute); !there(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no pod within a minute")
		}
	}
	s.must("down")
	got := <-started
	if want := "redstart: the background process: stopped before everything was ready\n"; got.err == nil || !strings.HasSuffix(got.out, want) {
		t.Errorf("up -d: error %v, printed\n%swant an end of\n%s", got.err, got.out, want)
	}
}
