package importer_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/importer"
)

var update = flag.Bool("update", false, "write the golden files anew")

// the charts that the files of testdata are of.
var charts = map[string]string{
	"redis-ha-old.yaml": "redis-ha", "dandydeveloper.yaml": "dandydeveloper", "bitnami-redis.yaml": "bitnami-redis",
	"bitnami-standalone.yaml": "bitnami-redis", "bitnami-redis-cluster.yaml": "bitnami-redis-cluster",
}

func read(t *testing.T, file string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(b, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// told is a result as text: the report, and the Redis.
func told(t *testing.T, r *importer.Result, err error) string {
	t.Helper()
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, l := range r.Lines {
		fmt.Fprintf(&b, "%s: %s", l.Path, l.Value)
		if l.Mapped() {
			fmt.Fprintf(&b, " -> %s", strings.Join(l.To, ", "))
		}
		if l.Why != "" {
			fmt.Fprintf(&b, " (%s)", l.Why)
		}
		b.WriteByte('\n')
	}
	y, err := yaml.Marshal(r.Redis.Object)
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString("---\n" + string(y))
	if r.Secret != nil {
		fmt.Fprintf(&b, "--- Secret %s with %d characters\n", r.Secret.Name, len(r.Secret.StringData[v1alpha1.SecretKeyPassword]))
	}
	return b.String()
}

func TestCharts(t *testing.T) {
	for file, chart := range charts {
		t.Run(file, func(t *testing.T) {
			r, err := importer.Import(read(t, file), chart, "cache")
			got := told(t, r, err)
			golden := filepath.Join("testdata", strings.TrimSuffix(file, ".yaml")+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil { //nolint:gosec // sources are for everybody
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("run with -update if that is meant:\n%s", d)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, "secret-password") {
				t.Error("a password is in the report or the Redis")
			}
		})
	}
}

// TestEveryValueIsTold: no value is in the file and in no line.
func TestEveryValueIsTold(t *testing.T) {
	for file, chart := range charts {
		r, err := importer.Import(read(t, file), chart, "cache")
		if err != nil {
			continue // the golden file has it
		}
		leaves("", read(t, file), func(path string) {
			for _, l := range r.Lines {
				if path == l.Path || strings.HasPrefix(path, l.Path+".") {
					if !l.Mapped() && l.Why == "" {
						t.Errorf("%s: %s was dropped without a reason", file, path)
					}
					return
				}
			}
			t.Errorf("%s: nothing is said of %s", file, path)
		})
	}
}

func leaves(path string, v any, f func(string)) {
	m, ok := v.(map[string]any)
	if !ok {
		f(path)
		return
	}
	for k, item := range m {
		leaves(strings.TrimPrefix(path+"."+k, "."), item, f)
	}
}

// TestNotServed: what the validation of a Redis refuses is dropped in its words, whatever this version serves.
func TestNotServed(t *testing.T) {
	r, err := importer.Import(map[string]any{
		"replica":  map[string]any{"replicaCount": 99, "podLabels": map[string]any{"redis-role": "master"}},
		"sentinel": map[string]any{"enabled": true, "quorum": 2},
	}, "bitnami-redis", "cache")
	if err != nil {
		t.Fatal(err)
	}
	got := told(t, r, nil)
	for _, want := range []string{
		"replica.replicaCount: 99 (spec.replicas:", "expected a whole number from 1 to 32)",
		"replica.podLabels: {\"redis-role\":\"master\"} (spec.podMetadata.labels", "Redstart sets it itself",
		"sentinel.quorum: 2 -> spec.sentinel.quorum",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
}

func TestMistakes(t *testing.T) {
	if _, err := importer.Import(nil, "redis", "cache"); err == nil || !strings.Contains(err.Error(), "expected one of bitnami-redis,") {
		t.Errorf("an unknown chart: %v", err)
	}
	r, err := importer.Import(map[string]any{
		"auth": "maybe", "replicas": "many", "redis": map[string]any{"config": []any{1}}, "nodeSelector": "x",
	}, "redis-ha", "cache")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Lines {
		if l.Mapped() && !strings.HasPrefix(l.Why, "the chart's default") {
			t.Errorf("%s is mapped to %q", l.Path, l.To)
		}
	}
}

func FuzzImport(f *testing.F) {
	for file := range charts {
		b, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(_ *testing.T, text string) {
		values := map[string]any{}
		if yaml.Unmarshal([]byte(text), &values) != nil {
			return
		}
		for _, chart := range importer.Sources() {
			_, _ = importer.Import(values, chart, "cache")
		}
	})
}
