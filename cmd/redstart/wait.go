package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/progress"
)

// waitReady shows how targets become ready, and returns when all are. On the time-out it says which are not. More,
// when not nil, must be true too. Since is when the cluster was started, zero where that does not matter.
func (a *app) waitReady(ctx context.Context, c *client.Client, w io.Writer, targets []progress.Target, since time.Time, timeout time.Duration, more func(progress.World) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready after %s", timeout))
	defer cancel()
	f, err := c.Follow(ctx, client.Redises, client.Deployments, client.StatefulSets, client.Pods)
	if err != nil {
		return err
	}
	defer f.Stop()
	view := progress.NewView(w, width(w))
	defer view.Close()
	for {
		world := progress.World{
			Since:        since,
			Redises:      client.All[v1alpha1.Redis](f, client.Redises),
			Deployments:  client.All[appsv1.Deployment](f, client.Deployments),
			StatefulSets: client.All[appsv1.StatefulSet](f, client.StatefulSets),
			Pods:         client.All[corev1.Pod](f, client.Pods),
		}
		items := progress.Observe(world, targets)
		view.Show(items)
		if progress.Done(items) && (more == nil || more(world)) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %s", context.Cause(ctx), unready(items))
		}
		f.Wait(ctx)
	}
}

// unready names what is missing, with the first pod that is not ready of each.
func unready(items []progress.Item) string {
	var parts []string
	for _, i := range items {
		if i.State == progress.Ready {
			continue
		}
		text := i.Name + " is " + string(i.State)
		if i.Detail != "" {
			text += " (" + i.Detail + ")"
		}
		if i.Message != "" {
			text += ": " + i.Message
		}
		for _, p := range i.Pods {
			if p.State != progress.Ready {
				text += fmt.Sprintf(", pod %s %s (see redstart logs %s)", p.Name, p.Detail, p.Name)
				break
			}
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// width is that of a terminal, and 0 for everything else.
func width(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	columns, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// writeJSON prints v, indented.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
