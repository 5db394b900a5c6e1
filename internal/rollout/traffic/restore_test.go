package traffic

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"redstart.dev/redstart/internal/lua"
)

// TestShippedCasesAreRestored takes the object of each shipped test case through all its steps and back, and once more
// for each step with an edit that somebody makes in it, of every rule that leads to the stable Service.
func TestShippedCasesAreRestored(t *testing.T) {
	cases, err := FindCases(Shipped(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range cases {
		t.Run(file, func(t *testing.T) {
			run := func(c *TestCase, _ *lua.Script) ([]Outcome, error) {
				restoreCase(t, c)
				return nil, nil
			}
			if _, _, err := NewScripts(Shipped()).RunCase(run, Shipped(), file); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func restoreCase(t *testing.T, c *TestCase) {
	t.Helper()
	plan, err := c.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if isIngress(c.Original) {
		t.Skip("the original of an Ingress is never changed")
	}
	original := c.Original.DeepCopy()
	if original.GetNamespace() == "" {
		original.SetNamespace("default")
	}
	r := &Router{Owner: "shop/frontend", Services: plan.Services, Scripts: NewScripts(Shipped())}
	at := original
	for _, step := range plan.Steps {
		at = mustRoute(t, r, at, step)
	}
	mustRestore(t, r, at, original)
	for i, step := range plan.Steps {
		if step.Affinity != nil {
			continue // its further rules lead to the stable Service too
		}
		at, want := mustRoute(t, r, original, step), original.DeepCopy()
		if noteRules(want, plan.Services.Stable) == 0 {
			continue
		}
		noteRules(at, plan.Services.Stable)
		result, err := r.Restore(stored(t, at))
		if err != nil || len(result.Conflicts) > 0 {
			t.Fatalf("step %d: got %+v, %v", i+1, result, err)
		}
		mustRestore(t, r, at, want)
	}
}

// noteRules adds a field to every rule that leads to a Service, and says how many there are.
func noteRules(object *unstructured.Unstructured, service string) int {
	n := 0
	spec, _ := object.Object["spec"].(map[string]any)
	for _, key := range []string{"http", "tls", "tcp", "rules", "routes"} {
		list, _ := spec[key].([]any)
		for _, item := range list {
			text := textOf(item)
			if strings.Contains(text, `"`+service+`"`) || strings.Contains(text, `"`+service+"."+object.GetNamespace()) {
				item.(map[string]any)["note"] = "somebody's"
				n++
			}
		}
	}
	return n
}
