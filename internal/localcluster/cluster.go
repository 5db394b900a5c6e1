// Package localcluster is a whole cluster in one process, for one machine: an API server, the workload controllers,
// a kubelet that runs pods as processes, and proxies for Services and for HTTP routes. All of them speak to each other through the API.
package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/localcluster/address"
	"redstart.dev/redstart/internal/localcluster/apiserver"
	"redstart.dev/redstart/internal/localcluster/gateways"
	"redstart.dev/redstart/internal/localcluster/kubelet"
	"redstart.dev/redstart/internal/localcluster/services"
	"redstart.dev/redstart/internal/localcluster/traffic"
	"redstart.dev/redstart/internal/localcluster/workloads"
)

// NodeName is the name of the one node.
const NodeName = "local"

// startTimeout bounds the start, up to the point where the controllers work.
const startTimeout = time.Minute

// Options say where and how a cluster runs.
type Options struct {
	// StateDir keeps everything that outlives a run. It is made if it does not exist. One process at a time.
	StateDir string
	// Executable is the redstart binary: what the command redstart means in a pod, and the reaper of processes.
	Executable string
	// Images maps images without a command to a local one; see kubelet.Options.
	Images map[string][]string
	// AddressMode is empty for the one that the state directory was used with last, at first for what the system can do.
	AddressMode AddressMode
	// Check, unless it is nil, is called when the API answers and nothing else runs yet, no pod of the last time either. Its
	// error is that of Start.
	Check func(ctx context.Context, api *rest.Config) error
	// Logger gets what an operator of the machine wants to know; nil discards it.
	Logger *slog.Logger
}

// Cluster is a running cluster.
type Cluster struct {
	log      *slog.Logger
	dir      string
	lock     *os.File
	server   *apiserver.Server
	manager  ctrl.Manager
	proxy    *services.Proxy
	gateways *gateways.Gateways
	events   record.EventBroadcaster

	// The parts, in the order in which they are started.
	api, kubelet, controllers part

	failed chan error // holds one
	stop   sync.Once
	end    error
}

// part is a component that runs until it is told to stop.
type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

// Start takes the state directory and starts everything; it returns when the controllers work. Pods that ran before
// are started again. ctx bounds the start alone: the cluster runs until Stop. A *RunningError says that another
// process has the directory.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.StateDir, err = filepath.Abs(o.StateDir); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &Cluster{log: o.Logger, dir: o.StateDir, failed: make(chan error, 1)}
	if c.lock, err = lock(ctx, o.StateDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
		}
	}()
	net, err := chooseNetwork(o.StateDir, o.AddressMode)
	if err != nil {
		return nil, err
	}
	logs := &logs{}
	c.server, err = apiserver.New(apiserver.Options{
		StateDir: o.StateDir, Address: net.api.String(), ServiceIPs: net.services(), Logs: logs, Logger: o.Logger,
	})
	if err != nil {
		return nil, err
	}
	c.run(&c.api, "the API server", c.server.Run)
	if o.Check != nil {
		if err := o.Check(ctx, c.RESTConfig()); err != nil {
			return nil, err
		}
	}
	if err := c.setupControllers(net); err != nil {
		return nil, err
	}
	k, err := c.newKubelet(o, net)
	if err != nil {
		return nil, err
	}
	logs.kubelet.Store(k)
	c.run(&c.kubelet, "the kubelet", k.Run)
	c.run(&c.controllers, "the controllers", c.manager.Start)
	return c, c.awaitControllers(ctx)
}

func (c *Cluster) newKubelet(o Options, net network) (*kubelet.Kubelet, error) {
	addresses := address.SharedIP()
	if net.mode == AddressesOwn {
		var err error
		if addresses, err = address.Loopback(net.number, filepath.Join(o.StateDir, "last-pod-address")); err != nil {
			return nil, err
		}
	}
	return kubelet.New(kubelet.Options{
		Config: c.server.RESTConfig(), StateDir: o.StateDir, NodeName: NodeName, Version: apiserver.GitVersion, Executable: o.Executable, KubeconfigPath: c.KubeconfigPath(),
		Images: o.Images, Addresses: addresses, Drain: c.gateways.Drain, Logger: o.Logger,
	})
}

// setupControllers makes the manager with the controllers of workloads, Services and Gateways.
func (c *Cluster) setupControllers(net network) error {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			return fmt.Errorf("register types: %w", err)
		}
	}
	api := c.server.RESTConfig()
	// Warnings are for people who write manifests; what the controllers use, Endpoints above all, is meant.
	api.WarningHandlerWithContext = rest.NoWarnings{}
	core, err := typedcorev1.NewForConfig(api)
	if err != nil {
		return fmt.Errorf("make a client for events: %w", err)
	}
	c.manager, err = manager.New(api, manager.Options{
		Scheme: s, Logger: logr.FromSlogHandler(c.log.Handler()),
		Metrics: metricsserver.Options{BindAddress: "0"},
		// Clusters may follow each other in one process, and their controllers are named alike.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Cache:      cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
	})
	if err != nil {
		return fmt.Errorf("make the controllers: %w", err)
	}
	c.events = record.NewBroadcaster()
	c.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: core.Events("")})
	recorder := func(component string) record.EventRecorder {
		return c.events.NewRecorder(s, corev1.EventSource{Component: component})
	}
	if err := workloads.Setup(c.manager, workloads.Options{VolumesDir: filepath.Join(c.dir, "volumes"), Events: recorder("controller-manager")}); err != nil {
		return err
	}
	c.proxy, err = services.Setup(c.manager, services.Options{
		Events: recorder("service-proxy"), Logger: c.log, SharedIP: net.mode == AddressesShared,
	})
	if err != nil {
		return err
	}
	c.gateways, err = gateways.Setup(c.manager, gateways.Options{
		Services: c.proxy, LogDir: filepath.Join(c.dir, "gateways"), Events: recorder("gateway"), Logger: c.log,
	})
	return err
}

// run starts a part. A part that ends by itself is a failure of the cluster.
func (c *Cluster) run(p *part, name string, f func(context.Context) error) {
	// Parts run until Stop, whatever started them.
	ctx, cancel := context.WithCancel(context.Background())
	*p = part{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = f(ctx)
		if ctx.Err() != nil {
			return
		}
		select {
		case c.failed <- fmt.Errorf("%s ended by itself: %w", name, errors.Join(p.err)):
		default:
		}
	}()
}

// awaitControllers returns when the controllers have read what there is.
func (c *Cluster) awaitControllers(ctx context.Context) error {
	select {
	case <-c.manager.Elected():
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("start the controllers: %w", context.Cause(ctx))
	}
	if !c.manager.GetCache().WaitForCacheSync(ctx) {
		return errors.New("start the controllers: the API server does not tell its state")
	}
	return nil
}

// RESTConfig reaches the API with all rights.
func (c *Cluster) RESTConfig() *rest.Config { return c.server.RESTConfig() }

// KubeconfigPath is a file with the same for kubectl and others.
func (c *Cluster) KubeconfigPath() string { return filepath.Join(c.dir, kubeconfigFile) }

// Manager runs the cluster's controllers. Further controllers may be added; they share its cache, and end with Stop.
func (c *Cluster) Manager() ctrl.Manager { return c.manager }

// Traffic tells what the Gateways of the cluster served lately.
func (c *Cluster) Traffic() traffic.Source { return c.gateways.Traffic() }

// Failed receives an error when a part of the cluster ends by itself. The cluster is to be stopped then.
func (c *Cluster) Failed() <-chan error { return c.failed }

// Stop ends the cluster: the controllers, so that nothing is replaced; the pods, each within its grace period and those
// of StatefulSets last; the proxy, which serves them until the end; at last the API server and its store. If ctx ends first, processes that
// are left are killed when this process ends, if not before. Further calls return what the first one did.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stop.Do(func() { c.end = c.shutDown(ctx) })
	return c.end
}

func (c *Cluster) shutDown(ctx context.Context) error {
	err := errors.Join(c.controllers.end(ctx), c.kubelet.end(ctx))
	if c.gateways != nil {
		c.gateways.Close()
	}
	if c.proxy != nil {
		c.proxy.Close()
	}
	if c.events != nil {
		c.events.Shutdown()
	}
	return errors.Join(err, c.api.end(ctx), c.lock.Close())
}

// end stops a part, if it was started, and waits for it.
func (p *part) end(ctx context.Context) error {
	if p.cancel == nil {
		return nil
	}
	p.cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("%s does not stop: %w", p.name, context.Cause(ctx))
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// logs lets the API server be made before the kubelet, which needs it.
type logs struct {
	kubelet atomic.Pointer[kubelet.Kubelet]
}

func (l *logs) PodLogs(ctx context.Context, pod *corev1.Pod, opts *corev1.PodLogOptions) (io.ReadCloser, error) {
	k := l.kubelet.Load()
	if k == nil {
		return nil, apierrors.NewServiceUnavailable("the kubelet is starting")
	}
	return k.PodLogs(ctx, pod, opts)
}
