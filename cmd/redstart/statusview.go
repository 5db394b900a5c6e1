package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/progress"
)

// addStatusFlags gives a command that shows a status its flags; statusArgs checks them.
func addStatusFlags(cmd *cobra.Command, output *string, watch *bool) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "`FORMAT`: table, json or yaml")
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "keep showing it, as it changes")
}

func statusArgs(output *string, watch *bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(*output, "table", "json", "yaml"); err != nil {
			return err
		}
		if *watch && *output != "table" {
			return usagef("--watch draws on the terminal; leave --output out")
		}
		return arguments(0, 1)(cmd, args)
	}
}

// writeData prints v as output says: json, or else yaml.
func (a *app) writeData(v any, output string) error {
	if output == "json" {
		return writeJSON(a.out, v)
	}
	data, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(data)
	return err
}

// watch shows the picture of what a follower of resource sees, until ctx ends. While the API server does not answer the
// picture says so.
func (a *app) watch(ctx context.Context, c *client.Client, resource schema.GroupVersionResource, draw func(*client.Follower) ([]byte, error)) error {
	f, err := c.Follow(ctx, resource)
	if err != nil {
		return err
	}
	defer f.Stop()
	show := a.pictures()
	var asked time.Time
	var silent error
	for ; ctx.Err() == nil; f.Wait(ctx) {
		picture, err := draw(f)
		if err != nil {
			return err
		}
		if time.Since(asked) >= time.Second { // a follower tries again in silence
			asked, silent = time.Now(), c.Ping(ctx)
		}
		if silent != nil && ctx.Err() == nil {
			picture = slices.Concat([]byte("The API server does not answer now. What it said last:\n"), picture)
		}
		if err := show(picture); err != nil {
			return err
		}
	}
	return nil
}

// pictures shows one picture after another: in the same place of a terminal, and to anything else each that is another.
func (a *app) pictures() func(picture []byte) error {
	if size := terminal(a.out); size != nil {
		screen := progress.NewScreen(a.out, size)
		return func(picture []byte) error {
			return screen.Paint(strings.Split(strings.TrimSuffix(string(picture), "\n"), "\n"))
		}
	}
	var last []byte
	return func(picture []byte) error {
		if bytes.Equal(picture, last) {
			return nil
		}
		last = picture
		_, err := fmt.Fprintf(a.out, "%s\n", picture)
		return err
	}
}
