package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// openTimeout bounds the wait for another process that has the file open.
	openTimeout = time.Second
	// retryInterval is how long a write that failed waits before it is tried again.
	retryInterval = time.Second
	// groupTime is for how long changes wait for others to be written with them. A change of master is several of them, and its
	// agents write to the same disk meanwhile, with writers waiting for that. What a crash of the process may cost is this much.
	groupTime = 50 * time.Millisecond
	// expiryInterval is how often objects with a TTL are looked through.
	expiryInterval = time.Minute
)

var (
	metaBucket  = []byte("meta")
	revisionKey = []byte("revision")
)

// disk is the file and what waits to be written to it. Changes of one object overwrite each other while they wait,
// and every write takes all that waits: what is on disk is always the state of one moment.
type disk struct {
	file     *bbolt.DB
	revision uint64 // as the file had it when it was opened

	mu      sync.Mutex
	pending map[pendingKey]runtime.Object // nil: delete it
	rev     uint64
	err     error
	wake    chan struct{}
}

type pendingKey struct {
	table *Table
	key   string
}

func openDisk(path string) (*disk, error) {
	file, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, NoFreelistSync: true})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, errors.New("another process has it open")
	}
	if err != nil {
		return nil, err
	}
	d := &disk{file: file, pending: map[pendingKey]runtime.Object{}, wake: make(chan struct{}, 1)}
	err = file.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		if v := b.Get(revisionKey); len(v) == 8 {
			d.revision = binary.BigEndian.Uint64(v)
		}
		// The jump is written down at once: two crashes in a row must not give the same revisions.
		d.rev = d.revision + revisionStep
		return b.Put(revisionKey, binary.BigEndian.AppendUint64(nil, d.rev))
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return d, nil
}

// load calls fn for every object of a table.
func (d *disk) load(prefix string, fn func(key string, value []byte) error) error {
	return d.file.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(prefix))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error { return fn(string(k), v) })
	})
}

// put queues a change; it never waits for the disk.
func (d *disk) put(rev uint64, t *Table, key string, obj runtime.Object) {
	d.mu.Lock()
	d.pending[pendingKey{t, key}] = obj
	d.rev = rev
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *disk) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// flush writes all that waits, in one transaction. What could not be written waits again.
func (d *disk) flush() error {
	d.mu.Lock()
	batch, rev := d.pending, d.rev
	d.pending = map[pendingKey]runtime.Object{}
	d.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := d.file.Update(func(tx *bbolt.Tx) error {
		for k, obj := range batch {
			if err := write(tx, k, obj); err != nil {
				return fmt.Errorf("write %s to the store: %w", k.key, err)
			}
		}
		return tx.Bucket(metaBucket).Put(revisionKey, binary.BigEndian.AppendUint64(nil, rev))
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	if err != nil {
		for k, obj := range batch {
			if _, newer := d.pending[k]; !newer {
				d.pending[k] = obj
			}
		}
	}
	return err
}

func write(tx *bbolt.Tx, k pendingKey, obj runtime.Object) error {
	b, err := tx.CreateBucketIfNotExists([]byte(k.table.Prefix))
	if err != nil {
		return err
	}
	if obj == nil {
		return b.Delete([]byte(k.key))
	}
	// Encoding sets apiVersion and kind on the object, which others are reading.
	value, err := runtime.Encode(k.table.Encoder, obj.DeepCopyObject())
	if err != nil {
		return err
	}
	return b.Put([]byte(k.key), value)
}

// Run writes changes to disk, and deletes what is older than its TTL, until ctx ends. A disk that cannot be written
// is reported and tried again; meanwhile the store serves from memory.
func (db *DB) Run(ctx context.Context) {
	expiry := time.NewTicker(expiryInterval)
	defer expiry.Stop()
	retry := time.NewTimer(retryInterval)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-expiry.C:
			db.expire(now)
			continue
		case <-db.disk.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(groupTime):
			}
		case <-retry.C:
		}
		if err := db.disk.flush(); err != nil {
			db.log.Error("The store cannot be written; changes are kept in memory and written later", "error", err)
			retry.Reset(retryInterval)
		}
	}
}

func (db *DB) expire(now time.Time) {
	db.mu.RLock()
	tables := make([]*Table, 0, len(db.tables))
	for _, t := range db.tables {
		tables = append(tables, t)
	}
	db.mu.RUnlock()
	for _, t := range tables {
		if err := t.expire(now); err != nil {
			db.log.Error("Old objects cannot be deleted", "kind", t.Prefix, "error", err)
		}
	}
}

// Close writes what is still in memory alone and closes the file. Call it once, after Run returned, after the last
// write, and after the contexts of all watches ended; it waits for those.
func (db *DB) Close() error {
	db.watches.Wait()
	return errors.Join(db.disk.flush(), db.disk.file.Close())
}
