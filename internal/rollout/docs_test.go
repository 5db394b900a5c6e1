package rollout_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/notify"
)

// TestPage reads the examples of docs/rollouts.md as a user would write them.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/rollouts.md")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, block := range blocks(string(page), "yaml") {
		if !strings.HasPrefix(block, "spec:") {
			continue
		}
		ro := &v1alpha1.Rollout{}
		if err := yaml.UnmarshalStrict([]byte(block), ro); err != nil {
			t.Errorf("%v in\n%s", err, block)
			continue
		}
		read++
		ro.Spec.WorkloadRef = v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "frontend"}
		if c := ro.Spec.Strategy.Canary; c == nil {
			ro.Spec.Strategy.Canary = &v1alpha1.StrategySpec{Steps: []v1alpha1.RolloutStep{{Pause: &v1alpha1.RolloutPause{}}}}
		} else if len(c.Steps) == 0 {
			c.Steps = []v1alpha1.RolloutStep{{Pause: &v1alpha1.RolloutPause{}}}
		}
		ro.Default()
		if errs := ro.Validate(); len(errs) > 0 {
			t.Errorf("%v in\n%s", errs.ToAggregate(), block)
		}
	}
	if read == 0 {
		t.Error("the page has no examples of a spec")
	}

	var shown, made map[string]any
	for _, block := range blocks(string(page), "json") {
		if err := json.Unmarshal([]byte(block), &shown); err != nil {
			t.Fatalf("%v in\n%s", err, block)
		}
	}
	body, err := notify.Body(v1alpha1.NotificationJSON, notify.Subject{}, &v1alpha1.NotificationStatus{})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &made); err != nil {
		t.Fatal(err)
	}
	if is, want := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(made)); !slices.Equal(is, want) {
		t.Errorf("the page shows a message with %q, want %q", is, want)
	}
	for _, e := range v1alpha1.NotificationEvents() {
		if !strings.Contains(string(page), "\n| `"+string(e)+"` |") {
			t.Errorf("the page does not say what %s means", e)
		}
	}
}

// blocks are the code blocks of a page in one language.
func blocks(page, language string) []string {
	var out []string
	for _, rest := range strings.Split(page, "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(rest, "\n```")
		out = append(out, block)
	}
	return out
}
