package rollout_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster/gateways"
	"redstart.dev/redstart/internal/rollout"
)

// person visits with a cookie jar, as a browser does; without one, nil, every request is that of a stranger.
type person struct {
	url    string
	jar    http.CookieJar
	header http.Header
}

// visit is the version that answers.
func (p *person) visit(h *http.Client) (string, error) {
	client := *h
	client.Jar = p.jar
	req, err := http.NewRequest(http.MethodGet, p.url, nil)
	if err != nil {
		return "", err
	}
	maps.Copy(req.Header, p.header)
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// TestSessionAffinity splits people in halves behind the gateway of one machine, aborts, tries again, and releases; they
// come all the time, keep their cookies, and none of their requests may fail.
func TestSessionAffinity(t *testing.T) {
	c := startCluster(t)
	d := deployment("web", 2)
	c.create(d)
	c.create(service("web", "web"))
	c.gateway("web")
	c.rollout("web", `
workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
strategy:
  canary:
    steps: [{traffic: 50%, pause: {}}]
    trafficRoutings: [{service: web, gracePeriodSeconds: 1, gateway: {httpRouteName: web}, sessionAffinity: {cookieName: web-version, maxAge: 1h}}]`)
	c.healthy("web", 1)
	before := c.routeSpec("web")
	h := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer h.CloseIdleConnections()
	stranger := c.stranger("web", h)
	var people []*person
	for range 20 {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		people = append(people, &person{url: stranger.url, jar: jar})
	}
	// see makes every person visit often, and tells how many of them see each version; nobody may see two.
	see := func(when string) map[string]int {
		t.Helper()
		const visits = 30
		seen := map[string]int{}
		for i, p := range people {
			versions := map[string]int{}
			for range visits {
				version, err := p.visit(h)
				if err != nil {
					t.Fatalf("%s: person %d: %v", when, i, err)
				}
				versions[version]++
			}
			if len(versions) != 1 {
				t.Errorf("%s: person %d saw %v", when, i, versions)
			}
			for v := range versions {
				seen[v]++
			}
		}
		t.Logf("%s: of %d people with %d requests each, by the version that they saw: %v", when, len(people), visits, seen)
		return seen
	}
	// strangers is the share of requests without a cookie that v2 answers, in percent.
	strangers := func() float64 {
		t.Helper()
		const visits = 400
		n := 0
		for range visits {
			version, err := stranger.visit(h)
			if err != nil {
				t.Fatal(err)
			}
			n += map[string]int{"v2": 1}[version]
		}
		return 100 * float64(n) / visits
	}

	if seen := see("before the release"); seen["v1"] != len(people) {
		t.Errorf("before the release: %v", seen)
	}
	c.version(d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }, "v2")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	if seen := see("at half"); seen["v1"] == 0 || seen["v2"] == 0 || seen["v1"]+seen["v2"] != len(people) {
		t.Errorf("at half: %v, want some of each", seen)
	}
	if share := strangers(); math.Abs(share-50) > 3 {
		t.Errorf("v2 answers %.1f %% of the requests without a cookie, want 50", share)
	} else {
		t.Logf("v2 answers %.1f %% of the requests without a cookie", share)
	}

	stop := c.comeAndGo(h, people)
	c.command("web", "abort")
	c.phase("web", v1alpha1.RolloutAborted, 0)
	if seen := see("after the abort"); seen["v1"] != len(people) {
		t.Errorf("after the abort: %v, want v1 for everybody", seen)
	}
	if after := c.routeSpec("web"); after != before {
		t.Errorf("after the abort the route is\n%s\nwant\n%s", after, before)
	}
	c.command("web", "retry")
	c.phase("web", v1alpha1.RolloutPaused, 1)
	if seen := see("at half again"); seen["v1"]+seen["v2"] != len(people) {
		t.Errorf("at half again: %v", seen)
	}
	c.command("web", "approve")
	c.healthy("web", 3)
	if seen := see("after the release"); seen["v2"] != len(people) {
		t.Errorf("after the release: %v, want v2 for everybody", seen)
	}
	stop()
	if after := c.routeSpec("web"); after != before {
		t.Errorf("after the release the route is\n%s\nwant\n%s", after, before)
	}
}

// comeAndGo lets people visit until the function that it returns is called. None of their requests may fail.
func (c *cluster) comeAndGo(h *http.Client, people []*person) (stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	var requests, failed atomic.Int64
	var all sync.WaitGroup
	for _, p := range people {
		all.Go(func() {
			for ctx.Err() == nil {
				requests.Add(1)
				if _, err := p.visit(h); err != nil {
					failed.Add(1)
					c.Errorf("a request failed: %v", err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
		c.Logf("people made %d requests meanwhile, %d failed", requests.Load(), failed.Load())
	}
}

// gateway makes a Gateway, and an HTTPRoute to the Service of the same name.
func (c *cluster) gateway(name string) {
	c.Helper()
	gateway, route := &gatewayv1.Gateway{}, &gatewayv1.HTTPRoute{}
	gateway.Name, route.Name = name, name
	for text, spec := range map[string]any{
		`{gatewayClassName: redstart, listeners: [{name: http, port: 8000, protocol: HTTP}]}`:                                           &gateway.Spec,
		fmt.Sprintf(`{parentRefs: [{name: %[1]s}], rules: [{timeouts: {request: 20s}, backendRefs: [{name: %[1]s, port: 80}]}]}`, name): &route.Spec,
	} {
		if err := yaml.UnmarshalStrict([]byte(text), spec); err != nil {
			c.Fatal(err)
		}
	}
	c.create(gateway)
	c.create(route)
}

// stranger visits a Gateway without cookies, as soon as that answers.
func (c *cluster) stranger(name string, h *http.Client) *person {
	c.Helper()
	p := &person{}
	c.eventually("an answer of the gateway "+name, func() error {
		svc := &corev1.Service{}
		if err := c.get(gateways.ServiceName(name), svc); err != nil {
			return err
		}
		if svc.Spec.ClusterIP == "" {
			return fmt.Errorf("no address")
		}
		p.url = "http://" + svc.Spec.ClusterIP + ":8000/"
		_, err := p.visit(h)
		return err
	})
	return p
}

func (c *cluster) routeSpec(name string) string {
	c.Helper()
	route := &gatewayv1.HTTPRoute{}
	if err := c.get(name, route); err != nil {
		c.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"spec": route.Spec, "annotations": route.Annotations})
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

// TestSessionAffinityRefused has a route whose script knows no cookie: nothing of the new version starts, and the
// condition names the field.
func TestSessionAffinityRefused(t *testing.T) {
	c := startCluster(t)
	d := deployment("web", 1)
	c.create(d)
	c.create(service("web", "web"))
	c.create(service("front", "nothing"))
	c.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: rollout.ScriptsConfigMap}, Data: map[string]string{
		"lua.traffic.routing.Service.v1": `
obj.data.annotations = obj.data.annotations or {}
obj.data.annotations.share = tostring(obj.canaryWeight)
return obj.data`,
	}})
	c.rollout("web", `
workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
strategy:
  canary:
    steps: [{traffic: 50%, pause: {}}]
    trafficRoutings: [{service: web, customNetworkRefs: [{apiVersion: v1, kind: Service, name: front}], sessionAffinity: {}}]`)
	c.healthy("web", 1)
	c.version(d, func() *corev1.PodTemplateSpec { return &d.Spec.Template }, "v2")
	c.eventually("the condition TrafficRouted names the field", func() error {
		ro := &v1alpha1.Rollout{}
		if err := c.get("web", ro); err != nil {
			return err
		}
		is := meta.FindStatusCondition(ro.Status.Conditions, v1alpha1.ConditionTrafficRouted)
		if is == nil || is.Status != metav1.ConditionFalse || !strings.HasPrefix(is.Message, "spec.strategy.canary.trafficRoutings[0].sessionAffinity: Service default/front: ") {
			return fmt.Errorf("%+v", is)
		}
		return nil
	})
	if n := c.versions("web"); n["v1"] != 1 || n["v2"] != 0 {
		t.Errorf("pods %v, want none of the new version", n)
	}
}
