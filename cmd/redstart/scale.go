package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/progress"
)

func newScaleCommand(a *app) *cobra.Command {
	var replicas, shards, perShard int32
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "scale {NAME | KIND/NAME | KIND NAME} {--replicas N | --shards N | --replicas-per-shard N}",
		Short: "Change the number of members of a Redis, or of pods of a Deployment",
		Long: `Changes spec.replicas and shows the progress until it is done. A NAME without a KIND is a Redis, else a Deployment,
else a StatefulSet. A Redis that loses members hands over first, so no write is lost. A Redis of mode Cluster has shards instead, whose
slots move while clients go on.`,
		Example: `  redstart scale cache --replicas 5
  redstart scale cache --shards 6
  redstart scale deployment/frontend --replicas 3`,
		Args: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			if !changed("replicas") && !changed("shards") && !changed("replicas-per-shard") || replicas < 0 || shards < 0 || perShard < 0 {
				return usagef("how many? give --replicas N (or, in mode Cluster, --shards N or --replicas-per-shard N), N not negative")
			}
			return arguments(1, 2)(cmd, args)
		},
		ValidArgsFunction: a.completeNames(client.Redises, client.Deployments),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.connect()
			if err != nil {
				return err
			}
			patch, said, err := scalePatch(cmd, replicas, shards, perShard)
			if err != nil {
				return err
			}
			u, err := patchTarget(ctx, c, strings.Join(args, "/"), patch, cmd.Flags().Changed("shards") || cmd.Flags().Changed("replicas-per-shard"))
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s %s scaled to %s\n", u.GetKind(), u.GetName(), said)
			if !wait {
				return nil
			}
			target := progress.Target{Kind: u.GetKind(), Name: u.GetName(), Generation: u.GetGeneration()}
			return a.waitReady(ctx, c, a.out, []progress.Target{target}, time.Time{}, timeout, func(w progress.World) bool {
				return u.GetKind() != "Redis" || members(w, u.GetName()) == wantedMembers(w, u.GetName())
			})
		},
	}
	f := cmd.Flags()
	f.Int32Var(&replicas, "replicas", 0, "how `MANY`")
	f.Int32Var(&shards, "shards", 0, "how `MANY` shards, of a Redis of mode Cluster")
	f.Int32Var(&perShard, "replicas-per-shard", 0, "how `MANY` replicas every shard has, of a Redis of mode Cluster")
	f.BoolVar(&wait, "wait", true, "wait until it is done")
	positiveVar(f, &timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

// scalePatch is the change of the spec that the flags ask for, and the same for people.
func scalePatch(cmd *cobra.Command, replicas, shards, perShard int32) (patch []byte, said string, err error) {
	spec, words := map[string]int32{}, []string(nil)
	for _, f := range []struct {
		flag, field, unit string
		value             int32
	}{
		{"replicas", "replicas", "", replicas},
		{"shards", "shards", " shards", shards},
		{"replicas-per-shard", "replicasPerShard", " replicas per shard", perShard},
	} {
		if cmd.Flags().Changed(f.flag) {
			spec[f.field] = f.value
			words = append(words, fmt.Sprintf("%d%s", f.value, f.unit))
		}
	}
	patch, err = json.Marshal(map[string]any{"spec": spec})
	return patch, strings.Join(words, ", "), err
}

// wantedMembers is how many members a Redis shall have, -1 while it is not seen.
func wantedMembers(w progress.World, name string) int {
	for _, r := range w.Redises {
		if r.Name == name {
			return int(r.MemberCount())
		}
	}
	return -1
}

// members counts the pods of a Redis, without its Sentinels.
func members(w progress.World, name string) int {
	n := 0
	for _, p := range w.Pods {
		if p.Labels[v1alpha1.LabelName] == name && p.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentMember {
			n++
		}
	}
	return n
}

// patchTarget merges a patch into what NAME or KIND/NAME means. Shards: it is of what only a Redis has.
func patchTarget(ctx context.Context, c *client.Client, arg string, patch []byte, shards bool) (*unstructured.Unstructured, error) {
	kind, name, err := splitTarget(arg)
	if err != nil {
		return nil, err
	}
	kinds := []string{kind}
	if kind == "" {
		kinds = []string{"redis", "deployment", "statefulset"}
	}
	for _, k := range kinds {
		mapping, err := c.Kind(k)
		if err != nil {
			if kind == "" && isUnknownKind(err) {
				continue
			}
			return nil, err
		}
		switch mapping.GroupVersionKind.Kind {
		case "Redis", "Deployment", "StatefulSet", "ReplicaSet":
			if shards && mapping.GroupVersionKind.Kind != "Redis" {
				return nil, usagef("only a Redis of mode Cluster has shards; scale %s %s with --replicas", mapping.GroupVersionKind.Kind, name)
			}
		default:
			return nil, fmt.Errorf("%s %s cannot be scaled; expected a redis, deployment or statefulset", mapping.GroupVersionKind.Kind, name)
		}
		options := metav1.PatchOptions{FieldManager: client.FieldManager, FieldValidation: metav1.FieldValidationStrict}
		u, err := c.Resource(mapping, "").Patch(ctx, name, types.MergePatchType, patch, options)
		switch {
		case apierrors.IsNotFound(err) && kind == "":
			continue
		case err != nil:
			return nil, c.Explain(err)
		}
		return u, nil
	}
	return nil, fmt.Errorf("no Redis, Deployment or StatefulSet is named %q in namespace %s", name, c.Namespace)
}
