package analysis

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"redstart.dev/redstart/api/v1alpha1"
)

// exposed is what each gateway tells Prometheus of 90 good answers of the new version and 10 bad ones, n times, all within
// half a second, and of an old version that is much worse.
const exposed = `
redstart_gateway_requests_total{namespace="shop",route="web",rule="0",service="web-canary",code="2xx"} 90
redstart_gateway_requests_total{namespace="shop",route="web",rule="0",service="web-canary",code="5xx"} 10
redstart_gateway_requests_total{namespace="shop",route="web",rule="0",service="web",code="5xx"} 500
redstart_gateway_request_duration_seconds_bucket{namespace="shop",route="web",rule="0",service="web-canary",le="0.5"} 100
redstart_gateway_request_duration_seconds_bucket{namespace="shop",route="web",rule="0",service="web-canary",le="+Inf"} 100
redstart_gateway_request_duration_seconds_bucket{namespace="shop",route="web",rule="0",service="web",le="0.5"} 0
redstart_gateway_request_duration_seconds_bucket{namespace="shop",route="web",rule="0",service="web",le="+Inf"} 500
traefik_service_requests_total{service="httproute-shop-web-gw-traefik-web-0-shop-web-canary-80-service@kubernetesgateway",code="200"} 45
traefik_service_requests_total{service="shop-web-canary-80@kubernetescrd",code="200"} 45
traefik_service_requests_total{service="shop-web-canary-80@kubernetescrd",code="502"} 10
traefik_service_requests_total{service="shop-web-80@kubernetescrd",code="502"} 500
traefik_service_requests_total{service="bookshop-web-canary-80@kubernetescrd",code="502"} 500
traefik_service_request_duration_seconds_bucket{service="shop-web-canary-80@kubernetescrd",code="200",le="0.5"} 100
traefik_service_request_duration_seconds_bucket{service="shop-web-canary-80@kubernetescrd",code="200",le="+Inf"} 100
istio_requests_total{reporter="source",destination_service_namespace="shop",destination_service_name="web-canary",response_code="200"} 90
istio_requests_total{reporter="source",destination_service_namespace="shop",destination_service_name="web-canary",response_code="503"} 10
istio_requests_total{reporter="source",destination_service_namespace="shop",destination_service_name="web",response_code="503"} 500
istio_request_duration_milliseconds_bucket{reporter="source",destination_service_namespace="shop",destination_service_name="web-canary",le="500"} 100
istio_request_duration_milliseconds_bucket{reporter="source",destination_service_namespace="shop",destination_service_name="web-canary",le="+Inf"} 100
envoy_cluster_upstream_rq{envoy_cluster_name="shop_web-canary_80",envoy_response_code="200"} 90
envoy_cluster_upstream_rq{envoy_cluster_name="shop_web-canary_80",envoy_response_code="503"} 10
envoy_cluster_upstream_rq{envoy_cluster_name="shop_web_80",envoy_response_code="503"} 500
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="shop_web-canary_80",le="500"} 100
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="shop_web-canary_80",le="+Inf"} 100
nginx_ingress_controller_requests{namespace="shop",ingress="web",service="web",canary="shop-web-canary-80",status="200"} 90
nginx_ingress_controller_requests{namespace="shop",ingress="web",service="web",canary="shop-web-canary-80",status="500"} 10
nginx_ingress_controller_requests{namespace="shop",ingress="web",service="web",canary="",status="500"} 500
nginx_ingress_controller_request_duration_seconds_bucket{namespace="shop",ingress="web",service="web",canary="shop-web-canary-80",status="200",le="0.5"} 100
nginx_ingress_controller_request_duration_seconds_bucket{namespace="shop",ingress="web",service="web",canary="shop-web-canary-80",status="200",le="+Inf"} 100
`

// TestTemplates: a real Prometheus reads what the gateways tell, and answers the queries of the templates.
func TestTemplates(t *testing.T) {
	address := startPrometheus(t)
	p, err := NewProber(nil)
	if err != nil {
		t.Fatal(err)
	}
	for gateway := range sources {
		for template, want := range map[string]struct {
			value     string
			threshold string // that it just meets, and one that it misses
			missed    string
		}{"success-rate": {"0.9", "0.89", "0.91"}, "p99": {"0.495", "0.5", "0.4"}} {
			for threshold, outcome := range map[string]Outcome{want.threshold: Success, want.missed: Failure} {
				check := checkOf(t, fmt.Sprintf(`prometheus: {address: %q, template: %s, gateway: %s, threshold: %q}`, address, template, gateway, threshold))
				var got Outcome
				var value string
				for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
					if got, value = p.Measure(t.Context(), check, Target{Namespace: "shop", Service: "web", CanaryService: "web-canary"}); got != Broken {
						break // it has read the numbers twice
					}
				}
				if got != outcome || value != want.value {
					t.Errorf("%s of %s with the threshold %s: %s, %s; want %s, %s", template, gateway, threshold, got, value, outcome, want.value)
				}
			}
		}
	}
	check := checkOf(t, fmt.Sprintf(`prometheus: {address: %q, template: success-rate}`, address))
	if outcome, value := p.Measure(t.Context(), check, Target{Namespace: "shop", CanaryService: "nobody"}); outcome != Broken || !strings.Contains(value, "no result") {
		t.Errorf("of a version that nobody asked: %s, %s; want an error, since nothing was measured", outcome, value)
	}
}

// startPrometheus starts a Prometheus that reads exposed each second, each time with higher numbers.
func startPrometheus(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("there is no prometheus on PATH; apt-get install prometheus")
	}
	var reads atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := reads.Add(1)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for _, line := range strings.Split(strings.TrimSpace(exposed), "\n") {
			at := strings.LastIndexByte(line, ' ')
			var one int64
			if _, err := fmt.Sscan(line[at:], &one); err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "%s %d\n", line[:at], n*one)
		}
	}))
	t.Cleanup(gateway.Close)
	dir := t.TempDir()
	config := "scrape_configs: [{job_name: gateway, scrape_interval: 1s, static_configs: [{targets: [\"" + strings.TrimPrefix(gateway.URL, "http://") + "\"]}]}]\n"
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	return "http://" + address
}

// TestSources: every gateway that a template may name is known, and each query has its own.
func TestSources(t *testing.T) {
	for _, gateway := range []string{"", v1alpha1.GatewayRedstart, v1alpha1.GatewayTraefik, v1alpha1.GatewayIstio, v1alpha1.GatewayContour, v1alpha1.GatewayNginx} {
		for template := range templates {
			q := queryOf(&v1alpha1.PrometheusCheck{Template: template, Gateway: gateway})
			if strings.Contains(q, "{,") || !strings.Contains(q, "{{canaryService}}") || !strings.Contains(q, "{{namespace}}") {
				t.Errorf("%s of %q asks for %s", template, gateway, q)
			}
		}
	}
}
