package client

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// syncTimeout bounds the first listing.
const syncTimeout = 15 * time.Second

// Follower holds the objects of some resources of one namespace, as they change.
type Follower struct {
	factory dynamicinformer.DynamicSharedInformerFactory
	stores  map[schema.GroupVersionResource]cache.Store
	changed chan struct{}
	cancel  context.CancelFunc
}

// Follow lists resources of the client's namespace and then watches them until Stop. It returns when all have been
// listed once, when ctx ends, or after 15 seconds without an answer.
func (c *Client) Follow(ctx context.Context, resources ...schema.GroupVersionResource) (*Follower, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &Follower{
		factory: dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.Dynamic, 0, c.Namespace, nil),
		stores:  map[schema.GroupVersionResource]cache.Store{},
		changed: make(chan struct{}, 1),
		cancel:  cancel,
	}
	notify := func() {
		select {
		case f.changed <- struct{}{}:
		default: // one notice is already waiting
		}
	}
	for _, r := range resources {
		informer := f.factory.ForResource(r).Informer()
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { notify() },
			UpdateFunc: func(any, any) { notify() },
			DeleteFunc: func(any) { notify() },
		})
		if err != nil {
			cancel()
			return nil, fmt.Errorf("following %s: %w", r.Resource, err)
		}
		f.stores[r] = informer.GetStore()
	}
	f.factory.Start(ctx.Done())
	syncing, syncCancel := context.WithTimeout(ctx, syncTimeout)
	defer syncCancel()
	for r, ok := range f.factory.WaitForCacheSync(syncing.Done()) {
		if !ok {
			f.Stop()
			return nil, fmt.Errorf("following %s: the API server at %s does not answer", r.Resource, c.Config.Host)
		}
	}
	return f, nil
}

// Stop ends the watches and waits for them.
func (f *Follower) Stop() {
	f.cancel()
	f.factory.Shutdown()
}

// Wait returns after the next change, after a second at most (ages and waits show seconds), or when ctx ends.
func (f *Follower) Wait(ctx context.Context) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-f.changed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// List is what a resource's objects are now, those that selector matches.
func (f *Follower) List(r schema.GroupVersionResource, selector labels.Selector) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, o := range f.stores[r].List() {
		if u, ok := o.(*unstructured.Unstructured); ok && selector.Matches(labels.Set(u.GetLabels())) {
			out = append(out, u)
		}
	}
	return out
}

// All is List of typed objects; what does not convert is left out.
func All[T any](f *Follower, r schema.GroupVersionResource) []*T {
	var out []*T
	for _, u := range f.List(r, labels.Everything()) {
		if t, err := Convert[T](u); err == nil {
			out = append(out, t)
		}
	}
	return out
}
