package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const cacheYAML = `apiVersion: redstart.dev/v1alpha1
kind: Redis
metadata:
  name: cache
spec:
  mode: Sentinel
`

// Every mistake ends in one clear line and an exit code, and nothing was changed.
func TestErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port

	for _, tt := range []struct {
		name string
		// file is the content of FILE in args.
		file string
		args string
		// server is what a fake redis-server on PATH prints; empty leaves PATH alone.
		server string
		code   int
		want   string // a regular expression for all of standard error
	}{
		{name: "unknown command", args: "stats", code: 2, want: `unknown command "stats" \(did you mean "status"\?\); see redstart --help`},
		{name: "unknown flag", args: "get pods --wide", code: 2, want: `unknown flag: --wide; see redstart get --help`},
		{name: "too many arguments", args: "status a b", code: 2, want: `unexpected argument "b"; usage: redstart status \[NAME\] \[flags\]`},
		{name: "a file without its flag", args: "up FILE", code: 2, want: `unexpected argument "FILE": files are named with -f; usage: redstart up \[-f DIR\] \[flags\]`},
		{name: "no name", args: "failover", code: 2, want: `NAME is missing; usage: redstart failover NAME \[flags\]`},
		{name: "nothing to scale", args: "scale --replicas 3", code: 2, want: `NAME is missing; usage: redstart scale .*`},
		{name: "no port at all", args: "port-forward cache-0", code: 2, want: `\[LOCAL:\]REMOTE is missing; usage: redstart port-forward TARGET .*`},
		{name: "a shell and more", args: "completion bash now", code: 2, want: `unexpected argument "now"; usage: redstart completion bash.*`},
		{name: "unknown output", args: "get pods -o xml", code: 2, want: `--output "xml" is not known; expected one of table, wide, json, yaml, name, jsonpath=TEMPLATE, go-template=TEMPLATE`},
		{name: "an output without a template", args: "get pods -o jsonpath", code: 2, want: `--output "jsonpath" is not known; expected one of .*, jsonpath=TEMPLATE, go-template=TEMPLATE`},
		{name: "a template with an end missing", args: "get pods -o jsonpath={.kind", code: 2, want: `--output jsonpath=\{\.kind: unclosed action`},
		{name: "no template of Go", args: "get pods -o go-template={{", code: 2, want: `--output go-template=\{\{: template: output:1: unclosed action`},
		{name: "no files", args: "apply", code: 2, want: `nothing to apply; name a file or directory with -f`},
		{name: "no replicas", args: "scale cache", code: 2, want: `how many\? give --replicas N \(or, in mode Cluster, --shards N or --replicas-per-shard N\), N not negative`},
		{name: "no port", args: "port-forward cache-0 redis", code: 2, want: `"redis" is not \[LOCAL:\]REMOTE; expected port numbers up to 65535, for example 8080:80`},
		{name: "delete what", args: "delete pod", code: 2, want: `which pod\? give names, a selector with -l, or --all`},
		{name: "purge without asking", args: "down --purge", code: 2, want: `Delete what redstart up keeps in .*, with all data\? Say so with --yes`},
		{name: "no time to wait", args: "down --timeout 0", code: 2, want: `invalid argument "0" for "--timeout" flag: expected more than nothing, such as 30s; see redstart down --help`},
		{name: "less than no time", args: "up --wait-timeout -5s", code: 2, want: `invalid argument "-5s" for "--wait-timeout" flag: expected more than nothing, such as 30s; see redstart up --help`},
		{name: "no unit", args: "failover cache --timeout 5", code: 2, want: `invalid argument "5" for "--timeout" flag: expected a number with a unit, such as 500ms, 30s or 2m; see redstart failover --help`},
		{name: "logs of the future", args: "logs cache-0 --since -5m", code: 2, want: `invalid argument "-5m" for "--since" flag: expected more than nothing, such as 30s; see redstart logs --help`},
		{name: "fewer than no lines", args: "logs cache-0 --tail -5", code: 2, want: `--tail -5: expected a number of lines, 0 or more`},
		{name: "a guestbook for nothing", args: "guestbook --max-messages 0", code: 2, want: `--max-messages 0: expected 1 or more`},
		{name: "a rate that is no number", args: "guestbook --posts-per-second NaN", code: 2, want: `--posts-per-second NaN: expected 0.001 or more`},
		{name: "not a selector", args: "get pods -l app=(", code: 2, want: `--selector "app=\(" is not one: .*; expected, for example, app=web,tier!=cache`},
		{name: "logs by no selector", args: "logs -l app=(", code: 2, want: `--selector "app=\(" is not one: .*`},
		{name: "delete by no selector", args: "delete pods -l app=(", code: 2, want: `--selector "app=\(" is not one: .*`},
		{name: "not a namespace", args: "get pods -n MINE", code: 2, want: `--namespace "MINE" is not a name; use lower case letters, digits and '-'`},
		{name: "not a namespace to start in", args: "up -f FILE -n MINE", file: cacheYAML, code: 2, want: `--namespace "MINE" is not a name; use lower case letters, digits and '-'`},
		{name: "kinds with names", args: "get pod/a pod/b", code: 2, want: `name one KIND/NAME, or one KIND and its names`},
		{name: "unknown shell", args: "completion csh", code: 2, want: `no completion for "csh"; expected bash, fish, powershell or zsh`},
		{name: "watch of several kinds", args: "get all -w", code: 2, want: `--watch follows one kind, not several`},
		{name: "get by name and selector", args: "get pods cache-0 -l app=web", code: 2, want: `a selector and a name exclude each other`},
		{name: "get a name everywhere", args: "get pod/cache-0 -A", code: 2, want: `a name is of one namespace; choose it with --namespace instead of --all-namespaces`},
		{name: "delete a file by selector", args: "delete -f FILE -l app=web", code: 2, want: `what to delete\? name files with -f, or KIND NAME, or KIND -l SELECTOR`},
		{name: "delete all and some", args: "delete pods --all -l app=web", code: 2, want: `--selector and --all exclude each other`},
		{name: "no cluster", args: "get pods", code: 1, want: `no "redstart up" runs with the state directory .*; start it, or choose a cluster with --kubeconfig`},
		{name: "unreadable kubeconfig", args: "get pods --kubeconfig /no/such", code: 1, want: `kubeconfig /no/such: stat /no/such: no such file or directory`},
		{name: "no state directory", args: "up --state-dir /dev/null -f FILE", file: cacheYAML, code: 1, want: `look for a running cluster: open /dev/null/up.lock: not a directory; choose another state directory with --state-dir`},
		{name: "unreadable file", args: "up -f /no/such.yaml", code: 1, want: `/no/such.yaml: cannot be read: no such file or directory`},
		{name: "not YAML", file: "kind: [\n", args: "up -f FILE", code: 1, want: `FILE: document 1: line 1: not valid YAML: .*`},
		{
			name: "unknown field", file: cacheYAML + "  replica: 3\n", args: "up -f FILE", code: 1,
			want: `FILE: document 1 \(Redis cache\): spec.replica: unknown field; did you mean "replicas"\?`,
		},
		{
			name: "bad quantity", file: cacheYAML + "  storage: {size: 1Gigabyte}\n", args: "apply -f FILE", code: 1,
			want: `FILE: document 1 \(Redis cache\): spec.storage.size: "1Gigabyte" is not a quantity; .*`,
		},
		{
			name: "wrong mode", file: strings.Replace(cacheYAML, "Sentinel", "Sentinels", 1), args: "up -f FILE", code: 1,
			want: `FILE: document 1 \(Redis cache\): spec.mode: .*Sentinels.*Standalone.*Replication.*Sentinel.*`,
		},
		{
			name: "missing Secret", file: cacheYAML + "  auth: {secretName: mine}\n", args: "up -f FILE", code: 1,
			want: `FILE: document 1 \(Redis cache\): spec.auth.secretName: Secret "mine" does not exist in namespace "default"; create it, or add it to the files`,
		},
		{
			name: "port in use", args: "up -f FILE", code: 1,
			file: fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: LoadBalancer\n  ports: [{port: %d}]\n", port),
			want: fmt.Sprintf(`FILE: document 1 \(Service web\): spec.ports\[0\].port: cannot listen on 127.0.0.1:%d: it is in use by .*; stop that program, or choose another port`, port),
		},
		{
			name: "too old a server", file: cacheYAML, args: "up -f FILE", server: "Redis server v=5.0.7 sha=00000000:0 malloc=libc bits=64 build=0", code: 1,
			want: `.*/redis-server: redis 5.0.7 is too old: install Redis 6.2 or later, or Valkey 7.2 or later`,
		},
		{
			name: "not a server", file: cacheYAML, args: "up -f FILE", server: "hello", code: 1,
			want: `.*/redis-server.*"hello" is not the version line of a Redis or Valkey server`,
		},
		{
			name: "bad configuration", file: "image: {}\n", args: "up --config FILE", code: 1,
			want: `FILE: .*unknown field "image"; expected images: \{"PATTERN": \[COMMAND, ARG...\]\}`,
		},
		{
			name: "every error of every document", file: cacheYAML + "  replica: 3\n---\n" + cacheYAML + "  shard: 1\n", args: "up -f FILE", code: 1,
			want: `FILE: document 1 .*\nredstart: FILE: document 2 .*`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			state := filepath.Join(dir, "state")
			t.Setenv("REDSTART_STATE_DIR", state)
			if tt.server != "" {
				fakeServer(t, dir, tt.server)
			}
			file := filepath.Join(dir, "file.yaml")
			if err := os.WriteFile(file, []byte(tt.file), 0o644); err != nil {
				t.Fatal(err)
			}
			argv := []string{"redstart"}
			for _, a := range strings.Fields(tt.args) {
				argv = append(argv, strings.Replace(a, "FILE", file, 1))
			}
			var out, errOut bytes.Buffer
			code := run(t.Context(), argv, strings.NewReader(""), &out, &errOut)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			got := strings.ReplaceAll(errOut.String(), file, "FILE")
			if !regexp.MustCompile(`\Aredstart: ` + tt.want + `\n\z`).MatchString(got) {
				t.Errorf("standard error is\n%swant one that matches\nredstart: %s", got, tt.want)
			}
			if out.Len() > 0 {
				t.Errorf("standard output is not empty: %s", out.String())
			}
			if _, err := os.Stat(state); !os.IsNotExist(err) {
				t.Errorf("there is a state directory: %v", err)
			}
		})
	}
}

// fakeServer puts a redis-server on PATH that prints a version line.
func fakeServer(t *testing.T, dir, version string) {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\necho '%s'\n", version)
	if err := os.WriteFile(filepath.Join(dir, "redis-server"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// Whoever presses Ctrl-C reads that it was he, not what failed for it.
func TestInterruptedUp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("REDSTART_STATE_DIR", filepath.Join(dir, "state"))
	file := filepath.Join(dir, "cache.yaml")
	if err := os.WriteFile(file, []byte(cacheYAML), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut bytes.Buffer
	code := run(ctx, []string{"redstart", "up", "-f", file}, strings.NewReader(""), &out, &errOut)
	if want := "redstart: interrupted before everything was ready\n"; code != exitFailed || errOut.String() != want {
		t.Errorf("exit code %d, %swant %d, %s", code, errOut.String(), exitFailed, want)
	}
}
