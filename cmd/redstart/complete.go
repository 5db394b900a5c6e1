package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// completionTimeout bounds how long a shell waits for names.
const completionTimeout = 2 * time.Second

type completion = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeNames offers the names of objects: bare ones of the first resource, KIND/NAME of the others.
func (a *app) completeNames(resources ...schema.GroupVersionResource) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for i, r := range resources {
			prefix := ""
			if i > 0 {
				prefix = strings.TrimSuffix(r.Resource, "s") + "/"
			}
			out = append(out, names(cmd, c.Dynamic.Resource(r).Namespace(c.Namespace), prefix, toComplete)...)
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKindAndName offers kinds, and then the names of objects of the kind.
func (a *app) completeKindAndName(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		kinds := []string{"configmaps", "deployments", "persistentvolumeclaims", "pods", "redises", "secrets", "services", "statefulsets"}
		return slices.DeleteFunc(kinds, func(k string) bool { return !strings.HasPrefix(k, toComplete) }), cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	mapping, err := c.Kind(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names(cmd, c.Resource(mapping, ""), "", toComplete), cobra.ShellCompDirectiveNoFileComp
}

func names(cmd *cobra.Command, r dynamic.ResourceInterface, prefix, toComplete string) []string {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	list, err := r.List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil
	}
	var out []string
	for _, u := range list.Items {
		if name := prefix + u.GetName(); strings.HasPrefix(name, toComplete) {
			out = append(out, name)
		}
	}
	return out
}
