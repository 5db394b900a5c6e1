package store

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol"
)

const (
	// maxPending is how many changes a watcher may be behind before it is told to start again.
	maxPending = 8192
	// bookmarkInterval is how often a watcher that asked for bookmarks hears of the present revision.
	bookmarkInterval = time.Minute
)

// watcher implements watch.Interface. commit pushes onto pending, without ever waiting for the client; one goroutine
// takes from it, filters, copies and sends.
type watcher struct {
	table     *Table
	key       string
	recursive bool
	pred      storage.SelectionPredicate
	results   chan watch.Event
	cancel    context.CancelFunc

	mu      sync.Mutex
	pending []event
	behind  bool
	wake    chan struct{} // holds one token when pending is worth looking at
}

// Watch implements storage.Interface.
func (t *Table) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	from, err := versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: %v", opts.ResourceVersion, err))
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{
		table: t, key: key, recursive: opts.Recursive, pred: opts.Predicate,
		results: make(chan watch.Event, 100), cancel: cancel, wake: make(chan struct{}, 1),
	}
	list := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	initial, rev, err := w.attach(from, list || opts.SendInitialEvents == nil && from == 0)
	if err != nil {
		cancel()
		return nil, err
	}
	flowcontrol.WatchInitialized(ctx)
	t.db.watches.Go(func() { w.run(ctx, initial, rev, list && opts.Predicate.AllowWatchBookmarks) })
	return w, nil
}

// attach registers w and returns the objects that it begins with, if it wants any; otherwise the changes since
// revision from are pending. All of it is one moment, so that nothing is missed and nothing comes twice.
func (w *watcher) attach(from uint64, list bool) ([]runtime.Object, uint64, error) {
	t := w.table
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	if from > t.db.rev {
		return nil, 0, storage.NewTooLargeResourceVersionError(from, t.db.rev, 1)
	}
	var initial []runtime.Object
	switch {
	case list:
		initial = t.snapshotLocked(w.key, w.recursive)
	case from > 0 && from < t.floor:
		return nil, 0, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", from, t.floor))
	case from > 0:
		since := sort.Search(len(t.history), func(i int) bool { return t.history[i].rev > from })
		for _, e := range t.history[since:] {
			w.push(e)
		}
	}
	t.watchers[w] = struct{}{}
	return initial, t.db.rev, nil
}

// push is called with the lock of the DB held, in the order of revisions.
func (w *watcher) push(e event) {
	if w.recursive && !under(e.key, w.key) || !w.recursive && e.key != w.key {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) >= maxPending {
		w.behind = true
	} else {
		w.pending = append(w.pending, e)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take empties pending.
func (w *watcher) take() (events []event, behind bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, w.pending = w.pending, nil
	return events, w.behind
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.results }

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

func (w *watcher) run(ctx context.Context, initial []runtime.Object, rev uint64, endOfList bool) {
	defer func() {
		w.table.db.mu.Lock()
		delete(w.table.watchers, w)
		w.table.db.mu.Unlock()
		w.cancel()
		close(w.results)
	}()
	for _, obj := range initial {
		if !w.deliver(ctx, event{rev: rev, new: obj}) {
			return
		}
	}
	if endOfList && !w.bookmark(ctx, rev, true) {
		return
	}
	var tick <-chan time.Time
	if w.pred.AllowWatchBookmarks {
		ticker := time.NewTicker(bookmarkInterval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			if rev, ok := w.upToDate(); ok && !w.bookmark(ctx, rev, false) {
				return
			}
		case <-w.wake:
			events, behind := w.take()
			for _, e := range events {
				if !w.deliver(ctx, e) {
					return
				}
			}
			if behind {
				w.send(ctx, watch.Error, &apierrors.NewResourceExpired("the watch fell behind; list again").ErrStatus)
				return
			}
		}
	}
}

// upToDate returns the present revision if everything up to it was delivered.
func (w *watcher) upToDate() (uint64, bool) {
	w.table.db.mu.RLock()
	defer w.table.db.mu.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table.db.rev, len(w.pending) == 0
}

// deliver sends e as the selectors see it: an object that begins to match is added, one that ends to is deleted.
func (w *watcher) deliver(ctx context.Context, e event) bool {
	was, err := w.matches(e.old)
	if err != nil {
		return w.fail(ctx, err)
	}
	is, err := w.matches(e.new)
	if err != nil {
		return w.fail(ctx, err)
	}
	switch {
	case is && was:
		return w.send(ctx, watch.Modified, e.new.DeepCopyObject())
	case is:
		return w.send(ctx, watch.Added, e.new.DeepCopyObject())
	case was:
		last := e.old.DeepCopyObject()
		if err := versioner.UpdateObject(last, e.rev); err != nil {
			return w.fail(ctx, err)
		}
		return w.send(ctx, watch.Deleted, last)
	}
	return true
}

func (w *watcher) matches(obj runtime.Object) (bool, error) {
	if obj == nil {
		return false, nil
	}
	return w.pred.Matches(obj)
}

func (w *watcher) bookmark(ctx context.Context, rev uint64, endOfList bool) bool {
	obj := w.table.New()
	if err := versioner.UpdateObject(obj, rev); err != nil {
		return w.fail(ctx, err)
	}
	if endOfList {
		if err := storage.AnnotateInitialEventsEndBookmark(obj); err != nil {
			return w.fail(ctx, err)
		}
	}
	return w.send(ctx, watch.Bookmark, obj)
}

func (w *watcher) fail(ctx context.Context, err error) bool {
	w.send(ctx, watch.Error, &apierrors.NewInternalError(err).ErrStatus)
	return false
}

func (w *watcher) send(ctx context.Context, typ watch.EventType, obj runtime.Object) bool {
	select {
	case w.results <- watch.Event{Type: typ, Object: obj}:
		return true
	case <-ctx.Done():
		return false
	}
}
