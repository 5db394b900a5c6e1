// Package notify tells people through webhooks what becomes of releases. What is to be told follows from a change of a
// Rollout's status alone, and is kept in that status, written together with the change, until every webhook has been
// told or given up. So nothing is told twice because somebody looked again, and nothing is lost when the controller
// stops; only a stop between the answer of a webhook and the note of it makes one hear a message again, by the same ID.
package notify

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// most bounds the messages of one Rollout that wait for a webhook.
const most = 32

// Of are the messages that a change of the status gives, in their order, without ID and time. Those that no webhook of the
// spec wants are left out. image is that of the version that is being released; empty if it is not known.
func Of(before, after *v1alpha1.RolloutStatus, spec *v1alpha1.RolloutSpec, image string) []v1alpha1.NotificationStatus {
	c := &change{before: before, after: after, spec: spec, image: image}
	if len(spec.Notifications) == 0 {
		return nil
	}
	c.started()
	c.passed()
	c.waits()
	c.paused()
	c.blocked()
	c.turned()
	c.ended()
	return c.messages
}

// change is one change of a status in the making of its messages.
type change struct {
	before, after *v1alpha1.RolloutStatus
	spec          *v1alpha1.RolloutSpec
	image         string
	messages      []v1alpha1.NotificationStatus
}

func (c *change) tell(event v1alpha1.NotificationEvent, warning bool, revision string, step int32, message string) {
	m := v1alpha1.NotificationStatus{Event: event, Message: message, Warning: warning, Revision: revision, Image: c.image, Step: step}
	for i := range c.spec.Notifications {
		if w := &c.spec.Notifications[i]; w.Wants(event) {
			m.To = append(m.To, w.Name)
		}
	}
	if len(m.To) > 0 {
		c.messages = append(c.messages, m)
	}
}

// started: a release begins when its time of beginning is another, or its version.
func (c *change) started() {
	if c.after.StartedAt == nil || c.before.StartedAt.Equal(c.after.StartedAt) && c.before.CanaryRevision == c.after.CanaryRevision {
		return
	}
	c.tell(v1alpha1.NotifyStarted, false, c.after.CanaryRevision, 0, "release of "+c.version(c.after.CanaryRevision)+" begins")
}

// passed: a step is through when the release goes on from its checks or its pause.
func (c *change) passed() {
	b := c.before
	switch {
	case !stepping(b.Phase) || b.CanaryRevision != c.after.CanaryRevision:
		return
	case b.StepState != v1alpha1.StepAnalyzing && b.StepState != v1alpha1.StepWaiting && b.StepState != v1alpha1.StepApproved:
		return
	case b.PauseReason != "" && b.PauseReason != v1alpha1.PauseApproval && b.PauseReason != v1alpha1.PauseDuration:
		return // somebody skipped it
	case c.after.Phase != v1alpha1.RolloutPromoting && !(stepping(c.after.Phase) && c.after.CurrentStep > b.CurrentStep):
		return
	}
	c.tell(v1alpha1.NotifyStepCompleted, false, b.CanaryRevision, b.CurrentStep, c.step(b.CurrentStep)+" is through")
}

func (c *change) waits() {
	waits := func(s *v1alpha1.RolloutStatus) bool {
		return s.Phase == v1alpha1.RolloutPaused && s.StepState == v1alpha1.StepWaiting && s.PauseReason == v1alpha1.PauseApproval
	}
	a := c.after
	if !waits(a) || waits(c.before) && c.before.CurrentStep == a.CurrentStep {
		return
	}
	message := c.step(a.CurrentStep) + " waits for an approval"
	if a.Traffic != "" {
		message += "; traffic to " + c.version(a.CanaryRevision) + ": " + a.Traffic
	}
	c.tell(v1alpha1.NotifyApprovalNeeded, false, a.CanaryRevision, a.CurrentStep, message)
}

func (c *change) paused() {
	a := c.after
	if !going(a.Phase) || a.PauseReason == c.before.PauseReason {
		return
	}
	at := ""
	if a.CurrentStep > 0 {
		at = " at " + c.step(a.CurrentStep)
	}
	switch a.PauseReason {
	case v1alpha1.PauseUser:
		c.tell(v1alpha1.NotifyPaused, false, a.CanaryRevision, a.CurrentStep, "paused by a command"+at)
	case v1alpha1.PauseSpec:
		c.tell(v1alpha1.NotifyPaused, false, a.CanaryRevision, a.CurrentStep, "paused by spec.paused"+at)
	case v1alpha1.PauseFailure, v1alpha1.PauseInconclusive:
		c.tell(v1alpha1.NotifyPaused, true, a.CanaryRevision, a.CurrentStep, "paused"+at+": "+a.FailureReason+"; somebody has to decide")
	}
}

// obstacles are the reasons of conditions that somebody has to mend something for.
var obstacles = []string{v1alpha1.ReasonRouteFailed, v1alpha1.ReasonNameTaken, v1alpha1.ReasonApplyFailed, v1alpha1.ReasonRevisionMissing}

func (c *change) blocked() {
	if !going(c.after.Phase) {
		return
	}
	for _, kind := range []string{v1alpha1.ConditionTrafficRouted, v1alpha1.ConditionReady} {
		was, is := meta.FindStatusCondition(c.before.Conditions, kind), meta.FindStatusCondition(c.after.Conditions, kind)
		if is == nil || is.Status != metav1.ConditionFalse || !slices.Contains(obstacles, is.Reason) || was != nil && was.Reason == is.Reason {
			continue
		}
		c.tell(v1alpha1.NotifyBlocked, true, c.after.CanaryRevision, c.after.CurrentStep, "it cannot go on: "+is.Message)
	}
}

// turned: the way back begins, in a phase of its own, or because the Rollout lets go in the middle of a release.
func (c *change) turned() {
	b, a := c.before, c.after
	leaves := (a.Phase == v1alpha1.RolloutDisabled || a.Phase == v1alpha1.RolloutTerminating) && a.StepState != ""
	if b.Phase == a.Phase || !leaves && a.Phase != v1alpha1.RolloutRollingBack {
		return
	}
	if leaves && (!going(b.Phase) || b.Phase == v1alpha1.RolloutRollingBack) {
		return
	}
	revision := cmp.Or(a.CanaryRevision, b.CanaryRevision)
	c.tell(v1alpha1.NotifyRollingBack, true, revision, a.CurrentStep, fmt.Sprintf("going back from %s to revision %s: %s", c.version(revision), a.StableRevision, a.FailureReason))
}

// ended looks for a release that is new in the history.
func (c *change) ended() {
	if len(c.after.History) == 0 {
		return
	}
	h := c.after.History[0]
	if len(c.before.History) > 0 && c.before.History[0].Number >= h.Number {
		return
	}
	if c.image == "" {
		c.image = h.Image
	}
	switch h.Outcome {
	case v1alpha1.ReleaseCompleted:
		c.tell(v1alpha1.NotifyCompleted, false, h.Revision, 0, c.version(h.Revision)+" is released")
	case v1alpha1.ReleaseAborted:
		c.tell(v1alpha1.NotifyAborted, true, h.Revision, 0, fmt.Sprintf("%s was given up: %s", c.version(h.Revision), h.Message))
	}
}

func (c *change) version(revision string) string {
	if c.image == "" {
		return "revision " + revision
	}
	return c.image + " (revision " + revision + ")"
}

func (c *change) step(n int32) string {
	_, plan := c.spec.Strategy.Use()
	if plan == nil || n < 1 || int(n) > len(plan.Steps) {
		return fmt.Sprintf("step %d", n)
	}
	s := fmt.Sprintf("step %d of %d", n, len(plan.Steps))
	if name := plan.Steps[n-1].Name; name != "" {
		s += " (" + name + ")"
	}
	return s
}

func stepping(p v1alpha1.RolloutPhase) bool {
	return p == v1alpha1.RolloutProgressing || p == v1alpha1.RolloutPaused
}

// going tells whether a release goes on, or its way back.
func going(p v1alpha1.RolloutPhase) bool {
	return stepping(p) || p == v1alpha1.RolloutPromoting || p == v1alpha1.RolloutRollingBack
}

// Remaining are the messages that are left when those webhooks are taken off that have been told, or are not there any more.
func Remaining(messages []v1alpha1.NotificationStatus, spec *v1alpha1.RolloutSpec, told func(id, webhook string) bool) []v1alpha1.NotificationStatus {
	var left []v1alpha1.NotificationStatus
	for _, m := range messages {
		m.To = slices.DeleteFunc(slices.Clone(m.To), func(name string) bool {
			there := slices.ContainsFunc(spec.Notifications, func(n v1alpha1.RolloutNotification) bool { return n.Name == name })
			return !there || told(m.ID, name)
		})
		if len(m.To) > 0 {
			left = append(left, m)
		}
	}
	return left
}

// Queue adds messages to those that wait. When too many wait, the oldest are dropped.
func Queue(waiting, added []v1alpha1.NotificationStatus) (kept, dropped []v1alpha1.NotificationStatus) {
	kept = append(slices.Clip(waiting), added...)
	if over := len(kept) - most; over > 0 {
		return kept[over:], kept[:over]
	}
	return kept, nil
}

// Next is the first message that waits for a webhook and has not been told; nil if there is none.
func Next(messages []v1alpha1.NotificationStatus, webhook string, told func(id, webhook string) bool) *v1alpha1.NotificationStatus {
	for i := range messages {
		if m := &messages[i]; slices.Contains(m.To, webhook) && !told(m.ID, webhook) {
			return m
		}
	}
	return nil
}
