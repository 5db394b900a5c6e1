package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"redstart.dev/redstart/api/v1alpha1"
)

// kubeCluster is Cluster by the Kubernetes API.
type kubeCluster struct {
	client               kubernetes.Interface
	namespace, redis, me string

	mu      sync.Mutex
	view    View
	secrets map[string]map[string][]byte
	pods    map[string]Pod
	writing map[string]v1alpha1.Role // labels that are being written, by pod: the view has them already
	changed func()
	watched map[string]context.CancelFunc // Secrets that are watched
	running sync.WaitGroup
}

// NewCluster is the Cluster of the agent of pod me, of a Redis in a namespace.
func NewCluster(config *rest.Config, namespace, redis, me string) (Cluster, error) {
	config = rest.CopyConfig(config)
	// An agent's calls are few and each of them urgent: no throttle of the client's, and no time for compressing.
	config.QPS, config.DisableCompression = -1, true
	// Its kinds are Kubernetes' own, and while a master changes every agent reads of each pod: JSON takes several times as long.
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	// All calls and watches share one connection. client-go takes 45 s to find out that nobody is at its other end, unless it is told
	// otherwise here: far longer than a Lease holds. A new connection may lead to another API server.
	for _, name := range []string{"HTTP2_READ_IDLE_TIMEOUT_SECONDS", "HTTP2_PING_TIMEOUT_SECONDS"} {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, "1"); err != nil {
			return nil, fmt.Errorf("bound the silence of the Kubernetes API: %w", err)
		}
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the Kubernetes API: %w", err)
	}
	return &kubeCluster{
		client: client, namespace: namespace, redis: redis, me: me, secrets: map[string]map[string][]byte{},
		pods: map[string]Pod{}, writing: map[string]v1alpha1.Role{}, watched: map[string]context.CancelFunc{},
	}, nil
}

// KubeConfig finds the API: KUBECONFIG where it is set, otherwise the one of the pod's cluster.
func KubeConfig(getenv func(string) string) (*rest.Config, error) {
	if path := getenv("KUBECONFIG"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("environment variable KUBECONFIG: %w", err)
		}
		c, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			return nil, fmt.Errorf("environment variable KUBECONFIG: %w", err)
		}
		return c, nil
	}
	c, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("find the Kubernetes API: KUBECONFIG is not set, and %w", err)
	}
	return c, nil
}

func (k *kubeCluster) View() View {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.view
}

func (k *kubeCluster) Watch(ctx context.Context, changed func()) {
	k.changed = changed
	core := k.client.CoreV1().RESTClient()
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, k.redis).String()
	selector := labels.Set{v1alpha1.LabelName: k.redis}.String()
	k.watch(ctx, core, "configmaps", byName, "", &corev1.ConfigMap{}, func(o any, gone bool) {
		if !gone {
			k.setConfig(ctx, o.(*corev1.ConfigMap))
		}
	})
	k.watch(ctx, k.client.CoordinationV1().RESTClient(), "leases", byName, "", &coordinationv1.Lease{}, func(o any, gone bool) {
		l := Lease{}
		if !gone {
			l = leaseOf(o.(*coordinationv1.Lease))
		}
		k.mu.Lock()
		k.view.Lease = &l
		k.mu.Unlock()
	})
	pods := k.watch(ctx, core, "pods", "", selector, &corev1.Pod{}, func(o any, gone bool) {
		p := podOf(o.(*corev1.Pod))
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.pods, p.Name)
		if !gone {
			k.pods[p.Name] = p
		}
		k.view.Pods = k.sortedPods()
	})
	if cache.WaitForCacheSync(ctx.Done(), pods.HasSynced) {
		k.mu.Lock()
		k.view.PodsKnown = true
		k.mu.Unlock()
		changed()
	}
	<-ctx.Done()
	k.running.Wait()
}

// watch starts one watch; on gets every object as it is and, at last, gone.
func (k *kubeCluster) watch(ctx context.Context, c cache.Getter, resource, field, label string, kind runtime.Object,
	on func(o any, gone bool),
) cache.Controller {
	deliver := func(o any, gone bool) {
		if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		on(o, gone)
		k.changed()
	}
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewFilteredListWatchFromClient(c, resource, k.namespace, func(o *metav1.ListOptions) {
			o.FieldSelector, o.LabelSelector = field, label
		}),
		ObjectType: kind,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { deliver(o, false) },
			UpdateFunc: func(_, o any) { deliver(o, false) },
			DeleteFunc: func(o any) { deliver(o, true) },
		},
	})
	k.running.Go(func() { controller.Run(ctx.Done()) })
	return controller
}

// setConfig takes a new configuration, and watches the Secrets that it names. A configuration that cannot be read is
// left out: the one before stays in force.
func (k *kubeCluster) setConfig(ctx context.Context, m *corev1.ConfigMap) {
	config := &v1alpha1.AgentConfig{}
	if err := json.Unmarshal([]byte(m.Data[v1alpha1.ConfigMapKeyAgent]), config); err != nil || config.Redis == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.view.Config = config
	wanted := []string{config.TokenSecret}
	if config.AuthSecret != "" && config.AuthSecret != config.TokenSecret {
		wanted = append(wanted, config.AuthSecret)
	}
	for name, cancel := range k.watched {
		if !slices.Contains(wanted, name) {
			cancel()
			delete(k.watched, name)
			delete(k.secrets, name)
		}
	}
	for _, name := range wanted {
		if _, ok := k.watched[name]; ok || name == "" {
			continue
		}
		sctx, cancel := context.WithCancel(ctx)
		k.watched[name] = cancel
		byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		k.watch(sctx, k.client.CoreV1().RESTClient(), "secrets", byName, "", &corev1.Secret{}, func(o any, gone bool) {
			// A Secret that was deleted changes nothing: the password that is in force stays.
			if s := o.(*corev1.Secret); !gone {
				k.mu.Lock()
				k.secrets[s.Name] = s.Data
				k.readSecrets()
				k.mu.Unlock()
			}
		})
	}
	k.readSecrets()
}

// readSecrets brings the view up to date; mu is held.
func (k *kubeCluster) readSecrets() {
	k.view.Token = string(k.secrets[k.view.Config.TokenSecret][v1alpha1.SecretKeyAgentToken])
	k.view.Password, k.view.PasswordKnown, k.view.PasswordError = "", k.view.Config.AuthSecret == "", nil
	if password := k.secrets[k.view.Config.AuthSecret][v1alpha1.SecretKeyPassword]; k.view.Config.AuthSecret != "" && len(password) > 0 {
		if err := v1alpha1.CheckPassword(password); err != nil {
			k.view.PasswordError = fmt.Errorf("the password %w", err)
		} else {
			k.view.Password, k.view.PasswordKnown = string(password), true
		}
	}
}

func (k *kubeCluster) ReadLease(ctx context.Context) (Lease, error) {
	l, err := k.client.CoordinationV1().Leases(k.namespace).Get(ctx, k.redis, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Lease{}, nil
	}
	if err != nil {
		return Lease{}, fmt.Errorf("read Lease %s: %w", k.redis, err)
	}
	return leaseOf(l), nil
}

func (k *kubeCluster) WriteLease(ctx context.Context, l Lease) (Lease, error) {
	object := k.leaseObject(l)
	leases := k.client.CoordinationV1().Leases(k.namespace)
	var written *coordinationv1.Lease
	var err error
	if l.ResourceVersion == "" {
		written, err = leases.Create(ctx, object, metav1.CreateOptions{})
	} else {
		written, err = leases.Update(ctx, object, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err):
		return Lease{}, fmt.Errorf("write Lease %s: %w", k.redis, errLeaseMoved)
	case err != nil:
		return Lease{}, fmt.Errorf("write Lease %s: %w", k.redis, err)
	}
	return leaseOf(written), nil
}

func (k *kubeCluster) leaseObject(l Lease) *coordinationv1.Lease {
	now := metav1.NowMicro()
	seconds := int32(l.Duration / time.Second)
	o := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: k.redis, Namespace: k.namespace, ResourceVersion: l.ResourceVersion,
			Labels: map[string]string{v1alpha1.LabelName: k.redis},
			Annotations: map[string]string{
				v1alpha1.AnnotationTerm:       strconv.FormatInt(l.Term, 10),
				v1alpha1.AnnotationMembers:    strconv.Itoa(int(l.Members)),
				v1alpha1.AnnotationLastHolder: l.LastHolder,
			},
		},
		Spec: coordinationv1.LeaseSpec{RenewTime: &now, LeaseDurationSeconds: &seconds},
	}
	switch {
	case l.From != "" && l.Unplanned:
		o.Annotations[v1alpha1.AnnotationBequeathedBy] = l.From
	case l.From != "":
		o.Annotations[v1alpha1.AnnotationHandoverFrom] = l.From
	}
	if l.Reason != "" {
		o.Annotations[v1alpha1.AnnotationReason] = l.Reason
	}
	if l.Holder != "" {
		holder := l.Holder + "_" + l.Boot
		o.Spec.HolderIdentity = &holder
	}
	// The Lease goes with its Redis.
	if c := k.View().Config; c != nil && c.UID != "" {
		o.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Redis", Name: k.redis, UID: types.UID(c.UID)}}
	}
	return o
}

func leaseOf(o *coordinationv1.Lease) Lease {
	l := Lease{
		LastHolder: o.Annotations[v1alpha1.AnnotationLastHolder], ResourceVersion: o.ResourceVersion,
		From: o.Annotations[v1alpha1.AnnotationHandoverFrom], Reason: o.Annotations[v1alpha1.AnnotationReason],
	}
	if from := o.Annotations[v1alpha1.AnnotationBequeathedBy]; from != "" {
		l.From, l.Unplanned = from, true
	}
	l.Term, _ = strconv.ParseInt(o.Annotations[v1alpha1.AnnotationTerm], 10, 64)
	members, _ := strconv.ParseInt(o.Annotations[v1alpha1.AnnotationMembers], 10, 32)
	l.Members = int32(members)
	if o.Spec.HolderIdentity != nil {
		l.Holder, l.Boot, _ = strings.Cut(*o.Spec.HolderIdentity, "_")
	}
	if o.Spec.LeaseDurationSeconds != nil {
		l.Duration = time.Duration(*o.Spec.LeaseDurationSeconds) * time.Second
	}
	return l
}

func (k *kubeCluster) SetRole(ctx context.Context, pod string, role v1alpha1.Role) error {
	var value any
	if role != "" {
		value = role
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.LabelRole: value}}})
	if err != nil {
		return fmt.Errorf("label pod %s: %w", pod, err)
	}
	k.mu.Lock()
	k.writing[pod] = role
	k.view.Pods = k.sortedPods()
	k.mu.Unlock()
	_, err = k.client.CoreV1().Pods(k.namespace).Patch(ctx, pod, types.MergePatchType, patch, metav1.PatchOptions{})
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.writing, pod)
	if p, ok := k.pods[pod]; ok && err == nil {
		p.Label = role // the watch will say the same in a moment
		k.pods[pod] = p
	}
	k.view.Pods = k.sortedPods()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("label pod %s: %w", pod, err)
	}
	return nil
}

func (k *kubeCluster) RecordFailover(ctx context.Context, f v1alpha1.FailoverStatus) error {
	reason, kind := v1alpha1.EventFailedOver, corev1.EventTypeWarning
	if f.Planned {
		reason, kind = v1alpha1.EventHandedOver, corev1.EventTypeNormal
	}
	message := fmt.Sprintf("%s is master instead of %s after %d ms: %s", f.To, f.From, f.Milliseconds, f.Reason)
	ref := corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Redis", Name: k.redis, Namespace: k.namespace}
	if c := k.View().Config; c != nil {
		ref.UID = types.UID(c.UID)
	}
	at := metav1.NewTime(f.Time.Time)
	_, err := k.client.CoreV1().Events(k.namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: k.redis + "-", Namespace: k.namespace},
		InvolvedObject: ref, Reason: reason, Message: message, Type: kind,
		Source: corev1.EventSource{Component: "redstart-agent", Host: k.me}, FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("record a change of master: %w", err)
	}
	return nil
}

// sortedPods are the pods by name; mu is held.
func (k *kubeCluster) sortedPods() []Pod {
	out := make([]Pod, 0, len(k.pods))
	for _, p := range k.pods {
		if role, ok := k.writing[p.Name]; ok {
			p.Label = role
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) })
	return out
}
