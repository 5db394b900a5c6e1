package traffic

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/lua"
)

var update = flag.Bool("update", false, "write what the shipped scripts give into their test cases, for review")

// TestShippedScripts runs the test cases of the shipped scripts. Each script has some.
func TestShippedScripts(t *testing.T) {
	files := Shipped()
	cases, err := FindCases(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	scripts := NewScripts(files)
	used := map[string]bool{}
	for _, file := range cases {
		t.Run(file, func(t *testing.T) {
			run := func(c *TestCase, script *lua.Script) ([]Outcome, error) {
				if *update {
					rewriteCase(t, filepath.Join("scripts", file), c, script)
				}
				return c.Run(context.Background(), script)
			}
			outcomes, script, err := scripts.RunCase(run, files, file)
			if err != nil {
				t.Fatal(err)
			}
			used[script] = true
			for _, o := range outcomes {
				if o.Err != nil {
					t.Errorf("step %d: %v", o.Step, o.Err)
				} else if !o.Passed() {
					t.Errorf("step %d:\n%s", o.Step, cmp.Diff(o.Want, o.Got))
				}
			}
		})
	}
	err = fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if filepath.Ext(p) == ".lua" && !used[p] {
			t.Errorf("%s has no test case", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// rewriteCase writes what a script gives into the file of its test case.
func rewriteCase(t *testing.T, file string, c *TestCase, script *lua.Script) {
	t.Helper()
	plan, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	namespace := c.Original.GetNamespace()
	if namespace == "" {
		namespace = "default"
	}
	var expected []any
	for _, step := range plan.Steps {
		got, err := Preview(context.Background(), script, c.Original, namespace, step, plan.Services)
		if err != nil {
			t.Fatal(err)
		}
		object, metadata := map[string]any{}, map[string]any{}
		for key, value := range got {
			if key == "spec" {
				object[key] = value
			} else {
				metadata[key] = value
				object["metadata"] = metadata
			}
		}
		expected = append(expected, object)
	}
	made, err := yaml.Marshal(map[string]any{"expected": expected})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := bytes.Cut(text, []byte("expected:"))
	if err := os.WriteFile(file, append(before, made...), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := ParseTestCase(append(before, made...))
	if err != nil {
		t.Fatal(err)
	}
	c.Expected = again.Expected
}
