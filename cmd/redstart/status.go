package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/tree"
)

// redisStatus is what status -o json prints: the status of the Redis, with its name and mode in front.
type redisStatus struct {
	Name      string        `json:"name"`
	Namespace string        `json:"namespace"`
	Mode      v1alpha1.Mode `json:"mode"`
	v1alpha1.RedisStatus
}

func newStatusCommand(a *app) *cobra.Command {
	var output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show a Redis as a tree: members, roles, lag, clients, memory, Sentinels",
		Example: `  redstart status
  redstart status cache -w
  redstart status cache -o json`,
		Args:              statusArgs(&output, &watch),
		ValidArgsFunction: a.completeNames(client.Redises),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			name, err := redisName(strings.Join(args, ""))
			if err != nil {
				return err
			}
			if watch {
				return a.watchStatus(cmd.Context(), c, name)
			}
			return a.printStatus(cmd.Context(), c, name, output)
		},
	}
	addStatusFlags(cmd, &output, &watch)
	return cmd
}

func (a *app) printStatus(ctx context.Context, c *client.Client, name, output string) error {
	redises, err := listRedises(ctx, c, name)
	if err != nil {
		return err
	}
	if output == "table" {
		if len(redises) == 0 {
			fmt.Fprintf(a.errOut, "No Redis found in namespace %s.\n", c.Namespace)
		}
		picture, err := drawRedises(redises)
		if err != nil {
			return err
		}
		_, err = a.out.Write(picture)
		return err
	}
	views := []redisStatus{}
	for _, r := range redises {
		views = append(views, redisStatus{r.Name, r.Namespace, r.Spec.Mode, r.Status})
	}
	var v any = map[string]any{"items": views}
	if name != "" {
		v = views[0]
	}
	return a.writeData(v, output)
}

// listRedises gets one Redis, or all for an empty name, by name.
func listRedises(ctx context.Context, c *client.Client, name string) ([]*v1alpha1.Redis, error) {
	if name != "" {
		r, err := c.Redis(ctx, name)
		return []*v1alpha1.Redis{r}, err
	}
	return c.RedisList(ctx)
}

func drawRedises(redises []*v1alpha1.Redis) ([]byte, error) {
	var b bytes.Buffer
	for i, r := range redises {
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := tree.Draw(&b, r, time.Now()); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// watchStatus shows Redises until ctx ends. One that is named has to be there at first.
func (a *app) watchStatus(ctx context.Context, c *client.Client, name string) error {
	if _, err := listRedises(ctx, c, name); err != nil {
		return err
	}
	return a.watch(ctx, c, client.Redises, func(f *client.Follower) ([]byte, error) {
		shown := slices.DeleteFunc(client.All[v1alpha1.Redis](f, client.Redises), func(r *v1alpha1.Redis) bool { return name != "" && r.Name != name })
		if len(shown) == 0 {
			return fmt.Appendf(nil, "No Redis found in namespace %s.\n", c.Namespace), nil
		}
		slices.SortFunc(shown, func(x, y *v1alpha1.Redis) int { return strings.Compare(x.Name, y.Name) })
		return drawRedises(shown)
	})
}
