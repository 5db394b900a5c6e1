package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"redstart.dev/redstart/internal/operator"
	"redstart.dev/redstart/internal/rollout"
)

func newOperatorCommand() *cobra.Command {
	var o operator.Options
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Look after every Redis and Rollout of a Kubernetes cluster",
		Long: `Run the controller that makes the objects of every Redis, restarts and removes members in an order that loses nothing,
and reports what it sees. It runs in the cluster; "redstart up" has one of its own.`,
		Example: `  # In the operator's pod
  redstart operator --leader-elect --agent-image=IMAGE

  # On a workstation, for one namespace of the current cluster
  redstart operator --namespace=default --agent-image=IMAGE`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.AgentImage == "" {
				return usagef("--agent-image is empty; expected the image that holds redstart, which the pods copy their agent from")
			}
			cfg, err := operatorConfig(cmd)
			if err != nil {
				return err
			}
			handler := slog.NewJSONHandler(cmd.ErrOrStderr(), nil)
			o.Logger = slog.New(handler)
			logTo(handler)
			controllersLogTo(handler)
			o.OwnNamespace = os.Getenv("POD_NAMESPACE") // the downward API sets it
			return runControllers(cmd.Context(), cfg, o, rollout.Options{
				Namespaces: o.Namespaces, LeaderElection: o.LeaderElection, LeaderElectionNamespace: o.LeaderElectionNamespace, Logger: o.Logger,
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Namespaces, "namespace", nil, "look after these `NAMESPACES` alone, with commas between them (default: all)")
	f.BoolVar(&o.LeaderElection, "leader-elect", false, "let one operator of several work at a time")
	f.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", "", "`NAMESPACE` of the Lease for that (default: the operator's own)")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "`ADDRESS` to serve /metrics on; 0 serves none")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "`ADDRESS` to serve /healthz and /readyz on; 0 serves none")
	f.StringVar(&o.ProfileAddress, "pprof-bind-address", "0", "`ADDRESS` to serve /debug/pprof on, to find out what takes memory and time; 0 serves none")
	f.StringVar(&o.AgentImage, "agent-image", "", "`IMAGE` that holds redstart, for the agents in the pods")
	return cmd
}

// operatorConfig is the cluster of the global flags, else of the environment, else the one that this process runs in.
func operatorConfig(cmd *cobra.Command) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	overrides := &clientcmd.ConfigOverrides{}
	if f := cmd.Flag("kubeconfig"); f != nil {
		rules.ExplicitPath = f.Value.String()
	}
	if f := cmd.Flag("context"); f != nil {
		overrides.CurrentContext = f.Value.String()
	}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	// The API server shares itself out fairly (API Priority and Fairness); client-go's own default of five requests a second would
	// let a hundred Redises wait for minutes.
	cfg.QPS = -1
	return cfg, nil
}
