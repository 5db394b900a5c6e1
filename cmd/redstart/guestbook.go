package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"redstart.dev/redstart/internal/guestbook"
	"redstart.dev/redstart/internal/guestbook/redisstore"
	"redstart.dev/redstart/internal/guestbook/web"
)

type guestbookOptions struct {
	listen    string
	discovery redisstore.Discovery
	store     redisstore.Options
	web       web.Options
	drain     time.Duration
}

func newGuestbookCommand() *cobra.Command {
	o := guestbookOptions{}
	cmd := &cobra.Command{
		Use:   "guestbook",
		Short: "Serve the guestbook, the demonstration application",
		Long: `Serve the guestbook: a web page whose messages live in Redis. It writes to the master, reads from replicas, and
keeps working while the master changes.

Every flag can be given as an environment variable: --get-hosts-from is GET_HOSTS_FROM. The passwords are read only
from the environment, REDIS_PASSWORD and SENTINEL_PASSWORD.

It finds Redis, by --get-hosts-from,
  dns       at the names --redis-leader-name and --redis-follower-name
  env       in NAME_SERVICE_HOST and NAME_SERVICE_PORT of those names, as a kubelet sets them
            (REDIS_LEADER_..., and REDIS_MASTER_... of the older tutorial)
  sentinel  by asking --sentinel-addrs for --sentinel-master-name`,
		Example: `  # on one machine, against a Redis and its replica
  redstart guestbook --redis-leader-name 127.0.0.1:6379 --redis-follower-name 127.0.0.1:6380

  # in a pod, with the Services of a Redis named cache
  GET_HOSTS_FROM=env REDIS_LEADER_NAME=cache REDIS_FOLLOWER_NAME=cache-replicas redstart guestbook

  # through Sentinels
  redstart guestbook --get-hosts-from sentinel --sentinel-addrs cache-sentinel:26379 --sentinel-master-name cache`,
		Args:         arguments(0, 0),
		SilenceUsage: true,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(flagsFromEnvironment(cmd.Flags(), os.LookupEnv), o.check())
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// A server tells more than a command does: its output is the log of its pod.
			slog.SetDefault(slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
			return o.run(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen-address", ":8080", "address to serve on, HOST:PORT")
	f.StringVar(&o.discovery.From, "get-hosts-from", "dns", "how to find Redis: dns, env or sentinel")
	f.StringVar(&o.discovery.LeaderName, "redis-leader-name", redisstore.DefaultLeader, "Service that takes writes")
	f.StringVar(&o.discovery.FollowerName, "redis-follower-name", redisstore.DefaultFollower, "Service that takes reads; empty to read from the master")
	f.StringSliceVar(&o.discovery.SentinelAddrs, "sentinel-addrs", nil, "Sentinels, HOST:PORT,HOST:PORT (default: the Service --sentinel-name in the environment)")
	f.StringVar(&o.discovery.SentinelName, "sentinel-name", "sentinel", "Service of the Sentinels")
	f.StringVar(&o.discovery.MasterName, "sentinel-master-name", "mymaster", "name by which the Sentinels know the master")
	f.StringVar(&o.web.Release, "release", "", "release to show beside the title and at /api/v1/release (default: none)")
	positiveVar(f, &o.store.Budget, "retry-budget", 5*time.Second, "how long a request may wait for a new master")
	f.IntVar(&o.store.WaitReplicas, "wait-replicas", 0, "replicas that must have a message before it counts as kept (WAIT)")
	f.IntVar(&o.store.MaxMessages, "max-messages", 100_000, "messages that the guestbook takes")
	f.Float64Var(&o.web.PostsPerSecond, "posts-per-second", 20, "messages that one address may post in the long run")
	f.IntVar(&o.web.PostBurst, "post-burst", 40, "messages that one address may post at once")
	f.IntVar(&o.web.MaxStreams, "max-streams", 1024, "pages that may wait for news at the same time")
	f.DurationVar(&o.drain, "drain", time.Second, "how long to go on serving after SIGTERM, while Services still send visitors here")
	return cmd
}

// check finds limits that would be none, or would let nobody in.
func (o *guestbookOptions) check() error {
	for _, f := range []struct {
		name       string
		got, least float64
	}{
		{"wait-replicas", float64(o.store.WaitReplicas), 0},
		{"max-messages", float64(o.store.MaxMessages), 1},
		{"posts-per-second", o.web.PostsPerSecond, 0.001},
		{"post-burst", float64(o.web.PostBurst), 1},
		{"max-streams", float64(o.web.MaxStreams), 1},
		{"drain", o.drain.Seconds(), 0},
	} {
		if !(f.got >= f.least) { // NaN is not
			return usagef("--%s %v: expected %v or more", f.name, f.got, f.least)
		}
	}
	return nil
}

// flagsFromEnvironment sets each flag that was not given from the variable of its name.
func flagsFromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := lookup(name)
		if !ok || f.Changed {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}

// localPort is address with the port that stands for its own on this machine, where pods share one address and the
// kubelet says so.
func localPort(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if local := os.Getenv("REDSTART_PORT_" + port); local != "" {
		port = local
	}
	return net.JoinHostPort(host, port)
}

func (o *guestbookOptions) run(ctx context.Context) error {
	o.web.Host = os.Getenv("HOSTNAME") // the pod's name, where the machine has another
	o.discovery.Password = os.Getenv("REDIS_PASSWORD")
	o.discovery.SentinelPassword = os.Getenv("SENTINEL_PASSWORD")
	logging.Disable() // go-redis would report every failed attempt; the store counts them
	at, err := o.discovery.Find(os.LookupEnv)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", localPort(o.listen))
	if err != nil {
		return fmt.Errorf("listen-address: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	feed := guestbook.NewFeed()
	store := redisstore.New(at, o.store, feed, redisstore.NewMetrics(registry))
	server, err := web.New(store, feed, registry, o.web)
	if err != nil {
		return errors.Join(err, listener.Close(), store.Close())
	}
	slog.Info("guestbook serves", "address", listener.Addr().String(), "leader", at.Leader, "follower", at.Follower,
		"sentinels", at.Sentinels)

	// The store outlives the server: requests on their way need it.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { store.Run(watching) })
	err = server.Serve(ctx, listener, o.drain)
	stopWatching()
	wg.Wait()
	return errors.Join(err, store.Close())
}
