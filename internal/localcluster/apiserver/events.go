package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// eventView shows the events of core/v1 as events.k8s.io/v1: there is one table of events, as on Kubernetes, whichever
// API they are written and read by.
type eventView struct{ storage.Interface }

func (v eventView) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	made := &corev1.Event{}
	if err := v.Interface.Create(ctx, key, toCore(obj.(*eventsv1.Event)), made, ttl); err != nil {
		return err
	}
	return give(out, made)
}

func (v eventView) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	found := &corev1.Event{}
	if err := v.Interface.Get(ctx, key, opts, found); err != nil {
		return err
	}
	return give(out, found)
}

func (v eventView) GetList(ctx context.Context, key string, opts storage.ListOptions, out runtime.Object) error {
	found, list := &corev1.EventList{}, out.(*eventsv1.EventList)
	opts.Predicate = throughView(opts.Predicate)
	if err := v.Interface.GetList(ctx, key, opts, found); err != nil {
		return err
	}
	list.ListMeta = found.ListMeta
	list.Items = make([]eventsv1.Event, len(found.Items))
	for i := range found.Items {
		list.Items[i] = *fromCore(&found.Items[i])
	}
	return nil
}

func (v eventView) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	opts.Predicate = throughView(opts.Predicate)
	w, err := v.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		if core, ok := e.Object.(*corev1.Event); ok {
			e.Object = fromCore(core)
		}
		return e, true
	}), nil
}

func (v eventView) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, try storage.UpdateFunc, _ runtime.Object,
) error {
	updated := &corev1.Event{}
	err := v.Interface.GuaranteedUpdate(ctx, key, updated, ignoreNotFound, pre,
		func(in runtime.Object, res storage.ResponseMeta) (runtime.Object, *uint64, error) {
			obj, ttl, err := try(fromCore(in.(*corev1.Event)), res)
			if err != nil {
				return nil, nil, err
			}
			return toCore(obj.(*eventsv1.Event)), ttl, nil
		}, nil)
	if err != nil {
		return err
	}
	return give(out, updated)
}

func (v eventView) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, opts storage.DeleteOptions,
) error {
	deleted := &corev1.Event{}
	check := func(ctx context.Context, obj runtime.Object) error {
		if validate == nil {
			return nil
		}
		return validate(ctx, fromCore(obj.(*corev1.Event)))
	}
	if err := v.Interface.Delete(ctx, key, deleted, pre, check, nil, opts); err != nil {
		return err
	}
	return give(out, deleted)
}

// throughView lets selectors for events.k8s.io/v1 look at the stored type.
func throughView(p storage.SelectionPredicate) storage.SelectionPredicate {
	attrs := p.GetAttrs
	if attrs == nil {
		return p
	}
	p.GetAttrs = storage.AttrFunc(func(obj runtime.Object) (labels.Set, fields.Set, error) {
		core, ok := obj.(*corev1.Event)
		if !ok {
			return nil, nil, fmt.Errorf("expected an Event, not a %T", obj)
		}
		return attrs(fromCore(core))
	})
	return p
}

func give(out runtime.Object, core *corev1.Event) error {
	to, ok := out.(*eventsv1.Event)
	if !ok {
		return fmt.Errorf("expected an Event of events.k8s.io, not a %T", out)
	}
	*to = *fromCore(core)
	return nil
}

func toCore(e *eventsv1.Event) *corev1.Event {
	core := &corev1.Event{
		ObjectMeta: e.ObjectMeta, InvolvedObject: e.Regarding, Related: e.Related, Reason: e.Reason, Message: e.Note,
		Type: e.Type, Action: e.Action, EventTime: e.EventTime, Source: e.DeprecatedSource,
		FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp, Count: e.DeprecatedCount,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
	}
	if e.Series != nil {
		core.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return core
}

func fromCore(core *corev1.Event) *eventsv1.Event {
	e := &eventsv1.Event{
		ObjectMeta: core.ObjectMeta, Regarding: core.InvolvedObject, Related: core.Related, Reason: core.Reason, Note: core.Message,
		Type: core.Type, Action: core.Action, EventTime: core.EventTime, DeprecatedSource: core.Source,
		DeprecatedFirstTimestamp: core.FirstTimestamp, DeprecatedLastTimestamp: core.LastTimestamp, DeprecatedCount: core.Count,
		ReportingController: core.ReportingController, ReportingInstance: core.ReportingInstance,
	}
	if core.Series != nil {
		e.Series = &eventsv1.EventSeries{Count: core.Series.Count, LastObservedTime: core.Series.LastObservedTime}
	}
	return e
}
