package machine

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestProperties lets chance act on a release, and checks after every decision what must always hold.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.size = rapid.Int32Range(1, 9).Draw(t, "size")
		w.pods = map[string]int32{"v1": w.size}
		if err := w.setSpec(drawSpec(t)); err != nil {
			t.Fatal(err)
		}
		w.check = always
		templates := 1
		for range rapid.IntRange(1, 25).Draw(t, "acts") {
			act := rapid.SampledFrom([]string{
				"command approve", "command approve", "command approve", "command skip", "command jump 1", "command abort", "command retry", "command restart",
				"command undo", "command promote", "command pause", "command resume", "template", "back", "size", "unready", "new broken", "new fixed", "pass 10s", "pass 1h",
				"routes broken", "routes fixed", "replace broken", "replace fixed",
			}).Draw(t, "act")
			var words []string
			switch act {
			case "template":
				templates++
				words = []string{"workload", fmt.Sprintf("template=v%d", templates)}
			case "back":
				words = []string{"workload", "template=" + w.rollout.Status.StableRevision}
				if w.rollout.Status.StableRevision == "" {
					continue
				}
			case "size":
				words = []string{"workload", fmt.Sprintf("size=%d", rapid.IntRange(1, 9).Draw(t, "to"))}
			case "unready":
				words = []string{"workload", fmt.Sprintf("ready=%d", rapid.IntRange(0, int(w.size)).Draw(t, "ready"))}
			default:
				words = append(words, splitWords(act)...)
			}
			quiet := w.rollout.Status.Phase == v1alpha1.RolloutHealthy && w.rollout.Status.PendingRevision == "" &&
				w.template == w.rollout.Status.StableRevision && act == "size"
			if err := w.set(words); err != nil {
				t.Fatal(err)
			}
			if out, err := w.run(); err != nil {
				t.Fatalf("after %v: %v\n%s", words, err, out)
			}
			if quiet && w.rollout.Status.Phase != v1alpha1.RolloutHealthy {
				t.Fatalf("a change of the size began a release: %s", w.shown)
			}
		}
		// Whatever happened, with everything working again the release comes to an end.
		for _, words := range [][]string{{"new", "fixed"}, {"routes", "fixed"}, {"replace", "fixed"}, {"workload", fmt.Sprintf("ready=%d", w.size)}} {
			if err := w.set(words); err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			if s := w.rollout.Status; s.Phase == v1alpha1.RolloutHealthy && s.StableRevision == w.template {
				return
			}
			for _, command := range []string{"command resume", "command retry", "command approve", "pass 1h"} {
				if err := w.set(splitWords(command)); err != nil {
					t.Fatal(err)
				}
				if out, err := w.run(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
		}
		t.Fatalf("it does not come to an end: %s: %s", w.shown, w.rollout.Status.Message)
	})
}

func splitWords(s string) []string {
	var words []string
	for i, j := 0, 0; i <= len(s); i++ {
		if i == len(s) || s[i] == ' ' {
			words = append(words, s[j:i])
			j = i + 1
		}
	}
	return words
}

func drawSpec(t *rapid.T) v1alpha1.RolloutSpec {
	spec := v1alpha1.RolloutSpec{WorkloadRef: v1alpha1.WorkloadReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}
	use := &v1alpha1.StrategySpec{}
	strategy := rapid.SampledFrom([]string{"canary", "blueGreen", "partition", "shared", "unrouted"}).Draw(t, "strategy")
	for range rapid.IntRange(1, 4).Draw(t, "steps") {
		step := v1alpha1.RolloutStep{Pause: &v1alpha1.RolloutPause{}}
		percent := fmt.Sprintf("%d%%", rapid.IntRange(1, 100).Draw(t, "percent"))
		switch {
		case strategy == "partition" || strategy == "unrouted":
			step.Replicas = ptr.To(intstr.FromString(percent))
		case rapid.Bool().Draw(t, "matches"):
			step.Matches = []v1alpha1.RouteMatch{{Headers: []v1alpha1.ValueMatch{{Name: "a", Value: "b"}}}}
		default:
			step.Traffic = &percent
		}
		if strategy == "shared" && rapid.Bool().Draw(t, "pods") {
			step.Replicas = ptr.To(intstr.FromString(fmt.Sprintf("%d%%", rapid.IntRange(1, 99).Draw(t, "of"))))
		}
		if rapid.Bool().Draw(t, "timed") {
			step.Pause.Duration = &metav1.Duration{Duration: time.Minute}
		}
		use.Steps = append(use.Steps, step)
	}
	if strategy == "canary" || strategy == "blueGreen" || strategy == "shared" {
		use.TrafficRoutings = []v1alpha1.TrafficRouting{{
			Service: "web", GracePeriodSeconds: ptr.To(int32(0)), Gateway: &v1alpha1.GatewayRouting{HTTPRouteName: "web"},
		}}
	}
	switch strategy {
	case "partition", "shared":
		spec.Strategy.Partition = use
	case "blueGreen":
		spec.Strategy.BlueGreen = use
	default:
		spec.Strategy.Canary = use
	}
	return spec
}

// always is what must hold of every decision, given what the world is like when it is made.
func always(w *world, d Decision) error {
	o, x, st := w.observe(), d.Desired, d.Status
	routed := len(st.TrafficRoutings) > 0
	if x.Hold == Batch && x.Batch > w.size {
		return fmt.Errorf("%d of %d pods", x.Batch, w.size)
	}
	if !routed {
		return nil
	}
	if st.Strategy == v1alpha1.StrategyPartition {
		return sharing(w, o, d)
	}
	ready, stable := o.Extra.Ready, o.Workload.Stable.Ready
	if o.Extra.Revision != st.CanaryRevision {
		ready = 0
	}
	if r := x.Route; r != nil && !r.Restored {
		switch {
		case (r.Weight > 0 || r.MatchesOfStep > 0) && ready == 0 && stable > 0:
			return fmt.Errorf("%d %% go to a version without a ready pod", r.Weight)
		case r.Weight < 100 && stable == 0 && ready > 0 && w.rollout.Status.Route != nil && w.rollout.Status.Route.Weight > r.Weight:
			return fmt.Errorf("traffic goes back to a version without a ready pod")
		}
		if st.Phase == v1alpha1.RolloutRollingBack && w.rollout.Status.Route != nil && r.Weight < w.rollout.Status.Route.Weight && ready > 0 &&
			100-r.Weight > 100*stable/max(w.size, 1) {
			return fmt.Errorf("%d %% go back to %d of %d pods", 100-r.Weight, stable, w.size)
		}
	}
	if x.Extra != nil && *x.Extra > 0 && !x.Pinned && st.StepState != v1alpha1.StepReplacing {
		return fmt.Errorf("there are new pods, and the Services do not keep them out")
	}
	if o.Extra.Exists && x.Extra == nil && !x.Pinned {
		return fmt.Errorf("new pods go while Services lead to them")
	}
	if !w.pinned() && x.Extra != nil && !o.Extra.Exists {
		return fmt.Errorf("new pods begin before the Services keep them out")
	}
	if x.Hold == Release && st.Phase == v1alpha1.RolloutPromoting && (st.Route == nil || st.Route.Weight < 100 && ready > 0) {
		return fmt.Errorf("old pods are replaced while they get traffic")
	}
	if o.Extra.Exists && x.Extra == nil && (w.rollout.Status.Route == nil || !w.rollout.Status.Route.Restored || !w.rollout.Status.Route.Applied) {
		return fmt.Errorf("new pods go while they get traffic")
	}
	return nil
}

// pinned tells whether the last decision kept new pods out of the Services.
func (w *world) pinned() bool { return w.last.Pinned }

// sharing is what must hold where both versions share the pods of the workload.
func sharing(w *world, o Observation, d Decision) error {
	x, st, was := d.Desired, d.Status, w.rollout.Status.Route
	fresh, stable := o.Workload.Canary, o.Workload.Stable
	if x.Hold == Batch && x.Batch >= w.size {
		return fmt.Errorf("a batch of all %d pods leaves none for the rest of the traffic", w.size)
	}
	if r := x.Route; r != nil && !r.Restored {
		if (r.Weight > 0 || r.MatchesOfStep > 0) && fresh.Ready == 0 && stable.Ready > 0 && st.Phase != v1alpha1.RolloutDisabled {
			return fmt.Errorf("%d %% go to a version without a ready pod", r.Weight)
		}
		if x.Pinned && r.Weight < 100 && stable.Ready == 0 && fresh.Ready > 0 && was != nil && was.Weight > r.Weight {
			return fmt.Errorf("traffic goes back to a version without a ready pod")
		}
		if x.Pinned && st.Phase == v1alpha1.RolloutRollingBack && was != nil && r.Weight < was.Weight && fresh.Ready > 0 && 100-r.Weight > 100*stable.Ready/max(w.size-1, 1) {
			return fmt.Errorf("%d %% go back to %d of %d pods", 100-r.Weight, stable.Ready, w.size)
		}
		if r.Weight > 0 && st.CanaryPodHash == "" {
			return fmt.Errorf("%d %% go to pods that no Service selects", r.Weight)
		}
	}
	if stable.Pods == 0 || !w.exists {
		return nil
	}
	letting := st.Phase == v1alpha1.RolloutDisabled || st.Phase == v1alpha1.RolloutTerminating
	if st.Phase == v1alpha1.RolloutRollingBack && stable.Ready == 0 {
		return nil
	}
	if x.Hold == Batch && !x.Pinned || fresh.Pods > 0 && !x.Pinned && !letting && st.StepState != v1alpha1.StepReplacing && st.Phase != v1alpha1.RolloutHealthy {
		return fmt.Errorf("the Service of the workload leads to new pods")
	}
	if x.Hold == Batch && !w.pinned() && o.Workload.Updated.Pods == 0 {
		return fmt.Errorf("new pods begin before the Service keeps them out")
	}
	if x.Hold != Release {
		return nil
	}
	arrived := was != nil && was.Applied
	switch {
	case st.Phase == v1alpha1.RolloutPromoting && st.StepState == v1alpha1.StepReplacing && w.size > 1 && fresh.Ready > 0 && (!arrived || was.Weight < 100):
		return fmt.Errorf("the last old pod goes while it gets traffic")
	case st.Phase == v1alpha1.RolloutRollingBack && (!arrived || !was.Restored):
		return fmt.Errorf("the last new pod goes while it gets traffic")
	}
	return nil
}
