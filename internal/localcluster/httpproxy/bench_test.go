package httpproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
)

// backendVariable makes the test binary a proxy for the benchmark, in a process of its own: the address of the backend.
const backendVariable = "REDSTART_BENCH_BACKEND"

func TestMain(m *testing.M) {
	if backend := os.Getenv(backendVariable); backend != "" {
		if err := proxyUntilEOF(backend); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// proxyUntilEOF serves one route to a backend until standard input ends, and prints where.
func proxyUntilEOF(backend string) error {
	p := New(os.TempDir(), slog.New(slog.DiscardHandler))
	defer p.Close()
	p.Changed(services.Upstream{
		Port:      services.Port{Service: types.NamespacedName{Namespace: "default", Name: "web"}, Number: 80},
		Endpoints: []services.Endpoint{{UID: "a", Address: backend}},
	}, false)
	r := &gatewayv1.HTTPRoute{Spec: gatewayv1.HTTPRouteSpec{Rules: []gatewayv1.HTTPRouteRule{{
		Matches: []gatewayv1.HTTPRouteMatch{{}}, BackendRefs: []gatewayv1.HTTPBackendRef{{}},
	}}}}
	table, err := routing.Compile([]routing.Listener{{Routes: []routing.Attached{{Route: r, Hostnames: []string{""}}}}},
		func(string, *gatewayv1.BackendObjectReference) (routing.Target, bool) {
			return routing.Target{Namespace: "default", Service: "web", Port: 80}, true
		})
	if err != nil {
		return err
	}
	l := p.Listen("bench")
	defer l.Close()
	l.Route(table)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = front.Close() }()
	go func() {
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			go l.ServeConn(c)
		}
	}()
	fmt.Println(front.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// BenchmarkAgainstNginx sends requests straight to a backend, through nginx, and through this proxy, in turns so that
// all meet the same machine. The backend is nginx too.
func BenchmarkAgainstNginx(b *testing.B) {
	if _, err := exec.LookPath("nginx"); err != nil {
		b.Skip("nginx is not installed")
	}
	backend := startNginx(b, `return 200 "hello, this is a short page\n";`)
	through := startNginx(b, "proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\";", "upstream up { server "+backend+"; keepalive 128; }")
	targets := []struct{ name, address string }{{"direct", backend}, {"nginx", through}, {"redstart", startProxy(b, backend)}}
	const slice, clients = 500 * time.Millisecond, 32
	times := map[string][]time.Duration{}
	spent := map[string]time.Duration{}
	for b.Loop() {
		for _, t := range targets {
			start := time.Now()
			times[t.name] = append(times[t.name], visit(b, "http://"+t.address, clients, slice)...)
			spent[t.name] += time.Since(start)
		}
	}
	rate, p99 := map[string]float64{}, map[string]float64{}
	for _, t := range targets {
		all := times[t.name]
		slices.Sort(all)
		rate[t.name] = float64(len(all)) / spent[t.name].Seconds()
		p99[t.name] = float64(all[len(all)*99/100].Microseconds()) / 1000
		b.ReportMetric(rate[t.name], t.name+"-requests/s")
		b.ReportMetric(p99[t.name], t.name+"-p99-ms")
	}
	b.ReportMetric(rate["redstart"]/rate["nginx"], "rate-to-nginx")
	b.ReportMetric(p99["redstart"]/p99["nginx"], "p99-to-nginx")
}

// visit makes requests over kept connections for a while, and answers with how long each took.
func visit(b *testing.B, url string, clients int, d time.Duration) []time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), d)
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	all := make([][]time.Duration, clients)
	var tasks sync.WaitGroup
	for i := range clients {
		tasks.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				resp, err := client.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Errorf("%s: %s", url, resp.Status)
					return
				}
				all[i] = append(all[i], time.Since(start))
			}
		})
	}
	tasks.Wait()
	return slices.Concat(all...)
}

// startNginx runs an nginx of one worker with a location, and answers with its address.
func startNginx(b *testing.B, location string, more ...string) string {
	b.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := probe.Addr().String()
	_ = probe.Close()
	dir := b.TempDir()
	var paths string
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += kind + "_temp_path " + dir + "/" + kind + ";\n"
	}
	config := fmt.Sprintf("daemon off; worker_processes 2; pid %s/pid; error_log %s/error.log;\nevents { worker_connections 1024; }\nhttp {\naccess_log off; keepalive_requests 1000000;\n%s%s\nserver { listen %s; location / { %s } } }\n",
		dir, dir, paths, strings.Join(more, "\n"), address, location)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	run(b, exec.Command("nginx", "-e", dir+"/error.log", "-c", file))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return address
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
}

// startProxy runs this proxy in a process of its own.
func startProxy(b *testing.B, backend string) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), backendVariable+"="+backend)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	run(b, cmd)
	b.Cleanup(func() { _ = in.Close() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// run starts a program that ends with the benchmark.
func run(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // ended by the signal
	})
}
