package main

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/install"
	"redstart.dev/redstart/internal/manifest"
	"redstart.dev/redstart/internal/operator/objects"
)

func newRenderCommand(a *app) *cobra.Command {
	var output, image string
	cmd := &cobra.Command{
		Use:   "render FILE...",
		Short: "Print the objects that the operator would make",
		Long: `Prints every object that the operator would make for the Redises in files, as it would make them on Kubernetes, so that
they can be reviewed. It speaks to no cluster.

The Secret is printed without data: the password and the agents' token are made in the cluster, and belong into no
repository. Owner references need the UID of a Redis that exists: they are printed when the file has it.

Where the operator runs, apply the Redis and leave its objects to the operator. Where it shall not run, apply these, and
put "password" and "agent-token" into the Secret first; the agents need no operator to fail over.`,
		Example: `  redstart render examples/guestbook/redis.yaml
  redstart render cache.yaml --image registry.example.com/redstart:v1 -o json
  kubectl get redis cache -o yaml | redstart render -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "yaml", "json"); err != nil {
				return err
			}
			if len(args) == 0 {
				return usagef("which Redis? name its file, or - for standard input")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			docs, err := (&fileFlags{files: args}).load(a.in)
			if err != nil {
				return err
			}
			all, others, err := a.render(docs, image)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return fmt.Errorf("%s: no Redis found; the operator makes objects for nothing else", strings.Join(args, ", "))
			}
			if others > 0 {
				fmt.Fprintf(a.errOut, "Left out: %d objects that are no Redis; apply them as they are.\n", others)
			}
			fmt.Fprintln(a.errOut, "Secrets are printed without data; the operator makes passwords in the cluster.")
			return writeObjects(a.out, output, all)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "`FORMAT`: yaml or json")
	cmd.Flags().StringVar(&image, "image", install.DefaultImage(programVersion()), "`IMAGE` that holds redstart, for the agents in the pods")
	return cmd
}

// render builds the objects of all Redises among documents, and counts the other documents.
func (a *app) render(docs []manifest.Document, image string) (all []client.Object, others int, err error) {
	for _, d := range docs {
		if gvk := d.Object.GroupVersionKind(); gvk.Group != v1alpha1.GroupVersion.Group || gvk.Kind != "Redis" {
			others++
			continue
		}
		r := &v1alpha1.Redis{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.Object.Object, r); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", d, err)
		}
		if r.Namespace == "" {
			r.Namespace = a.namespace
		}
		if r.Namespace == "" {
			r.Namespace = metav1.NamespaceDefault
		}
		built, err := renderRedis(r, image)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", d, err)
		}
		all = append(all, built...)
	}
	return all, others, nil
}

// renderRedis builds the objects of one Redis, its Secret without data before the pods that need it.
func renderRedis(r *v1alpha1.Redis, image string) ([]client.Object, error) {
	r.Default()
	exists := r.UID != ""
	if !exists {
		// The agents derive the identities of Sentinels from it: it must differ from that of every other Redis.
		r.UID = types.UID(uuid.NewSHA1(uuid.NameSpaceURL, []byte("redstart.dev/"+r.Namespace+"/"+r.Name)).String())
	}
	built, err := objects.Build(r, objects.Options{Replicas: ptr.Deref(r.Spec.Replicas, 1), AgentImage: image})
	if err != nil {
		return nil, err
	}
	var all []client.Object
	secret := false
	for _, o := range built {
		if _, ok := o.(*appsv1.StatefulSet); ok && !secret {
			all = append(all, renderedSecret(r))
			secret = true
		}
		all = append(all, o)
	}
	if exists {
		return all, nil
	}
	for _, o := range all {
		o.SetOwnerReferences(nil)
	}
	return all, nil
}

// renderedSecret is the Secret that the operator makes, without what it generates.
func renderedSecret(r *v1alpha1.Redis) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Name: r.Name, Namespace: r.Namespace,
			Labels:          map[string]string{v1alpha1.LabelName: r.Name},
			OwnerReferences: []metav1.OwnerReference{objects.OwnerReference(r)},
		},
		Type: corev1.SecretTypeOpaque,
	}
}
