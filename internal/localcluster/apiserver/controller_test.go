package apiserver_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestControllerRuntime runs a controller as Redstart's are: a manager with leader election and a cache, which applies
// an object, writes the status, and finds its own object again.
func TestControllerRuntime(t *testing.T) {
	ctx := bounded(t)
	s := start(t, t.TempDir())
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	mgr, err := ctrl.NewManager(s.RESTConfig(), ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		LeaderElection: true, LeaderElectionID: "test", LeaderElectionNamespace: "default", LeaderElectionReleaseOnCancel: true,
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	reconciler := reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		r := &v1alpha1.Redis{}
		if err := mgr.GetClient().Get(ctx, req.NamespacedName, r); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.Name, Namespace: r.Namespace}}
		_, err := ctrl.CreateOrUpdate(ctx, mgr.GetClient(), cm, func() error {
			cm.Data = map[string]string{"mode": string(r.Spec.Mode)}
			return ctrl.SetControllerReference(r, cm, scheme)
		})
		if err != nil {
			return reconcile.Result{}, err
		}
		r.Status.Phase = v1alpha1.PhaseReady
		return reconcile.Result{}, mgr.GetClient().Status().Update(ctx, r)
	})
	if err := ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.Redis{}).Owns(&corev1.ConfigMap{}).Complete(reconciler); err != nil {
		t.Fatal(err)
	}
	managing, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(managing) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	direct, err := client.NewWithWatch(s.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	redis := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: "cache", Namespace: "default"}}
	if err := direct.Create(ctx, redis); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, "the Redis to be Ready", func() bool {
		return direct.Get(ctx, client.ObjectKeyFromObject(redis), redis) == nil && redis.Status.Phase == v1alpha1.PhaseReady
	})
	cm := &corev1.ConfigMap{}
	if err := direct.Get(ctx, client.ObjectKeyFromObject(redis), cm); err != nil || cm.Data["mode"] != "Replication" || len(cm.OwnerReferences) != 1 {
		t.Fatalf("made %+v, %v", cm, err)
	}
	// A controller that lost its object makes it again: the watch tells of the deletion.
	if err := direct.Delete(ctx, cm); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, "the ConfigMap to be made again", func() bool {
		again := &corev1.ConfigMap{}
		err := direct.Get(ctx, client.ObjectKeyFromObject(redis), again)
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err == nil && again.UID != cm.UID
	})
}

// await polls until done.
func await(t *testing.T, ctx context.Context, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
