package importer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/importer"
)

// Every value of Kruise's Rollouts is told where it went, or why it was dropped.
func TestKruiseRollouts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "kruise-*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		r, lines, err := importer.ImportRollout(read(t, filepath.Base(file)), "")
		got := told(t, &importer.Result{Redis: r, Lines: lines}, err)
		golden := strings.TrimSuffix(file, ".yaml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s: -want +got\n%s", file, d)
		}
	}
}

func TestKruiseRolloutsRefused(t *testing.T) {
	const workload = "workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}"
	for _, c := range []struct{ spec, want string }{
		{"workloadRef: {apiVersion: apps.kruise.io/v1alpha1, kind: CloneSet, name: web}, strategy: {canary: {steps: [{replicas: 1}]}}", "spec.workloadRef.apiVersion"},
		{workload + ", strategy: {paused: true}", "exactly one of canary and blueGreen"},
		{workload + ", strategy: {canary: {steps: []}}", "steps: expected a list"},
		{workload + ", strategy: {canary: {steps: [{replicas: many}]}}", "steps[0].replicas"},
		{workload + ", strategy: {canary: {steps: [{replicas: 1, pause: {duration: soon}}]}}", "soon"},
		{workload + ", strategy: {canary: {enableExtraWorkloadForCanary: true, steps: [{traffic: 5.5%}], trafficRoutings: [{service: web, ingress: {name: web}}]}}", "steps[0].traffic"},
		{workload + ", strategy: {blueGreen: {steps: [{replicas: 100%}]}}", "trafficRoutings"},
	} {
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte("{apiVersion: rollouts.kruise.io/v1beta1, kind: Rollout, metadata: {name: web}, spec: {"+c.spec+"}}"), &object); err != nil {
			t.Fatal(err)
		}
		if _, _, err := importer.ImportRollout(object, ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.spec, err, c.want)
		}
	}
	if _, _, err := importer.ImportRollout(map[string]any{"apiVersion": "apps/v1", "kind": "Deployment"}, ""); err == nil {
		t.Error("a Deployment was taken for a Rollout")
	}
}

// A key that looks like a path is none.
func TestKruiseKeysAreNoPaths(t *testing.T) {
	object := read(t, "kruise-bluegreen.yaml")
	object["spec"].(map[string]any)["strategy"].(map[string]any)["blueGreen"].(map[string]any)["steps[999999999]"] = map[string]any{"traffic": "5%"}
	r, lines, err := importer.ImportRollout(object, "")
	if err != nil || r.GetName() != "frontend" {
		t.Fatal(err)
	}
	for _, l := range lines {
		if strings.Contains(l.Path, "999999999") {
			if l.Mapped() {
				t.Errorf("%+v", l)
			}
			return
		}
	}
	t.Error("the key is not in the report")
}
