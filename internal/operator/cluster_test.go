package operator_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/go-logr/logr"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster/apiserver"
	"redstart.dev/redstart/internal/localcluster/workloads"
	"redstart.dev/redstart/internal/operator"
	"redstart.dev/redstart/internal/operator/objects"
)

// patience bounds every wait; the machine may be busy.
const patience = 60 * time.Second

// cluster is an API server with the workload controllers. Everything stops with the test.
type cluster struct {
	t      testing.TB
	dir    string
	config *rest.Config
	client client.Client
	log    *slog.Logger
	// requests of the operator so far.
	requests atomic.Int64
	// asked are the requests by verb and resource, to compare with what the operator may do.
	asked sync.Map // rights to struct{}
}

// rights are what a request needs.
type rights struct{ verb, group, resource string }

// counting counts requests.
type counting struct {
	next http.RoundTripper
	c    *cluster
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.c.requests.Add(1)
	prefixes := request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	if info, err := prefixes.NewRequestInfo(r); err == nil && info.IsResourceRequest {
		resource := info.Resource
		if info.Subresource != "" {
			resource += "/" + info.Subresource
		}
		c.c.asked.Store(rights{info.Verb, info.APIGroup, resource}, struct{}{})
	}
	return c.next.RoundTrip(r)
}

// checkRights demands that the rules that operators are installed with allow all that the operator asked for: the API
// server here forbids nothing.
func (c *cluster) checkRights() {
	rules := slices.Concat(objects.OperatorRules(), objects.OperatorClusterRules())
	c.asked.Range(func(key, _ any) bool {
		r := key.(rights)
		if !slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.Verbs, r.verb) && slices.Contains(rule.APIGroups, r.group) && slices.Contains(rule.Resources, r.resource)
		}) {
			c.t.Errorf("the operator asked for %s of %s in group %q, which objects.OperatorRules does not allow", r.verb, r.resource, r.group)
		}
		return true
	})
}

// logSource has the logs of no pod.
type logSource struct{}

func (logSource) PodLogs(context.Context, *corev1.Pod, *corev1.PodLogOptions) (io.ReadCloser, error) {
	return io.NopCloser(&io.LimitedReader{}), nil
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), log: slog.New(slog.NewTextHandler(testWriter(), nil))}
	server, err := apiserver.New(apiserver.Options{StateDir: c.dir, Address: "127.0.0.1:0", Logs: logSource{}, Logger: c.log})
	if err != nil {
		t.Fatal(err)
	}
	background(t, "the API server", server.Run)
	c.config = server.RESTConfig()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("the API server answers", func(ctx context.Context) bool {
		c.client, err = client.New(c.config, client.Options{Scheme: s})
		return err == nil && c.client.List(ctx, &v1alpha1.RedisList{}) == nil
	})
	m, err := manager.New(c.config, manager.Options{
		Scheme: s, Logger: logr.FromSlogHandler(c.log.Handler()),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := workloads.Setup(m, workloads.Options{VolumesDir: filepath.Join(c.dir, "volumes"), Events: &record.FakeRecorder{}}); err != nil {
		t.Fatal(err)
	}
	background(t, "the workload controllers", m.Start)
	return c
}

// testWriter shows the logs of a verbose run.
func testWriter() io.Writer {
	if testing.Verbose() {
		return os.Stderr
	}
	return io.Discard
}

// operator runs the operator until the test ends, or until the returned function is called.
func (c *cluster) operator() (stop func()) {
	c.t.Helper()
	c.t.Cleanup(c.checkRights)
	cfg := rest.CopyConfig(c.config)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{next, c} })
	return background(c.t, "the operator", func(ctx context.Context) error {
		return operator.Run(ctx, cfg, operator.Options{Logger: c.log})
	})
}

// background runs f until the test ends, or until the returned function is called.
func background(t testing.TB, what string, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(patience):
			t.Errorf("%s does not stop", what)
		}
	}
	t.Cleanup(stop)
	return stop
}

// eventually polls until ok.
func (c *cluster) eventually(what string, ok func(context.Context) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-ctx.Done():
			c.t.Fatalf("not within %s: %s", patience, what)
		case <-tick.C:
		}
	}
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// get reads an object of the namespace default.
func (c *cluster) get(name string, obj client.Object) error {
	return c.client.Get(c.ctx(), client.ObjectKey{Namespace: "default", Name: name}, obj)
}

// until polls a Redis until ok says so of it.
func (c *cluster) until(name, what string, ok func(*v1alpha1.Redis) bool) *v1alpha1.Redis {
	c.t.Helper()
	var r v1alpha1.Redis
	defer func() {
		if c.t.Failed() {
			c.t.Logf("status of %s: %+v", name, r.Status)
		}
	}()
	c.eventually(what, func(context.Context) bool {
		r = v1alpha1.Redis{}
		return c.get(name, &r) == nil && ok(&r)
	})
	return &r
}

// change edits a Redis as a person does with kubectl edit.
func (c *cluster) change(name string, edit func(*v1alpha1.Redis)) {
	c.t.Helper()
	c.eventually("edit "+name, func(ctx context.Context) bool {
		var r v1alpha1.Redis
		c.must(c.get(name, &r))
		edit(&r)
		err := c.client.Update(ctx, &r)
		if apierrors.IsConflict(err) {
			return false
		}
		c.must(err)
		return true
	})
}
