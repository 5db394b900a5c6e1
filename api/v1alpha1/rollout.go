package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Rollout releases new versions of one workload step by step.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ro,categories=all,path=rollouts
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",message="metadata.name: expected at most 40 characters: lower case letters, digits and '-', beginning with a letter"
// +kubebuilder:printcolumn:name="Strategy",type=string,JSONPath=`.status.strategy`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.progress`
// +kubebuilder:printcolumn:name="Traffic",type=string,JSONPath=`.status.traffic`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Rollout struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is wanted.
	Spec RolloutSpec `json:"spec"`
	// What was last seen.
	Status RolloutStatus `json:"status,omitempty"`
}

// RolloutList is a list of Rollout.
// +kubebuilder:object:root=true
type RolloutList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Rollout `json:"items"`
}

// RolloutSpec is how new versions of a workload are released.
//
// The rules say the same as rollout_validate.go.
// +kubebuilder:validation:XValidation:rule="self.workloadRef.kind == 'Deployment' || has(self.strategy.partition)",fieldPath=".strategy",message="only a Deployment can have a second set of pods; write partition"
// +kubebuilder:validation:XValidation:rule="self.workloadRef == oldSelf.workloadRef",fieldPath=".workloadRef",message="it cannot be changed; make another Rollout"
type RolloutSpec struct {
	// The workload whose new versions are released. It cannot be changed later.
	WorkloadRef WorkloadReference `json:"workloadRef"`
	// How: exactly one of canary, blueGreen and partition.
	Strategy RolloutStrategy `json:"strategy"`

	// Whether to stay where it is: nothing is moved, neither pods nor traffic, until it is false again.
	Paused bool `json:"paused,omitempty"`
	// Whether to let go of the workload: a release that goes on is left as deletionPolicy says, and changes of the
	// workload roll out by themselves, as if there were no Rollout.
	Disabled bool `json:"disabled,omitempty"`

	// Checks beside those of the steps.
	Analysis *RolloutAnalysis `json:"analysis,omitempty"`
	// What to do when a check fails, or pods do not become ready in time: rollback or pause. Default: rollback.
	// +kubebuilder:validation:Enum=rollback;pause
	OnFailure FailurePolicy `json:"onFailure,omitempty"`
	// How long the pods of one step may take to become ready, 1s to 24h. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="expected a duration from 1s to 24h"
	StepDeadline *metav1.Duration `json:"stepDeadline,omitempty"`
	// How long a release may take from its start to its last step, pauses included, 1s to 720h. Default: for ever.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="expected a duration from 1s to 720h"
	MaxDuration *metav1.Duration `json:"maxDuration,omitempty"`

	// Whether a change of a ConfigMap or Secret that the pod template refers to is a new version too.
	WatchConfig bool `json:"watchConfig,omitempty"`
	// What to do with a release that goes on when the Rollout is deleted or disabled: Keep leaves the workload as it is,
	// held, with all traffic on the old version (with partition, on the pods as they are); Promote lets the new version roll
	// out; Rollback gives the workload the template of the old one. Default: Keep.
	// +kubebuilder:validation:Enum=Keep;Promote;Rollback
	DeletionPolicy RolloutDeletionPolicy `json:"deletionPolicy,omitempty"`

	// Webhooks that are told what becomes of releases, up to 8.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(x, self.exists_one(y, y.name == x.name))",message="two webhooks have one name"
	// +listType=atomic
	Notifications []RolloutNotification `json:"notifications,omitempty"`

	// Releases that are remembered, and that redstart rollout undo can return to, 1 to 50. Default: 10.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50
	HistoryLimit *int32 `json:"historyLimit,omitempty"`
	// Going back to one of this many last versions skips the steps, 0 to 50. Default: 0, none.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=50
	RollbackWindow *int32 `json:"rollbackWindow,omitempty"`
}

// WorkloadReference names a workload in the namespace of the Rollout.
// +kubebuilder:validation:XValidation:rule="self.apiVersion == 'apps/v1'",fieldPath=".apiVersion",message="expected apps/v1"
type WorkloadReference struct {
	// The API of the workload: apps/v1.
	// +kubebuilder:validation:MaxLength=64
	APIVersion string `json:"apiVersion"`
	// Deployment, StatefulSet or DaemonSet.
	// +kubebuilder:validation:Enum=Deployment;StatefulSet;DaemonSet
	Kind string `json:"kind"`
	// Name of the workload.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
}

// RolloutStrategy is one of three ways to release a version.
// +kubebuilder:validation:XValidation:rule="(has(self.canary) ? 1 : 0) + (has(self.blueGreen) ? 1 : 0) + (has(self.partition) ? 1 : 0) == 1",message="expected exactly one of canary, blueGreen and partition"
// +kubebuilder:validation:XValidation:rule="!has(self.canary) || !has(self.canary.scaleDownDelay)",fieldPath=".canary",message="scaleDownDelay: only blueGreen keeps the old pods; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.partition) || !has(self.partition.scaleDownDelay)",fieldPath=".partition",message="scaleDownDelay: only blueGreen keeps the old pods; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.partition) || !has(self.partition.patchPodTemplateMetadata)",fieldPath=".partition",message="patchPodTemplateMetadata: pods that are replaced in place are those of the workload; remove it"
// +kubebuilder:validation:XValidation:rule="!has(self.partition) || !has(self.partition.trafficRoutings) || size(self.partition.trafficRoutings) == 0 || !self.partition.steps.exists(s, has(s.replicas) && s.replicas == '100%' && !(has(s.traffic) && s.traffic == '100%'))",fieldPath=".partition",message="steps: no old pod is left at replicas 100%, so the new version must get all traffic; write traffic: 100% too, or fewer replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.blueGreen) || !self.blueGreen.steps.exists(s, has(s.replicas))",fieldPath=".blueGreen",message="steps: the second set is always full; remove replicas"
// +kubebuilder:validation:XValidation:rule="!has(self.blueGreen) || (has(self.blueGreen.trafficRoutings) && size(self.blueGreen.trafficRoutings) > 0)",fieldPath=".blueGreen",message="trafficRoutings: expected what to switch"
type RolloutStrategy struct {
	// An extra Deployment takes the new version, step by step, while the old one stays full.
	Canary *StrategySpec `json:"canary,omitempty"`
	// A full second Deployment takes the new version; traffic is switched; the old pods are kept for scaleDownDelay.
	BlueGreen *StrategySpec `json:"blueGreen,omitempty"`
	// Pods are replaced in place, batch by batch.
	Partition *StrategySpec `json:"partition,omitempty"`
}

// StrategySpec is the steps of a release, and what carries its traffic.
// +kubebuilder:validation:XValidation:rule="(has(self.trafficRoutings) && size(self.trafficRoutings) > 0) || !self.steps.exists(s, has(s.traffic) || has(s.matches) || has(s.requestHeaderModifier))",fieldPath=".trafficRoutings",message="a step has traffic or matches; expected what routes it"
type StrategySpec struct {
	// The steps, in order, 1 to 50. After the last one the new version takes the place of the old one.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +listType=atomic
	Steps []RolloutStep `json:"steps"`
	// What routes traffic to the workload, up to 8. Without it, traffic follows the number of pods.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	TrafficRoutings []TrafficRouting `json:"trafficRoutings,omitempty"`
	// Labels and annotations that the pods of the new version carry until it has taken the place of the old one.
	PatchPodTemplateMetadata *PodMetadataPatch `json:"patchPodTemplateMetadata,omitempty"`
	// Pods of a step that need not be ready, as a number or as a percentage of the step's pods. Default: 0.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 0 : self.matches('^([0-9]|[1-9][0-9]|100)%$')",message="expected a number of pods, or a percentage such as 20%"
	FailureThreshold *intstr.IntOrString `json:"failureThreshold,omitempty"`
	// How long blueGreen keeps the old pods after the switch, 0s to 168h; going back is immediate as long. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('168h')",message="expected a duration from 0s to 168h"
	ScaleDownDelay *metav1.Duration `json:"scaleDownDelay,omitempty"`
}

// PodMetadataPatch is added to pods of the new version.
type PodMetadataPatch struct {
	// Labels to add.
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations to add.
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RolloutStep is one step.
// +kubebuilder:validation:XValidation:rule="has(self.replicas) || has(self.traffic) || has(self.matches) || has(self.analysis) || has(self.pause)",message="expected replicas, traffic, matches, analysis or pause"
type RolloutStep struct {
	// Name for people. Default: none.
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// Pods of the new version, as a number or as a percentage of the size of the workload, rounded up. Default: those
	// that the traffic needs, and never fewer than in the step before.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 : self.matches('^([1-9]|[1-9][0-9]|100)%$')",message="expected a number of pods from 1, or a percentage such as 20%"
	Replicas *intstr.IntOrString `json:"replicas,omitempty"`
	// Share of the traffic that the new version gets, 0% to 100%. Default: that of the step before; 0% in a step with
	// matches.
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:Pattern=`^([0-9]|[1-9][0-9]|100)%$`
	Traffic *string `json:"traffic,omitempty"`
	// Requests that go to the new version, all else to the old one: those that one of these describes.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Matches []RouteMatch `json:"matches,omitempty"`
	// Changes of the headers of requests that go to the new version.
	RequestHeaderModifier *HeaderModifier `json:"requestHeaderModifier,omitempty"`
	// Checks that must pass before the step is done.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Analysis []AnalysisCheck `json:"analysis,omitempty"`
	// Wait before the next step: for duration, or for an approval. Default: no wait.
	Pause *RolloutPause `json:"pause,omitempty"`
}

// RolloutPause is a wait.
type RolloutPause struct {
	// How long, 1s to 720h. Default: until somebody approves.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="expected a duration from 1s to 720h"
	Duration *metav1.Duration `json:"duration,omitempty"`
}

// RouteMatch describes requests, as a match of a Gateway API HTTPRoute does. All that it says must be true.
type RouteMatch struct {
	// The path of the request.
	Path *PathMatch `json:"path,omitempty"`
	// Headers of the request.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Headers []ValueMatch `json:"headers,omitempty"`
	// Parameters of the query.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	QueryParams []ValueMatch `json:"queryParams,omitempty"`
}

// PathMatch describes paths.
type PathMatch struct {
	// Exact, PathPrefix or RegularExpression. Default: PathPrefix.
	// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
	Type string `json:"type,omitempty"`
	// The path, beginning with "/" unless it is a regular expression.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Value string `json:"value"`
}

// ValueMatch describes a header or a parameter.
type ValueMatch struct {
	// Exact or RegularExpression. Default: Exact.
	// +kubebuilder:validation:Enum=Exact;RegularExpression
	Type string `json:"type,omitempty"`
	// Its name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// Its value.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// HeaderModifier changes headers, as the filter of a Gateway API HTTPRoute does.
type HeaderModifier struct {
	// Headers to set, replacing those that are there.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Set []HeaderValue `json:"set,omitempty"`
	// Headers to add.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Add []HeaderValue `json:"add,omitempty"`
	// Names of headers to remove.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Remove []string `json:"remove,omitempty"`
}

// HeaderValue is one header.
type HeaderValue struct {
	// Its name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// Its value.
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// TrafficRouting is a Service of the workload and the objects that route requests to it.
// +kubebuilder:validation:XValidation:rule="has(self.ingress) || has(self.gateway) || (has(self.customNetworkRefs) && size(self.customNetworkRefs) > 0)",message="expected ingress, gateway or customNetworkRefs"
type TrafficRouting struct {
	// Name of the Service of the workload. The new version gets one of its own, named SERVICE-canary.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=56
	Service string `json:"service"`
	// How long the gateway may take to follow a change, in seconds, 0 to 600. Default: 3.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=600
	GracePeriodSeconds *int32 `json:"gracePeriodSeconds,omitempty"`
	// An Ingress.
	Ingress *IngressRouting `json:"ingress,omitempty"`
	// A route of the Gateway API.
	Gateway *GatewayRouting `json:"gateway,omitempty"`
	// Objects of any other kind that a Lua script knows how to change, up to 8.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	CustomNetworkRefs []NetworkReference `json:"customNetworkRefs,omitempty"`
	// Keeps each client at the version that answered it first, by a cookie. Served for an HTTPRoute; a script of your own
	// can do it for other objects. Default: every request goes by the weights.
	SessionAffinity *SessionAffinity `json:"sessionAffinity,omitempty"`
}

// SessionAffinity is a cookie that keeps a client at one version while a release splits the traffic by weights. The
// weights are then the shares of clients that come without it.
type SessionAffinity struct {
	// Name of the cookie, of letters, digits, - and _. Default: SERVICE-version.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_-]+$`
	CookieName string `json:"cookieName,omitempty"`
	// How long a client keeps it, 1s to 720h; the release may end before. Default: 24h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="expected a duration from 1s to 720h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// IngressRouting is an Ingress.
type IngressRouting struct {
	// Name of the Ingress.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=246
	Name string `json:"name"`
	// Class whose script is used: nginx, higress, mse, aliyun-alb, kong, or one that a ConfigMap adds. Default: nginx.
	// +kubebuilder:validation:MaxLength=63
	ClassType string `json:"classType,omitempty"`
}

// GatewayRouting is a route of the Gateway API.
// +kubebuilder:validation:XValidation:rule="has(self.httpRouteName) != has(self.grpcRouteName)",message="expected either httpRouteName or grpcRouteName"
type GatewayRouting struct {
	// Name of an HTTPRoute.
	// +kubebuilder:validation:MaxLength=253
	HTTPRouteName string `json:"httpRouteName,omitempty"`
	// Name of a GRPCRoute.
	// +kubebuilder:validation:MaxLength=253
	GRPCRouteName string `json:"grpcRouteName,omitempty"`
}

// NetworkReference names an object that routes requests.
type NetworkReference struct {
	// Its API, for example networking.istio.io/v1beta1.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	APIVersion string `json:"apiVersion"`
	// Its kind, for example VirtualService.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Its name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// FailurePolicy is what follows a failure.
type FailurePolicy string

// The failure policies.
const (
	FailureRollback FailurePolicy = "rollback"
	FailurePause    FailurePolicy = "pause"
)

// RolloutDeletionPolicy is what becomes of a release when its Rollout goes.
type RolloutDeletionPolicy string

// The deletion policies.
const (
	DeletionKeep     RolloutDeletionPolicy = "Keep"
	DeletionPromote  RolloutDeletionPolicy = "Promote"
	DeletionRollback RolloutDeletionPolicy = "Rollback"
)
