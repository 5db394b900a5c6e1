package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// source is how a gateway counts the requests to the new version.
type source struct {
	// requests is the counter and latency the histogram, both of what selects chooses; ok chooses requests without a server
	// error besides.
	requests, latency, selects, ok string
	// unit of the histogram, in seconds.
	unit string
}

// sources are the gateways whose metrics tell the new version apart from the old one.
var sources = map[string]source{
	v1alpha1.GatewayRedstart: {
		requests: "redstart_gateway_requests_total", latency: "redstart_gateway_request_duration_seconds_bucket",
		selects: `namespace="{{namespace}}",service="{{canaryService}}"`, ok: `code!~"5.."`, unit: "1",
	},
	v1alpha1.GatewayTraefik: { // of the Gateway API and of its own resources
		requests: "traefik_service_requests_total", latency: "traefik_service_request_duration_seconds_bucket",
		selects: `service=~"(.*-)?{{namespace}}-{{canaryService}}-.*"`, ok: `code!~"5.."`, unit: "1",
	},
	v1alpha1.GatewayIstio: { // as the gateways and the callers saw it, so that a pod that cannot be reached counts
		requests: "istio_requests_total", latency: "istio_request_duration_milliseconds_bucket",
		selects: `reporter="source",destination_service_namespace="{{namespace}}",destination_service_name="{{canaryService}}"`,
		ok:      `response_code!~"5..|0"`, unit: "0.001",
	},
	v1alpha1.GatewayContour: {
		requests: "envoy_cluster_upstream_rq", latency: "envoy_cluster_upstream_rq_time_bucket",
		selects: `envoy_cluster_name=~"{{namespace}}_{{canaryService}}_[^_]+"`, ok: `envoy_response_code!~"5.."`, unit: "0.001",
	},
	v1alpha1.GatewayNginx: {
		requests: "nginx_ingress_controller_requests", latency: "nginx_ingress_controller_request_duration_seconds_bucket",
		selects: `namespace="{{namespace}}",canary=~"{{namespace}}-{{canaryService}}-[^-]+"`, ok: `status!~"5.."`, unit: "1",
	},
}

// templates are the queries that Redstart knows, with the condition that a threshold makes.
var templates = map[string]struct {
	query                func(source) string
	condition, threshold string
}{
	"success-rate": {
		query: func(s source) string {
			return fmt.Sprintf("(sum(rate(%[1]s{%[2]s,%[3]s}[1m])) or vector(0)) / sum(rate(%[1]s{%[2]s}[1m]))", s.requests, s.selects, s.ok)
		},
		condition: "result >= %s", threshold: "0.99",
	},
	"p99": {
		query: func(s source) string {
			return fmt.Sprintf("%s * histogram_quantile(0.99, sum by (le) (rate(%s{%s}[1m])))", s.unit, s.latency, s.selects)
		},
		condition: "result <= %s", threshold: "1",
	},
}

// Gateway tells what the gateway of this machine served of a Service in the last d: how many requests, the share of them that were
// answered without a server error, and the time in seconds in which 99 % of them were.
type Gateway func(namespace, service string, d time.Duration) (requests uint64, successRate, p99 float64)

// window is what a template looks back at most.
const window = time.Minute

// ask asks the gateway of this machine what a template asks Prometheus.
func (p *Prober) ask(c *v1alpha1.PrometheusCheck, target Target) (any, error) {
	if p.gateway == nil {
		return nil, errors.New(noGateway)
	}
	last := min(window, target.For)
	requests, rate, p99 := p.gateway(target.Namespace, target.CanaryService, last)
	switch {
	case requests == 0:
		return nil, fmt.Errorf("the gateway served no request of Service %s in the last %s", target.CanaryService, last.Round(time.Second))
	case c.Template == "p99":
		return p99, nil
	}
	return rate, nil
}

const noGateway = "expected the address of a Prometheus: this is not redstart up, whose gateway can be asked itself"

// queryOf is the query of a check, with its placeholders.
func queryOf(c *v1alpha1.PrometheusCheck) string {
	if c.Template == "" {
		return c.Query
	}
	return templates[c.Template].query(sources[cmp.Or(c.Gateway, v1alpha1.GatewayRedstart)])
}

// conditions are the expressions of a check, with those that its kind brings along.
func conditions(c v1alpha1.AnalysisCheck) (success, failure string) {
	success, failure = c.SuccessCondition, c.FailureCondition
	if success != "" || failure != "" {
		return success, failure
	}
	switch {
	case c.HTTP != nil:
		success = "result.status >= 200 && result.status < 400"
	case c.Prometheus != nil && c.Prometheus.Template != "":
		t := templates[c.Prometheus.Template]
		success = fmt.Sprintf(t.condition, decimal(cmp.Or(c.Prometheus.Threshold, t.threshold)))
	}
	return success, failure
}

// decimal writes a number so that CEL takes it for one with a point.
func decimal(s string) string {
	for _, r := range s {
		if r == '.' {
			return s
		}
	}
	return s + ".0"
}
