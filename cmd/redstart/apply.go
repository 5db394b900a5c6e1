package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/manifest"
	"redstart.dev/redstart/internal/progress"
)

// fileFlags are the flags of the commands that read files.
type fileFlags struct {
	files     []string
	recursive bool
}

func (f *fileFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.files, "filename", "f", nil, "`FILE` or directory with YAML or JSON, - for standard input (repeatable)")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "read the directories below too")
}

// load reads and checks the files. Nothing was sent anywhere yet.
func (f *fileFlags) load(in io.Reader) ([]manifest.Document, error) {
	docs, err := manifest.Load(f.files, f.recursive, in)
	return docs, errors.Join(err, manifest.Validate(docs))
}

func newApplyCommand(a *app) *cobra.Command {
	var files fileFlags
	var dryRun, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create or change objects from files",
		Long: `Makes the objects of files what the files say, by server-side apply. Everything is checked before anything is
changed: every error of every file is listed, and then nothing is applied.`,
		Example: `  redstart apply -f examples/guestbook
  redstart apply -f cache.yaml --wait
  cat cache.yaml | redstart apply -f -`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files.files) == 0 {
				return usagef("nothing to apply; name a file or directory with -f")
			}
			docs, err := files.load(a.in)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := checkOnServer(cmd.Context(), c, docs); err != nil || dryRun {
				if err == nil {
					fmt.Fprintf(a.out, "%d objects are valid; nothing was changed (dry run)\n", len(docs))
				}
				return err
			}
			targets, err := applyAll(cmd.Context(), c, docs, a.out)
			if err != nil || !wait {
				return err
			}
			return a.waitReady(cmd.Context(), c, a.out, targets, time.Time{}, timeout, nil)
		},
	}
	files.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only check, on this side and on the server")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until everything is ready, and show the progress")
	positiveVar(cmd.Flags(), &timeout, "timeout", 5*time.Minute, "how long to wait")
	return cmd
}

// checkOnServer lets the API server check every document without changing anything, and finds Secrets that are
// referred to and exist nowhere.
func checkOnServer(ctx context.Context, c *client.Client, docs []manifest.Document) error {
	var problems manifest.Problems
	for _, ref := range manifest.MissingSecrets(docs, c.Namespace) {
		_, err := c.Dynamic.Resource(client.Secrets).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			problems = append(problems, ref.Problem())
		case err != nil:
			return c.Explain(err)
		}
	}
	for _, d := range docs {
		if _, err := c.Apply(ctx, d.Object, true); err != nil {
			if apierrors.IsNotFound(err) && hasNamespace(docs, d.Object.GetNamespace()) {
				continue // its namespace is among the documents
			}
			for _, line := range strings.Split(err.Error(), "\n") {
				problems = append(problems, manifest.Problem{Document: d, Message: line})
			}
			if ctx.Err() != nil {
				break
			}
		}
	}
	return problems.Err()
}

func hasNamespace(docs []manifest.Document, name string) bool {
	return name != "" && slices.ContainsFunc(docs, func(d manifest.Document) bool {
		return d.Object.GetKind() == "Namespace" && d.Object.GetName() == name
	})
}

// applyAll applies documents in an order in which each finds what it needs, prints what became of each to w (unless
// it is nil), and answers with those that have to become ready.
func applyAll(ctx context.Context, c *client.Client, docs []manifest.Document, w io.Writer) ([]progress.Target, error) {
	docs = slices.Clone(docs)
	slices.SortStableFunc(docs, func(x, y manifest.Document) int { return rank(x) - rank(y) })
	var targets []progress.Target
	for _, d := range docs {
		done, err := c.Apply(ctx, d.Object, false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d, err)
		}
		if w != nil {
			fmt.Fprintf(w, "%s %s %s\n", d.Object.GetKind(), d.Object.GetName(), done)
		}
		switch kind := d.Object.GetKind(); kind {
		case "Redis", "Deployment", "StatefulSet":
			targets = append(targets, progress.Target{Kind: kind, Namespace: d.Object.GetNamespace(), Name: d.Object.GetName()})
		}
	}
	return targets, nil
}

// rank orders kinds: what others refer to comes first.
func rank(d manifest.Document) int {
	order := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolumeClaim", "Service", "GatewayClass", "Gateway", "Redis"}
	if i := slices.Index(order, d.Object.GetKind()); i >= 0 {
		return i
	}
	return len(order)
}
