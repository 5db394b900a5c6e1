// Package store keeps the objects of the embedded API server: in memory, where every read is answered, and in one
// bbolt file, to which a single goroutine writes in groups. A Table is a storage.Interface of k8s.io/apiserver for
// one kind, so that the generic registry's rules (conflicts, finalizers, graceful deletion, dry run) apply as they
// are on Kubernetes.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

var versioner = storage.APIObjectVersioner{}

// DB holds the tables. All of them share one revision, which is the resourceVersion of the objects.
type DB struct {
	log  *slog.Logger
	disk *disk

	watches sync.WaitGroup

	mu     sync.RWMutex
	rev    uint64
	tables map[string]*Table
}

// TableOptions describe the objects of one kind.
type TableOptions struct {
	// Prefix of the keys, such as "/pods".
	Prefix string
	// New makes an empty object.
	New func() runtime.Object
	// Encoder writes objects to disk with their apiVersion and kind.
	Encoder runtime.Encoder
	// Decoder reads what Encoder wrote.
	Decoder runtime.Decoder
	// MaxObjects, if not 0, is how many objects are kept; the one that was written longest ago makes room.
	MaxObjects int
	// TTL, if not 0, is how long an object is kept after its last write.
	TTL time.Duration
}

// Table is the objects of one kind. It implements storage.Interface.
type Table struct {
	TableOptions
	db *DB

	// All below is guarded by db.mu.
	objects  map[string]*entry
	history  []event // in the order of revisions
	floor    uint64  // a watch cannot start before this revision
	watchers map[*watcher]struct{}
}

// entry is a stored object. It is never changed in place: whoever holds one may read it without a lock, and two
// entries are the same version exactly when they are the same pointer.
type entry struct {
	obj     runtime.Object
	rev     uint64
	expires time.Time
}

// event is one change: old is nil for a creation, and new for a deletion, whose last state is in old with the
// revision of the deletion.
type event struct {
	key      string
	rev      uint64
	old, new runtime.Object
}

// keepHistory is how many changes of one kind a watch can go back.
const keepHistory = 2048

// revisionStep is by how much the revision jumps at every start. It is far more than what a crash can lose, so that
// no resourceVersion that a client has seen is ever given out twice.
const revisionStep = 1 << 20

// Open reads the file at path, or starts an empty one. Call Table for every kind, then Run, then Close.
func Open(path string, log *slog.Logger) (*DB, error) {
	d, err := openDisk(path)
	if err != nil {
		return nil, fmt.Errorf("open the store %s: %w", path, err)
	}
	return &DB{log: log, disk: d, rev: d.revision + revisionStep, tables: map[string]*Table{}}, nil
}

// Table adds a kind and loads its objects.
func (db *DB) Table(o TableOptions) (*Table, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := &Table{TableOptions: o, db: db, objects: map[string]*entry{}, floor: db.rev, watchers: map[*watcher]struct{}{}}
	err := db.disk.load(o.Prefix, func(key string, value []byte) error {
		obj, err := runtime.Decode(o.Decoder, value)
		if err != nil {
			return fmt.Errorf("read %s from the store: %w", key, err)
		}
		rev, err := versioner.ObjectResourceVersion(obj)
		if err != nil {
			return fmt.Errorf("read %s from the store: %w", key, err)
		}
		t.objects[key] = t.entry(obj, rev)
		return nil
	})
	if err != nil {
		return nil, err
	}
	db.tables[o.Prefix] = t
	return t, nil
}

func (t *Table) entry(obj runtime.Object, rev uint64) *entry {
	e := &entry{obj: obj, rev: rev}
	if t.TTL > 0 {
		e.expires = time.Now().Add(t.TTL)
	}
	return e
}

// commit replaces old by obj under key; either may be nil. It stamps the revision on the object that the watchers
// get. The caller holds db.mu and gives obj away.
func (t *Table) commit(key string, old *entry, obj runtime.Object) (*entry, error) {
	rev := t.db.rev + 1
	e := event{key: key, rev: rev, new: obj}
	if old != nil {
		e.old = old.obj
	}
	var now *entry
	if obj == nil {
		e.old = e.old.DeepCopyObject()
		if err := versioner.UpdateObject(e.old, rev); err != nil {
			return nil, fmt.Errorf("stamp %s: %w", key, err)
		}
		delete(t.objects, key)
	} else {
		if err := versioner.UpdateObject(obj, rev); err != nil {
			return nil, fmt.Errorf("stamp %s: %w", key, err)
		}
		now = t.entry(obj, rev)
		t.objects[key] = now
	}
	t.db.rev = rev
	t.history = append(t.history, e)
	if n := len(t.history) - keepHistory; n > keepHistory/4 {
		t.floor = t.history[n-1].rev
		t.history = append([]event(nil), t.history[n:]...)
	}
	for w := range t.watchers {
		w.push(e)
	}
	t.db.disk.put(rev, t, key, obj)
	return now, nil
}

// Create implements storage.Interface.
func (t *Table) Create(_ context.Context, key string, obj, out runtime.Object, _ uint64) error {
	if rev, err := versioner.ObjectResourceVersion(obj); err == nil && rev != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	obj = obj.DeepCopyObject()
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	if old, ok := t.objects[key]; ok {
		return storage.NewKeyExistsError(key, int64(old.rev))
	}
	e, err := t.commit(key, nil, obj)
	if err != nil {
		return err
	}
	if err := t.evict(); err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	return copyTo(out, e.obj)
}

// evict makes room where there are more than MaxObjects. The caller holds db.mu.
func (t *Table) evict() error {
	for t.MaxObjects > 0 && len(t.objects) > t.MaxObjects {
		var oldest string
		for key, e := range t.objects {
			if oldest == "" || e.rev < t.objects[oldest].rev {
				oldest = key
			}
		}
		if _, err := t.commit(oldest, t.objects[oldest], nil); err != nil {
			return err
		}
	}
	return nil
}

// expire deletes what is older than the TTL.
func (t *Table) expire(now time.Time) error {
	if t.TTL == 0 {
		return nil
	}
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	for key, e := range t.objects {
		if e.expires.Before(now) {
			if _, err := t.commit(key, e, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Table) get(key string) *entry {
	t.db.mu.RLock()
	defer t.db.mu.RUnlock()
	return t.objects[key]
}

// Get implements storage.Interface.
func (t *Table) Get(_ context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	if err := t.notOlderThan(opts.ResourceVersion); err != nil {
		return err
	}
	e := t.get(key)
	if e == nil {
		if opts.IgnoreNotFound {
			return runtime.SetZeroValue(out)
		}
		return storage.NewKeyNotFoundError(key, 0)
	}
	return copyTo(out, e.obj)
}

// GetList implements storage.Interface. It does not page: the API allows a server to answer a limited list whole,
// and one consistent snapshot is worth more here than short answers.
func (t *Table) GetList(_ context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if opts.Predicate.Continue != "" {
		return apierrors.NewResourceExpired("lists are not paged here; start the list again without a continue token")
	}
	exact, _, err := storage.ValidateListOptions(t.Prefix, versioner, opts)
	if err != nil {
		return err
	}
	if err := t.notOlderThan(opts.ResourceVersion); err != nil {
		return err
	}
	found, rev := t.snapshot(key, opts.Recursive)
	if exact > 0 && uint64(exact) != rev && opts.Predicate.Limit == 0 {
		return apierrors.NewResourceExpired(fmt.Sprintf("only the present is kept here: resourceVersion %d is over, now is %d", exact, rev))
	}
	items := make([]runtime.Object, 0, len(found))
	for _, obj := range found {
		ok, err := opts.Predicate.Matches(obj)
		if err != nil {
			return err
		}
		if ok {
			items = append(items, obj.DeepCopyObject())
		}
	}
	if err := meta.SetList(list, items); err != nil {
		return fmt.Errorf("list %s: %w", key, err)
	}
	return versioner.UpdateList(list, rev, "", nil)
}

// snapshot is every object under key, by key, and the revision of that moment.
func (t *Table) snapshot(key string, recursive bool) ([]runtime.Object, uint64) {
	t.db.mu.RLock()
	defer t.db.mu.RUnlock()
	return t.snapshotLocked(key, recursive), t.db.rev
}

func (t *Table) snapshotLocked(key string, recursive bool) []runtime.Object {
	if !recursive {
		if e := t.objects[key]; e != nil {
			return []runtime.Object{e.obj}
		}
		return nil
	}
	keys := make([]string, 0, len(t.objects))
	for k := range t.objects {
		if under(k, key) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	objs := make([]runtime.Object, len(keys))
	for i, k := range keys {
		objs[i] = t.objects[k].obj
	}
	return objs
}

// under tells whether key is in the directory dir, which may end in a slash or not.
func under(key, dir string) bool {
	return strings.HasPrefix(key, strings.TrimSuffix(dir, "/")+"/")
}

// notOlderThan refuses a resourceVersion of the future: a client must not be told less than it knows.
func (t *Table) notOlderThan(rv string) error {
	want, err := versioner.ParseResourceVersion(rv)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: %v", rv, err))
	}
	t.db.mu.RLock()
	defer t.db.mu.RUnlock()
	if want > t.db.rev {
		return storage.NewTooLargeResourceVersionError(want, t.db.rev, 1)
	}
	return nil
}
