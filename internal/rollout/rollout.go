// Package rollout releases new versions of workloads: it observes a workload, its second set of pods, its Services and its
// routes, asks internal/rollout/machine what follows, and makes the world like that. It decides nothing itself.
//
// A workload is held without an admission webhook: the controller leaves it in a state in which the cluster moves no pod to
// a changed template (a Deployment is paused, the partition of a StatefulSet is above all ordinals, a DaemonSet waits for
// its pods to be deleted). So a change is held even if it is made while the controller is away.
package rollout

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/rollout/analysis"
	"redstart.dev/redstart/internal/rollout/traffic"
)

// name is the field manager of all that the controller writes, and the source of its events.
const name = "redstart-rollout"

// concurrency is how many Rollouts are worked on at a time; one that waits for a measurement must not hold up the others.
const concurrency = 8

// Options of Run.
type Options struct {
	// Namespaces to look after; none for all.
	Namespaces []string
	// LeaderElection makes sure that one controller of several works at a time.
	LeaderElection bool
	// LeaderElectionNamespace is where its Lease is; the controller's own when empty.
	LeaderElectionNamespace string
	// Gateway is that of this machine, which checks may ask without a Prometheus; nil where there is none.
	Gateway analysis.Gateway
	// Logger; slog's default when nil.
	Logger *slog.Logger
}

// Run looks after every Rollout of a cluster until ctx is done. It returns nil then, and an error when the cluster cannot
// be used or the leadership was lost. Its metrics are in controller-runtime's registry.
func Run(ctx context.Context, cfg *rest.Config, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return fmt.Errorf("register the types of the rollout controller: %w", err)
		}
	}
	mo := manager.Options{
		Scheme: s, Logger: logr.FromSlogHandler(o.Logger.Handler()),
		Metrics:          metricsserver.Options{BindAddress: "0"}, // the operator serves them
		LeaderElection:   o.LeaderElection,
		LeaderElectionID: "redstart-rollout", LeaderElectionNamespace: o.LeaderElectionNamespace,
		// Several may run in one process: in tests, one after the other.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Transform: onlyVersion}, &corev1.Secret{}: {Transform: onlyVersion}},
		},
	}
	if len(o.Namespaces) > 0 {
		mo.Cache.DefaultNamespaces = map[string]cache.Config{}
	}
	for _, ns := range o.Namespaces {
		mo.Cache.DefaultNamespaces[ns] = cache.Config{}
	}
	m, err := manager.New(cfg, mo)
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	if err := setUp(ctx, m, o); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("run the rollout controller: %w", err)
	}
	return nil
}

// reconciler takes one step of one Rollout at a time. It reads past the cache, since every step builds on what the last
// one wrote; the cache only says when to look.
type reconciler struct {
	client   client.Client
	live     client.Reader
	mapper   meta.RESTMapper
	events   eventRecorder
	metrics  *metrics
	scripts  *traffic.Scripts
	prober   *analysis.Prober
	notifier *notifier
	config   *configs
	log      *slog.Logger
	now      func() time.Time
}

// eventRecorder tells people what happens to an object.
type eventRecorder interface {
	Event(object runtime.Object, eventtype, reason, message string)
}

// byWorkload is the index of Rollouts by their workload: without it every change of any workload would walk through all Rollouts.
const byWorkload = "spec.workloadRef"

func workloadKey(kind, name string) string { return kind + "/" + name }

func setUp(ctx context.Context, m manager.Manager, o Options) error {
	metrics, err := newMetrics()
	if err != nil {
		return err
	}
	prober, err := analysis.NewProber(o.Gateway)
	if err != nil {
		return err
	}
	r := &reconciler{
		client: m.GetClient(), live: m.GetAPIReader(), mapper: m.GetRESTMapper(),
		events:  m.GetEventRecorderFor(name), //nolint:staticcheck // the core events, which kubectl describe of every version shows
		metrics: metrics, scripts: traffic.NewScripts(traffic.Shipped()), prober: prober, log: o.Logger, now: time.Now,
	}
	r.notifier = newNotifier(r)
	err = m.GetFieldIndexer().IndexField(ctx, &v1alpha1.Rollout{}, byWorkload, func(o client.Object) []string {
		ro, ok := o.(*v1alpha1.Rollout)
		if !ok {
			return nil
		}
		return []string{workloadKey(ro.Spec.WorkloadRef.Kind, ro.Spec.WorkloadRef.Name)}
	})
	if err != nil {
		return fmt.Errorf("index the Rollouts by workload: %w", err)
	}
	b := builder.ControllerManagedBy(m).Named("rollout").
		For(&v1alpha1.Rollout{}, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, approved()))).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency})
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
		if _, err := m.GetRESTMapper().RESTMapping(appsv1.SchemeGroupVersion.WithKind(kind).GroupKind()); err != nil {
			continue // not served here
		}
		b = b.Watches(objectOf(kind), handler.EnqueueRequestsFromMapFunc(r.rolloutsOf(kind)), builder.OnlyMetadata)
	}
	b = b.WatchesRawSource(source.Channel(r.notifier.told, &handler.EnqueueRequestForObject{}))
	c, err := b.Build(r)
	if err != nil {
		return fmt.Errorf("set up the rollout controller: %w", err)
	}
	r.config = newConfigs(func() error { return r.watchConfigs(c, m.GetCache()) })
	return r.notifier.setUp(m)
}

// approved lets a change of the status pass that somebody made to approve a step.
func approved() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(o client.Object) bool {
		ro, ok := o.(*v1alpha1.Rollout)
		return ok && ro.Status.StepState == v1alpha1.StepApproved
	})
}

func objectOf(kind string) client.Object {
	switch kind {
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "DaemonSet":
		return &appsv1.DaemonSet{}
	}
	return &appsv1.Deployment{}
}

// rolloutsOf finds the Rollouts that a workload concerns: those that refer to it, and the one that made it.
func (r *reconciler) rolloutsOf(kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []ctrl.Request {
		if owner := o.GetLabels()[v1alpha1.LabelRollout]; owner != "" {
			return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: owner}}}
		}
		var all v1alpha1.RolloutList
		err := r.client.List(ctx, &all, client.InNamespace(o.GetNamespace()), client.MatchingFields{byWorkload: workloadKey(kind, o.GetName())})
		if err != nil {
			return nil // the cache is being stopped
		}
		var out []ctrl.Request
		for i := range all.Items {
			out = append(out, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
		return out
	}
}

func eventType(warning bool) string {
	if warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}
