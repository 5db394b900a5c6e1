package main

import (
	"bytes"
	"context"
	"fmt"
	"sort"
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
			name := strings.Join(args, "")
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
		return a.draw(redises, a.out.Write)
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
	name = strings.TrimPrefix(name, "redis/")
	if name != "" {
		r, err := c.Redis(ctx, name)
		return []*v1alpha1.Redis{r}, err
	}
	return c.RedisList(ctx)
}

func (a *app) draw(redises []*v1alpha1.Redis, write func([]byte) (int, error)) error {
	var b bytes.Buffer
	for i, r := range redises {
		if i > 0 {
			b.WriteByte('\n')
		}
		if err := tree.Draw(&b, r, time.Now()); err != nil {
			return err
		}
	}
	_, err := write(b.Bytes())
	return err
}

// watchStatus redraws on a terminal, and prints each change to anything else.
func (a *app) watchStatus(ctx context.Context, c *client.Client, name string) error {
	f, err := c.Follow(ctx, client.Redises)
	if err != nil {
		return err
	}
	defer f.Stop()
	var last []byte
	for ; ctx.Err() == nil; f.Wait(ctx) {
		var shown []*v1alpha1.Redis
		for _, r := range client.All[v1alpha1.Redis](f, client.Redises) {
			if name == "" || r.Name == name {
				shown = append(shown, r)
			}
		}
		sort.Slice(shown, func(i, j int) bool { return shown[i].Name < shown[j].Name })
		if err := a.draw(shown, func(picture []byte) (int, error) { return a.redraw(picture, &last) }); err != nil {
			return err
		}
	}
	return nil
}
