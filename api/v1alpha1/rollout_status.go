package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RolloutStatus is what was last seen of a Rollout.
type RolloutStatus struct {
	// Generation of the spec that this status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// canary, blueGreen or partition.
	Strategy string `json:"strategy,omitempty"`
	// One word for people: Waiting, Healthy, Progressing, Paused, Promoting, RollingBack, Aborted, Disabled, Terminating.
	Phase RolloutPhase `json:"phase,omitempty"`
	// What it does or waits for, for people.
	Message string `json:"message,omitempty"`
	// Conditions: Ready, Progressing, TrafficRouted.
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`

	// The version that is released and serves, a hash of its pod template.
	StableRevision string `json:"stableRevision,omitempty"`
	// The version that is being released, or was given up.
	CanaryRevision string `json:"canaryRevision,omitempty"`
	// A still newer version that waits until this one is out of the way.
	PendingRevision string `json:"pendingRevision,omitempty"`
	// Value of the label that tells the stable pods apart.
	StablePodHash string `json:"stablePodHash,omitempty"`
	// Value of the label that tells the new pods apart where they are replaced in place.
	CanaryPodHash string `json:"canaryPodHash,omitempty"`

	// The step that it is at, from 1; 0 without a release.
	CurrentStep int32 `json:"currentStep,omitempty"`
	// What it does at this step: Preparing, Upgrading, Routing, Analyzing, Waiting or Approved; while Promoting,
	// Expanding, Routing, Analyzing, Keeping, Replacing, Restoring, Draining or Cleaning; while RollingBack, StableFirst, Draining,
	// Cleaning or Reverting. Writing Approved here (through the status subresource) approves the step.
	StepState StepState `json:"stepState,omitempty"`
	// When it began to do this.
	StepStateSince *metav1.Time `json:"stepStateSince,omitempty"`
	// The step of all steps, as "2/4".
	Progress string `json:"progress,omitempty"`
	// When the release began.
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// When the deadline of the pods of this step begins to count.
	DeadlineFrom *metav1.Time `json:"deadlineFrom,omitempty"`
	// Why it is paused: Approval, Duration, User, Failure, Inconclusive or Spec.
	PauseReason PauseReason `json:"pauseReason,omitempty"`
	// Why it is rolled back or was given up.
	FailureReason string `json:"failureReason,omitempty"`

	// Share of the traffic of the new version, as "20%", with "matches" where requests are chosen by what they are.
	Traffic string `json:"traffic,omitempty"`
	// What the routes were last told.
	Route *RouteStatus `json:"route,omitempty"`
	// Pods of the old version.
	Stable *VersionStatus `json:"stable,omitempty"`
	// Pods of the new version.
	Canary *VersionStatus `json:"canary,omitempty"`

	// Hash of the steps that the release follows.
	StepsHash string `json:"stepsHash,omitempty"`
	// The trafficRoutings that the release began with, and restores at its end.
	// +listType=atomic
	TrafficRoutings []TrafficRouting `json:"trafficRoutings,omitempty"`

	// Hash of the ConfigMaps and Secrets that the pod template refers to.
	ConfigHash string `json:"configHash,omitempty"`
	// The checks of this release.
	// +listType=atomic
	Analysis []AnalysisStatus `json:"analysis,omitempty"`
	// The last command that was given by the annotation redstart.dev/rollout-command.
	LastCommand *CommandStatus `json:"lastCommand,omitempty"`
	// Messages that not every webhook has been told yet, the oldest first, at most 32.
	// +listType=atomic
	Notifications []NotificationStatus `json:"notifications,omitempty"`
	// Releases, the newest first.
	// +listType=atomic
	History []ReleaseStatus `json:"history,omitempty"`
}

// RolloutPhase is a Rollout's state in one word.
type RolloutPhase string

// The phases of a Rollout.
const (
	RolloutWaiting     RolloutPhase = "Waiting"
	RolloutHealthy     RolloutPhase = "Healthy"
	RolloutProgressing RolloutPhase = "Progressing"
	RolloutPaused      RolloutPhase = "Paused"
	RolloutPromoting   RolloutPhase = "Promoting"
	RolloutRollingBack RolloutPhase = "RollingBack"
	RolloutAborted     RolloutPhase = "Aborted"
	RolloutDisabled    RolloutPhase = "Disabled"
	RolloutTerminating RolloutPhase = "Terminating"
)

// StepState is what a Rollout does within its phase.
type StepState string

// The step states. Those of a step come in this order; Waiting is its pause.
const (
	StepPreparing StepState = "Preparing"
	StepUpgrading StepState = "Upgrading"
	StepRouting   StepState = "Routing"
	StepAnalyzing StepState = "Analyzing"
	StepWaiting   StepState = "Waiting"
	StepApproved  StepState = "Approved"

	StepExpanding StepState = "Expanding"
	StepKeeping   StepState = "Keeping"
	StepReplacing StepState = "Replacing"
	StepRestoring StepState = "Restoring"
	StepCleaning  StepState = "Cleaning"

	StepStableFirst StepState = "StableFirst"
	StepDraining    StepState = "Draining"
	StepReverting   StepState = "Reverting"
)

// PauseReason is why a Rollout is paused.
type PauseReason string

// The pause reasons.
const (
	PauseApproval     PauseReason = "Approval"
	PauseDuration     PauseReason = "Duration"
	PauseUser         PauseReason = "User"
	PauseSpec         PauseReason = "Spec"
	PauseFailure      PauseReason = "Failure"
	PauseInconclusive PauseReason = "Inconclusive"
)

// RouteStatus is what the routes were told.
type RouteStatus struct {
	// Share of the new version, 0 to 100.
	Weight int32 `json:"weight"`
	// Whether the routes are as they were before the release.
	Restored bool `json:"restored,omitempty"`
	// Whether every route has taken this.
	Applied bool `json:"applied,omitempty"`
	// The step whose matches are in the routes, from 1; 0 for none.
	MatchesOfStep int32 `json:"matchesOfStep,omitempty"`
	// Since when.
	Since metav1.MicroTime `json:"since"`
}

// VersionStatus counts pods of one version.
type VersionStatus struct {
	// Pods that are wanted.
	Wanted int32 `json:"wanted"`
	// Pods that exist.
	Pods int32 `json:"pods"`
	// Pods that are ready.
	Ready int32 `json:"ready"`
}

// AnalysisPhase is the verdict of a check.
type AnalysisPhase string

// The verdicts of a check.
const (
	AnalysisRunning      AnalysisPhase = "Running"
	AnalysisSuccessful   AnalysisPhase = "Successful"
	AnalysisFailed       AnalysisPhase = "Failed"
	AnalysisInconclusive AnalysisPhase = "Inconclusive"
	AnalysisErrored      AnalysisPhase = "Errored"
)

// AnalysisStatus is a check.
type AnalysisStatus struct {
	// Where it belongs: before, background, after, or step-N.
	Stage string `json:"stage"`
	// Name of the check.
	Name string `json:"name"`
	// Running, Successful, Failed, Inconclusive or Errored.
	Phase AnalysisPhase `json:"phase"`
	// Whether its verdict changes nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// When it began.
	StartedAt metav1.MicroTime `json:"startedAt"`
	// When it was last measured.
	MeasuredAt *metav1.MicroTime `json:"measuredAt,omitempty"`
	// Name of the Job that runs for the next measurement.
	Job string `json:"job,omitempty"`
	// Measurements that were judged, by outcome.
	Successful   int32 `json:"successful,omitempty"`
	Failed       int32 `json:"failed,omitempty"`
	Inconclusive int32 `json:"inconclusive,omitempty"`
	// Errors one after the other, up to now.
	ConsecutiveErrors int32 `json:"consecutiveErrors,omitempty"`
	// The last result, or what went wrong.
	Value string `json:"value,omitempty"`
}

// CommandStatus answers a command.
type CommandStatus struct {
	// The command as it was given.
	Command string `json:"command"`
	// When it was seen.
	Time metav1.Time `json:"time"`
	// Whether it was followed.
	Accepted bool `json:"accepted"`
	// What it did, or why it was refused.
	Message string `json:"message,omitempty"`
}

// ReleaseOutcome is how a release ended.
type ReleaseOutcome string

// The outcomes of a release.
const (
	ReleaseInitial    ReleaseOutcome = "Initial"
	ReleaseCompleted  ReleaseOutcome = "Completed"
	ReleaseAborted    ReleaseOutcome = "Aborted"
	ReleaseSuperseded ReleaseOutcome = "Superseded"
)

// ReleaseStatus is one release.
type ReleaseStatus struct {
	// Number of the release, from 1.
	Number int64 `json:"number"`
	// Version.
	Revision string `json:"revision"`
	// Image of the first container of the version.
	Image string `json:"image,omitempty"`
	// Initial, Completed, Aborted or Superseded.
	Outcome ReleaseOutcome `json:"outcome"`
	// When it began.
	StartedAt *metav1.Time `json:"startedAt,omitempty"`
	// When it ended.
	EndedAt metav1.Time `json:"endedAt"`
	// Why it ended like this.
	Message string `json:"message,omitempty"`
}

// Conditions of a Rollout, besides Ready and Progressing.
const (
	// ConditionTrafficRouted: every route is as the step says; the message names what is in the way.
	ConditionTrafficRouted = "TrafficRouted"
)

// Reasons of the conditions of a Rollout.
const (
	// ReasonStable (Ready, Progressing): the released version serves, and there is no other.
	ReasonStable = "Stable"
	// ReasonReleasing (Ready, Progressing): a new version is on its way.
	ReasonReleasing = "Releasing"
	// ReasonPaused (Progressing): it waits; the message says for what.
	ReasonPaused = "Paused"
	// ReasonPromoting (Progressing): the new version takes the place of the old one.
	ReasonPromoting = "Promoting"
	// ReasonRollingBack (Ready, Progressing): traffic and pods go back to the old version.
	ReasonRollingBack = "RollingBack"
	// ReasonAborted (Ready, Progressing): the workload asks for a version that was given up; the message says why.
	ReasonAborted = "Aborted"
	// ReasonDisabled (Ready, Progressing): spec.disabled is set.
	ReasonDisabled = "Disabled"
	// ReasonWorkloadMissing (Ready): there is no such workload.
	ReasonWorkloadMissing = "WorkloadMissing"
	// ReasonWorkloadNotReady (Ready): the first version is not up yet.
	ReasonWorkloadNotReady = "WorkloadNotReady"
	// ReasonWorkloadNotServed (Ready): the cluster does not serve this kind of workload.
	ReasonWorkloadNotServed = "WorkloadNotServed"
	// ReasonWorkloadTaken (Ready): another Rollout has this workload.
	ReasonWorkloadTaken = "WorkloadTaken"
	// ReasonRevisionMissing (Ready): the template of a version that is to be released is not kept any more.
	ReasonRevisionMissing = "RevisionMissing"
	// ReasonRouted (TrafficRouted): the routes are as they should be.
	ReasonRouted = "Routed"
	// ReasonNoRouting (TrafficRouted): there are no trafficRoutings; traffic follows the number of pods.
	ReasonNoRouting = "NoRouting"
	// ReasonRouteFailed (TrafficRouted): a route cannot be changed; the message says why.
	ReasonRouteFailed = "RouteFailed"
)

// Names that the Rollout controller and the command line share.
const (
	// AnnotationRolloutCommand gives a Rollout a command: approve, pause, resume, abort, retry, restart, skip, "jump N",
	// promote, "undo REVISION". A command is followed once; what comes after a # makes it a new one.
	AnnotationRolloutCommand = "redstart.dev/rollout-command"
	// AnnotationHeldBy on a workload names the Rollout that holds it.
	AnnotationHeldBy = "redstart.dev/held-by"
	// AnnotationHeldFields on a workload keeps, as JSON, the values of the fields by which it is held.
	AnnotationHeldFields = "redstart.dev/held-fields"
	// AnnotationConfigHash on a pod template changes with the ConfigMaps and Secrets that it refers to.
	AnnotationConfigHash = "redstart.dev/config-hash"
	// LabelTrack is canary on the pods of a version that is being released beside the old one.
	LabelTrack = "redstart.dev/track"
	// TrackCanary is the value of LabelTrack.
	TrackCanary = "canary"
	// LabelRollout on what a Rollout makes names it.
	LabelRollout = "redstart.dev/rollout"
	// RolloutFinalizer restores the traffic before a Rollout goes.
	RolloutFinalizer = "redstart.dev/rollout"
)

// CanaryName is the extra workload of the workload named name, and the Service of the new version of the Service named name.
func CanaryName(name string) string { return name + "-canary" }
