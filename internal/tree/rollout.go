package tree

import (
	"fmt"
	"io"
	"strings"

	"redstart.dev/redstart/api/v1alpha1"
)

// maxDots is how many pods are drawn one by one.
const maxDots = 40

// DrawRollout draws a Rollout: its traffic, the pods of both versions, its steps and its checks.
func DrawRollout(w io.Writer, r *v1alpha1.Rollout) error {
	st := &r.Status
	var lines []string
	if st.Route != nil && !st.Route.Restored {
		lines = append(lines, "traffic  "+bar(st.Route.Weight)+" "+st.Traffic+" to the new version")
	}
	if st.StableRevision != "" && st.Stable != nil {
		lines = append(lines, "stable   "+st.StableRevision+"  "+dots(*st.Stable))
	}
	if st.CanaryRevision != "" && st.Canary != nil {
		lines = append(lines, "new      "+st.CanaryRevision+"  "+dots(*st.Canary))
	}
	if _, use := r.Spec.Strategy.Use(); use != nil && st.CurrentStep > 0 {
		lines = append(lines, "steps    "+steps(use.Steps, st.Strategy == v1alpha1.StrategyPartition, st.CurrentStep, st.Phase == v1alpha1.RolloutPromoting))
	}
	for _, a := range st.Analysis {
		lines = append(lines, check(&a))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Rollout %s  %s  %s  %s\n", r.Name, st.Strategy, strings.TrimSpace(string(st.Phase)+" "+st.Progress), st.Message)
	for i, line := range lines {
		branch := "├─ "
		if i == len(lines)-1 {
			branch = "└─ "
		}
		b.WriteString(branch + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// check is how far a check is, with what is unusual about it.
func check(a *v1alpha1.AnalysisStatus) string {
	line := fmt.Sprintf("check    %s %s: %s, %d good, %d bad", a.Stage, a.Name, a.Phase, a.Successful, a.Failed)
	if a.Inconclusive > 0 {
		line += fmt.Sprintf(", %d inconclusive", a.Inconclusive)
	}
	if a.ConsecutiveErrors > 0 {
		line += fmt.Sprintf(", %d errors in a row", a.ConsecutiveErrors)
	}
	if a.Value != "" {
		line += ", last " + a.Value
	}
	if a.Job != "" {
		line += ", Job " + a.Job + " runs"
	}
	if a.DryRun {
		line += " (dry run: changes nothing)"
	}
	return line
}

// bar is a share of 20 boxes.
func bar(percent int32) string {
	const boxes = 20
	full := int(percent) * boxes / 100
	return strings.Repeat("█", full) + strings.Repeat("░", boxes-full)
}

// dots are the pods of a version: those that are ready, those that are not, and those that are missing.
func dots(v v1alpha1.VersionStatus) string {
	text := fmt.Sprintf("%d/%d ready", v.Ready, v.Wanted)
	if max(v.Wanted, v.Pods) > maxDots {
		return text
	}
	return strings.Repeat("●", int(v.Ready)) + strings.Repeat("◐", int(max(0, v.Pods-v.Ready))) +
		strings.Repeat("·", int(max(0, v.Wanted-max(v.Pods, v.Ready)))) + "  " + text
}

func steps(all []v1alpha1.RolloutStep, inPlace bool, current int32, promoting bool) string {
	var out []string
	for i, s := range all {
		mark := " "
		switch n := int32(i + 1); {
		case n < current || promoting:
			mark = "✓"
		case n == current:
			mark = "▶"
		}
		out = append(out, fmt.Sprintf("%s%d %s", mark, i+1, what(s, inPlace)))
	}
	return strings.Join(out, "  ")
}

// what a step is about, in a few words. Pods that are replaced in place matter beside the traffic: the old ones become fewer.
func what(s v1alpha1.RolloutStep, inPlace bool) string {
	var words []string
	if s.Name != "" {
		words = append(words, s.Name)
	}
	if s.Traffic != nil {
		words = append(words, *s.Traffic)
	}
	if len(s.Matches) > 0 {
		words = append(words, "matches")
	}
	if s.Replicas != nil && (s.Traffic == nil || inPlace) {
		words = append(words, s.Replicas.String()+" pods")
	}
	if len(words) == 0 {
		return "pause"
	}
	return strings.Join(words, " ")
}
