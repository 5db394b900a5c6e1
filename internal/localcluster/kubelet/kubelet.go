// Package kubelet runs the pods of the one-machine cluster as processes. It speaks to the rest through the
// Kubernetes API alone: it registers the only node, binds pods to it, runs them, and tells their status.
package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/internal/localcluster/address"
	"redstart.dev/redstart/internal/process"
)

// Options say where and how pods are run. All fields but Version, Images, Drain and Logger are required.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	// StateDir keeps pods/UID (logs, volumes), volumes/NAMESPACE/CLAIM and the list of running processes. One
	// Kubelet at a time may use it.
	StateDir string
	// NodeName is the name of the Node object, and Version what it tells as its kubelet's.
	NodeName, Version string
	// Executable is the redstart binary: what the command redstart means in a pod, and the reaper (its command
	// "reaper" has to call process.ReaperMain).
	Executable string
	// KubeconfigPath is told to every process as KUBECONFIG.
	KubeconfigPath string
	// Images maps images without a command to a local one: a glob pattern of the image, or of its name without
	// registry and tag, to the command and its first arguments.
	Images map[string][]string
	// Addresses gives every start of a pod an address.
	Addresses address.Allocator
	// Drain is called before a pod that was deleted is stopped: it takes the pod out of what sends it requests, and
	// returns when the pod has answered those that it has, or when most is over or ctx ended. Nil does nothing.
	Drain func(ctx context.Context, pod types.UID, most time.Duration)
	// Logger gets what an operator of the machine wants to know; nil discards it.
	Logger *slog.Logger
}

// hostIP is the node's own address.
const hostIP = "127.0.0.1"

// apiTimeout bounds one call of the API server, which is on this machine.
const apiTimeout = 10 * time.Second

// syncTimeout bounds the first reading of what there is.
const syncTimeout = time.Minute

// Kubelet runs pods. Make it with New.
type Kubelet struct {
	o      Options
	log    *slog.Logger
	client client.Client // reads and writes at the server
	cache  cache.Cache   // what was last seen
	events record.EventRecorder
	sink   record.EventBroadcaster
	core   typedcorev1.CoreV1Interface

	reaper  *process.Reaper
	changed news // a Service, ConfigMap, Secret or claim changed, or what the node takes

	nodeGone chan struct{} // holds one when the Node object was deleted

	clients, servers tier // of workers

	mu      sync.Mutex
	workers map[types.UID]*worker
	last    map[types.NamespacedName]*worker // the youngest pod of each name
	closed  bool                             // no further pods are taken up
}

// New makes a Kubelet. It starts nothing and asks the API server nothing.
func New(o Options) (*Kubelet, error) {
	if o.Config == nil || o.StateDir == "" || o.NodeName == "" || o.Executable == "" || o.KubeconfigPath == "" || o.Addresses == nil {
		return nil, errors.New("kubelet: Config, StateDir, NodeName, Executable, KubeconfigPath and Addresses must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("kubelet: register the core types: %w", err)
	}
	mapper := coreMapper()
	direct, err := client.New(o.Config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("kubelet: make a client: %w", err)
	}
	seen, err := cache.New(o.Config, cache.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("kubelet: make a cache: %w", err)
	}
	core, err := typedcorev1.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("kubelet: make a client for events: %w", err)
	}
	sink := record.NewBroadcaster()
	return &Kubelet{
		o: o, log: o.Logger, client: direct, cache: seen, core: core, sink: sink,
		events:  sink.NewRecorder(scheme, corev1.EventSource{Component: "kubelet", Host: o.NodeName}),
		changed: newNews(), nodeGone: make(chan struct{}, 1),
		workers: map[types.UID]*worker{},
		last:    map[types.NamespacedName]*worker{},
	}, nil
}

// coreMapper knows the kinds that a kubelet uses, so that the server need not be asked for them.
func coreMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"Pod", "Service", "ConfigMap", "Secret", "PersistentVolumeClaim"} {
		m.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	return m
}

// Run runs pods until ctx ends, then stops them, each within its own grace period: those of StatefulSets when the others
// have stopped, or after clientsFirst, and otherwise in parallel. The API server should be kept up until it returns.
// Before anything else it kills what an earlier run left.
func (k *Kubelet) Run(ctx context.Context) error {
	if err := os.MkdirAll(k.podsDir(), 0o700); err != nil {
		return fmt.Errorf("kubelet: make the directory of the pods: %w", err)
	}
	ledger := filepath.Join(k.o.StateDir, "processes")
	if n, err := process.KillLeftovers(ledger); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	} else if n > 0 {
		k.log.Warn("Killed the processes that an earlier run left", "pods", n)
	}
	reaper, err := process.StartReaper(ledger, k.o.Executable, "reaper")
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	k.reaper = reaper

	// Pods are stopped, and their status is told, after ctx has ended.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k.clients.open(work)
	k.servers.open(work)
	var tasks sync.WaitGroup
	watch := k.sink.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: k.core.Events("")})
	tasks.Go(func() { _ = k.cache.Start(work) }) // its error is a sync that failed, which the wait below tells

	err = k.start(ctx)
	if err == nil {
		tasks.Go(func() { k.renewNode(ctx) })
		<-ctx.Done()
	} else if ctx.Err() != nil {
		err = nil // told to stop while starting
	}
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.clients.close(clientsFirst)
	k.servers.close(0)
	k.clients.running.Wait()
	k.servers.running.Wait()
	watch.Stop()
	k.sink.Shutdown()
	cancel()
	tasks.Wait()
	return errors.Join(err, reaper.Close())
}

// start registers the node and takes up the pods.
func (k *Kubelet) start(ctx context.Context) error {
	if err := k.registerNode(ctx); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	for _, obj := range []client.Object{&corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{}, &corev1.PersistentVolumeClaim{}} {
		if err := k.handle(ctx, obj, toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { k.changed.tell() },
			UpdateFunc: func(_, _ any) { k.changed.tell() },
			DeleteFunc: func(any) { k.changed.tell() },
		}); err != nil {
			return err
		}
	}
	if err := k.watchNode(ctx); err != nil {
		return err
	}
	if _, err := k.cache.GetInformer(ctx, &corev1.Pod{}); err != nil {
		return fmt.Errorf("kubelet: watch pods: %w", err)
	}
	first, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !k.cache.WaitForCacheSync(first) {
		return fmt.Errorf("kubelet: the API server did not tell its state within %s", syncTimeout)
	}
	var pods corev1.PodList
	if err := k.cache.List(ctx, &pods); err != nil {
		return fmt.Errorf("kubelet: list pods: %w", err)
	}
	known := map[types.UID]bool{}
	for i := range pods.Items {
		known[pods.Items[i].UID] = true
	}
	k.removeStrangers(known)
	return k.handle(ctx, &corev1.Pod{}, toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, _ bool) { k.podSeen(obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			if was := old.(*corev1.Pod); was.UID != obj.(*corev1.Pod).UID {
				k.podGone(was.UID)
			}
			k.podSeen(obj.(*corev1.Pod))
		},
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			if pod, ok := obj.(*corev1.Pod); ok {
				k.podGone(pod.UID)
			}
		},
	})
}

// handle calls h for every object of obj's kind. It returns when those that there are have been read.
func (k *Kubelet) handle(ctx context.Context, obj client.Object, h toolscache.ResourceEventHandler) error {
	informer, err := k.cache.GetInformer(ctx, obj)
	if err == nil {
		_, err = informer.AddEventHandler(h)
	}
	if err != nil {
		return fmt.Errorf("kubelet: watch %T: %w", obj, err)
	}
	return nil
}

// podSeen gives the pod to its worker, and starts one for a new pod of this node.
func (k *Kubelet) podSeen(pod *corev1.Pod) {
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != k.o.NodeName {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[pod.UID]; w != nil {
		w.update(pod)
		return
	}
	if k.closed {
		return
	}
	key := client.ObjectKeyFromObject(pod)
	t := k.tierOf(pod)
	w := newWorker(k, t.work, pod, k.last[key])
	k.workers[pod.UID], k.last[key] = w, w
	t.running.Go(func() {
		w.run(t.node)
		k.forget(w)
	})
}

// podGone ends the pod's worker at once: the object is gone already.
func (k *Kubelet) podGone(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[uid]; w != nil {
		w.gone()
	}
}

func (k *Kubelet) forget(w *worker) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.workers, w.uid)
	if k.last[w.key] == w {
		delete(k.last, w.key)
	}
}

func (k *Kubelet) worker(uid types.UID) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers[uid]
}

func (k *Kubelet) podsDir() string { return filepath.Join(k.o.StateDir, "pods") }

func (k *Kubelet) podDir(uid types.UID) string { return filepath.Join(k.podsDir(), string(uid)) }

// claimDir is where the data of a claim is.
func (k *Kubelet) claimDir(namespace, claim string) string {
	return filepath.Join(k.o.StateDir, "volumes", namespace, claim)
}

// removeStrangers removes the directories of pods that are gone; they ended while nobody looked.
func (k *Kubelet) removeStrangers(known map[types.UID]bool) {
	entries, err := os.ReadDir(k.podsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Warn("Directories of former pods are not removed", "error", err)
	}
	for _, e := range entries {
		if uid := types.UID(e.Name()); !known[uid] {
			if err := os.RemoveAll(k.podDir(uid)); err != nil {
				k.log.Warn("Directory of a former pod is not removed", "error", err)
			}
		}
	}
}

// objects reads from the cache.
func (k *Kubelet) objects(ctx context.Context, namespace string) objects {
	return objects{
		configMap: func(name string) (*corev1.ConfigMap, error) {
			return cached(ctx, k.cache, namespace, name, &corev1.ConfigMap{})
		},
		secret: func(name string) (*corev1.Secret, error) {
			return cached(ctx, k.cache, namespace, name, &corev1.Secret{})
		},
	}
}

// cached reads into obj; nil and no error when there is no such object.
func cached[T client.Object](ctx context.Context, from client.Reader, namespace, name string, obj T) (T, error) {
	err := from.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, obj)
	if err == nil {
		return obj, nil
	}
	var none T
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return none, err
}

// services are those of a namespace.
func (k *Kubelet) services(ctx context.Context, namespace string) ([]corev1.Service, error) {
	var list corev1.ServiceList
	if err := k.cache.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	return list.Items, nil
}

// timeNow is now as objects store it.
func timeNow() metav1.Time { return metav1.Now() }

// news wakes everybody who waits for the next change of something.
type news struct {
	mu sync.Mutex
	ch chan struct{}
}

func newNews() news { return news{ch: make(chan struct{})} }

// next is closed at the next change. Take it before looking at the thing that may change.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ch
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.ch)
	n.ch = make(chan struct{})
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
