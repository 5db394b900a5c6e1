// Package workloads does for the embedded API what kube-controller-manager does on a cluster: Deployments,
// ReplicaSets, StatefulSets, Jobs, claims, disruption budgets, namespaces and garbage collection.
//
// Each controller is the same three steps: look (read the object and what it owns), plan (a pure function, tested by
// tables), act. It looks in the cache first; when the plan asks for a change it looks again at the API server
// itself and plans anew, so that a cache some milliseconds old never creates a pod twice or deletes one too many.
package workloads

import (
	"context"
	"fmt"
	"path/filepath"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Options are what the controllers need beyond a manager.
type Options struct {
	// VolumesDir holds the data of claims, in NAMESPACE/CLAIM.
	VolumesDir string
	// Events receives what the controllers report on objects, under the names that Kubernetes uses.
	Events record.EventRecorder
}

// Setup adds all controllers to mgr. The API server has to answer already: the kinds that it serves are asked for.
func Setup(mgr ctrl.Manager, o Options) error {
	if !filepath.IsAbs(o.VolumesDir) {
		return fmt.Errorf("workloads: VolumesDir must be an absolute path, not %q", o.VolumesDir)
	}
	if o.Events == nil {
		return fmt.Errorf("workloads: Events must be set")
	}
	b := base{Client: mgr.GetClient(), live: mgr.GetAPIReader(), scheme: mgr.GetScheme(), events: o.Events}
	for _, c := range []struct {
		name  string
		setup func(ctrl.Manager) error
	}{
		{"replicasets", (&replicaSets{base: b}).setup},
		{"deployments", (&deployments{base: b}).setup},
		{"statefulsets", (&statefulSets{base: b}).setup},
		{"jobs", (&jobs{base: b}).setup},
		{"claims", (&claims{base: b, dir: o.VolumesDir}).setup},
		{"disruption budgets", (&budgets{base: b}).setup},
		{"namespaces", (&namespaces{base: b}).setup},
		{"garbage collector", (&collector{base: b}).setup},
	} {
		if err := c.setup(mgr); err != nil {
			return fmt.Errorf("set up the controller of %s: %w", c.name, err)
		}
	}
	return nil
}

// base is what all controllers share: a client that reads from the cache, a reader that asks the server.
type base struct {
	client.Client
	live   client.Reader
	scheme *runtime.Scheme
	events record.EventRecorder
}

// remove deletes obj unless it has been replaced by another object of the same name. It is not an error if obj is
// gone already.
func (b *base) remove(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	uid := obj.GetUID()
	err := b.Delete(ctx, obj, append(opts, client.Preconditions{UID: &uid})...)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// settle turns the errors that only mean "look again" into a prompt second look.
func settle(r ctrl.Result, err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: lookAgain}, nil
	}
	return r, err
}
