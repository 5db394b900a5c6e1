// Package services makes Services work on one machine: it writes their EndpointSlices and Endpoints, and forwards
// connections to their addresses to ready pods.
//
// The proxy does not wait for endpoints to be written and read back: it computes its backends from the pods as the
// watch tells them. From the change of a label to the new connection going elsewhere it takes about a millisecond.
package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Annotations on Services.
const (
	// AnnotationPublished tells where on this machine a Service of type NodePort or LoadBalancer is reached: one
	// HOST:PORT for every port of the Service, in their order, with commas between.
	AnnotationPublished = "redstart.dev/published"
	// ConditionPublished is false, with the reason, while a port of a Service cannot be published.
	ConditionPublished = "redstart.dev/Published"
)

// publishedIP is the address of this machine where Services are published.
const publishedIP = "127.0.0.1"

// defaultMaxConnections needs at most six file descriptors each: two sockets and two pipes of the kernel's splice.
const defaultMaxConnections = 2048

// Options are what the package needs beyond a manager.
type Options struct {
	// Events receives what is to be told about Services.
	Events record.EventRecorder
	// Logger gets what an operator of the machine wants to know; nil discards it.
	Logger *slog.Logger
	// SharedIP is set where all Services have the one cluster IP 127.0.0.1. Each port of a Service then has a local
	// port of its own, which the annotation redstart.dev/ports of the Service tells.
	SharedIP bool
	// MaxConnections through all Services together; more are reset. 0 is 2048.
	MaxConnections int
}

// Setup adds the controllers to mgr and returns the proxy, which the caller closes after mgr has stopped.
func Setup(mgr ctrl.Manager, o Options) (*Proxy, error) {
	if o.Events == nil {
		return nil, errors.New("services: Events must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := (&endpoints{Client: mgr.GetClient()}).setup(mgr); err != nil {
		return nil, fmt.Errorf("set up the controller of endpoints: %w", err)
	}
	p := newProxy(o.Logger, cmp.Or(o.MaxConnections, defaultMaxConnections), o.SharedIP)
	if err := (&publisher{Client: mgr.GetClient(), proxy: p, events: o.Events}).setup(mgr); err != nil {
		return nil, fmt.Errorf("set up the controller of the Service proxy: %w", err)
	}
	// The informer is asked for before the manager starts it; the context bounds nothing.
	pods, err := mgr.GetCache().GetInformer(context.Background(), &corev1.Pod{})
	if err == nil {
		_, err = pods.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { p.podChanged(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { p.podChanged(o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
					o = last.Obj
				}
				if pod, ok := o.(*corev1.Pod); ok {
					p.podGone(pod)
				}
			},
		})
	}
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	return p, nil
}
