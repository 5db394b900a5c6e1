package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/localcluster/gateways"
	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/services"
	"redstart.dev/redstart/internal/manifest"
	"redstart.dev/redstart/internal/redis"
)

// upConfig is the file of up --config.
type upConfig struct {
	// Images maps patterns of image names, as in path.Match, to the command that stands for them on this machine.
	Images map[string][]string `json:"images,omitempty"`
}

func loadUpConfig(file string) (upConfig, error) {
	var c upConfig
	if file == "" {
		return c, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return c, fmt.Errorf("%s: cannot be read: %w", file, err)
	}
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		text := strings.Join(strings.Fields(err.Error()), " ")
		return c, fmt.Errorf("%s: %s; expected images: {\"PATTERN\": [COMMAND, ARG...]}", file, strings.TrimPrefix(text, "error unmarshaling JSON: while decoding JSON: "))
	}
	for pattern, command := range c.Images {
		if _, err := path.Match(pattern, ""); err != nil {
			return c, fmt.Errorf("%s: images: %q is not a pattern; use * and ?, for example registry.example/app:*", file, pattern)
		}
		if len(command) == 0 {
			return c, fmt.Errorf("%s: images: %q has no command; expected a list such as [./app, --port=80]", file, pattern)
		}
	}
	return c, nil
}

// preflight checks this machine before anything is started: the state directory, the server, the ports. The state directory
// is there afterwards, unless something is wrong and it was not there before.
func preflight(ctx context.Context, state string, docs []manifest.Document) error {
	_, before := os.Stat(state)
	err := errors.Join(checkStateDir(state), checkEngine(ctx, docs), checkPorts(docs))
	if err != nil && errors.Is(before, os.ErrNotExist) {
		_ = os.Remove(state) // it is empty, or not ours to remove
	}
	return err
}

// checkStateDir makes sure that files can be made where the state shall be.
func checkStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory %s: cannot be made: %w; choose another with --state-dir", dir, plain(err))
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("state directory %s: cannot be written: %w; choose another with --state-dir", dir, plain(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// plain is the reason behind a path error, without the path.
func plain(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// checkEngine looks for a server, if the documents, or what ran last time, need one.
func checkEngine(ctx context.Context, docs []manifest.Document) error {
	isRedis := func(d manifest.Document) bool { return d.Object.GetKind() == "Redis" }
	if len(docs) > 0 && !slices.ContainsFunc(docs, isRedis) {
		return nil
	}
	server, err := redis.FindServer()
	if err == nil {
		_, err = redis.Detect(ctx, server)
	}
	return err
}

// publishes is the Service that a document publishes; nil if it publishes none. A Gateway is published by one.
func publishes(d manifest.Document) (*corev1.Service, error) {
	switch d.Object.GetKind() {
	case "Service":
		return client.Convert[corev1.Service](d.Object)
	case "Gateway":
		g, err := client.Convert[gatewayv1.Gateway](d.Object)
		if err != nil || g.Spec.GatewayClassName != routing.ClassName {
			return nil, err
		}
		return gateways.DesiredService(g), nil
	}
	return nil, nil
}

// checkPorts tries to listen where Services and Gateways will be published.
func checkPorts(docs []manifest.Document) error {
	documents := map[string]manifest.Document{}
	var wanted []*corev1.Service
	for _, d := range docs {
		svc, err := publishes(d)
		if err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		if svc != nil {
			documents["Service "+svc.Name] = d
			wanted = append(wanted, svc)
		}
	}
	err := services.CheckPublished(wanted)
	if err == nil {
		return nil
	}
	var problems manifest.Problems
	for line := range strings.SplitSeq(err.Error(), "\n") {
		name, message, _ := strings.Cut(line, ": ")
		problems = append(problems, manifest.Problem{Document: documents[name], Message: message})
	}
	return problems
}
