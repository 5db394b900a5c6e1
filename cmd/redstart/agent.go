package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"redstart.dev/redstart/internal/agent"
)

// newAgentCommand is what runs in the pods of a Redis; the operator writes it into their template.
func newAgentCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:    "agent",
		Hidden: true,
		Short:  "Run one member or Sentinel of a Redis (inside its pod)",
		Long: `Run one member or Sentinel of a Redis: the main process of its pod, and parent of redis-server.

The pod template tells it what it is: POD_NAME, POD_NAMESPACE, POD_UID, POD_IP, REDSTART_REDIS and
REDSTART_COMPONENT (member or sentinel). Everything else is in the ConfigMap of the Redis, key agent.json.
On SIGTERM a master hands over first.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			o, err := agent.OptionsFromEnv(os.Getenv)
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			o.Log = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: level}))
			config, err := agent.KubeConfig(os.Getenv)
			if err != nil {
				return err
			}
			cluster, err := agent.NewCluster(config, o.Namespace, o.Redis, o.Name)
			if err != nil {
				return err
			}
			return agent.Run(ctx, o, cluster)
		},
	}
	cmd.Flags().BoolVar(&verbose, "verbose", false, "log every step")
	return cmd
}
