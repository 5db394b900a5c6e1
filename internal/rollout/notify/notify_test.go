package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// spec has two steps, and a webhook for each list of events.
func spec(events ...[]v1alpha1.NotificationEvent) *v1alpha1.RolloutSpec {
	s := &v1alpha1.RolloutSpec{Strategy: v1alpha1.RolloutStrategy{Canary: &v1alpha1.StrategySpec{Steps: []v1alpha1.RolloutStep{{Name: "a few"}, {}}}}}
	for i, e := range events {
		s.Notifications = append(s.Notifications, v1alpha1.RolloutNotification{Name: string(rune('a' + i)), Events: e})
	}
	return s
}

// at is a status in the middle of a release.
func at(phase v1alpha1.RolloutPhase, state v1alpha1.StepState, step int32, change ...func(*v1alpha1.RolloutStatus)) *v1alpha1.RolloutStatus {
	began := metav1.NewTime(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	s := &v1alpha1.RolloutStatus{Phase: phase, StepState: state, CurrentStep: step, StartedAt: &began, StableRevision: "r1", CanaryRevision: "r2"}
	for _, c := range change {
		c(s)
	}
	return s
}

func because(reason v1alpha1.PauseReason, failure string) func(*v1alpha1.RolloutStatus) {
	return func(s *v1alpha1.RolloutStatus) { s.PauseReason, s.FailureReason = reason, failure }
}

func releases(outcomes ...v1alpha1.ReleaseOutcome) func(*v1alpha1.RolloutStatus) {
	return func(s *v1alpha1.RolloutStatus) {
		for i, o := range outcomes {
			h := v1alpha1.ReleaseStatus{Number: int64(i + 1), Revision: "r2", Outcome: o, Message: "a check failed"}
			s.History = append([]v1alpha1.ReleaseStatus{h}, s.History...)
		}
	}
}

func condition(kind, reason string) func(*v1alpha1.RolloutStatus) {
	return func(s *v1alpha1.RolloutStatus) {
		s.Conditions = append(s.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: "HTTPRoute web does not exist"})
	}
}

// resting is a status without a release.
func resting(phase v1alpha1.RolloutPhase, change ...func(*v1alpha1.RolloutStatus)) *v1alpha1.RolloutStatus {
	s := &v1alpha1.RolloutStatus{Phase: phase, StableRevision: "r1"}
	for _, c := range change {
		c(s)
	}
	return s
}

func TestOf(t *testing.T) {
	const (
		progressing = v1alpha1.RolloutProgressing
		paused      = v1alpha1.RolloutPaused
		promoting   = v1alpha1.RolloutPromoting
		back        = v1alpha1.RolloutRollingBack
		initial     = v1alpha1.ReleaseInitial
	)
	traffic := func(s *v1alpha1.RolloutStatus) { s.Traffic = "20%" }
	for _, c := range []struct {
		about         string
		before, after *v1alpha1.RolloutStatus
		want          string // one per line
	}{
		{"nothing new", at(progressing, v1alpha1.StepUpgrading, 1), at(progressing, v1alpha1.StepUpgrading, 1), ""},
		{"the first version is no release", resting(v1alpha1.RolloutWaiting), resting(v1alpha1.RolloutHealthy, releases(initial)), ""},
		{"a release begins", resting(v1alpha1.RolloutHealthy, releases(initial)), at(progressing, v1alpha1.StepPreparing, 1, releases(initial)), "Started: release of web:2 (revision r2) begins"},
		{
			"it begins again", resting(v1alpha1.RolloutAborted, releases(initial, v1alpha1.ReleaseAborted)), at(progressing, v1alpha1.StepPreparing, 1, releases(initial, v1alpha1.ReleaseAborted)),
			"Started: release of web:2 (revision r2) begins",
		},
		{
			"a newer version in place of one", at(progressing, v1alpha1.StepUpgrading, 2, releases(initial)),
			at(progressing, v1alpha1.StepPreparing, 1, releases(initial, v1alpha1.ReleaseSuperseded), func(s *v1alpha1.RolloutStatus) { s.CanaryRevision = "r3" }),
			"Started: release of web:2 (revision r3) begins",
		},
		{"pods are up", at(progressing, v1alpha1.StepUpgrading, 1), at(progressing, v1alpha1.StepRouting, 1), ""},
		{
			"an approval is needed", at(progressing, v1alpha1.StepAnalyzing, 1), at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseApproval, ""), traffic),
			"ApprovalNeeded at 1: step 1 of 2 (a few) waits for an approval; traffic to web:2 (revision r2): 20%",
		},
		{"it waits on", at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseApproval, "")), at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseApproval, ""), traffic), ""},
		{"it waits for a while", at(progressing, v1alpha1.StepAnalyzing, 2), at(paused, v1alpha1.StepWaiting, 2, because(v1alpha1.PauseDuration, "")), ""},
		{"approved", at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseApproval, "")), at(progressing, v1alpha1.StepApproved, 1), ""},
		{"the next step after an approval", at(progressing, v1alpha1.StepApproved, 1), at(progressing, v1alpha1.StepUpgrading, 2), "StepCompleted at 1: step 1 of 2 (a few) is through"},
		{"the next step after a while", at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseDuration, "")), at(progressing, v1alpha1.StepUpgrading, 2), "StepCompleted at 1: step 1 of 2 (a few) is through"},
		{"the last step", at(progressing, v1alpha1.StepAnalyzing, 2), at(promoting, v1alpha1.StepExpanding, 2), "StepCompleted at 2: step 2 of 2 is through"},
		{"steps that are skipped", at(progressing, v1alpha1.StepUpgrading, 1), at(promoting, v1alpha1.StepExpanding, 1), ""},
		{"a failed step is skipped", at(paused, v1alpha1.StepAnalyzing, 1, because(v1alpha1.PauseFailure, "a check failed")), at(progressing, v1alpha1.StepUpgrading, 2), ""},
		{"back to an earlier step", at(progressing, v1alpha1.StepAnalyzing, 2), at(progressing, v1alpha1.StepUpgrading, 1), ""},
		{"somebody pauses it", at(progressing, v1alpha1.StepUpgrading, 1), at(paused, v1alpha1.StepUpgrading, 1, because(v1alpha1.PauseUser, "")), "Paused at 1: paused by a command at step 1 of 2 (a few)"},
		{"spec.paused", at(promoting, v1alpha1.StepKeeping, 2), at(promoting, v1alpha1.StepKeeping, 2, because(v1alpha1.PauseSpec, "")), "Paused at 2: paused by spec.paused at step 2 of 2"},
		{
			"a failure pauses it", at(progressing, v1alpha1.StepAnalyzing, 2), at(paused, v1alpha1.StepAnalyzing, 2, because(v1alpha1.PauseFailure, "check a failed: 0.5")),
			"Paused at 2 !: paused at step 2 of 2: check a failed: 0.5; somebody has to decide",
		},
		{
			"waiting again after a pause", at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseUser, "")), at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseApproval, "")),
			"ApprovalNeeded at 1: step 1 of 2 (a few) waits for an approval",
		},
		{
			"a route is missing", at(progressing, v1alpha1.StepRouting, 1), at(progressing, v1alpha1.StepRouting, 1, condition(v1alpha1.ConditionTrafficRouted, v1alpha1.ReasonRouteFailed)),
			"Blocked at 1 !: it cannot go on: HTTPRoute web does not exist",
		},
		{
			"it is still missing", at(progressing, v1alpha1.StepRouting, 1, condition(v1alpha1.ConditionTrafficRouted, v1alpha1.ReasonRouteFailed)),
			at(progressing, v1alpha1.StepRouting, 1, condition(v1alpha1.ConditionTrafficRouted, v1alpha1.ReasonRouteFailed)), "",
		},
		{"not ready, as always in a release", at(progressing, v1alpha1.StepPreparing, 1), at(progressing, v1alpha1.StepPreparing, 1, condition(v1alpha1.ConditionReady, v1alpha1.ReasonReleasing)), ""},
		{
			"it fails", at(progressing, v1alpha1.StepAnalyzing, 2), at(back, v1alpha1.StepStableFirst, 2, because("", "check a failed: 0.5")),
			"RollingBack at 2 !: going back from web:2 (revision r2) to revision r1: check a failed: 0.5",
		},
		{"the way back goes on", at(back, v1alpha1.StepStableFirst, 2), at(back, v1alpha1.StepDraining, 2), ""},
		{
			"it is given up", at(back, v1alpha1.StepCleaning, 2, releases(initial)), resting(v1alpha1.RolloutAborted, releases(initial, v1alpha1.ReleaseAborted)),
			"Aborted !: web:2 (revision r2) was given up: a check failed",
		},
		{"it makes room for a newer version", at(back, v1alpha1.StepCleaning, 2, releases(initial)), resting(v1alpha1.RolloutHealthy, releases(initial, v1alpha1.ReleaseSuperseded)), ""},
		{"what was given up is asked for again", resting(v1alpha1.RolloutHealthy, releases(v1alpha1.ReleaseAborted)), resting(v1alpha1.RolloutAborted, releases(v1alpha1.ReleaseAborted)), ""},
		{
			"it is released", at(promoting, v1alpha1.StepCleaning, 2, releases(initial)), resting(v1alpha1.RolloutHealthy, releases(initial, v1alpha1.ReleaseCompleted)),
			"Completed: web:2 (revision r2) is released",
		},
		{
			"the Rollout is deleted in the middle", at(paused, v1alpha1.StepWaiting, 1, because(v1alpha1.PauseApproval, "")), at(v1alpha1.RolloutTerminating, v1alpha1.StepStableFirst, 1, because("", "the Rollout is deleted")),
			"RollingBack at 1 !: going back from web:2 (revision r2) to revision r1: the Rollout is deleted",
		},
		{"the Rollout is deleted on the way back", at(back, v1alpha1.StepDraining, 1), at(v1alpha1.RolloutTerminating, v1alpha1.StepDraining, 1), ""},
		{"the Rollout is deleted without a release", resting(v1alpha1.RolloutHealthy), resting(v1alpha1.RolloutTerminating), ""},
		{
			"disabled, with pods replaced in place", at(progressing, v1alpha1.StepUpgrading, 1, releases(initial)), at(v1alpha1.RolloutDisabled, "", 1, releases(initial, v1alpha1.ReleaseAborted)),
			"Aborted !: web:2 (revision r2) was given up: a check failed",
		},
	} {
		t.Run(c.about, func(t *testing.T) {
			var got []string
			for _, m := range Of(c.before, c.after, spec(nil), "web:2") {
				line := string(m.Event)
				if m.Step > 0 {
					line += fmt.Sprintf(" at %d", m.Step)
				}
				if m.Warning {
					line += " !"
				}
				got = append(got, line+": "+m.Message)
				if !slices.Equal(m.To, []string{"a"}) || m.Image != "web:2" || m.Revision == "" {
					t.Errorf("%+v, want it for webhook a, with an image and a revision", m)
				}
			}
			if s := strings.Join(got, "\n"); s != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", s, c.want)
			}
		})
	}
}

func TestOfAsksWhoWantsIt(t *testing.T) {
	before, after := resting(v1alpha1.RolloutHealthy), at(v1alpha1.RolloutProgressing, v1alpha1.StepPreparing, 1)
	for _, c := range []struct {
		about string
		spec  *v1alpha1.RolloutSpec
		want  []string
	}{
		{"no webhook", spec(), nil},
		{"one that wants something else", spec([]v1alpha1.NotificationEvent{v1alpha1.NotifyCompleted}), nil},
		{"all, and this", spec(nil, []v1alpha1.NotificationEvent{v1alpha1.NotifyCompleted}, []v1alpha1.NotificationEvent{v1alpha1.NotifyAborted, v1alpha1.NotifyStarted}), []string{"a", "c"}},
	} {
		var got []string
		for _, m := range Of(before, after, c.spec, "") {
			got = append(got, m.To...)
			if m.Message != "release of revision r2 begins" {
				t.Errorf("%s: message %q, want it without an image that is not known", c.about, m.Message)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: told %v, want %v", c.about, got, c.want)
		}
	}
}

func queued(ids string, to ...string) []v1alpha1.NotificationStatus {
	var out []v1alpha1.NotificationStatus
	for _, id := range strings.Fields(ids) {
		out = append(out, v1alpha1.NotificationStatus{ID: id, To: to})
	}
	return out
}

func show(messages []v1alpha1.NotificationStatus) string {
	var out []string
	for _, m := range messages {
		out = append(out, m.ID+strings.Join(m.To, ""))
	}
	return strings.Join(out, " ")
}

func TestRemaining(t *testing.T) {
	two := spec(nil, nil) // a and b
	told := func(pairs ...string) func(string, string) bool {
		return func(id, webhook string) bool { return slices.Contains(pairs, id+webhook) }
	}
	for _, c := range []struct {
		about string
		told  func(string, string) bool
		want  string
	}{
		{"nobody was told", told(), "1ab 2ab"},
		{"one was told one", told("1a"), "1b 2ab"},
		{"all were told one", told("1a", "1b"), "2ab"},
		{"all were told all", told("1a", "1b", "2a", "2b"), ""},
	} {
		waiting := queued("1 2", "a", "b", "gone")
		if got := show(Remaining(waiting, two, c.told)); got != c.want {
			t.Errorf("%s: %s left, want %s", c.about, got, c.want)
		}
		if show(waiting) != "1abgone 2abgone" {
			t.Errorf("%s: the list was changed to %s", c.about, show(waiting))
		}
	}
	if m := Next(queued("1 2", "a", "b"), "b", told("1b")); m == nil || m.ID != "2" {
		t.Errorf("next for b: %v, want 2", m)
	}
	if m := Next(queued("1 2", "a"), "b", told()); m != nil {
		t.Errorf("next for b: %v, want none", m)
	}
}

func TestQueue(t *testing.T) {
	var ids []string
	for i := range most {
		ids = append(ids, fmt.Sprint(i))
	}
	kept, dropped := Queue(queued(strings.Join(ids, " ")), queued("x y"))
	if len(kept) != most || kept[0].ID != "2" || kept[most-1].ID != "y" || show(dropped) != "0 1" {
		t.Errorf("kept %s, dropped %s; want the %d newest", show(kept), show(dropped), most)
	}
	kept, dropped = Queue(nil, queued("x"))
	if show(kept) != "x" || dropped != nil {
		t.Errorf("kept %s, dropped %s; want x", show(kept), show(dropped))
	}
}
