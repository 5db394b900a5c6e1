package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/config/crd"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/install"
	"redstart.dev/redstart/internal/operator"
)

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

func newUninstallCommand(a *app) *cobra.Command {
	var crds, dryRun bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the operator from a Kubernetes cluster, and leave every Redis running",
		Long: `Deletes what install made. Every Redis stays and goes on serving, and its agents go on failing over: what is missing
without an operator are changes and restarts. The namespace stays, for something else may be in it.

The custom resource definitions stay too: with them every Redis would go. --crds deletes them, and refuses while one
exists. Volumes are never deleted here.`,
		Example: `  redstart uninstall
  redstart uninstall --crds --dry-run`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			namespace := a.namespace
			if namespace == "" {
				namespace = install.DefaultNamespace
			}
			c, err := a.connectTo(namespace)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("not done after %s", timeout))
			defer cancel()
			return a.uninstall(ctx, c, crds, dryRun)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&crds, "crds", false, "delete the custom resource definitions too, if no object of them is left")
	f.BoolVar(&dryRun, "dry-run", false, "only print what would be deleted")
	positiveVar(f, &timeout, "timeout", 2*time.Minute, "how long to wait")
	return cmd
}

func (a *app) uninstall(ctx context.Context, c *client.Client, crds, dryRun bool) error {
	d, err := installed(ctx, c, c.Namespace)
	if err != nil {
		return err
	}
	o := install.Options{Namespace: c.Namespace, Replicas: 1}
	if d != nil {
		o.Watch = install.Watched(d)
	}
	all := install.Objects(o)
	// The operator goes first: what it may do is taken away last.
	slices.Reverse(all)
	definitions, left, err := definitionsInUse(ctx, c)
	if err != nil {
		return err
	}
	if crds && len(left) > 0 {
		return fmt.Errorf("--crds would delete %s; delete them first (their volumes stay unless spec.storage.retain is Delete)", namesOf(left))
	}
	if crds {
		for _, u := range definitions {
			all = append(all, u)
		}
	}
	if dryRun {
		return a.printVictims(ctx, c, all)
	}
	if err := a.deleteObjects(ctx, c, all); err != nil {
		return err
	}
	if err := a.deleteLease(ctx, c); err != nil {
		return err
	}
	switch {
	case len(left) > 0:
		fmt.Fprintf(a.out, "Left, running without an operator: %s.\n", namesOf(left))
	case !crds && len(definitions) > 0:
		fmt.Fprintln(a.out, "Left: the custom resource definitions; redstart uninstall --crds deletes them.")
	}
	_, err = fmt.Fprintf(a.out, "Left: volumes, and namespace %s.\n", c.Namespace)
	return err
}

// deleteLease removes what the operators voted with: Kubernetes would keep it for ever.
func (a *app) deleteLease(ctx context.Context, c *client.Client) error {
	err := c.Kube.CoordinationV1().Leases(c.Namespace).Delete(ctx, operator.LeaderElectionID, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("Lease %s/%s: %w", c.Namespace, operator.LeaderElectionID, c.Explain(err))
	}
	return nil
}

// ours finds the live object of one that install makes, nil where there is none or somebody else made it. CRDs are
// ours by their name.
func (a *app) ours(ctx context.Context, c *client.Client, obj kube.Object) (*unstructured.Unstructured, *meta.RESTMapping, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	mapping, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", install.Key(obj), c.Explain(err))
	}
	u, err := c.Resource(mapping, obj.GetNamespace()).Get(ctx, obj.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, mapping, nil
	case err != nil:
		return nil, nil, fmt.Errorf("%s: %w", install.Key(obj), c.Explain(err))
	case u.GetLabels()[install.ManagedBy] != install.Manager && mapping.Resource != crdResource:
		fmt.Fprintf(a.errOut, "%s is left: redstart install did not make it.\n", install.Key(obj))
		return nil, mapping, nil
	}
	return u, mapping, nil
}

func (a *app) printVictims(ctx context.Context, c *client.Client, all []kube.Object) error {
	for _, obj := range all {
		live, _, err := a.ours(ctx, c, obj)
		if err != nil {
			return err
		}
		if live != nil {
			fmt.Fprintf(a.out, "%s would be deleted\n", install.Key(obj))
		}
	}
	return nil
}

// deleteObjects deletes those of these objects that install made, one after the other.
func (a *app) deleteObjects(ctx context.Context, c *client.Client, all []kube.Object) error {
	policy := metav1.DeletePropagationForeground
	for _, obj := range all {
		live, mapping, err := a.ours(ctx, c, obj)
		if err != nil {
			return err
		}
		if live == nil {
			continue
		}
		uid := live.GetUID()
		r := c.Resource(mapping, obj.GetNamespace())
		err = r.Delete(ctx, obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
		if err == nil {
			err = waitGone(ctx, victim{live.GetKind(), live.GetName(), uid, r})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", install.Key(obj), c.Explain(err))
		}
		fmt.Fprintf(a.out, "%s deleted\n", install.Key(obj))
	}
	return nil
}

// definitionsInUse are our CRDs in the cluster, and the objects of them that exist.
func definitionsInUse(ctx context.Context, c *client.Client) (crds, left []*unstructured.Unstructured, err error) {
	known, err := crd.All()
	if err != nil {
		return nil, nil, err
	}
	for _, u := range known {
		if _, err := c.Dynamic.Resource(crdResource).Get(ctx, u.GetName(), metav1.GetOptions{}); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return nil, nil, fmt.Errorf("%s: %w", install.Key(u), c.Explain(err))
		}
		crds = append(crds, u)
		resource, group, _ := strings.Cut(u.GetName(), ".")
		list, err := c.Dynamic.Resource(schema.GroupVersionResource{Group: group, Version: "v1alpha1", Resource: resource}).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, nil, fmt.Errorf("list %s: %w", u.GetName(), c.Explain(err))
		}
		for i := range list.Items {
			left = append(left, &list.Items[i])
		}
	}
	return crds, left, nil
}

// namesOf names some objects, and counts the rest.
func namesOf(all []*unstructured.Unstructured) string {
	const most = 5
	var names []string
	for _, u := range all[:min(len(all), most)] {
		names = append(names, install.Key(u))
	}
	text := strings.Join(names, ", ")
	if n := len(all) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// awaitEstablished returns when the API server serves the objects of a CRD.
func awaitEstablished(ctx context.Context, c *client.Client, name string) error {
	established := func(u *unstructured.Unstructured) bool {
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, x := range conditions {
			m, ok := x.(map[string]any)
			if ok && m["type"] == "Established" && m["status"] == string(corev1.ConditionTrue) {
				return true
			}
		}
		return false
	}
	for {
		u, err := c.Dynamic.Resource(crdResource).Get(ctx, name, metav1.GetOptions{})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return c.Explain(err)
		case established(u):
			return nil
		}
		w, err := c.Dynamic.Resource(crdResource).Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String(), ResourceVersion: u.GetResourceVersion(),
		})
		if err != nil {
			return c.Explain(err)
		}
		untilChanged(w)
		w.Stop()
	}
}

// untilChanged reads a watch until anything happens, or the watch ends.
func untilChanged(w watch.Interface) {
	<-w.ResultChan()
}
