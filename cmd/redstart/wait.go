package main

import (
	"cmp"
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
	var namespaces []string
	in := map[string][]progress.Target{}
	for _, t := range targets {
		namespace := cmp.Or(t.Namespace, c.Namespace)
		if in[namespace] == nil {
			namespaces = append(namespaces, namespace)
		}
		in[namespace] = append(in[namespace], t)
	}
	for _, namespace := range namespaces { // one after another: who may look into one may not look into all
		if err := waitReadyIn(ctx, c.In(namespace), w, in[namespace], since, more); err != nil {
			return err
		}
	}
	return nil
}

func waitReadyIn(ctx context.Context, c *client.Client, w io.Writer, targets []progress.Target, since time.Time, more func(progress.World) bool) error {
	f, err := c.Follow(ctx, client.Redises, client.Deployments, client.StatefulSets, client.Pods)
	if err != nil {
		return err
	}
	defer f.Stop()
	view := progress.NewView(w, terminal(w))
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

// terminal asks a terminal for its size, which may change; it is nil for everything else.
func terminal(w io.Writer) func() (columns, rows int) {
	if !isTerminal(w) {
		return nil
	}
	fd := int(w.(*os.File).Fd())
	return func() (columns, rows int) {
		if columns, rows, err := term.GetSize(fd); err == nil && columns > 0 && rows > 0 {
			return columns, rows
		}
		return 80, 24
	}
}

// writeJSON prints v, indented.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
