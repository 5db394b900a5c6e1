package v1alpha1_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"redstart.dev/redstart/api/v1alpha1"
)

func TestRolloutValidation(t *testing.T) {
	c := loadCRD(t, "rollouts")
	const ref = `workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}, `
	const routing = `, trafficRoutings: [{service: web, gateway: {httpRouteName: web}}]`
	canary := func(steps string) string { return `{` + ref + `strategy: {canary: {steps: ` + steps + `}}}` }
	routed := func(steps string) string { return `{` + ref + `strategy: {canary: {steps: ` + steps + routing + `}}}` }
	check := func(check string) string {
		return `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, analysis: {background: [` + check + `]}}`
	}
	told := func(webhooks string) string {
		return `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, notifications: [` + webhooks + `]}`
	}
	sticky := func(affinity string) string {
		return `{` + ref + `strategy: {canary: {steps: [{traffic: 5%}], trafficRoutings: [{service: web, gateway: {httpRouteName: web}, sessionAffinity: ` + affinity + `}]}}}`
	}
	for _, tc := range []struct {
		about, name, spec, old string
		want                   string // a part of the one error; empty if all is well
	}{
		{about: "canary by pods", spec: canary(`[{replicas: 1, pause: {}}, {replicas: 50%, pause: {duration: 30s}}]`)},
		{about: "canary by traffic", spec: routed(`[{traffic: 20%, pause: {}}, {traffic: 0%, matches: [{headers: [{name: a, value: b}], path: {value: /}, queryParams: [{type: RegularExpression, name: c, value: d}]}]}]`)},
		{about: "blue-green", spec: `{` + ref + `strategy: {blueGreen: {steps: [{traffic: 100%, pause: {}}], scaleDownDelay: 1m` + routing + `}}}`},
		{about: "partition of a StatefulSet", spec: `{workloadRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}, strategy: {partition: {steps: [{replicas: 1}]}}}`},
		{about: "everything else", spec: `{` + ref + `strategy: {canary: {steps: [{name: one, replicas: 1, analysis: [{name: a, http: {url: "http://x/", method: HEAD, timeout: 1s}, count: 3, interval: 1s}]}], failureThreshold: 20%, patchPodTemplateMetadata: {labels: {a: b}}}}, paused: true, disabled: false, onFailure: pause, stepDeadline: 1m, maxDuration: 2h, watchConfig: true, deletionPolicy: Rollback, historyLimit: 5, rollbackWindow: 3, analysis: {before: [{name: a, prometheus: {address: "http://p:9090", template: p99, gateway: traefik, threshold: "0.5"}}, {name: c, prometheus: {template: success-rate}}, {name: b, job: {timeout: 1m, spec: {template: {spec: {containers: [{name: a, image: b}]}}}}}]}}`},
		{about: "ingress and others", spec: `{` + ref + `strategy: {canary: {steps: [{traffic: 5%}], trafficRoutings: [{service: web, gracePeriodSeconds: 0, ingress: {name: web}, customNetworkRefs: [{apiVersion: v1, kind: A, name: b}]}]}}}`},
		{about: "clients that keep their version", spec: sticky(`{}`)},
		{about: "a cookie", spec: sticky(`{cookieName: my_Version-1, maxAge: 1h}`)},
		{about: "webhooks", spec: told(`{name: team, format: slack, secretRef: {name: slack}}, {name: log, url: "https://x.example/y?z", format: json, events: [Started, Completed], timeout: 30s}`)},

		{about: "name too long", name: strings.Repeat("a", 41), spec: canary(`[{replicas: 1}]`), want: "metadata.name"},
		{about: "name with a dot", name: "a.b", spec: canary(`[{replicas: 1}]`), want: "metadata.name"},
		{about: "another API", spec: `{workloadRef: {apiVersion: apps/v2, kind: Deployment, name: web}, strategy: {canary: {steps: [{replicas: 1}]}}}`, want: "spec.workloadRef.apiVersion"},
		{about: "another kind", spec: `{workloadRef: {apiVersion: apps/v1, kind: ReplicaSet, name: web}, strategy: {partition: {steps: [{replicas: 1}]}}}`, want: "spec.workloadRef.kind"},
		{about: "no name", spec: `{workloadRef: {apiVersion: apps/v1, kind: Deployment, name: ""}, strategy: {partition: {steps: [{replicas: 1}]}}}`, want: "spec.workloadRef.name"},
		{about: "another workload", spec: canary(`[{replicas: 1}]`), old: `{workloadRef: {apiVersion: apps/v1, kind: Deployment, name: api}, strategy: {canary: {steps: [{replicas: 1}]}}}`, want: "spec.workloadRef"},
		{about: "canary of a StatefulSet", spec: `{workloadRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}, strategy: {canary: {steps: [{replicas: 1}]}}}`, want: "spec.strategy"},
		{about: "no strategy", spec: `{` + ref + `strategy: {}}`, want: "spec.strategy"},
		{about: "two strategies", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}, partition: {steps: [{replicas: 1}]}}}`, want: "spec.strategy"},
		{about: "delay of a canary", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}], scaleDownDelay: 1s}}}`, want: "scaleDownDelay"},
		{about: "metadata of a partition", spec: `{` + ref + `strategy: {partition: {steps: [{replicas: 1}], patchPodTemplateMetadata: {}}}}`, want: "patchPodTemplateMetadata"},
		{about: "replicas of blue-green", spec: `{` + ref + `strategy: {blueGreen: {steps: [{replicas: 1}]` + routing + `}}}`, want: "steps[0].replicas"},
		{about: "blue-green without routes", spec: `{` + ref + `strategy: {blueGreen: {steps: [{pause: {}}]}}}`, want: "trafficRoutings"},
		{about: "routes of a partition", spec: `{` + ref + `strategy: {partition: {steps: [{replicas: 1, traffic: 10%}, {replicas: 100%, traffic: 100%}]` + routing + `}}}`},
		{about: "no traffic for all pods of a partition", spec: `{` + ref + `strategy: {partition: {steps: [{replicas: 100%, traffic: 0%}]` + routing + `}}}`, want: "partition.steps[0].replicas"},
		{about: "all pods of a partition without a word of traffic", spec: `{` + ref + `strategy: {partition: {steps: [{traffic: 20%}, {replicas: 100%}]` + routing + `}}}`, want: "partition.steps[1].replicas"},
		{about: "no steps", spec: canary(`[]`), want: "spec.strategy.canary.steps"},
		{about: "an empty step", spec: canary(`[{}]`), want: "steps[0]"},
		{about: "no pods", spec: canary(`[{replicas: 0}]`), want: "steps[0].replicas"},
		{about: "101 percent of pods", spec: canary(`[{replicas: 101%}]`), want: "steps[0].replicas"},
		{about: "101 percent of traffic", spec: routed(`[{traffic: 101%}]`), want: "steps[0].traffic"},
		{about: "traffic without routes", spec: canary(`[{traffic: 5%}]`), want: "need trafficRoutings"},
		{about: "matches without routes", spec: canary(`[{matches: [{headers: [{name: a, value: b}]}]}]`), want: "need trafficRoutings"},
		{about: "a header without a value", spec: routed(`[{matches: [{headers: [{name: a, value: ""}]}]}]`), want: "matches[0].headers[0].value"},
		{about: "a kind of match", spec: routed(`[{matches: [{path: {type: Prefix, value: /}}]}]`), want: "matches[0].path.type"},
		{about: "a pause of nothing", spec: canary(`[{pause: {duration: 0s}}]`), want: "steps[0].pause.duration"},
		{about: "a routing without routes", spec: `{` + ref + `strategy: {canary: {steps: [{traffic: 5%}], trafficRoutings: [{service: web}]}}}`, want: "trafficRoutings[0]"},
		{about: "a gateway without a route", spec: `{` + ref + `strategy: {canary: {steps: [{traffic: 5%}], trafficRoutings: [{service: web, gateway: {}}]}}}`, want: "gateway"},
		{about: "a long grace period", spec: `{` + ref + `strategy: {canary: {steps: [{traffic: 5%}], trafficRoutings: [{service: web, gracePeriodSeconds: 601, ingress: {name: web}}]}}}`, want: "gracePeriodSeconds"},
		{about: "failureThreshold", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}], failureThreshold: many}}}`, want: "failureThreshold"},
		{about: "onFailure", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, onFailure: Rollback}`, want: "spec.onFailure"},
		{about: "deletionPolicy", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, deletionPolicy: Drop}`, want: "spec.deletionPolicy"},
		{about: "stepDeadline", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, stepDeadline: 500ms}`, want: "spec.stepDeadline"},
		{about: "maxDuration", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, maxDuration: 721h}`, want: "spec.maxDuration"},
		{about: "historyLimit", spec: `{` + ref + `strategy: {canary: {steps: [{replicas: 1}]}}, historyLimit: 0}`, want: "spec.historyLimit"},
		{about: "a check of nothing", spec: check(`{name: a, successCondition: "true"}`), want: "exactly one of prometheus, http and job"},
		{about: "a check without a name", spec: check(`{name: "", http: {url: "http://x"}}`), want: "background[0].name"},
		{about: "a query without a condition", spec: check(`{name: a, prometheus: {address: "http://p", query: up}}`), want: "successCondition"},
		{about: "a query and a template", spec: check(`{name: a, successCondition: "true", prometheus: {address: "http://p", query: up, template: p99}}`), want: "either query or template"},
		{about: "a threshold of a query", spec: check(`{name: a, successCondition: "true", prometheus: {address: "http://p", query: up, threshold: "1"}}`), want: "threshold"},
		{about: "a query of nobody", spec: check(`{name: a, successCondition: "true", prometheus: {query: up}}`), want: "prometheus.address"},
		{about: "a template of nobody", spec: check(`{name: a, prometheus: {template: p99, gateway: istio}}`), want: "prometheus.address"},
		{about: "a gateway of a query", spec: check(`{name: a, successCondition: "true", prometheus: {address: "http://p", query: up, gateway: istio}}`), want: "gateway"},
		{about: "an unknown gateway", spec: check(`{name: a, prometheus: {address: "http://p", template: p99, gateway: apache}}`), want: "gateway"},
		{about: "a Job with a condition", spec: check(`{name: a, successCondition: "true", job: {spec: {}}}`), want: "background[0].job"},
		{about: "a Job and a request", spec: check(`{name: a, http: {url: "http://x"}, job: {spec: {}}}`), want: "exactly one of prometheus, http and job"},
		{about: "a Job of no time", spec: check(`{name: a, job: {spec: {}, timeout: 0s}}`), want: "job.timeout"},
		{about: "no address", spec: check(`{name: a, http: {url: x}}`), want: "http.url"},
		{about: "an interval of nothing", spec: check(`{name: a, http: {url: "http://x"}, interval: 1ms}`), want: "interval"},
		{about: "no count", spec: check(`{name: a, http: {url: "http://x"}, count: 0}`), want: "count"},
		{about: "the name of a cookie", spec: sticky(`{cookieName: "a;b"}`), want: "trafficRoutings[0].sessionAffinity.cookieName"},
		{about: "a long name of a cookie", spec: sticky(`{cookieName: ` + strings.Repeat("a", 65) + `}`), want: "trafficRoutings[0].sessionAffinity.cookieName"},
		{about: "a cookie of no time", spec: sticky(`{maxAge: 0s}`), want: "trafficRoutings[0].sessionAffinity.maxAge"},
		{about: "a webhook without a name", spec: told(`{name: "", url: "http://x"}`), want: "notifications[0].name"},
		{about: "two webhooks of one name", spec: told(`{name: a, url: "http://x"}, {name: a, url: "http://y"}`), want: "notifications[1].name"},
		{about: "a webhook without an address", spec: told(`{name: a}`), want: "notifications[0]: Invalid value: \"a\": expected either url or secretRef"},
		{about: "a webhook with two addresses", spec: told(`{name: a, url: "http://x", secretRef: {name: b}}`), want: "notifications[0]: Invalid value: \"a\": expected either url or secretRef"},
		{about: "an address without a scheme", spec: told(`{name: a, url: hooks.slack.com/services/x}`), want: "notifications[0].url"},
		{about: "an address without a host", spec: told(`{name: a, url: "https:///services/x"}`), want: "notifications[0].url"},
		{about: "a Secret without a name", spec: told(`{name: a, secretRef: {name: "", key: b}}`), want: "notifications[0].secretRef.name"},
		{about: "a format", spec: told(`{name: a, url: "http://x", format: teams}`), want: "notifications[0].format"},
		{about: "an event", spec: told(`{name: a, url: "http://x", events: [Started, Done]}`), want: "notifications[0].events[1]"},
		{about: "a long time-out", spec: told(`{name: a, url: "http://x", timeout: 31s}`), want: "notifications[0].timeout"},
	} {
		t.Run(tc.about, func(t *testing.T) {
			name := tc.name
			if name == "" {
				name = "web"
			}
			obj := parseKind(t, "Rollout", name, tc.spec)
			var old map[string]any
			if tc.old != "" {
				old = parseKind(t, "Rollout", name, tc.old)
			}
			inGo, inCRD := goValidateRollout(t, obj, old), c.validate(obj, old)
			switch {
			case tc.want == "" && (len(inGo) > 0 || len(inCRD) > 0):
				t.Errorf("in Go: %q\nin the CRD: %v\nwant no errors", inGo, inCRD)
			case tc.want != "" && (len(inGo) != 1 || !strings.Contains(inGo[0], tc.want)):
				t.Errorf("in Go: %q, want one error with %s", inGo, tc.want)
			case tc.want != "" && len(inCRD) == 0:
				t.Errorf("the CRD accepts what Go refuses: %q", inGo)
			}
		})
	}
}

func decodeRollout(t *testing.T, obj map[string]any) *v1alpha1.Rollout {
	t.Helper()
	b, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	r := &v1alpha1.Rollout{}
	if err := json.Unmarshal(b, r); err != nil {
		t.Fatal(err)
	}
	once := r.DeepCopy()
	once.Default()
	twice := once.DeepCopy()
	twice.Default()
	if diff := cmp.Diff(once, twice); diff != "" {
		t.Errorf("Default is not idempotent: %s", diff)
	}
	return once
}

func goValidateRollout(t *testing.T, obj, old map[string]any) []string {
	t.Helper()
	r := decodeRollout(t, obj)
	errs := r.Validate()
	if old != nil {
		errs = append(errs, r.ValidateUpdate(decodeRollout(t, old))...)
	}
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}
