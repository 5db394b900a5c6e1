package apiserver_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"redstart.dev/redstart/internal/localcluster/apiserver"
)

// patience bounds every wait; the machine may be busy.
const patience = 30 * time.Second

// logs is a LogSource that says what it was asked.
type logs struct{}

func (logs) PodLogs(_ context.Context, pod *corev1.Pod, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("log of " + pod.Name + " " + o.Container + "\n")), nil
}

// server is a running API server.
type server struct {
	*apiserver.Server
	dir    string
	client *kubernetes.Clientset
	stop   func()
}

// start runs a server on dir until the test ends or stop is called.
func start(t testing.TB, dir string) *server {
	t.Helper()
	var out io.Writer = io.Discard
	if testing.Verbose() {
		out = os.Stderr
	}
	s, err := apiserver.New(apiserver.Options{
		StateDir: dir, Address: "127.0.0.1:0", Logs: logs{},
		Logger: slog.New(slog.NewTextHandler(out, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the server does not stop")
		}
	}
	t.Cleanup(stop)
	client, err := kubernetes.NewForConfig(s.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return &server{Server: s, dir: dir, client: client, stop: stop}
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

func TestRestartKeepsEverything(t *testing.T) {
	ctx, dir := bounded(t), t.TempDir()
	s := start(t, dir)
	made, err := s.client.CoreV1().ConfigMaps("default").Create(ctx, configMap("kept", map[string]string{"a": "1"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	s.stop()

	s = start(t, dir)
	got, err := s.client.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != made.UID || got.ResourceVersion != made.ResourceVersion || got.Data["a"] != "1" {
		t.Errorf("after the restart: %+v, before: %+v", got, made)
	}
	after, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil || string(after) != string(before) {
		t.Errorf("the token changed: %v", err)
	}
	// A watch from before the restart must be told to list again.
	w, err := s.client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	if err == nil {
		defer w.Stop()
		e := <-w.ResultChan()
		err = apierrors.FromObject(e.Object)
	}
	if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		t.Errorf("watching from an old version: %v, want 410", err)
	}
	patched, err := s.client.CoreV1().ConfigMaps("default").Patch(ctx, "kept", types.MergePatchType, []byte(`{"data":{"a":"2"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(patched.ResourceVersion) < len(made.ResourceVersion) || patched.ResourceVersion <= made.ResourceVersion {
		t.Errorf("the resourceVersion went from %s to %s", made.ResourceVersion, patched.ResourceVersion)
	}
}

func TestWatch(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	maps := s.client.CoreV1().ConfigMaps("default")
	w, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "app=a"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	c := configMap("c", nil)
	c.Labels = map[string]string{"app": "a"}
	if _, err := maps.Create(ctx, c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, ctx, w, watch.Added, "c")
	if _, err := maps.Patch(ctx, "c", types.MergePatchType, []byte(`{"data":{"x":"1"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, ctx, w, watch.Modified, "c")
	// An object that stops matching is gone for this watcher.
	if _, err := maps.Patch(ctx, "c", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"b"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, ctx, w, watch.Deleted, "c")
}

func expect(t *testing.T, ctx context.Context, w watch.Interface, typ watch.EventType, name string) {
	t.Helper()
	select {
	case e := <-w.ResultChan():
		m, ok := e.Object.(metav1.Object)
		if e.Type != typ || !ok || m.GetName() != name {
			t.Fatalf("got %s %+v, want %s %s", e.Type, e.Object, typ, name)
		}
	case <-ctx.Done():
		t.Fatalf("no event, want %s %s", typ, name)
	}
}

func quantity(t *testing.T, s string) resource.Quantity {
	t.Helper()
	q, err := resource.ParseQuantity(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}
