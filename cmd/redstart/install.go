package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/config/crd"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/install"
	"redstart.dev/redstart/internal/progress"
)

// installFlags are what install is asked for.
type installFlags struct {
	install.Options
	pullPolicy   string
	crds, dryRun bool
	timeout      time.Duration
}

func newInstallCommand(a *app) *cobra.Command {
	var o installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the operator in a Kubernetes cluster, or upgrade it",
		Long: `Makes the custom resource definitions and the operator's objects in the current cluster, by server-side apply, and waits
until the operator is ready. Running it again upgrades it: what is not asked for again goes back to its default. No
member of a Redis restarts for that. The chart charts/redstart makes the same objects.

Without --watch-namespace the operator looks after the Redises of all namespaces. With it, it may do nothing in any
other; the definitions still belong to the whole cluster, and somebody who may not make them can leave them out with
--crds=false when they are there already.

--dry-run prints the objects, speaks to no cluster, and can be applied by other tools.`,
		Example: `  redstart install --image registry.example.com/redstart:v1
  redstart install -n redis --watch-namespace redis --watch-namespace staging --replicas 2
  redstart install --dry-run >redstart.yaml`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Namespace = a.namespace
			if o.Namespace == "" {
				o.Namespace = install.DefaultNamespace
			}
			o.ImagePullPolicy = corev1.PullPolicy(o.pullPolicy)
			if err := o.check(); err != nil {
				return err
			}
			if o.dryRun {
				return a.printInstallation(o)
			}
			c, err := a.connectTo(o.Namespace)
			if err != nil {
				return err
			}
			return a.install(cmd.Context(), c, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Image, "image", install.DefaultImage(programVersion()), "`IMAGE` that holds redstart; the default is what make image makes")
	f.StringVar(&o.pullPolicy, "image-pull-policy", "", "`POLICY` for the operator's image: Always, IfNotPresent or Never")
	f.StringArrayVar(&o.ImagePullSecrets, "image-pull-secret", nil, "`SECRET` in the operator's namespace to pull its image with (repeatable)")
	f.StringArrayVar(&o.Watch, "watch-namespace", nil, "look after the Redises of this `NAMESPACE` alone (repeatable; default: all)")
	f.Int32Var(&o.Replicas, "replicas", 1, "operators: 1, or 2 to have one in waiting")
	f.BoolVar(&o.crds, "crds", true, "make the custom resource definitions")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the objects and change nothing")
	positiveVar(f, &o.timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

// check finds what is wrong with the flags.
func (o *installFlags) check() error {
	switch {
	case o.Image == "" || strings.ContainsAny(o.Image, " \t\n"):
		return usagef("--image %q is no image; expected for example registry.example.com/redstart:v1", o.Image)
	case o.Replicas < 1 || o.Replicas > 2:
		return usagef("--replicas is %d; expected 1 or 2", o.Replicas)
	case !slices.Contains([]string{"", "Always", "IfNotPresent", "Never"}, o.pullPolicy):
		return usagef("--image-pull-policy %q is not known; expected Always, IfNotPresent or Never", o.pullPolicy)
	}
	for _, ns := range append(slices.Clone(o.Watch), o.Namespace) {
		if len(validation.IsDNS1123Label(ns)) > 0 {
			return usagef("%q is no namespace; use lower case letters, digits and '-'", ns)
		}
	}
	slices.Sort(o.Watch)
	o.Watch = slices.Compact(o.Watch)
	return nil
}

// printInstallation prints all that install would apply.
func (a *app) printInstallation(o installFlags) error {
	var all []kube.Object
	if o.crds {
		crds, err := crd.All()
		if err != nil {
			return err
		}
		for _, c := range crds {
			all = append(all, c)
		}
	}
	all = append(all, install.Namespace(o.Options))
	return writeObjects(a.out, "yaml", append(all, install.Objects(o.Options)...))
}

func (a *app) install(ctx context.Context, c *client.Client, o installFlags) error {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not done after %s", o.timeout))
	defer cancel()
	before, err := installed(ctx, c, o.Namespace)
	if err != nil {
		return err
	}
	if err := checkNamespaces(ctx, c, o.Watch); err != nil {
		return err
	}
	if o.crds {
		if err := a.applyCRDs(ctx, c); err != nil {
			return err
		}
	} else if _, err := c.Kube.Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String()); err != nil {
		if apierrors.IsNotFound(err) {
			return errors.New("--crds=false: the cluster does not know the kind Redis; leave the flag out, or have somebody make the definitions first")
		}
		return c.Explain(err)
	}
	all := install.Objects(o.Options)
	_, err = c.Kube.CoreV1().Namespaces().Get(ctx, o.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		all = append([]kube.Object{install.Namespace(o.Options)}, all...)
	case err != nil && !apierrors.IsForbidden(err): // who may not read it may still work in it
		return c.Explain(err)
	}
	for _, obj := range all {
		if err := a.applyOne(ctx, c, obj); err != nil {
			return err
		}
	}
	// What another choice of namespaces allowed the operator to do before, it may do no longer.
	if before != nil {
		was := o.Options
		was.Watch = install.Watched(before)
		if err := a.deleteObjects(ctx, c, install.Left(install.Objects(was), all)); err != nil {
			return err
		}
	}
	d, err := c.Kube.AppsV1().Deployments(o.Namespace).Get(ctx, install.Name, metav1.GetOptions{})
	if err != nil {
		return c.Explain(err)
	}
	target := progress.Target{Kind: "Deployment", Name: install.Name, Generation: d.Generation}
	if err := a.waitReady(ctx, c, a.out, []progress.Target{target}, time.Time{}, o.timeout, nil); err != nil {
		return fmt.Errorf("the operator in namespace %s is %w", o.Namespace, err)
	}
	where := "all namespaces"
	if len(o.Watch) > 0 {
		where = strings.Join(o.Watch, ", ")
	}
	_, err = fmt.Fprintf(a.out, "The operator runs in namespace %s and looks after the Redises of %s.\n", o.Namespace, where)
	return err
}

// connectTo is connect to a real cluster, in a namespace that install and uninstall mean.
func (a *app) connectTo(namespace string) (*client.Client, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	if local, err := isLocal(c); err != nil || local {
		if err == nil {
			err = errors.New("this cluster is \"redstart up\", and the operator runs in it already; name a Kubernetes cluster with --kubeconfig or --context")
		}
		return nil, err
	}
	return client.New(c.Config, namespace, false)
}

// installed is the operator that install made, nil where there is none. One that somebody else made is an error.
func installed(ctx context.Context, c *client.Client, namespace string) (*appsv1.Deployment, error) {
	d, err := c.Kube.AppsV1().Deployments(namespace).Get(ctx, install.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.Explain(err)
	}
	switch by := d.Labels[install.ManagedBy]; by {
	case install.Manager:
		return d, nil
	case "Helm":
		release := d.Annotations["meta.helm.sh/release-name"]
		return nil, fmt.Errorf("Deployment %s in namespace %s belongs to the Helm release %q; use helm upgrade and helm uninstall", install.Name, namespace, release)
	default:
		return nil, fmt.Errorf("Deployment %s in namespace %s exists, and was not made by redstart install; delete it, or choose another namespace with -n", install.Name, namespace)
	}
}

// checkNamespaces finds the namespaces that shall be looked after and do not exist, before anything is changed.
func checkNamespaces(ctx context.Context, c *client.Client, names []string) error {
	for _, ns := range names {
		_, err := c.Kube.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) && ns != c.Namespace:
			return fmt.Errorf("--watch-namespace: namespace %q does not exist; make it first", ns)
		case err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			return c.Explain(err)
		}
	}
	return nil
}

// applyCRDs applies the definitions and waits until the API server serves them.
func (a *app) applyCRDs(ctx context.Context, c *client.Client) error {
	crds, err := crd.All()
	if err != nil {
		return err
	}
	for _, u := range crds {
		if err := a.applyOne(ctx, c, u); err != nil {
			return err
		}
	}
	for _, u := range crds {
		if err := awaitEstablished(ctx, c, u.GetName()); err != nil {
			return fmt.Errorf("CustomResourceDefinition %s: %w", u.GetName(), err)
		}
	}
	return nil
}

func (a *app) applyOne(ctx context.Context, c *client.Client, obj kube.Object) error {
	u, err := toUnstructured(obj)
	if err != nil {
		return err
	}
	done, err := c.Apply(ctx, u, false)
	if err != nil {
		return fmt.Errorf("%s: %w", install.Key(obj), err)
	}
	_, err = fmt.Fprintf(a.out, "%s %s\n", install.Key(obj), done)
	return err
}

// isLocal tells whether a cluster is "redstart up", by whatever kubeconfig it was found: it has no CRDs to define.
func isLocal(c *client.Client) (bool, error) {
	if c.Local {
		return true, nil
	}
	groups, err := c.Kube.Discovery().ServerGroups()
	if err != nil {
		return false, c.Explain(err)
	}
	return !slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == crdResource.Group }), nil
}
