package store

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// GuaranteedUpdate implements storage.Interface: try runs outside the lock, on a copy, and again whenever somebody
// else was faster. The context bounds it.
func (t *Table) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, try storage.UpdateFunc, _ runtime.Object,
) error {
	for {
		if err := ctx.Err(); err != nil {
			return storage.NewTimeoutError(key, err.Error())
		}
		cur := t.get(key)
		obj, done, err := t.attempt(key, cur, out, ignoreNotFound, pre, try)
		if err != nil || done {
			return err
		}
		now, swapped, err := t.swap(key, cur, obj)
		if err != nil {
			return err
		}
		if swapped {
			return copyTo(out, now.obj)
		}
	}
}

// attempt runs try on cur. done tells that nothing is to be written, and that out is set.
func (t *Table) attempt(key string, cur *entry, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, try storage.UpdateFunc,
) (obj runtime.Object, done bool, err error) {
	in, res := t.New(), storage.ResponseMeta{}
	if cur != nil {
		in, res = cur.obj.DeepCopyObject(), storage.ResponseMeta{ResourceVersion: cur.rev}
	} else if !ignoreNotFound {
		return nil, false, storage.NewKeyNotFoundError(key, 0)
	}
	if err := pre.Check(key, in); err != nil {
		return nil, false, err
	}
	obj, _, err = try(in, res)
	if err != nil {
		return nil, false, err
	}
	obj = obj.DeepCopyObject()
	if cur != nil {
		// A write that changes nothing is none: it gets no revision and wakes nobody.
		if err := versioner.UpdateObject(obj, cur.rev); err != nil {
			return nil, false, fmt.Errorf("stamp %s: %w", key, err)
		}
		if t.TTL == 0 && equality.Semantic.DeepEqual(obj, cur.obj) {
			return nil, true, copyTo(out, cur.obj)
		}
	}
	return obj, false, nil
}

// swap writes obj if cur is still what is stored.
func (t *Table) swap(key string, cur *entry, obj runtime.Object) (*entry, bool, error) {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	if t.objects[key] != cur {
		return nil, false, nil
	}
	now, err := t.commit(key, cur, obj)
	if err == nil && cur == nil {
		err = t.evict()
	}
	return now, err == nil, err
}

// Delete implements storage.Interface.
func (t *Table) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions,
) error {
	for {
		if err := ctx.Err(); err != nil {
			return storage.NewTimeoutError(key, err.Error())
		}
		cur := t.get(key)
		if cur == nil {
			return storage.NewKeyNotFoundError(key, 0)
		}
		obj := cur.obj.DeepCopyObject()
		if err := pre.Check(key, obj); err != nil {
			return err
		}
		if validate != nil {
			if err := validate(ctx, obj); err != nil {
				return err
			}
		}
		if _, swapped, err := t.swap(key, cur, nil); err != nil || swapped {
			if err != nil {
				return err
			}
			return copyTo(out, cur.obj)
		}
	}
}

// copyTo makes *out a deep copy of *obj; both are pointers to the same type.
func copyTo(out, obj runtime.Object) error {
	dst, src := reflect.ValueOf(out), reflect.ValueOf(obj.DeepCopyObject())
	if dst.Type() != src.Type() {
		return fmt.Errorf("the store holds a %T, not a %T", obj, out)
	}
	dst.Elem().Set(src.Elem())
	return nil
}

// Versioner implements storage.Interface.
func (t *Table) Versioner() storage.Versioner { return versioner }

// Stats implements storage.Interface.
func (t *Table) Stats(context.Context) (storage.Stats, error) {
	t.db.mu.RLock()
	defer t.db.mu.RUnlock()
	return storage.Stats{ObjectCount: int64(len(t.objects))}, nil
}

// ReadinessCheck implements storage.Interface: it tells of a disk that cannot be written.
func (t *Table) ReadinessCheck() error { return t.db.disk.failure() }

// RequestWatchProgress implements storage.Interface; nothing lags behind here.
func (t *Table) RequestWatchProgress(context.Context) error { return nil }

// GetCurrentResourceVersion implements storage.Interface.
func (t *Table) GetCurrentResourceVersion(context.Context) (uint64, error) {
	t.db.mu.RLock()
	defer t.db.mu.RUnlock()
	return t.db.rev, nil
}

// EnableResourceSizeEstimation implements storage.Interface; sizes are not estimated.
func (t *Table) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface.
func (t *Table) CompactRevision() int64 {
	t.db.mu.RLock()
	defer t.db.mu.RUnlock()
	return int64(t.floor)
}

var _ storage.Interface = &Table{}
