package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/go-logr/logr"
	goredis "github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/localcluster"
)

// app is what every command shares: the streams and the global flags.
type app struct {
	program     string
	in          io.Reader
	out, errOut io.Writer

	kubeconfig string
	context    string
	namespace  string
	stateDir   string
	verbose    bool
}

// programName is how the user calls this program: redstart, or kubectl redstart where kubectl found it as a plugin.
func programName(argv0 string) string {
	name := strings.TrimSuffix(filepath.Base(argv0), ".exe")
	if name == "kubectl-redstart" {
		return "kubectl redstart"
	}
	return "redstart"
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "redstart",
		Short: "Highly available Redis, on one machine or on Kubernetes",
		Long: `Redstart runs highly available Redis and Valkey, and the application in front of it, from one set of YAML files:
on one machine with one command, or on any Kubernetes cluster.

A command speaks to the cluster of --kubeconfig or --context, else to a running "redstart up", else to the
current cluster of kubectl.`,
		Example: `  # Run the example on this machine: a Redis with its Sentinels, and a web page
  redstart up -f examples/guestbook

  # See it, in a second terminal
  redstart status
  redstart get pods -L redis-role

  # Move the master to another member, without losing a write
  redstart failover cache`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				hint = fmt.Sprintf(" (did you mean %q?)", s[0])
			}
			return usagef("unknown command %q%s; see %s --help", args[0], hint, cmd.CommandPath())
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { a.setUpLogging(); return nil },
	}
	root.SuggestionsMinimumDistance = 2
	if a.program != "redstart" {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: a.program}
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})

	f := root.PersistentFlags()
	f.StringVar(&a.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the cluster to speak to")
	f.StringVar(&a.context, "context", "", "`NAME` of the kubeconfig's context")
	f.StringVarP(&a.namespace, "namespace", "n", "", "namespace `NAME` (default: the context's)")
	f.StringVar(&a.stateDir, "state-dir", "", "`DIR` where \"redstart up\" keeps everything (default: $REDSTART_STATE_DIR, else "+defaultStateDirText()+")")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log what happens to standard error")

	root.AddCommand(
		newUpCommand(a), newDownCommand(a), newApplyCommand(a), newGetCommand(a), newStatusCommand(a), newLogsCommand(a),
		newScaleCommand(a), newDeleteCommand(a), newFailoverCommand(a), newRolloutCommand(a), newCLICommand(a), newPortForwardCommand(a),
		newInstallCommand(a), newUninstallCommand(a), newRenderCommand(a), newImportCommand(a), newLuaCommand(a), newVersionCommand(a),
		newClusterCommand(a), newRebalanceCommand(a),
	)
	root.AddCommand(hiddenCommands()...)
	root.InitDefaultCompletionCmd()
	root.CompletionOptions.HiddenDefaultCmd = false
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Args = func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("no completion for %q; expected bash, fish, powershell or zsh", args[0])
			}
			return nil
		}
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range completion.Commands() {
			shell.Args = arguments(0, 0)
		}
	}
	return root
}

// arguments takes no fewer than least and no more than most arguments, which the command's Use names first.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s is missing; usage: %s", strings.Trim(strings.Fields(cmd.Use)[1+len(args)], "{}"), cmd.UseLine())
		case len(args) > most && cmd.Flags().Lookup("filename") != nil:
			return usagef("unexpected argument %q: files are named with -f; usage: %s", args[most], cmd.UseLine())
		case len(args) > most:
			return usagef("unexpected argument %q; usage: %s", args[most], cmd.UseLine())
		}
		return nil
	}
}

// setUpLogging sends the logs of every library to slog on standard error: everything with -v, errors without.
func (a *app) setUpLogging() {
	level := slog.LevelError
	if a.verbose {
		level = slog.LevelDebug
	}
	logTo(slog.NewTextHandler(a.errOut, &slog.HandlerOptions{Level: level}))
}

func logTo(h slog.Handler) {
	slog.SetDefault(slog.New(h))
	klog.SetSlogLogger(slog.New(h))
	goredis.SetLogger(redisLog{})
}

// redisLog takes what go-redis says, such as each dial that failed: who called it has the error too.
type redisLog struct{}

func (redisLog) Printf(ctx context.Context, format string, v ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, v...), "component", "go-redis")
}

// controllersLogTo is for commands that run controllers: controller-runtime keeps the first logger that it is given.
func controllersLogTo(h slog.Handler) { ctrl.SetLogger(logr.FromSlogHandler(h)) }

// defaultStateDirText is where localcluster.StateDir keeps state by default, for help texts.
func defaultStateDirText() string {
	if runtime.GOOS == "windows" {
		return `%LocalAppData%\redstart`
	}
	return "~/.local/state/redstart"
}

// checkNamespace refuses a --namespace that none can have.
func (a *app) checkNamespace() error {
	if a.namespace != "" && len(validation.IsDNS1123Label(a.namespace)) > 0 {
		return usagef("--namespace %q is not a name; use lower case letters, digits and '-'", a.namespace)
	}
	return nil
}

// connect finds the cluster that the flags, the environment or a running "redstart up" point at.
func (a *app) connect() (*client.Client, error) {
	if err := a.checkNamespace(); err != nil {
		return nil, err
	}
	state, err := localcluster.StateDir(a.stateDir)
	if err != nil {
		return nil, err
	}
	running, err := localcluster.Find(state)
	if err != nil {
		return nil, err
	}
	local := ""
	if running != nil {
		local = running.KubeconfigPath
	}
	return client.Connect(client.Options{
		Kubeconfig: a.kubeconfig, Context: a.context, Namespace: a.namespace,
		StateDir:   state,
		Local:      local,
		PreferUp:   a.stateDir != "" || os.Getenv(localcluster.StateDirEnv) != "",
		PreferKube: a.program != "redstart",
	})
}

// isTerminal tells whether a stream is a terminal that can be drawn on.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}
