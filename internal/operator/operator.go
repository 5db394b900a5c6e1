// Package operator keeps every Redis as its resource says: it builds the objects of a Redis and applies them, restarts
// and removes members in an order that loses nothing, and reports what the agents see. It never chooses a master:
// the agents do, with or without an operator.
package operator

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

// name is the field owner of all that the operator writes, and the source of its events.
const name = "redstart"

// LeaderElectionID is the Lease of the operator that works.
const LeaderElectionID = "redstart-operator"

// concurrency is how many Redises are worked on at a time; one that waits for a handover must not hold up the others.
const concurrency = 8

// Options of Run.
type Options struct {
	// Namespaces to look after; none for all.
	Namespaces []string
	// LeaderElection makes sure that one operator of several works at a time, by a Lease in LeaderElectionNamespace: that of the
	// operator's own pod when it is empty.
	LeaderElection          bool
	LeaderElectionNamespace string
	// AgentImage holds the agent that is copied into every pod. Empty on one machine, where pods find it by themselves.
	AgentImage string
	// OwnNamespace is where the operator itself runs; empty where it runs in no pod.
	OwnNamespace string
	// MetricsAddress and HealthAddress are where to serve /metrics, and /healthz and /readyz; "0" or empty: nowhere.
	MetricsAddress, HealthAddress string
	// ProfileAddress is where to serve /debug/pprof, to find out what takes memory and time; "0" or empty: nowhere.
	ProfileAddress string
	// Logger of the operator; slog's default when nil.
	Logger *slog.Logger
}

// Run looks after every Redis of a cluster until ctx is done. It returns nil then, and an error when the cluster cannot be
// used or the leadership was lost.
func Run(ctx context.Context, cfg *rest.Config, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	scheme := runtime.NewScheme()
	if err := objects.AddToScheme(scheme); err != nil {
		return fmt.Errorf("register the types of the operator: %w", err)
	}
	byObject, err := cacheSelectors()
	if err != nil {
		return err
	}
	mo := manager.Options{
		Scheme:                  scheme,
		Logger:                  logr.FromSlogHandler(o.Logger.Handler()),
		Cache:                   cache.Options{ByObject: byObject, DefaultTransform: cache.TransformStripManagedFields()},
		Metrics:                 metricsserver.Options{BindAddress: orOff(o.MetricsAddress)},
		HealthProbeBindAddress:  orOff(o.HealthAddress),
		PprofBindAddress:        orOff(o.ProfileAddress),
		LeaderElection:          o.LeaderElection,
		LeaderElectionNamespace: o.LeaderElectionNamespace,
		LeaderElectionID:        LeaderElectionID,
		// Nothing of ours runs on after Run, so that the next one need not wait until the Lease runs out.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       ptr.To(handoverTimeout + 5*time.Second),
		// Several operators may run in one process: in tests, one after the other.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
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
	if err := setUp(m, o); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("run the operator: %w", err)
	}
	return nil
}

func orOff(address string) string {
	if address == "" {
		return "0"
	}
	return address
}

// setUp adds the controller and the health checks to a manager.
func setUp(m manager.Manager, o Options) error {
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add the health check: %w", err)
	}
	ready := func(req *http.Request) error {
		if !m.GetCache().WaitForCacheSync(req.Context()) {
			return fmt.Errorf("the cache has not synced yet")
		}
		return nil
	}
	if err := m.AddReadyzCheck("cache", ready); err != nil {
		return fmt.Errorf("add the readiness check: %w", err)
	}
	metrics, err := newMetrics()
	if err != nil {
		return err
	}
	c := &redisController{
		applier: applier{client: m.GetClient(), direct: m.GetAPIReader()},
		agents:  newAgents(),
		// The core events are those that kubectl describe of every version shows, and the one-machine API serves.
		events:     m.GetEventRecorderFor(name), //nolint:staticcheck // see above
		metrics:    metrics,
		agentImage: o.AgentImage,
		namespace:  o.OwnNamespace,
		log:        o.Logger,
		now:        time.Now,
	}
	if err := m.Add(&c.migrations); err != nil {
		return fmt.Errorf("set up the migration of slots: %w", err)
	}
	b := builder.ControllerManagedBy(m).Named("redis").
		For(&v1alpha1.Redis{}, builder.WithPredicates(predicate.Or[client.Object](
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Watches(&corev1.Pod{}, podNews(), builder.WithPredicates(podChanged())).
		Watches(&corev1.PersistentVolumeClaim{}, handler.EnqueueRequestsFromMapFunc(redisOfPod), builder.WithPredicates(claimChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: concurrency})
	for _, o := range ownedTypes() {
		b = b.Owns(o)
	}
	if err := b.Complete(c); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	return nil
}

// ownedTypes are the kinds of all objects of a Redis.
func ownedTypes() []client.Object {
	return []client.Object{
		&corev1.ConfigMap{}, &corev1.Secret{}, &corev1.Service{}, &corev1.ServiceAccount{}, &appsv1.StatefulSet{},
		&rbacv1.Role{}, &rbacv1.RoleBinding{}, &policyv1.PodDisruptionBudget{}, &networkingv1.NetworkPolicy{},
	}
}

// cacheSelectors keep everything that belongs to no Redis out of the operator's memory.
func cacheSelectors() (map[client.Object]cache.ByObject, error) {
	ours, err := labels.NewRequirement(v1alpha1.LabelName, selection.Exists, nil)
	if err != nil {
		return nil, fmt.Errorf("select the objects of Redises: %w", err)
	}
	by := map[client.Object]cache.ByObject{}
	for _, o := range append(ownedTypes(), &corev1.Pod{}, &corev1.PersistentVolumeClaim{}) {
		by[o] = cache.ByObject{Label: labels.NewSelector().Add(*ours)}
	}
	return by, nil
}
