// Package client speaks to a Kubernetes-shaped API on behalf of the command line: it finds the cluster, and gets,
// applies and follows objects of any kind.
package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"redstart.dev/redstart/api/v1alpha1"
)

// FieldManager is the name under which this client owns the fields that it applies.
const FieldManager = "redstart"

// Resources that the commands follow.
var (
	Redises      = v1alpha1.GroupVersion.WithResource("redises")
	Rollouts     = v1alpha1.GroupVersion.WithResource("rollouts")
	Pods         = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	Services     = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	Secrets      = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	Deployments  = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	StatefulSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "statefulsets"}
)

// Options say which cluster is meant.
type Options struct {
	// Kubeconfig, Context and Namespace are the user's explicit choice; each may be empty.
	Kubeconfig, Context, Namespace string
	// Local is the kubeconfig of a running "redstart up" with the state directory StateDir, or empty.
	Local, StateDir string
	// PreferUp: the user chose the state directory, so nothing else is meant.
	PreferUp bool
	// PreferKube: the user came by kubectl, so its current cluster comes before a running "redstart up".
	PreferKube bool
}

// Client is a connection to one cluster.
type Client struct {
	Config    *rest.Config
	Namespace string
	// Local: the cluster is a running "redstart up", whose pods are reached at their addresses.
	Local bool
	// Source says where the connection was found, for messages.
	Source string

	Kube    kubernetes.Interface
	Dynamic dynamic.Interface
	Mapper  meta.RESTMapper
}

// Connect finds the cluster. It sends nothing yet.
func Connect(o Options) (*Client, error) {
	if o.Kubeconfig == "" && o.Context == "" {
		local := o.Local
		switch {
		case local != "" && (o.PreferUp || !o.PreferKube && os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == ""):
			return fromKubeconfig(local, "", o.Namespace, true)
		case o.PreferUp:
			return nil, fmt.Errorf("no \"redstart up\" runs with the state directory %s; start it, or choose a cluster with --kubeconfig", o.StateDir)
		}
		c, err := fromKubeconfig("", "", o.Namespace, false)
		if err != nil && local != "" {
			return fromKubeconfig(local, "", o.Namespace, true)
		}
		return c, err
	}
	return fromKubeconfig(o.Kubeconfig, o.Context, o.Namespace, o.Local != "" && o.Kubeconfig == o.Local)
}

func fromKubeconfig(path, contextName, namespace string, local bool) (*Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
	config, err := loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("no cluster found: no \"redstart up\" is running, and kubectl has no current cluster; start one with redstart up -f DIR, or name one with --kubeconfig")
	case err != nil && path != "":
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if namespace == "" {
		if namespace, _, err = loader.Namespace(); err != nil {
			return nil, fmt.Errorf("kubeconfig: namespace: %w", err)
		}
	}
	c, err := New(config, namespace, local)
	if err == nil {
		c.Source = path
		if path == "" {
			c.Source = strings.Join(rules.Precedence, ", ")
		}
	}
	return c, err
}

// New makes a client of a REST configuration.
func New(config *rest.Config, namespace string, local bool) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200
	config.UserAgent = FieldManager
	// Once each: a dry run comes before the real thing.
	config.WarningHandler = rest.NewWarningWriter(os.Stderr, rest.WarningWriterOptions{Deduplicate: true})
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", config.Host, err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", config.Host, err)
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	cached := memory.NewMemCacheClient(kube.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	return &Client{
		Config: config, Namespace: namespace, Local: local, Kube: kube, Dynamic: dyn,
		Mapper: shortcuts(mapper, cached),
	}, nil
}

// In is the same client for another namespace.
func (c *Client) In(namespace string) *Client {
	other := *c
	other.Namespace = namespace
	return &other
}

// pingTimeout bounds how long an API server may take to say that it is there.
const pingTimeout = 2 * time.Second

// Ping asks the API server whether it answers, for two seconds at most.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	_, err := c.Kube.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(ctx)
	return c.explain(err)
}

// shortcuts understands the short names of resources, such as po and deploy.
func shortcuts(mapper meta.RESTMapper, d discovery.DiscoveryInterface) meta.RESTMapper {
	return restmapper.NewShortcutExpander(mapper, d, func(string) {})
}

// Kind finds the resource that a user means by pod, pods, po, deployment.apps or deployments.v1.apps.
func (c *Client) Kind(arg string) (*meta.RESTMapping, error) {
	full, partial := schema.ParseResourceArg(strings.ToLower(arg))
	if full != nil {
		if gvk, err := c.Mapper.KindFor(*full); err == nil {
			return c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		}
	}
	gvk, err := c.Mapper.KindFor(partial.WithVersion(""))
	if meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("the cluster has no kind %q; try pods, services, deployments or redises", arg)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	return c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
}

// Resource addresses the objects of a mapping in a namespace; an empty one stands for the client's.
func (c *Client) Resource(m *meta.RESTMapping, namespace string) dynamic.ResourceInterface {
	if m.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(m.Resource)
	}
	if namespace == "" {
		namespace = c.Namespace
	}
	return c.Dynamic.Resource(m.Resource).Namespace(namespace)
}

// Applied is what an apply did to an object.
type Applied string

// The outcomes of an apply.
const (
	Created    Applied = "created"
	Configured Applied = "configured"
	Unchanged  Applied = "unchanged"
)

// Apply makes an object what obj says, by server-side apply. With dryRun the server only checks it.
func (c *Client) Apply(ctx context.Context, obj *unstructured.Unstructured, dryRun bool) (Applied, error) {
	gvk := obj.GroupVersionKind()
	mapping, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		return "", fmt.Errorf("kind: the cluster does not know %s %s; check the spelling, or install what defines it", gvk.GroupVersion(), gvk.Kind)
	}
	if err != nil {
		return "", c.explain(err)
	}
	resource := c.Resource(mapping, obj.GetNamespace())
	before, err := resource.Get(ctx, obj.GetName(), metav1.GetOptions{})
	if err != nil {
		before = nil // created, or the apply says what is wrong
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	after, err := resource.Apply(ctx, obj.GetName(), obj, options)
	switch {
	case err != nil:
		return "", c.explain(err)
	case before == nil:
		return Created, nil
	case before.GetResourceVersion() == after.GetResourceVersion():
		return Unchanged, nil
	default:
		return Configured, nil
	}
}

// Redis gets one Redis.
func (c *Client) Redis(ctx context.Context, name string) (*v1alpha1.Redis, error) {
	u, err := c.Dynamic.Resource(Redises).Namespace(c.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, c.explain(err)
	}
	return Convert[v1alpha1.Redis](u)
}

// Convert turns what a dynamic client got into its type.
func Convert[T any](u *unstructured.Unstructured) (*T, error) {
	out := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return out, nil
}

// RedisList lists the Redises of the client's namespace, by name.
func (c *Client) RedisList(ctx context.Context) ([]*v1alpha1.Redis, error) {
	list, err := c.Dynamic.Resource(Redises).Namespace(c.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.explain(err)
	}
	out := make([]*v1alpha1.Redis, 0, len(list.Items))
	for i := range list.Items {
		r, err := Convert[v1alpha1.Redis](&list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y *v1alpha1.Redis) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}
