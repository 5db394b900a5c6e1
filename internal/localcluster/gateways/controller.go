// Package gateways makes Gateways and HTTPRoutes work on one machine. Every Gateway of the class redstart gets a Service
// of type LoadBalancer, by which the Service proxy gives it an address and publishes its ports, and whose connections
// package httpproxy serves.
//
// There are few of these objects on one machine, so that all are looked at whenever one changes: what is served is a
// function of what there is, and of nothing else.
package gateways

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/internal/localcluster/httpproxy"
	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
	"redstart.dev/redstart/internal/localcluster/traffic"
)

const (
	// MetricsNamespace and MetricsService are the Service with the metrics of all Gateways, for Prometheus. It is
	// there as soon as there is a Gateway.
	MetricsNamespace = metav1.NamespaceSystem
	MetricsService   = "redstart-gateway"
	// MetricsPort is its port, and the path is /metrics.
	MetricsPort = 9090

	// lookAgain is the pause after a conflicting write, until the cache has the other one.
	lookAgain = 10 * time.Millisecond
)

// Options are what the package needs beyond a manager. All fields are required.
type Options struct {
	// Services gives Gateways their addresses, and tells the pods behind Services.
	Services *services.Proxy
	// LogDir is where access logs are written, NAMESPACE_NAME-PORT.log.
	LogDir string
	Events record.EventRecorder
	Logger *slog.Logger
}

// Gateways serves all Gateways. Make it with Setup.
type Gateways struct {
	client.Client
	o       Options
	proxy   *httpproxy.Proxy
	metrics *httpproxy.MetricsServer
	// listeners that are open. The one worker of the controller has them, and Close after it.
	listeners map[gatewayPort]*httpproxy.Listener
}

// Setup adds the controller to mgr. The caller closes what it returns after mgr and the pods have stopped, and before
// the Service proxy.
func Setup(mgr ctrl.Manager, o Options) (*Gateways, error) {
	if o.Services == nil || o.LogDir == "" || o.Events == nil || o.Logger == nil {
		return nil, errors.New("gateways: Services, LogDir, Events and Logger must be set")
	}
	g := &Gateways{
		Client: mgr.GetClient(), o: o, proxy: httpproxy.New(o.LogDir, o.Logger), listeners: map[gatewayPort]*httpproxy.Listener{},
	}
	g.metrics = g.proxy.ServeMetrics()
	o.Services.Watch(g.proxy.Changed)
	o.Services.Handle(services.Port{Service: metricsKey, Number: MetricsPort}, g.metrics)
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: "all"}}}
	})
	err := ctrl.NewControllerManagedBy(mgr).Named("gateways").
		Watches(&gatewayv1.GatewayClass{}, all).
		Watches(&gatewayv1.Gateway{}, all).
		Watches(&gatewayv1.HTTPRoute{}, all).
		Watches(&corev1.Service{}, all).
		Watches(&corev1.Namespace{}, all).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(g)
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("set up the controller of Gateways: %w", err)
	}
	return g, nil
}

var metricsKey = types.NamespacedName{Namespace: MetricsNamespace, Name: MetricsService}

// Traffic tells what the Gateways served lately.
func (g *Gateways) Traffic() traffic.Source { return g.proxy.Traffic() }

// Drain takes a pod that is about to be stopped out of all Services, and waits until it has answered the requests that
// it has, but no longer than most and than ctx.
func (g *Gateways) Drain(ctx context.Context, uid types.UID, most time.Duration) {
	g.o.Services.Leave(uid)
	g.proxy.Drain(ctx, uid, most)
}

// Close cuts all connections and waits for what runs.
func (g *Gateways) Close() {
	for at := range g.listeners {
		g.closeListener(at)
	}
	g.o.Services.Handle(services.Port{Service: metricsKey, Number: MetricsPort}, nil)
	g.metrics.Close()
	g.proxy.Close()
}

// Reconcile makes what is served, and what is told, follow from all objects.
func (g *Gateways) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	w, err := g.look(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := w.decide()
	err = errors.Join(g.serve(w, plan), g.tell(ctx, w, plan))
	if onlyConflicts(err) {
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	return ctrl.Result{}, err
}

// onlyConflicts tells whether nothing is wrong but that the cache is behind.
func onlyConflicts(err error) bool {
	if err == nil {
		return false
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			if !onlyConflicts(e) {
				return false
			}
		}
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

// look reads everything from the cache.
func (g *Gateways) look(ctx context.Context) (*world, error) {
	var classes gatewayv1.GatewayClassList
	var gateways gatewayv1.GatewayList
	var routes gatewayv1.HTTPRouteList
	var svcs corev1.ServiceList
	var namespaces corev1.NamespaceList
	for _, l := range []client.ObjectList{&classes, &gateways, &routes, &svcs, &namespaces} {
		if err := g.List(ctx, l); err != nil {
			return nil, fmt.Errorf("look at what there is: %w", err)
		}
	}
	w := &world{classes: classes.Items, gateways: gateways.Items, routes: routes.Items, services: map[types.NamespacedName]*corev1.Service{}, namespaces: map[string]labels.Set{}}
	for i := range svcs.Items {
		w.services[nameOf(&svcs.Items[i])] = &svcs.Items[i]
	}
	for i := range namespaces.Items {
		w.namespaces[namespaces.Items[i].Name] = namespaces.Items[i].Labels
	}
	return w, nil
}

// serve gives every port its routes, and opens and closes ports.
func (g *Gateways) serve(w *world, p *plan) error {
	resolve := func(namespace string, ref *gatewayv1.BackendObjectReference) (routing.Target, bool) {
		t, v := w.resolve(namespace, ref)
		return t, v.ok
	}
	var errs []error
	for at, listeners := range p.ports {
		table, err := routing.Compile(listeners, resolve)
		if err != nil { // the API server lets no such route in; the port keeps what it had
			errs = append(errs, fmt.Errorf("port %d of Gateway %s: %w", at.port, at.gateway, err))
			continue
		}
		l := g.listeners[at]
		if l == nil {
			l = g.proxy.Listen(fmt.Sprintf("%s_%s-%d", at.gateway.Namespace, at.gateway.Name, at.port))
			g.listeners[at] = l
		}
		l.Route(table)
		if svc := w.services[at.service().Service]; svc == nil || isOf(svc, at.gateway.Name) {
			g.o.Services.Handle(at.service(), l)
		}
	}
	for at := range g.listeners {
		if _, wanted := p.ports[at]; !wanted {
			g.closeListener(at)
		}
	}
	for i := range w.gateways {
		gw := &w.gateways[i]
		for _, n := range portsOf(gw) {
			if l := g.listeners[gatewayPort{nameOf(gw), n}]; l != nil {
				l.LogAccess(gw.Annotations[routing.AnnotationAccessLog] == "true")
			}
		}
	}
	g.proxy.KeepRoutes(func(namespace, route string) bool {
		for i := range w.routes {
			if w.routes[i].Namespace == namespace && w.routes[i].Name == route {
				return true
			}
		}
		return false
	})
	return errors.Join(errs...)
}

// service is the port of the Gateway's Service.
func (at gatewayPort) service() services.Port {
	return services.Port{Service: types.NamespacedName{Namespace: at.gateway.Namespace, Name: ServiceName(at.gateway.Name)}, Number: at.port}
}

// isOf tells whether a Service was made for a Gateway of that name, and not by somebody else.
func isOf(svc *corev1.Service, gateway string) bool {
	owner := metav1.GetControllerOf(svc)
	return owner != nil && owner.Kind == gatewayKind.Kind && owner.Name == gateway
}

func (g *Gateways) closeListener(at gatewayPort) {
	g.o.Services.Handle(at.service(), nil)
	g.listeners[at].Close()
	delete(g.listeners, at)
}

// tell writes the Services and the status of everything.
func (g *Gateways) tell(ctx context.Context, w *world, p *plan) error {
	errs := []error{g.tellClasses(ctx, w)}
	serving := false
	for i := range w.gateways {
		gw := &w.gateways[i]
		if gw.DeletionTimestamp != nil {
			continue
		}
		ours, why := w.ours(gw)
		if !ours {
			errs = append(errs, g.writeGateway(ctx, gw, foreignStatus(gw, why)))
			continue
		}
		serving = true
		svc, problem, err := g.giveService(ctx, w, DesiredService(gw), gw.UID)
		errs = append(errs, err)
		errs = append(errs, g.writeGateway(ctx, gw, gatewayStatus(gw, p.attached[nameOf(gw)], svc, problem)))
	}
	if serving {
		_, _, err := g.giveService(ctx, w, metricsService(), "")
		errs = append(errs, err)
	}
	for i := range w.routes {
		r := &w.routes[i]
		want := routeStatus(r, p.attachments[nameOf(r)], w.resolved(r))
		if r.DeletionTimestamp != nil || equality.Semantic.DeepEqual(r.Status, want) {
			continue
		}
		before := r.DeepCopy()
		r.Status = want
		if err := g.Status().Patch(ctx, r, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("write the status of HTTPRoute %s: %w", nameOf(r), err))
		}
	}
	return errors.Join(errs...)
}

// tellClasses makes the class that is always there, and accepts all that are ours.
func (g *Gateways) tellClasses(ctx context.Context, w *world) error {
	found := false
	for i := range w.classes {
		c := &w.classes[i]
		found = found || c.Name == routing.ClassName
		if c.Spec.ControllerName != routing.ControllerName {
			continue
		}
		if want := classStatus(c); !equality.Semantic.DeepEqual(c.Status, want) {
			before := c.DeepCopy()
			c.Status = want
			if err := g.Status().Patch(ctx, c, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("write the status of GatewayClass %s: %w", c.Name, err)
			}
		}
	}
	if found {
		return nil
	}
	c := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: routing.ClassName}, Spec: gatewayv1.GatewayClassSpec{ControllerName: routing.ControllerName}}
	if err := g.Create(ctx, c); err != nil {
		return fmt.Errorf("create GatewayClass %s: %w", c.Name, err)
	}
	w.classes = append(w.classes, *c)
	return nil
}

// giveService makes a Service what it should be, and answers with it as it is; problem says that it is somebody else's.
func (g *Gateways) giveService(ctx context.Context, w *world, want *corev1.Service, owner types.UID) (svc *corev1.Service, problem string, err error) {
	svc = w.services[nameOf(want)]
	if svc == nil {
		err = g.Create(ctx, want)
		if err != nil {
			err = fmt.Errorf("create Service %s: %w", nameOf(want), err)
		}
		return nil, "", err
	}
	if owner != "" && !metav1.IsControlledBy(svc, &metav1.ObjectMeta{UID: owner}) {
		return nil, occupied(svc), nil
	}
	before := svc.DeepCopy()
	if change(svc, want) {
		if err := g.Patch(ctx, svc, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			return svc, "", fmt.Errorf("change Service %s: %w", nameOf(want), err)
		}
	}
	return svc, "", nil
}

func metricsService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: MetricsNamespace, Name: MetricsService},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "http-metrics", Port: MetricsPort, Protocol: corev1.ProtocolTCP}},
		},
	}
}

func (g *Gateways) writeGateway(ctx context.Context, gw *gatewayv1.Gateway, want gatewayv1.GatewayStatus) error {
	if equality.Semantic.DeepEqual(gw.Status, want) {
		return nil
	}
	before := gw.DeepCopy()
	gw.Status = want
	if err := g.Status().Patch(ctx, gw, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of Gateway %s: %w", nameOf(gw), err)
	}
	g.announce(before, gw)
	return nil
}

// announce tells an event when a Gateway can be reached, or cannot any more.
func (g *Gateways) announce(before, now *gatewayv1.Gateway) {
	was, is := conditionOf(before), conditionOf(now)
	if was.Status == is.Status && was.Reason == is.Reason && was.Message == is.Message {
		return
	}
	switch {
	case is.Status == metav1.ConditionTrue:
		g.o.Events.Event(now, corev1.EventTypeNormal, is.Reason, is.Message)
	case is.Reason != string(gatewayv1.GatewayReasonAddressNotAssigned):
		g.o.Events.Event(now, corev1.EventTypeWarning, is.Reason, is.Message)
	}
}

func conditionOf(g *gatewayv1.Gateway) metav1.Condition {
	for _, c := range g.Status.Conditions {
		if c.Type == string(gatewayv1.GatewayConditionProgrammed) {
			return c
		}
	}
	return metav1.Condition{}
}
