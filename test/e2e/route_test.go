package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/gateways"
)

// shop is the example of routes, in a namespace of its own.
type shop struct {
	t *testing.T
	*cluster
	namespace string
	url       string
	http      *http.Client
}

func startShop(t *testing.T) *shop {
	t.Helper()
	c := theCluster(t, needEmbedded) // a real cluster has no gateway of ours
	s := &shop{t: t, cluster: c, namespace: c.namespace(t), http: newVisitor(t)}
	if out, err := c.redstart("-n", s.namespace, "apply", "-f", filepath.Join("..", "..", "examples", "route"), "--wait"); err != nil {
		t.Fatalf("redstart apply: %v\n%s", err, out)
	}
	eventually(t, time.Minute, "the Gateway to have an address", func(ctx context.Context) bool {
		svc := &corev1.Service{}
		if c.Get(ctx, s.key(gateways.ServiceName("web")), svc) != nil || svc.Spec.ClusterIP == "" {
			return false
		}
		s.url = fmt.Sprintf("http://%s:8000", svc.Spec.ClusterIP)
		return s.ask("/").code == http.StatusOK
	})
	return s
}

// newVisitor keeps its connections, as a browser does.
func newVisitor(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (s *shop) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: name}
}

// reply is what a visitor got.
type reply struct {
	code    int
	version string // of the pod that answered
	text    string
}

// ask visits a path with headers of the form Name=value. The version is the first word of the answer.
func (s *shop) ask(path string, headers ...string) reply {
	r := ask(s.http, s.url+path, headers...)
	r.version, _, _ = strings.Cut(r.text, " ")
	return r
}

// ask visits a URL with headers of the form Name=value; the code is 0 when there was no answer, and the text says why.
func ask(c *http.Client, url string, headers ...string) reply {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return reply{text: err.Error()}
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{text: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return reply{text: err.Error()}
	}
	return reply{code: resp.StatusCode, text: string(body)}
}

// weigh gives v2 its share, in percent.
func (s *shop) weigh(v2 int32) {
	s.t.Helper()
	eventually(s.t, time.Minute, "the weights to be changed", func(ctx context.Context) bool {
		r := &gatewayv1.HTTPRoute{}
		if s.Get(ctx, s.key("shop"), r) != nil {
			return false
		}
		refs := r.Spec.Rules[1].BackendRefs
		refs[0].Weight, refs[1].Weight = ptr.To(100-v2), ptr.To(v2)
		return s.Update(ctx, r) == nil
	})
}

// TestRoute measures the example: the shares of 2,000 requests, and matches by header, query and path.
func TestRoute(t *testing.T) {
	s := startShop(t)
	for _, c := range []struct{ path, header string }{{"/?version=v2", "x=y"}, {"/v2/shoes", "x=y"}, {"/", "X-Version=v2"}} {
		for range 20 {
			if r := s.ask(c.path, c.header); r.version != "v2" {
				t.Fatalf("%s with %s was answered by %+v", c.path, c.header, r)
			}
		}
	}
	const visits = 2000
	counts := map[string]int{}
	var mu sync.Mutex
	var visitors sync.WaitGroup
	for range 8 {
		visitors.Go(func() {
			for range visits / 8 {
				r := s.ask("/")
				mu.Lock()
				counts[r.version]++
				mu.Unlock()
				if r.code != http.StatusOK {
					t.Errorf("a request failed: %+v", r)
				}
			}
		})
	}
	visitors.Wait()
	t.Logf("%d requests: %v", visits, counts)
	if v2 := 100 * float64(counts["v2"]) / visits; v2 < 17 || v2 > 23 {
		t.Errorf("v2 got %.1f %% of the requests, expected 20 within 3", v2)
	}
}

// TestRouteUnderChange keeps visitors coming while the weights change and the pods of both versions are replaced. No
// request may fail.
func TestRouteUnderChange(t *testing.T) {
	s := startShop(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var visits, failed int
	var mu sync.Mutex
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(func() {
			for ctx.Err() == nil {
				r := s.ask("/")
				mu.Lock()
				visits++
				if r.code != http.StatusOK {
					failed++
					t.Errorf("a request failed: %+v", r)
				}
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}
	for _, v2 := range []int32{50, 100, 0} {
		s.weigh(v2)
		for _, name := range []string{"shop-v1", "shop-v2"} {
			s.restart(name)
		}
	}
	cancel()
	visitors.Wait()
	t.Logf("%d requests while all pods were replaced three times: %d failed", visits, failed)
	if visits < 100 {
		t.Errorf("only %d requests were made", visits)
	}
	eventually(t, time.Minute, "v1 to get every request", func(context.Context) bool {
		for range 20 {
			if s.ask("/").version != "v1" {
				return false
			}
		}
		return true
	})
}

// restart replaces all pods of a Deployment, as kubectl rollout restart does, and waits until that is done.
func (s *shop) restart(name string) {
	s.t.Helper()
	ctx := context.Background()
	d := &appsv1.Deployment{}
	if err := s.Get(ctx, s.key(name), d); err != nil {
		s.t.Fatal(err)
	}
	before := d.DeepCopy()
	d.Spec.Template.Annotations = map[string]string{"restarted": time.Now().Format(time.RFC3339Nano)}
	if err := s.Patch(ctx, d, client.MergeFrom(before)); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, 2*time.Minute, name+" to be replaced", func(ctx context.Context) bool {
		d := &appsv1.Deployment{}
		if s.Get(ctx, s.key(name), d) != nil {
			return false
		}
		st := d.Status
		return st.ObservedGeneration >= d.Generation && st.UpdatedReplicas == *d.Spec.Replicas && st.Replicas == *d.Spec.Replicas && st.AvailableReplicas == *d.Spec.Replicas
	})
}
