package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/internal/client"
)

// maxLogs bounds how many logs are read at the same time.
const maxLogs = 50

// maxLine bounds one line of a log, in bytes.
const maxLine = 1 << 20

func newLogsCommand(a *app) *cobra.Command {
	var opts corev1.PodLogOptions
	var tail int64
	var since time.Duration
	var selector string
	cmd := &cobra.Command{
		Use:   "logs {POD | KIND/NAME | -l SELECTOR}",
		Short: "Show the logs of one pod or of many",
		Example: `  redstart logs cache-0
  redstart logs -f redis/cache
  redstart logs deployment/frontend --tail 20
  redstart logs -l redis-role=replica --since 5m
  redstart logs cache-0 --previous`,
		Args: func(_ *cobra.Command, args []string) error {
			if (len(args) == 1) == (selector != "") {
				return usagef("name one pod, KIND/NAME, or a selector with -l")
			}
			if tail < 0 {
				return usagef("--tail %d: expected a number of lines, 0 or more", tail)
			}
			return checkSelector(selector)
		},
		ValidArgsFunction: a.completeNames(client.Pods),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.connect()
			if err != nil {
				return err
			}
			var pods []corev1.Pod
			if selector != "" {
				pods, err = listPods(ctx, c, selector)
			} else {
				_, pods, err = targetPods(ctx, c, args[0])
			}
			switch {
			case err != nil:
				return err
			case len(pods) == 0:
				return errors.New("no pods found")
			case len(pods) > maxLogs:
				return fmt.Errorf("%d pods are too many to show; choose at most %d with -l", len(pods), maxLogs)
			}
			if cmd.Flags().Changed("tail") {
				opts.TailLines = &tail
			}
			if since > 0 {
				s := int64(max(1, since.Seconds()))
				opts.SinceSeconds = &s
			}
			return showLogs(ctx, c, pods, opts, a.out)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&opts.Follow, "follow", "f", false, "keep showing new lines")
	f.BoolVarP(&opts.Previous, "previous", "p", false, "of the run before the last restart")
	f.StringVarP(&opts.Container, "container", "c", "", "`NAME` of the container (default: all)")
	f.Int64Var(&tail, "tail", 0, "only the last `N` lines")
	positiveVar(f, &since, "since", 0, "only lines not older than this, for example 5m")
	f.StringVarP(&selector, "selector", "l", "", "of all pods with these `LABELS`")
	return cmd
}

// showLogs copies the logs of pods, each line after the name of its pod where there are several.
func showLogs(ctx context.Context, c *client.Client, pods []corev1.Pod, opts corev1.PodLogOptions, w io.Writer) error {
	type source struct{ pod, container, prefix string }
	var sources []source
	for _, p := range pods {
		for _, ct := range p.Spec.Containers {
			if opts.Container != "" && ct.Name != opts.Container {
				continue
			}
			s := source{pod: p.Name, container: ct.Name}
			if len(pods) > 1 {
				s.prefix = "[" + p.Name + "] "
			}
			if len(p.Spec.Containers) > 1 && opts.Container == "" {
				s.prefix = "[" + p.Name + "/" + ct.Name + "] "
			}
			sources = append(sources, s)
		}
	}
	if len(sources) == 0 {
		return fmt.Errorf("no container %q in %s", opts.Container, pods[0].Name)
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		g.Go(func() error {
			o := opts
			o.Container = s.container
			stream, err := c.Kube.CoreV1().Pods(c.Namespace).GetLogs(s.pod, &o).Stream(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return nil // a log without a line yet, and nobody waits for it any longer
				}
				return c.Explain(err)
			}
			defer func() { _ = stream.Close() }()
			lines := bufio.NewScanner(stream)
			lines.Buffer(nil, maxLine)
			for lines.Scan() {
				mu.Lock()
				_, err := fmt.Fprintf(w, "%s%s\n", s.prefix, lines.Bytes())
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			if err := lines.Err(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("log of %s: %w", s.pod, err)
			}
			return nil
		})
	}
	return g.Wait()
}
