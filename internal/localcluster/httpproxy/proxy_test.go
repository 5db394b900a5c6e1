package httpproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
	"redstart.dev/redstart/internal/localcluster/traffic"
)

// bench is a proxy with one listener on a port of this machine.
type bench struct {
	t     *testing.T
	proxy *Proxy
	*Listener
	url string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, proxy: New(t.TempDir(), slog.New(slog.DiscardHandler))}
	b.Listener = b.proxy.Listen("test")
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.url = "http://" + front.Addr().String()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { b.ServeConn(c) })
		}
	})
	t.Cleanup(func() {
		_ = front.Close()
		b.Listener.Close()
		b.proxy.Close()
		conns.Wait()
	})
	return b
}

// route serves the rules of one HTTPRoute; references to "missing" do not resolve.
func (b *bench) route(rules string) {
	b.t.Helper()
	r := &gatewayv1.HTTPRoute{}
	r.Namespace, r.Name = "default", "web"
	if err := yaml.UnmarshalStrict([]byte(rules), &r.Spec); err != nil {
		b.t.Fatal(err)
	}
	r.Annotations = map[string]string{}
	for i := range r.Spec.Rules {
		if r.Spec.Rules[i].Matches == nil {
			r.Spec.Rules[i].Matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		if n := r.Spec.Rules[i].Name; n != nil && *n == "sticky" {
			r.Annotations[routing.AnnotationSessionCookie] = "version"
		}
	}
	table, err := routing.Compile([]routing.Listener{{Routes: []routing.Attached{{Route: r, Hostnames: []string{""}}}}},
		func(namespace string, ref *gatewayv1.BackendObjectReference) (routing.Target, bool) {
			return routing.Target{Namespace: namespace, Service: string(ref.Name), Port: ptr.Deref(ref.Port, 0)}, ref.Name != "missing"
		})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Route(table)
}

// pods puts servers behind port 80 of a Service.
func (b *bench) pods(service, policy string, servers ...*httptest.Server) {
	u := services.Upstream{Port: services.Port{Service: types.NamespacedName{Namespace: "default", Name: service}, Number: 80}, Policy: policy}
	for _, s := range servers {
		address := s.Listener.Addr().String()
		u.Endpoints = append(u.Endpoints, services.Endpoint{UID: types.UID(address), Address: address})
	}
	b.proxy.Changed(u, false)
}

// server answers with h, and closes with the test.
func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// do makes a request, METHOD PATH, and answers with the status and the body.
func (b *bench) do(request string, change ...func(*http.Request)) (*http.Response, string) {
	b.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range change {
		c(req)
	}
	client := http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(body)
}

const one = `{rules: [{backendRefs: [{name: web, port: 80}]}]}`

func TestAnswersOfTheGateway(t *testing.T) {
	b := newBench(t)
	if resp, _ := b.do("GET /"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("without routes: %s", resp.Status)
	}
	b.route(`
rules:
- {matches: [{path: {value: /gone}}], backendRefs: [{name: missing, port: 80}]}
- {matches: [{path: {value: /none}}]}
- {matches: [{path: {value: /empty}}], backendRefs: [{name: empty, port: 80}]}
- {matches: [{path: {value: /off}}], backendRefs: [{name: web, port: 80, weight: 0}]}
- {matches: [{path: {value: /slow}}], timeouts: {request: 100ms}, backendRefs: [{name: slow, port: 80}]}
- {matches: [{path: {value: /late}}], timeouts: {backendRequest: 100ms}, backendRefs: [{name: slow, port: 80}]}
- {matches: [{path: {value: /dead}}], backendRefs: [{name: dead, port: 80}]}
- matches: [{path: {value: /old}}]
  filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 301}}]
`)
	b.pods("empty", "")
	release := make(chan struct{})
	b.pods("slow", "", server(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer close(release)
	dead := httptest.NewServer(says(""))
	dead.Close()
	b.pods("dead", "", dead)
	for path, want := range map[string]int{
		"/": 404, "/gone": 500, "/none": 500, "/empty": 503, "/off": 500, "/slow": 504, "/late": 504, "/dead": 502,
	} {
		if resp, body := b.do("GET " + path); resp.StatusCode != want {
			t.Errorf("%s: %s %s, expected %d", path, resp.Status, body, want)
		}
	}
	resp, _ := b.do("GET /old?x=1")
	if want := b.url + "/new?x=1"; resp.StatusCode != http.StatusMovedPermanently || resp.Header.Get("Location") != want {
		t.Errorf("redirected with %s to %s, expected %s", resp.Status, resp.Header.Get("Location"), want)
	}
}

func TestWhatAPodSees(t *testing.T) {
	b := newBench(t)
	b.route(`
rules:
- matches: [{path: {value: /api}}]
  filters:
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: "1"}], remove: [x-secret]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-from, value: gateway}], remove: [x-inner]}}
  - {type: URLRewrite, urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1}}}
  backendRefs:
  - {name: web, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-version, value: web}]}}]}
- backendRefs: [{name: web, port: 80}]
`)
	b.pods("web", "", server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Inner", "1")
		_, _ = fmt.Fprintf(w, "%s %s %s|%s|%s|%s|%s|%s", r.Method, r.Host, r.RequestURI, r.Header.Get("X-Set"), r.Header.Get("X-Secret"), r.Header.Get("X-Version"),
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"))
	}))
	secret := func(r *http.Request) {
		r.Header.Set("X-Secret", "s")
		r.Header.Set("X-Forwarded-For", "6.6.6.6") // nobody may claim to be somebody else
		r.Host = "outer.example"
	}
	resp, body := b.do("PUT /api/a%2Fb?q=a+b", secret)
	if want := "PUT inner.example /v1/a%2Fb?q=a+b|1||web|127.0.0.1|outer.example"; body != want {
		t.Errorf("the pod saw %s\nexpected %s", body, want)
	}
	if resp.Header.Get("X-From") != "gateway" || resp.Header.Get("X-Inner") != "" {
		t.Errorf("the client got %v", resp.Header)
	}
	if _, body := b.do("GET /other", secret); body != "GET outer.example /other||s||127.0.0.1|outer.example" {
		t.Errorf("the pod saw %s", body)
	}
}

// The share of each backend is as its weight says, and a client with a cookie stays where it is.
func TestSharesAndCookies(t *testing.T) {
	b := newBench(t)
	b.pods("v1", "", server(t, says("v1")))
	b.pods("v2", "", server(t, says("v2")))
	weights := func(v2 int) {
		b.route(fmt.Sprintf(`{rules: [{name: sticky, backendRefs: [{name: v1, port: 80, weight: %d}, {name: v2, port: 80, weight: %d}]}]}`, 100-v2, v2))
	}
	weights(50)
	var cookie *http.Cookie
	for cookie == nil {
		if resp, body := b.do("GET /"); body == "v2" {
			cookie = resp.Cookies()[0]
		}
	}
	mine := func(r *http.Request) { r.AddCookie(cookie) }
	weights(1)
	for range 50 {
		if resp, body := b.do("GET /", mine); body != "v2" || len(resp.Cookies()) != 0 {
			t.Fatalf("with the cookie of v2: %s, and the cookies %v", body, resp.Cookies())
		}
	}
	weights(0)
	if resp, body := b.do("GET /", mine); body != "v1" || len(resp.Cookies()) != 1 {
		t.Errorf("when v2 takes nobody: %s, and the cookies %v", body, resp.Cookies())
	}
	w := b.proxy.Traffic().Window(traffic.Selector{Namespace: "default", Route: "web", Rule: "sticky", Service: "v2"}, time.Minute)
	if w.Requests() < 51 || w.Failures() != 0 {
		t.Errorf("%d requests to v2 were counted, %d of them failed", w.Requests(), w.Failures())
	}
	if p99, ok := w.Quantile(0.99); !ok || p99 <= 0 || p99 > 10*time.Second {
		t.Errorf("the 99th percentile is %s", p99)
	}
}

// Pods come and go under load, those that go refuse connections at once when their requests are done: nothing fails.
func TestNoRequestIsLostWhenPodsGo(t *testing.T) {
	b := newBench(t)
	b.route(one)
	slow := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(time.Millisecond)
		_, _ = io.WriteString(w, "ok")
	}
	pods := []*httptest.Server{httptest.NewServer(http.HandlerFunc(slow)), httptest.NewServer(http.HandlerFunc(slow))}
	b.pods("web", "", pods...)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var done, failed atomic.Int64
	for range 8 {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				method, body := http.MethodGet, io.Reader(nil)
				if n%2 == 0 {
					method, body = http.MethodPost, strings.NewReader("posts are never sent twice")
				}
				req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), method, b.url, body)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
					t.Errorf("%s: %v %v", method, resp, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				done.Add(1)
			}
		})
	}
	for range 20 {
		fresh := httptest.NewServer(http.HandlerFunc(slow))
		old := pods[0]
		pods = append(pods[1:], fresh)
		b.pods("web", "", pods...)
		uid := types.UID(old.Listener.Addr().String())
		b.proxy.Drain(t.Context(), uid, 10*time.Second)
		_ = old.Listener.Close()
		old.CloseClientConnections() // what it still had would break
		old.Close()
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	clients.Wait()
	for _, p := range pods {
		p.Close()
	}
	t.Logf("%d requests, %d failed", done.Load(), failed.Load())
	if done.Load() == 0 {
		t.Error("no request was made")
	}
}

// A pod that is not there is passed over, also for a POST, of which nothing was sent.
func TestRetry(t *testing.T) {
	b := newBench(t)
	b.route(one)
	dead := httptest.NewServer(says(""))
	dead.Close()
	b.pods("web", "", dead, server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	for range 4 {
		resp, body := b.do("POST /", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
		})
		if resp.StatusCode != http.StatusOK || body != "hello" {
			t.Errorf("%s %s", resp.Status, body)
		}
	}
}

// A request that may have been worked on is not sent again unless that does no harm.
func TestNoRetryOfPosts(t *testing.T) {
	b := newBench(t)
	b.route(one)
	var seen atomic.Int64
	breaks := func(http.ResponseWriter, *http.Request) {
		seen.Add(1)
		panic(http.ErrAbortHandler)
	}
	b.pods("web", "", server(t, breaks), server(t, breaks))
	post := func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 }
	if resp, _ := b.do("POST /", post); resp.StatusCode != http.StatusBadGateway || seen.Load() != 1 {
		t.Errorf("a POST was sent %d times and answered with %s", seen.Load(), resp.Status)
	}
	seen.Store(0)
	if resp, _ := b.do("GET /"); resp.StatusCode != http.StatusBadGateway || seen.Load() != 2 {
		t.Errorf("a GET was sent %d times to 2 pods and answered with %s", seen.Load(), resp.Status)
	}
}

func TestActiveAndPassiveChecks(t *testing.T) {
	b := newBench(t)
	b.route(one)
	var sick atomic.Bool
	one := server(t, func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "one")
	})
	two := server(t, says("two"))
	b.pods("web", "healthCheck: {path: /live, interval: 100ms, failures: 2}", one, two)
	only := func(want string) bool {
		for range 6 {
			if _, body := b.do("GET /"); !strings.Contains(want, body) {
				return false
			}
		}
		return true
	}
	await := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not in 20 s: %s", what)
			}
		}
	}
	sick.Store(true)
	await("the sick pod gets no requests", func() bool { return only("two") })
	sick.Store(false)
	await("the pod that is well again gets requests", func() bool { return !only("two") })

	b.pods("web", "passive: {failures: 2, duration: 1h}", one, two)
	sick.Store(true)
	await("the failing pod gets no requests", func() bool { return only("two") })
	b.pods("web", "passive: {failures: 2, duration: 1h}", one)
	if resp, body := b.do("GET /"); body != "one" {
		t.Errorf("the last pod is left out too: %s %s", resp.Status, body)
	}
}

func TestMirror(t *testing.T) {
	b := newBench(t)
	b.route(`
rules:
- backendRefs: [{name: web, port: 80}]
  filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copy, port: 80}}}]
`)
	copies := make(chan string, 1)
	b.pods("web", "", server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	b.pods("copy", "", server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copies <- r.Method + " " + r.URL.Path + " " + string(body)
		w.WriteHeader(http.StatusInternalServerError) // nobody hears of it
	}))
	resp, body := b.do("POST /x", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("text")), 4 })
	if resp.StatusCode != http.StatusOK || body != "text" {
		t.Errorf("%s %s", resp.Status, body)
	}
	select {
	case got := <-copies:
		if got != "POST /x text" {
			t.Errorf("the mirror got %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("the mirror got nothing")
	}
}

// Events come when they are sent, and a pod that is to stop does not wait for their end.
func TestStreaming(t *testing.T) {
	b := newBench(t)
	b.route(one)
	next := make(chan string)
	b.pods("web", "", server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case text := <-next:
				_, _ = fmt.Fprintf(w, "data: %s\n\n", text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}))
	go func() { next <- "first" }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for _, text := range []string{"first", "second", "third"} {
		if text != "first" {
			next <- text
		}
		if !lines.Scan() || lines.Text() != "data: "+text || !lines.Scan() {
			t.Fatalf("got %q, expected %q: %v", lines.Text(), text, lines.Err())
		}
	}
	b.pods("web", "")
	start := time.Now()
	for uid := range b.proxy.leaving {
		b.proxy.Drain(t.Context(), uid, 30*time.Second)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("draining took %s", took)
	}
	w := b.proxy.Traffic().Window(traffic.Selector{}, time.Minute)
	if w.Requests() != 1 {
		t.Errorf("%d requests were counted while the stream is open, expected 1", w.Requests())
	}
}

// A protocol that a connection is upgraded to goes through, both ways.
func TestUpgrade(t *testing.T) {
	b := newBench(t)
	b.route(one)
	b.pods("web", "", server(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + r.Header.Get("Upgrade") + "\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
	}))
	c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	_, _ = io.WriteString(c, "hello\n")
	if line, err := r.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q %v", line, err)
	}
}

// A large body goes through in both directions, over HTTP/2 without TLS on both sides.
func TestLargeBodyOverH2C(t *testing.T) {
	b := newBench(t)
	b.route(one)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		_, _ = io.Copy(w, r.Body)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	address := s.Listener.Addr().String()
	b.proxy.Changed(services.Upstream{
		Port: services.Port{Service: types.NamespacedName{Namespace: "default", Name: "web"}, Number: 80}, H2C: true,
		Endpoints: []services.Endpoint{{UID: "u", Address: address}},
	}, false)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	content := make([]byte, 16<<20)
	_, _ = rand.Read(content)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(content) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if resp.Proto != "HTTP/2.0" || resp.Header.Get("X-Proto") != "HTTP/2.0" {
		t.Errorf("%s to the client, %s to the pod", resp.Proto, resp.Header.Get("X-Proto"))
	}
}

// A client that goes away ends its request at the pod, and counts as neither success nor failure.
func TestClientGone(t *testing.T) {
	b := newBench(t)
	b.route(one)
	ended := make(chan struct{})
	b.pods("web", "", server(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultClient.Do(req); err == nil {
		t.Fatal("there was an answer")
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the pod goes on")
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w := b.proxy.Traffic().Window(traffic.Selector{}, time.Minute)
		if w.Classes[0] == 1 && w.Requests() == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("counted as %v", w.Classes)
		}
	}
}

func TestAccessLog(t *testing.T) {
	b := newBench(t)
	b.route(one)
	b.pods("web", "", server(t, says("hello")))
	b.do("GET /before")
	b.LogAccess(true)
	b.do("GET /secret?password=x")
	b.LogAccess(false)
	text, err := os.ReadFile(b.proxy.logDir + "/test.log")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"path":"/secret"`, `"code":200`, `"bytes":5`, `"route":"default/web"`, `"service":"web"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Count(string(text), "\n") != 1 || strings.Contains(string(text), "password") {
		t.Errorf("the log is %s", text)
	}
}
