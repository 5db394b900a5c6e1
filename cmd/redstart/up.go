package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/DeRuina/timberjack"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/localcluster"
	"redstart.dev/redstart/internal/manifest"
	"redstart.dev/redstart/internal/progress"
)

// up is one run of the command.
type up struct {
	*app
	files       fileFlags
	config      string
	addresses   string
	background  bool
	serve       bool // the background process itself
	waitTimeout time.Duration
	output      string

	start  time.Time
	state  string
	images map[string][]string
}

func newUpCommand(a *app) *cobra.Command {
	u := &up{app: a}
	cmd := &cobra.Command{
		Use:   "up [-f DIR]",
		Short: "Run everything in the files on this machine",
		Long: `Starts a Kubernetes-shaped cluster on this machine, whose pods are processes, applies the files to it, shows how
everything becomes ready, and then keeps it running until Ctrl-C. The data stays for the next time.
Without -f it starts what ran last time. Everything is checked first: with any error nothing is started.`,
		Example: `  redstart up -f examples/guestbook
  redstart up -d -f cache.yaml          # in the background; end it with redstart down
  redstart up                           # again what ran last time
  redstart up -f app --config up.yaml   # with local commands for images`,
		Args: func(cmd *cobra.Command, args []string) error {
			if u.background && u.config == "-" {
				return usagef("--config cannot be standard input")
			}
			if err := checkOutput(u.output, "table", "json"); err != nil {
				return err
			}
			if err := u.checkNamespace(); err != nil {
				return err
			}
			if localcluster.AddressMode(u.addresses).Check() != nil {
				return usagef("--addresses %q is not known; expected loopback or shared", u.addresses)
			}
			return arguments(0, 0)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	u.files.add(cmd)
	f := cmd.Flags()
	f.BoolVarP(&u.background, "detach", "d", false, "run in the background, and return when everything is ready")
	f.StringVar(&u.config, "config", "", "`FILE` that maps images to local commands, images: {\"app:*\": [./app]}")
	f.StringVar(&u.addresses, "addresses", "", "`MODE` of addresses: loopback or shared (default: as last time; at first loopback, on macOS shared)")
	positiveVar(f, &u.waitTimeout, "wait-timeout", 2*time.Minute, "how long everything may take to become ready")
	f.StringVarP(&u.output, "output", "o", "table", "`FORMAT` of the summary: table or json")
	f.BoolVar(&u.serve, "serve", false, "only run the cluster")
	_ = f.MarkHidden("serve")
	return cmd
}

func (u *up) run(ctx context.Context) error {
	u.start = time.Now()
	var err error
	if u.state, err = localcluster.StateDir(u.stateDir); err != nil {
		return err
	}
	config, err := loadUpConfig(u.config)
	if err != nil {
		return err
	}
	u.images = config.Images
	var docs []manifest.Document
	if len(u.files.files) > 0 {
		if docs, err = u.files.load(u.in); err != nil {
			return err
		}
		if err := u.checkSecrets(docs); err != nil {
			return err
		}
	}
	running, err := localcluster.FindStaying(ctx, u.state)
	if err != nil {
		return err
	}
	if running != nil {
		return fmt.Errorf("redstart up already runs with the state directory %s (process %d); use redstart apply -f to change it, or redstart down to end it", u.state, running.PID)
	}
	if err := preflight(ctx, u.state, docs); err != nil {
		return unlessInterrupted(ctx, err)
	}
	if u.background {
		return u.runBackground(ctx, docs)
	}
	return u.runForeground(ctx, docs)
}

var errInterrupted = errors.New("interrupted before everything was ready")

// unlessInterrupted is err, or what it comes from where ctx has ended: then what failed only did so for that.
func unlessInterrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// checkSecrets finds missing Secrets before the first start; later ones may be in the store, and are looked for there.
func (u *up) checkSecrets(docs []manifest.Document) error {
	if _, err := os.Stat(filepath.Join(u.state, "store.db")); !os.IsNotExist(err) {
		return nil
	}
	var problems manifest.Problems
	namespace := u.namespace
	if namespace == "" {
		namespace = "default"
	}
	for _, ref := range manifest.MissingSecrets(docs, namespace) {
		problems = append(problems, ref.Problem())
	}
	return problems.Err()
}

// check finds what the API refuses of the documents.
func (u *up) check(docs []manifest.Document) checkFunc {
	return func(ctx context.Context, api *rest.Config) error {
		c, err := client.New(api, u.namespace, true)
		if err != nil {
			return err
		}
		return checkOnServer(ctx, c, docs)
	}
}

// runForeground runs the cluster in this process until ctx ends.
func (u *up) runForeground(ctx context.Context, docs []manifest.Document) error {
	logger, closeLog := u.logger()
	defer closeLog()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	started := make(chan *rest.Config, 1)
	ended := make(chan error, 1)
	check := u.check(docs)
	if u.serve {
		check = u.awaitGo
	}
	go func() { ended <- u.runCluster(ctx, logger, check, started) }()

	var config *rest.Config
	select {
	case err := <-ended:
		if u.serve {
			return err
		}
		return unlessInterrupted(ctx, err)
	case config = <-started:
	}
	if err := u.rollOut(ctx, config, docs, false); err != nil {
		interrupted := ctx.Err() != nil
		cancel()
		stopErr := <-ended
		if interrupted {
			err = errInterrupted
		}
		return errors.Join(err, stopErr)
	}
	err := <-ended
	if ctx.Err() != nil && err == nil && !u.serve && u.output != "json" {
		fmt.Fprintln(u.out, "Stopped.")
	}
	return err
}

// logger writes to the log file of the state directory, or to standard error with -v.
func (u *up) logger() (*slog.Logger, func()) {
	if u.verbose && !u.serve {
		controllersLogTo(slog.Default().Handler())
		return slog.Default(), func() {}
	}
	level := slog.LevelInfo
	if u.verbose {
		level = slog.LevelDebug
	}
	file := &timberjack.Logger{Filename: filepath.Join(u.state, "up.log"), MaxSize: 10, MaxBackups: 3}
	logger := slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: level}))
	logTo(logger.Handler())
	controllersLogTo(logger.Handler())
	return logger, func() { _ = file.Close() }
}

// rollOut applies the documents, shows how they become ready, and prints the summary.
func (u *up) rollOut(ctx context.Context, config *rest.Config, docs []manifest.Document, background bool) error {
	if u.serve {
		return nil
	}
	c, err := client.New(config, u.namespace, true)
	if err != nil {
		return err
	}
	out := u.out
	if u.output == "json" {
		out = io.Discard
	}
	targets, err := applyAll(ctx, c, docs, nil)
	if err != nil {
		return err
	}
	if len(docs) == 0 {
		if targets, err = everything(ctx, c); err != nil {
			return err
		}
	}
	if err := u.waitReady(ctx, c, out, targets, u.start, u.waitTimeout, nil); err != nil {
		return notReadyError{err}
	}
	s, err := summarize(ctx, c)
	if err != nil {
		return err
	}
	s.StartMilliseconds = time.Since(u.start).Milliseconds()
	s.StateDir, s.Kubeconfig, s.PID = u.state, filepath.Join(u.state, "kubeconfig"), os.Getpid()
	if running, err := localcluster.Find(u.state); err == nil && running != nil {
		s.PID = running.PID
	}
	if u.output == "json" {
		return writeJSON(u.out, s)
	}
	s.print(u.out, u.callAs(), background)
	return nil
}

// notReadyError is what is wrong after everything was applied: the cluster works, but not what runs in it.
type notReadyError struct{ error }

func (e notReadyError) Unwrap() error { return e.error }

// callAs is how the user calls this program again, from the same directory.
func (u *up) callAs() string {
	if u.program != "redstart" {
		return u.program
	}
	call := "redstart"
	if argv0 := os.Args[0]; filepath.Base(argv0) != argv0 {
		call = argv0
	}
	if u.stateDir != "" {
		call += " --state-dir " + u.stateDir
	}
	return call
}

// everything that is in the store has to become ready, when no files are given.
func everything(ctx context.Context, c *client.Client) ([]progress.Target, error) {
	var targets []progress.Target
	for _, kind := range []string{"Redis", "Deployment", "StatefulSet"} {
		mapping, err := c.Kind(kind)
		if err != nil {
			return nil, err
		}
		objects, _, err := c.Objects(ctx, client.Query{Mapping: mapping, AllNamespaces: true})
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if metav1.GetControllerOf(&o) == nil { // else it is a part of something else
				targets = append(targets, progress.Target{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()})
			}
		}
	}
	return targets, nil
}
