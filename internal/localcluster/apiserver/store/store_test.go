package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// patience bounds every wait; the race detector on a busy machine is slow.
const patience = 2 * time.Minute

// open opens the store in dir with one table, and a function that ends it; flushed decides whether it is closed or
// abandoned as by a crash.
func open(t *testing.T, dir string) (*Table, func(flushed bool)) {
	t.Helper()
	db, err := Open(filepath.Join(dir, "store.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme)
	table, err := db.Table(TableOptions{
		Prefix: "/configmaps", New: func() runtime.Object { return &corev1.ConfigMap{} },
		Encoder: codecs.LegacyCodec(corev1.SchemeGroupVersion), Decoder: codecs.UniversalDeserializer(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return table, func(flushed bool) {
		if flushed {
			err = db.Close()
		} else {
			err = db.disk.file.Close()
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}}
}

func create(t *testing.T, table *Table, name string) *corev1.ConfigMap {
	t.Helper()
	out := &corev1.ConfigMap{}
	if err := table.Create(context.Background(), "/configmaps/n/"+name, configMap(name), out, 0); err != nil {
		t.Fatal(err)
	}
	return out
}

func revision(t *testing.T, c *corev1.ConfigMap) uint64 {
	t.Helper()
	rev, err := strconv.ParseUint(c.ResourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// What was not flushed is lost in a crash, but never part of a flush, and no revision is given twice.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	table, end := open(t, dir)
	a := create(t, table, "a")
	if err := table.db.disk.flush(); err != nil {
		t.Fatal(err)
	}
	b := create(t, table, "b")
	end(false)

	for range 2 {
		table, end = open(t, dir)
		if table.get("/configmaps/n/a") == nil || table.get("/configmaps/n/b") != nil {
			t.Fatal("want a, which was written, and not b")
		}
		if c := create(t, table, "c"); revision(t, c) <= revision(t, b) || revision(t, b) <= revision(t, a) {
			t.Fatalf("revisions %s, %s, after the crash %s", a.ResourceVersion, b.ResourceVersion, c.ResourceVersion)
		} else {
			b = c
		}
		end(false)
	}
}

func everything(recursive bool, rv string) storage.ListOptions {
	return storage.ListOptions{ResourceVersion: rv, Recursive: recursive, Predicate: storage.SelectionPredicate{
		Label: labels.Everything(), Field: fields.Everything(), GetAttrs: storage.DefaultNamespaceScopedAttr,
	}}
}

// Many writers increment one counter while a watcher looks: no increment is lost, and each is seen once, in order.
func TestConcurrentUpdatesAreAllSeenInOrder(t *testing.T) {
	const writers, each = 8, 50
	table, end := open(t, t.TempDir())
	defer end(true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := create(t, table, "c")
	w, err := table.Watch(ctx, "/configmaps/n/c", everything(false, c.ResourceVersion))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				err := table.GuaranteedUpdate(ctx, "/configmaps/n/c", &corev1.ConfigMap{}, false, nil,
					storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
						c := in.(*corev1.ConfigMap)
						n, _ := strconv.Atoi(c.Data["n"])
						c.Data = map[string]string{"n": strconv.Itoa(n + 1)}
						return c, nil
					}), nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := 1; n <= writers*each; n++ {
		select {
		case e := <-w.ResultChan():
			if c, ok := e.Object.(*corev1.ConfigMap); e.Type != watch.Modified || !ok || c.Data["n"] != strconv.Itoa(n) {
				t.Fatalf("got %v, want %d", e, n)
			}
		case <-ctx.Done():
			t.Fatalf("update %d was not seen", n)
		}
	}
	group.Wait()
}

// A watch can go back through the history, and not further.
func TestWatchGoesBack(t *testing.T) {
	table, end := open(t, t.TempDir())
	defer end(true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first := create(t, table, "first")
	for i := range 3 {
		create(t, table, fmt.Sprint("c", i))
	}
	w, err := table.Watch(ctx, "/configmaps/", everything(true, first.ResourceVersion))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range 3 {
		if e := <-w.ResultChan(); e.Type != watch.Added || e.Object.(*corev1.ConfigMap).Name != fmt.Sprint("c", i) {
			t.Fatalf("got %v, want c%d", e, i)
		}
	}
	for i := range 2 * keepHistory {
		create(t, table, fmt.Sprint("more", i))
	}
	if _, err := table.Watch(ctx, "/configmaps/", everything(true, first.ResourceVersion)); !apierrors.IsResourceExpired(err) {
		t.Errorf("from long ago: %v, want expired", err)
	}
	future := strconv.FormatUint(table.db.rev+1, 10)
	if _, err := table.Watch(ctx, "/configmaps/", everything(true, future)); !storage.IsTooLargeResourceVersion(err) {
		t.Errorf("from the future: %v, want too large", err)
	}
}

// A client that does not read costs a bounded amount of memory, and is told.
func TestSlowWatcherIsToldToStartAgain(t *testing.T) {
	table, end := open(t, t.TempDir())
	defer end(true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first := create(t, table, "first")
	w, err := table.Watch(ctx, "/configmaps/", everything(true, first.ResourceVersion))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	slow := w.(*watcher)
	fellBehind := func() bool {
		slow.mu.Lock()
		defer slow.mu.Unlock()
		return slow.behind
	}
	// How much the watcher takes at once before its channel is full, is up to the scheduler.
	for i := 0; !fellBehind(); i++ {
		if i > 2*maxPending+cap(slow.results)+1 {
			t.Fatalf("%d changes wait for a client that does not read", i)
		}
		create(t, table, fmt.Sprint("c", i))
	}
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			if err := apierrors.FromObject(e.Object); !apierrors.IsResourceExpired(err) {
				t.Errorf("told %v, want expired", err)
			}
			return
		}
	}
	t.Error("the watch ended without a word")
}
