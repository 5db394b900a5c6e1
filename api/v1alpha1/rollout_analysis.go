package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// RolloutAnalysis is the checks beside those of the steps.
type RolloutAnalysis struct {
	// Checks that must pass before the first step.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Before []AnalysisCheck `json:"before,omitempty"`
	// Checks that are made for as long as the steps last. A count ends them earlier.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Background []AnalysisCheck `json:"background,omitempty"`
	// Checks that must pass after the last step, before the old pods are replaced.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	After []AnalysisCheck `json:"after,omitempty"`
}

// AnalysisCheck measures something again and again, and judges each measurement.
// +kubebuilder:validation:XValidation:rule="(has(self.prometheus) ? 1 : 0) + (has(self.http) ? 1 : 0) + (has(self.job) ? 1 : 0) == 1",message="expected exactly one of prometheus, http and job"
// +kubebuilder:validation:XValidation:rule="has(self.http) || has(self.job) || has(self.successCondition) || has(self.failureCondition) || has(self.prometheus) && has(self.prometheus.template)",message="expected a successCondition or a failureCondition, for example result >= 0.99"
// +kubebuilder:validation:XValidation:rule="!has(self.job) || !has(self.successCondition) && !has(self.failureCondition)",fieldPath=".job",message="a Job says itself whether it succeeded; remove successCondition and failureCondition"
type AnalysisCheck struct {
	// Name of the check, unique in its list.
	// +kubebuilder:validation:Pattern=`^[a-z]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// A query to Prometheus.
	Prometheus *PrometheusCheck `json:"prometheus,omitempty"`
	// A request to a web address.
	HTTP *HTTPCheck `json:"http,omitempty"`
	// A Job that is run to its end, one for each measurement: it succeeds with the Job, and fails with it.
	Job *JobCheck `json:"job,omitempty"`

	// CEL expression over result that makes a measurement a success, for example result >= 0.99. What is neither
	// success nor failure is inconclusive. Default: whatever is no failure.
	// +kubebuilder:validation:MaxLength=1024
	SuccessCondition string `json:"successCondition,omitempty"`
	// CEL expression over result that makes a measurement a failure. Default: whatever is no success.
	// +kubebuilder:validation:MaxLength=1024
	FailureCondition string `json:"failureCondition,omitempty"`

	// Wait before the first measurement, 0s to 24h. Default: 0s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="expected a duration from 0s to 24h"
	InitialDelay *metav1.Duration `json:"initialDelay,omitempty"`
	// Time between two measurements, 100ms to 24h. Default: 30s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('24h')",message="expected a duration from 100ms to 24h"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Measurements, 1 to 10000. Default: 1; in the background, until the steps are done.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Count *int32 `json:"count,omitempty"`
	// Failures that are put up with, 0 to 10000. Default: 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	FailureLimit *int32 `json:"failureLimit,omitempty"`
	// Inconclusive measurements that are put up with, 0 to 10000; one more pauses the release for somebody to
	// decide. Default: 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	InconclusiveLimit *int32 `json:"inconclusiveLimit,omitempty"`
	// Errors one after the other (nobody answers, no data) that are put up with, 0 to 10000. Default: 4.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	ConsecutiveErrorLimit *int32 `json:"consecutiveErrorLimit,omitempty"`
	// Whether the outcome is only told, in the status, and changes nothing.
	DryRun bool `json:"dryRun,omitempty"`
}

// PrometheusCheck is a query.
// +kubebuilder:validation:XValidation:rule="has(self.address) || has(self.template) && (!has(self.gateway) || self.gateway == 'redstart')",fieldPath=".address",message="expected the address of a Prometheus; only a template for the gateway of redstart up can do without"
// +kubebuilder:validation:XValidation:rule="has(self.query) != has(self.template)",message="expected either query or template"
// +kubebuilder:validation:XValidation:rule="has(self.template) || !has(self.threshold)",fieldPath=".threshold",message="only a template has a threshold; write a successCondition"
// +kubebuilder:validation:XValidation:rule="has(self.template) || !has(self.gateway)",fieldPath=".gateway",message="only a template asks for the metrics of a gateway; remove it"
type PrometheusCheck struct {
	// Address of the server, http:// or https://. With redstart up a template can do without: the gateway itself is asked.
	// +kubebuilder:validation:Pattern=`^https?://\S+$`
	// +kubebuilder:validation:MaxLength=1024
	Address string `json:"address,omitempty"`
	// The query. Its result is a number, or the list of the numbers of a vector. {{namespace}}, {{service}},
	// {{canaryService}} and {{route}} stand for those of the first trafficRouting.
	// +kubebuilder:validation:MaxLength=4096
	Query string `json:"query,omitempty"`
	// A query that Redstart knows: success-rate (share of requests to the new version that were answered without a
	// server error, 0 to 1) or p99 (time in which 99 % of them were answered, in seconds), over one minute.
	// +kubebuilder:validation:Enum=success-rate;p99
	Template string `json:"template,omitempty"`
	// Whose metrics a template reads: redstart (the gateway of redstart up), traefik, istio, contour or nginx (the Ingress
	// controller). Default: redstart.
	// +kubebuilder:validation:Enum=redstart;traefik;istio;contour;nginx
	Gateway string `json:"gateway,omitempty"`
	// What a template demands: at least this success rate (default 0.99), at most these seconds (default 1).
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^[0-9]+(\.[0-9]+)?$`
	Threshold string `json:"threshold,omitempty"`
}

// The gateways whose metrics templates can read.
const (
	GatewayRedstart = "redstart"
	GatewayTraefik  = "traefik"
	GatewayIstio    = "istio"
	GatewayContour  = "contour"
	GatewayNginx    = "nginx"
)

// HTTPCheck is a request. Its result has status (a number), body (text) and json (the body, if it is JSON).
type HTTPCheck struct {
	// Where to, http:// or https://.
	// +kubebuilder:validation:Pattern=`^https?://\S+$`
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url"`
	// GET, HEAD or POST. Default: GET.
	// +kubebuilder:validation:Enum=GET;HEAD;POST
	Method string `json:"method,omitempty"`
	// Headers to send.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Headers []HeaderValue `json:"headers,omitempty"`
	// How long the answer may take, 100ms to 1m. Default: 5s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="expected a duration from 100ms to 1m"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// JobCheck is a Job of Kubernetes.
type JobCheck struct {
	// The spec of the Job, as of a Job in batch/v1; restartPolicy may be left out. {{namespace}}, {{service}}, {{canaryService}} and {{route}}
	// stand for those of the first trafficRouting. One that has ended is kept for an hour, or for its ttlSecondsAfterFinished.
	// +kubebuilder:validation:Type=object
	// +kubebuilder:pruning:PreserveUnknownFields
	Spec runtime.RawExtension `json:"spec"`
	// How long the Job may take, 1s to 24h; one that takes longer has failed. Default: 10m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="expected a duration from 1s to 24h"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}
