package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RolloutNotification is a webhook that is told what becomes of releases.
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.secretRef)",message="expected either url or secretRef"
type RolloutNotification struct {
	// Name of the webhook, unique in its list; events and metrics call it so.
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Where messages are posted, http:// or https://.
	// +kubebuilder:validation:Pattern=`^https?://[^\s/?#]\S*$`
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url,omitempty"`
	// The Secret that holds the address instead. That of a Slack webhook is one: whoever knows it can post.
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`
	// slack (what Slack's incoming webhooks take, and those of Mattermost, Rocket.Chat, and Discord with /slack after its
	// address) or json (one object with id, namespace, rollout, event, message, warning, step, steps, revision, image and
	// time). Default: json.
	// +kubebuilder:validation:Enum=slack;json
	Format NotificationFormat `json:"format,omitempty"`
	// What is told: Started, ApprovalNeeded, StepCompleted, Paused, Blocked, RollingBack, Aborted, Completed. Default: all
	// of them.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:Enum=Started;ApprovalNeeded;StepCompleted;Paused;Blocked;RollingBack;Aborted;Completed
	// +listType=atomic
	Events []NotificationEvent `json:"events,omitempty"`
	// How long one answer may take, 100ms to 30s. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('30s')",message="expected a duration from 100ms to 30s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// SecretKeyReference names a value of a Secret in the same namespace.
type SecretKeyReference struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Its key. Default: url.
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// NotificationFormat is what a webhook understands.
type NotificationFormat string

// The formats of notifications.
const (
	NotificationSlack NotificationFormat = "slack"
	NotificationJSON  NotificationFormat = "json"
)

// NotificationEvent is something that happens to a release.
type NotificationEvent string

// The events that webhooks are told.
const (
	// NotifyStarted: a release begins, for the first time or again.
	NotifyStarted NotificationEvent = "Started"
	// NotifyApprovalNeeded: a step waits for somebody to approve it.
	NotifyApprovalNeeded NotificationEvent = "ApprovalNeeded"
	// NotifyStepCompleted: a step is through, its checks and its pause included.
	NotifyStepCompleted NotificationEvent = "StepCompleted"
	// NotifyPaused: the release stays where it is, because somebody said so, or after a failure that pauses it.
	NotifyPaused NotificationEvent = "Paused"
	// NotifyBlocked: something that somebody has to mend is in the way, a route that cannot be changed for instance.
	NotifyBlocked NotificationEvent = "Blocked"
	// NotifyRollingBack: traffic and pods go back to the old version, after a failure or because somebody said so.
	NotifyRollingBack NotificationEvent = "RollingBack"
	// NotifyAborted: the way back is done, and the new version given up.
	NotifyAborted NotificationEvent = "Aborted"
	// NotifyCompleted: the new version is released.
	NotifyCompleted NotificationEvent = "Completed"
)

// NotificationEvents are all events that webhooks can be told.
func NotificationEvents() []NotificationEvent {
	return []NotificationEvent{
		NotifyStarted, NotifyApprovalNeeded, NotifyStepCompleted, NotifyPaused, NotifyBlocked, NotifyRollingBack, NotifyAborted, NotifyCompleted,
	}
}

// Wants tells whether the webhook is told an event.
func (n *RolloutNotification) Wants(e NotificationEvent) bool {
	return len(n.Events) == 0 || slices.Contains(n.Events, e)
}

// NotificationStatus is a message that is on its way to webhooks.
type NotificationStatus struct {
	// What tells it from every other message; a webhook that gets an ID again has heard it already.
	ID string `json:"id"`
	// What happened.
	Event NotificationEvent `json:"event"`
	// The same for people.
	Message string `json:"message"`
	// Whether it is bad news.
	Warning bool `json:"warning,omitempty"`
	// The version that is being released.
	Revision string `json:"revision,omitempty"`
	// Image of its first container.
	Image string `json:"image,omitempty"`
	// The step that it was at, from 1; 0 without one.
	Step int32 `json:"step,omitempty"`
	// When it happened.
	Time metav1.Time `json:"time"`
	// Names of the webhooks that have not been told yet.
	// +listType=atomic
	To []string `json:"to"`
}
