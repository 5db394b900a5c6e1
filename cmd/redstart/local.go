package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"redstart.dev/redstart/internal/localcluster"
	"redstart.dev/redstart/internal/localcluster/traffic"
	"redstart.dev/redstart/internal/operator"
	"redstart.dev/redstart/internal/rollout"
	"redstart.dev/redstart/internal/rollout/analysis"
)

// stopTimeout bounds how long a running up may take to stop: every pod has its grace period.
const stopTimeout = 90 * time.Second

// checkFunc says what is wrong with what is to run, by an API that answers and starts nothing yet.
type checkFunc func(ctx context.Context, api *rest.Config) error

// runCluster runs the embedded cluster and the operator until ctx ends, or one of them does. When the API answers it calls
// check before it starts anything, and then tells started how to reach it.
func (u *up) runCluster(ctx context.Context, logger *slog.Logger, check checkFunc, started chan<- *rest.Config) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cluster, err := localcluster.Start(ctx, localcluster.Options{
		StateDir: u.state, Executable: self, Images: u.images, AddressMode: localcluster.AddressMode(u.addresses), Check: check, Logger: logger,
	})
	if err != nil {
		return err
	}
	defer func() {
		// The end takes its time, whatever ended ctx.
		stopping, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), stopTimeout, fmt.Errorf("still stopping after %s", stopTimeout))
		defer cancel()
		err = errors.Join(err, cluster.Stop(stopping))
	}()
	started <- cluster.RESTConfig()

	// The operator stops before the cluster does, so that it takes no stopping member for a broken one.
	operating, stopOperator := context.WithCancel(ctx)
	defer stopOperator()
	ended := make(chan error, 1)
	go func() {
		ended <- runControllers(operating, cluster.RESTConfig(), operator.Options{Logger: logger}, rollout.Options{Logger: logger, Gateway: gatewayOf(cluster)})
	}()
	select {
	case err = <-cluster.Failed():
		stopOperator()
		return errors.Join(err, <-ended)
	case err = <-ended:
		if err == nil && ctx.Err() == nil {
			err = errors.New("the operator ended by itself")
		}
		return err
	}
}

// runControllers runs those of Redises and of Rollouts until ctx is done, or one of them fails.
func runControllers(ctx context.Context, config *rest.Config, redises operator.Options, rollouts rollout.Options) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return operator.Run(ctx, config, redises) })
	both.Go(func() error { return rollout.Run(ctx, config, rollouts) })
	return both.Wait()
}

// gatewayOf tells the checks of Rollouts what the Gateways of a cluster served lately.
func gatewayOf(c *localcluster.Cluster) analysis.Gateway {
	return func(namespace, service string, d time.Duration) (requests uint64, successRate, p99 float64) {
		w := c.Traffic().Window(traffic.Selector{Namespace: namespace, Service: service}, d)
		slowest, _ := w.Quantile(0.99) // zero without requests
		return w.Requests(), w.SuccessRate(), slowest.Seconds()
	}
}
