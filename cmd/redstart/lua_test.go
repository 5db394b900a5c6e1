package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	luaScript = `local w = obj.canaryWeight
if w >= 0 then obj.data.spec.weights = { stable = obj.stableWeight, canary = w } end
return obj.data
`
	luaRollout = `apiVersion: redstart.dev/v1alpha1
kind: Rollout
metadata: {name: frontend, namespace: shop}
spec:
  strategy:
    canary:
      trafficRoutings: [{service: frontend}]
      steps: [{traffic: 20%}, {traffic: 50%}]
`
	luaRouting = `apiVersion: rollouts.kruise.io/v1alpha1
kind: TrafficRouting
metadata: {name: frontend}
spec: {objectRef: [{service: frontend}], strategy: {weight: 30}}
`
	luaObject = `apiVersion: example.com/v1
kind: Route
metadata: {name: web}
spec: {host: shop.example.com}
`
)

// luaFiles writes a script with a test case, whose second step expects the given canary weight.
func luaFiles(t *testing.T, weight string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"example.com/Route/trafficRouting.lua": luaScript,
		"rollout.yaml":                         luaRollout,
		"route.yaml":                           luaObject,
		"routing.yaml":                         luaRouting,
		"empty/none.txt":                       "",
		"bad.lua":                              "while true do end\n",
		"syntax.lua":                           "local = 1\n",
		"bad.yaml":                             "a: [\n",
		"example.com/Route/testdata/weights.yaml": "rollout:\n" + indentBy("  ", luaRollout) + "original:\n" + indentBy("  ", luaObject) + `expected:
- spec: {host: shop.example.com, weights: {stable: 80, canary: 20}}
- spec: {host: shop.example.com, weights: {stable: 50, canary: ` + weight + `}}
`,
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func indentBy(prefix, text string) string {
	return prefix + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+prefix) + "\n"
}

func TestLua(t *testing.T) {
	good, bad := luaFiles(t, "50"), luaFiles(t, "51")
	for _, c := range []struct {
		name, args string
		dir        string
		code       int
		out, err   string // regular expressions; empty for none
	}{
		{name: "shipped", args: "test", out: `(?s).*ok    gateway.networking.k8s.io/HTTPRoute/testdata/weights.yaml \(4 steps\)\n.*\n\d+ steps in \d+ test cases, 0 failed\n`},
		{name: "directory", args: "test DIR", out: `ok    .*weights.yaml \(2 steps\)\n2 steps in 1 test cases, 0 failed\n`},
		{name: "file", args: "test DIR/example.com/Route/testdata/weights.yaml", out: `ok    .*weights.yaml \(2 steps\)\n2 steps in 1 test cases, 0 failed\n`},
		{name: "testdata", args: "test DIR/example.com/Route/testdata", out: `ok    .*weights.yaml \(2 steps\)\n2 steps in 1 test cases, 0 failed\n`},
		{
			name: "a difference", args: "test DIR", dir: bad, code: 1,
			out: `(?s)FAIL  .*weights.yaml: 1 of 2 steps, with example.com/Route/trafficRouting.lua\n      step 2: - expected, \+ got\n.*- +canary: 51\n +\+ +canary: 50\n.*2 steps in 1 test cases, 1 failed\n`,
		},
		{name: "no test cases", args: "test DIR/empty", code: 1, err: `.*empty: no test cases; expected YAML files in a directory named testdata, beside the script`},
		{name: "no such path", args: "test DIR/none", code: 1, err: `.*none: cannot be read: no such file or directory`},
		{name: "no test case", args: "test DIR/rollout.yaml", code: 1, out: `FAIL  .*rollout.yaml: \w+: unknown field; expected rollout or trafficRouting, original and expected\n0 steps in 1 test cases, 1 failed\n`},
		{name: "no command", args: "", code: 2, err: `which command\? expected test or run; see redstart lua --help`},
		{name: "unknown command", args: "check", code: 2, err: `unknown command "check"; expected test or run; see redstart lua --help`},
		{
			name: "run", args: "run DIR/example.com/Route/trafficRouting.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 1",
			out: `  spec:\n    host: shop.example.com\n\+   weights:\n\+     canary: 20\n\+     stable: 80\n`,
		},
		{
			name: "run a TrafficRouting", args: "run DIR/example.com/Route/trafficRouting.lua --rollout DIR/routing.yaml --object DIR/route.yaml --step 1",
			out: `  spec:\n    host: shop.example.com\n\+   weights:\n\+     canary: 30\n\+     stable: 70\n`,
		},
		{
			name: "run to YAML", args: "run DIR/example.com/Route/trafficRouting.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 2 -o yaml",
			out: `apiVersion: example.com/v1\nkind: Route\nmetadata:\n  name: web\nspec:\n  host: shop.example.com\n  weights:\n    canary: 50\n    stable: 50\n`,
		},
		{name: "no rollout", args: "run x.lua --object DIR/route.yaml --step 1", code: 2, err: `which Rollout\? name its file with --rollout`},
		{name: "no object", args: "run x.lua --rollout DIR/rollout.yaml --step 1", code: 2, err: `which object\? name its file with --object`},
		{name: "no step", args: "run x.lua --rollout DIR/rollout.yaml --object DIR/route.yaml", code: 2, err: `which step\? give --step N, N from 1`},
		{name: "no script", args: "run", code: 2, err: `SCRIPT is missing; usage: redstart lua run .*`},
		{name: "unknown output", args: "run x.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 1 -o xml", code: 2, err: `--output "xml" is not known; expected one of diff, yaml, json`},
		{name: "unknown script", args: "run none.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 1", code: 1, err: `none.lua: no such file, and no shipped script; expected a path such as .*`},
		{name: "unknown step", args: "run DIR/bad.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 3", code: 1, err: `.*rollout.yaml: there is no step 3; expected 1 to 2`},
		{name: "not YAML", args: "run DIR/bad.lua --rollout DIR/bad.yaml --object DIR/route.yaml --step 1", code: 1, err: `.*bad.yaml: not valid YAML: .*`},
		{name: "not a Rollout", args: "run DIR/bad.lua --rollout DIR/route.yaml --object DIR/route.yaml --step 1", code: 1, err: `.*route.yaml: spec.strategy: expected canary, blueGreen or partition`},
		{name: "endless", args: "run DIR/bad.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 1", code: 1, err: `.*bad.lua:1: the script (took more than 1000000 steps|ran longer than 1s)`},
		{name: "syntax", args: "run DIR/syntax.lua --rollout DIR/rollout.yaml --object DIR/route.yaml --step 1", code: 1, err: `.*syntax.lua:1: syntax error near "="`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := good
			if c.dir != "" {
				dir = c.dir
			}
			args := append([]string{"redstart", "lua"}, strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))...)
			var out, errOut bytes.Buffer
			if code := run(t.Context(), args, strings.NewReader(""), &out, &errOut); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			wantErr := ""
			if c.err != "" {
				wantErr = "redstart: " + c.err + "\n"
			}
			if !regexp.MustCompile(`^(?:` + wantErr + `)$`).Match(errOut.Bytes()) {
				t.Errorf("got the errors\n%swant\n%s", errOut.String(), wantErr)
			}
			if !regexp.MustCompile(`^(?:` + c.out + `)$`).Match(out.Bytes()) {
				t.Errorf("got\n%swant\n%s", out.String(), c.out)
			}
		})
	}
}
