package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/manifest"
)

// victim is one object to delete.
type victim struct {
	kind, name string
	uid        types.UID
	resource   dynamic.ResourceInterface
}

func newDeleteCommand(a *app) *cobra.Command {
	var files fileFlags
	var selector string
	var all, dryRun, wait, ignoreMissing bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "delete {-f FILE | KIND NAME... | KIND -l SELECTOR}",
		Short: "Delete objects by file, name or selector",
		Long: `Deletes objects, and what belongs to them. Volumes of a Redis stay unless its spec.storage.retain is Delete.
With --dry-run it only prints what it would delete.`,
		Example: `  redstart delete pod cache-0
  redstart delete redis/cache
  redstart delete -f examples/guestbook --dry-run
  redstart delete pods -l app=frontend`,
		Args: func(_ *cobra.Command, args []string) error {
			switch byName := len(args) > 0; {
			case byName == (len(files.files) > 0), !byName && (selector != "" || all):
				return usagef("what to delete? name files with -f, or KIND NAME, or KIND -l SELECTOR")
			case selector != "" && all:
				return usagef("--selector and --all exclude each other")
			case byName && strings.Contains(args[0], "/") && (selector != "" || all):
				return usagef("a selector and a name exclude each other")
			case byName && !strings.Contains(args[0], "/") && len(args) == 1 && selector == "" && !all:
				return usagef("which %s? give names, a selector with -l, or --all", args[0])
			case len(args) > 1 && (selector != "" || all):
				return usagef("a selector and a name exclude each other")
			}
			return checkSelector(selector)
		},
		ValidArgsFunction: a.completeKindAndName,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var docs []manifest.Document
			if len(files.files) > 0 {
				var err error
				if docs, err = manifest.Load(files.files, files.recursive, a.in); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			victims, err := findVictims(ctx, c, docs, args, selector, ignoreMissing || len(docs) > 0)
			if err != nil {
				return err
			}
			if len(victims) == 0 {
				fmt.Fprintln(a.errOut, "Nothing to delete.")
			}
			ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("still there after %s", timeout))
			defer cancel()
			return a.deleteAll(ctx, c, victims, dryRun, wait)
		},
	}
	files.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&selector, "selector", "l", "", "all of the kind with these `LABELS`")
	f.BoolVar(&all, "all", false, "all of the kind in the namespace")
	f.BoolVar(&dryRun, "dry-run", false, "only print what would be deleted")
	f.BoolVar(&wait, "wait", true, "wait until they are gone")
	f.BoolVar(&ignoreMissing, "ignore-not-found", false, "missing objects are no error")
	positiveVar(f, &timeout, "timeout", 2*time.Minute, "how long to wait")
	return cmd
}

// findVictims resolves the command line to objects that exist.
func findVictims(ctx context.Context, c *client.Client, docs []manifest.Document, args []string, selector string, ignoreMissing bool) ([]victim, error) {
	var victims []victim
	var failures []error
	find := func(kind, namespace string, names ...string) {
		mapping, err := c.Kind(kind)
		if err != nil {
			failures = append(failures, err)
			return
		}
		r := c.Resource(mapping, namespace)
		for _, name := range names {
			u, err := r.Get(ctx, name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err) && ignoreMissing:
			case err != nil:
				failures = append(failures, c.Explain(err))
			default:
				victims = append(victims, victim{mapping.GroupVersionKind.Kind, name, u.GetUID(), r})
			}
		}
		if len(names) > 0 {
			return
		}
		list, err := r.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			failures = append(failures, c.Explain(err))
			return
		}
		for _, u := range list.Items {
			victims = append(victims, victim{mapping.GroupVersionKind.Kind, u.GetName(), u.GetUID(), r})
		}
	}
	for _, d := range slices.Backward(docs) {
		gvk := d.Object.GroupVersionKind()
		find(strings.TrimSuffix(gvk.Kind+"."+gvk.Group, "."), d.Object.GetNamespace(), d.Object.GetName())
	}
	switch {
	case len(args) == 0:
	case strings.Contains(args[0], "/"):
		for _, arg := range args {
			kind, name, err := splitTarget(arg)
			if err != nil || kind == "" {
				return nil, usagef("%q is not KIND/NAME", arg)
			}
			find(kind, "", name)
		}
	default:
		find(args[0], "", args[1:]...)
	}
	return victims, errors.Join(failures...)
}

func (a *app) deleteAll(ctx context.Context, c *client.Client, victims []victim, dryRun, wait bool) error {
	if dryRun {
		for _, v := range victims {
			fmt.Fprintf(a.out, "%s %s would be deleted\n", v.kind, v.name)
		}
		return nil
	}
	policy := metav1.DeletePropagationBackground
	if wait {
		policy = metav1.DeletePropagationForeground
	}
	for _, v := range victims {
		err := v.resource.Delete(ctx, v.name, metav1.DeleteOptions{
			PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &v.uid},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return c.Explain(err)
		}
		if !wait {
			fmt.Fprintf(a.out, "%s %s is being deleted\n", v.kind, v.name)
		}
	}
	if !wait {
		return nil
	}
	for _, v := range victims {
		if err := waitGone(ctx, v); err != nil {
			return fmt.Errorf("%s %s: %w", v.kind, v.name, err)
		}
		fmt.Fprintf(a.out, "%s %s deleted\n", v.kind, v.name)
	}
	return nil
}

// waitGone returns when an object, by its UID, exists no more.
func waitGone(ctx context.Context, v victim) error {
	for {
		u, err := v.resource.Get(ctx, v.name, metav1.GetOptions{})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case apierrors.IsNotFound(err), err == nil && u.GetUID() != v.uid:
			return nil
		case err != nil:
			return err
		}
		w, err := v.resource.Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", v.name).String(), ResourceVersion: u.GetResourceVersion(),
		})
		if err != nil {
			return err
		}
		gone := untilDeleted(w)
		w.Stop()
		if gone {
			return nil
		}
	}
}

// untilDeleted reads a watch until the object is deleted or the watch ends.
func untilDeleted(w watch.Interface) bool {
	for event := range w.ResultChan() {
		if event.Type == watch.Deleted {
			return true
		}
	}
	return false
}
