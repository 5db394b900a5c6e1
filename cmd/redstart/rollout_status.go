package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/tree"
)

// rolloutStatus is what rollout status -o json prints: the status, with the name in front.
type rolloutStatus struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	v1alpha1.RolloutStatus
}

func newRolloutStatusCommand(a *app) *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show the pods, the traffic and the steps of a release",
		Example: `  redstart rollout status
  redstart rollout status frontend -w
  redstart rollout status frontend -o json`,
		Args:              statusArgs(&output, &watch),
		ValidArgsFunction: a.completeNames(client.Rollouts),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(strings.Join(args, ""), "rollout/")
			if watch {
				return a.watchRollouts(cmd.Context(), c, name)
			}
			return a.printRollouts(cmd.Context(), c, name, output)
		},
	}
	addStatusFlags(cmd, &output, &watch)
	return cmd
}

// listRollouts gets one Rollout, or all for an empty name, by name.
func listRollouts(ctx context.Context, c *client.Client, name string) ([]*v1alpha1.Rollout, error) {
	resource := c.Dynamic.Resource(client.Rollouts).Namespace(c.Namespace)
	if name != "" {
		u, err := resource.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, c.Explain(err)
		}
		r, err := client.Convert[v1alpha1.Rollout](u)
		return []*v1alpha1.Rollout{r}, err
	}
	list, err := resource.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, c.Explain(err)
	}
	var out []*v1alpha1.Rollout
	for i := range list.Items {
		r, err := client.Convert[v1alpha1.Rollout](&list.Items[i])
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	sortRollouts(out)
	return out, nil
}

func sortRollouts(all []*v1alpha1.Rollout) {
	slices.SortFunc(all, func(x, y *v1alpha1.Rollout) int { return strings.Compare(x.Name, y.Name) })
}

func (a *app) printRollouts(ctx context.Context, c *client.Client, name, output string) error {
	all, err := listRollouts(ctx, c, name)
	if err != nil {
		return err
	}
	if output == "table" {
		if len(all) == 0 {
			fmt.Fprintf(a.errOut, "No Rollout found in namespace %s.\n", c.Namespace)
		}
		picture, err := drawRollouts(all)
		if err != nil {
			return err
		}
		_, err = a.out.Write(picture)
		return err
	}
	views := []rolloutStatus{}
	for _, r := range all {
		views = append(views, rolloutStatus{r.Name, r.Namespace, r.Status})
	}
	var v any = map[string]any{"items": views}
	if name != "" {
		v = views[0]
	}
	return a.writeData(v, output)
}

func drawRollouts(all []*v1alpha1.Rollout) ([]byte, error) {
	var b bytes.Buffer
	for i, r := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := tree.DrawRollout(&b, r); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// watchRollouts shows Rollouts until ctx ends. One that is named has to be there at first.
func (a *app) watchRollouts(ctx context.Context, c *client.Client, name string) error {
	if _, err := listRollouts(ctx, c, name); err != nil {
		return err
	}
	return a.watch(ctx, c, client.Rollouts, func(f *client.Follower) ([]byte, error) {
		all := slices.DeleteFunc(client.All[v1alpha1.Rollout](f, client.Rollouts), func(r *v1alpha1.Rollout) bool { return name != "" && r.Name != name })
		if len(all) == 0 {
			return fmt.Appendf(nil, "No Rollout found in namespace %s.\n", c.Namespace), nil
		}
		sortRollouts(all)
		return drawRollouts(all)
	})
}

func newRolloutHistoryCommand(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "Show the releases of a Rollout, the newest first",
		Example: `  redstart rollout history frontend
  redstart rollout history frontend -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "table", "json"); err != nil {
				return err
			}
			return arguments(1, 1)(cmd, args)
		},
		ValidArgsFunction: a.completeNames(client.Rollouts),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			all, err := listRollouts(cmd.Context(), c, strings.TrimPrefix(args[0], "rollout/"))
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(a.out, all[0].Status.History)
			}
			w := tabwriter.NewWriter(a.out, 0, 8, 3, ' ', 0)
			fmt.Fprintln(w, "NUMBER\tREVISION\tIMAGE\tOUTCOME\tENDED\tMESSAGE")
			for _, h := range all[0].Status.History {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", h.Number, h.Revision, h.Image, h.Outcome, h.EndedAt.UTC().Format("2006-01-02 15:04:05"), h.Message)
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	return cmd
}
