package analysis

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHTTP measures a web server.
func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"ok": true, "lag": 2.5, "nodes": [1, 2]}`)
	})
	mux.HandleFunc("/plain", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 2*maxBody)) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, " ", r.Host, " ", r.Header.Get("X-Key"))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	p, err := NewProber(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		check string
		want  Outcome
		value string
	}{
		{`http: {url: "SERVER/ok"}`, Success, "status 200"},
		{`http: {url: "SERVER/broken"}`, Failure, "status 503"},
		{`{http: {url: "SERVER/broken"}, successCondition: "result.status == 503"}`, Success, "status 503"},
		{`{http: {url: "SERVER/ok"}, successCondition: "result.json.ok == true && result.json.lag < 3 && result.json.nodes.size() == 2"}`, Success, ""},
		{`{http: {url: "SERVER/ok"}, successCondition: "result.json.lag < 2", failureCondition: "result.json.lag > 3"}`, Inconclusive, ""},
		{`{http: {url: "SERVER/ok"}, failureCondition: "result.json.lag > 2"}`, Failure, ""},
		{`{http: {url: "SERVER/ok"}, failureCondition: "result.json.lag > 3"}`, Success, ""},
		{`{http: {url: "SERVER/plain"}, successCondition: "result.body == 'fine'"}`, Success, ""},
		{`{http: {url: "SERVER/plain"}, successCondition: "result.json.ok"}`, Broken, "successCondition: result.json.ok: no such key: json"},
		{`{http: {url: "SERVER/ok"}, successCondition: "result.json.lag"}`, Broken, "expected true or false"},
		{`{http: {url: "SERVER/long"}, successCondition: "result.body.size() == 1048576"}`, Success, ""},
		{`{http: {url: "SERVER/{{service}}"}}`, Success, ""},
		{`{http: {url: "SERVER/slow", timeout: 100ms}}`, Broken, "deadline exceeded"},
		{`{http: {url: "http://NOBODY/"}}`, Broken, "refused"},
		{`{http: {url: "SERVER/echo", method: POST, headers: [{name: host, value: a.example}, {name: X-Key, value: k}]}, successCondition: "result.body == 'POST a.example k'"}`, Success, ""},
	} {
		text := strings.NewReplacer("SERVER", s.URL, "NOBODY", nobody.Addr().String()).Replace(c.check)
		outcome, value := p.Measure(t.Context(), checkOf(t, text), Target{Service: "ok"})
		if outcome != c.want || !strings.Contains(value, c.value) {
			t.Errorf("%s: %s, %s; want %s, %s", c.check, outcome, value, c.want, c.value)
		}
	}
}

// TestPrometheusAnswers: what a Prometheus answers, as it writes it. TestTemplates asks a real one.
func TestPrometheusAnswers(t *testing.T) {
	var answer string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.FormValue("query"), `rate(errors{service="web-canary"}[1m])`; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
		w.Header().Set("Content-Type", "application/json")
		if !strings.HasPrefix(answer, "{") {
			w.WriteHeader(http.StatusBadRequest)
			answer = `{"status":"error","errorType":"bad_data","error":"` + answer + `"}`
		}
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	p, err := NewProber(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := func(kind, result string) string {
		return `{"status":"success","data":{"resultType":"` + kind + `","result":` + result + `}}`
	}
	for _, c := range []struct {
		answer, success string
		want            Outcome
		value           string
	}{
		{data("scalar", `[1,"0.5"]`), "result == 0.5", Success, "0.5"},
		{data("vector", `[{"metric":{},"value":[1,"0.991234567"]}]`), "result >= 0.99", Success, "0.991235"},
		{data("vector", `[{"metric":{},"value":[1,"1"]}]`), "result >= 2", Failure, "1"},
		{data("vector", `[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"3"]}]`), "result.all(x, x < 4) && result[1] == 3", Success, "[1 3]"},
		{data("vector", `[]`), "result > 0", Broken, "no result"},
		{data("vector", `[{"metric":{},"value":[1,"NaN"]}]`), "result > 0", Broken, "NaN"},
		{data("matrix", `[]`), "result > 0", Broken, "matrix"},
		{"parse error", "result > 0", Broken, "parse error"},
	} {
		answer = c.answer
		check := checkOf(t, `{prometheus: {address: "`+s.URL+`", query: 'rate(errors{service="{{canaryService}}"}[1m])'}, successCondition: "`+c.success+`"}`)
		start := time.Now()
		outcome, value := p.Measure(t.Context(), check, Target{CanaryService: "web-canary"})
		if outcome != c.want || !strings.Contains(value, c.value) {
			t.Errorf("%s: %s, %s; want %s, %s (after %s)", c.answer, outcome, value, c.want, c.value, time.Since(start))
		}
	}
}

// TestGatewayOfThisMachine: a template without an address asks the gateway itself.
func TestGatewayOfThisMachine(t *testing.T) {
	p, err := NewProber(func(namespace, service string, d time.Duration) (uint64, float64, float64) {
		if namespace != "shop" || service != "web-canary" || d != 40*time.Second {
			return 0, 0, 0
		}
		return 50, 0.98, 0.2
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		check, service string
		want           Outcome
		value          string
	}{
		{"prometheus: {template: success-rate}", "web-canary", Failure, "0.98"},
		{`prometheus: {template: success-rate, threshold: "0.9"}`, "web-canary", Success, "0.98"},
		{"prometheus: {template: p99}", "web-canary", Success, "0.2"},
		{`prometheus: {template: p99, gateway: redstart, threshold: "0.1"}`, "web-canary", Failure, "0.2"},
		{"prometheus: {template: p99}", "other-canary", Broken, "the gateway served no request of Service other-canary in the last 40s"},
	} {
		outcome, value := p.Measure(t.Context(), checkOf(t, c.check), Target{Namespace: "shop", CanaryService: c.service, For: 40 * time.Second})
		if outcome != c.want || value != c.value {
			t.Errorf("%s of %s: %s, %s; want %s, %s", c.check, c.service, outcome, value, c.want, c.value)
		}
	}
}
