package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
)

// masterPatience is how long cli waits for a master.
const masterPatience = 15 * time.Second

func newCLICommand(a *app) *cobra.Command {
	var member string
	cmd := &cobra.Command{
		Use:   "cli NAME [-- COMMAND...]",
		Short: "Run redis-cli on the master of a Redis, or on a member",
		Long: `Runs redis-cli with the address of the master and the password in its environment, never on its command line.
Where there is no redis-cli, a COMMAND is run without it.`,
		Example: `  redstart cli cache
  redstart cli cache -- SET greeting hello
  redstart cli cache --member cache-1 -- INFO replication`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) == 0 || dash == 0 || dash > 1 {
				return usagef("name one Redis, then -- and the command; usage: %s", cmd.UseLine())
			}
			return nil
		},
		ValidArgsFunction: a.completeNames(client.Redises),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.redisCLI(cmd.Context(), c, args[0], member, args[1:])
		},
	}
	cmd.Flags().StringVar(&member, "member", "", "`NAME` of the member to speak to (default: the master)")
	return cmd
}

func (a *app) redisCLI(ctx context.Context, c *client.Client, name, member string, command []string) error {
	name, err := redisName(name)
	if err != nil {
		return err
	}
	redis, err := c.Redis(ctx, name)
	if err != nil {
		return err
	}
	pod, err := redisMember(ctx, c, redis, member)
	if member == "" && err != nil {
		pod, err = awaitMasterPod(ctx, c, redis)
	}
	if err != nil {
		return err
	}
	password, err := redisPassword(ctx, c, redis)
	if err != nil {
		return err
	}
	address, done, err := reach(ctx, c, pod, v1alpha1.PortRedis)
	if err != nil {
		return err
	}
	defer done()
	program, err := exec.LookPath("redis-cli")
	if errors.Is(err, exec.ErrNotFound) {
		program, err = exec.LookPath("valkey-cli")
	}
	anyShard := redis.Spec.Mode == v1alpha1.ModeCluster && member == ""
	switch {
	case err == nil:
		if anyShard {
			command = append([]string{"-c"}, command...) // to whichever shard has the key
		}
		return a.runRedisCLI(ctx, program, address, password, command)
	case len(command) == 0:
		return errors.New("neither redis-cli nor valkey-cli is on PATH; install one (Debian: redis-tools), or give a command after --")
	default:
		return a.runCommand(ctx, address, password, anyShard, command)
	}
}

// awaitMasterPod outlasts a failover that is under way.
func awaitMasterPod(ctx context.Context, c *client.Client, r *v1alpha1.Redis) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, masterPatience)
	defer cancel()
	f, err := c.Follow(ctx, client.Pods)
	if err != nil {
		return nil, err
	}
	defer f.Stop()
	for {
		for _, p := range client.All[corev1.Pod](f, client.Pods) {
			if p.Labels[v1alpha1.LabelName] == r.Name && p.Labels[v1alpha1.LabelRole] == string(v1alpha1.RoleMaster) {
				return p, nil
			}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("Redis %s has had no master for %s (see redstart status %s)", r.Name, masterPatience, r.Name)
		}
		f.Wait(ctx)
	}
}

// redisPassword reads the password of the default user; empty without auth.
func redisPassword(ctx context.Context, c *client.Client, r *v1alpha1.Redis) (string, error) {
	if !r.AuthEnabled() {
		return "", nil
	}
	secret, err := c.Kube.CoreV1().Secrets(c.Namespace).Get(ctx, r.AuthSecretName(), metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("password of Redis %s: %w", r.Name, c.Explain(err))
	}
	return string(secret.Data[v1alpha1.SecretKeyPassword]), nil
}

// reach finds an address of a pod's port that works from here: its own, or one that is forwarded through the API
// server. Done ends the forwarding.
func reach(ctx context.Context, c *client.Client, pod *corev1.Pod, port int32) (address string, done func(), err error) {
	address = v1alpha1.PodAddress(pod, port)
	if address == "" {
		return "", nil, fmt.Errorf("pod %s has no address yet", pod.Name)
	}
	if c.Local {
		return address, func() {}, nil
	}
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil {
		_ = conn.Close()
		return address, func() {}, nil
	}
	f, err := c.Forward(ctx, pod.Namespace, pod.Name, 0, port)
	if err != nil {
		return "", nil, err
	}
	return f.Address, f.Stop, nil
}

func (a *app) runRedisCLI(ctx context.Context, program, address, password string, command []string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"-h", host, "-p", port}, command...)...)
	cmd.Env = os.Environ()
	if password != "" {
		cmd.Env = append(cmd.Env, "REDISCLI_AUTH="+password, "VALKEYCLI_AUTH="+password)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.errOut
	// Ctrl-C reaches redis-cli from the terminal; it decides whether that ends it.
	cmd.Cancel = func() error { return nil }
	cmd.WaitDelay = 2 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitError(exit.ExitCode())
	}
	return err
}

// runCommand sends one command, to whichever shard has its key if anyShard, and prints the answer as redis-cli does into a pipe.
func (a *app) runCommand(ctx context.Context, address, password string, anyShard bool, command []string) error {
	rdb := goredis.NewUniversalClient(&goredis.UniversalOptions{
		Addrs: []string{address}, IsClusterMode: anyShard, Password: password, Protocol: 2, DisableIdentity: true, MaxRetries: -1,
	})
	defer func() { _ = rdb.Close() }()
	args := make([]any, len(command))
	for i, s := range command {
		args[i] = s
	}
	answer, err := rdb.Do(ctx, args...).Result()
	var refused goredis.Error
	switch {
	case errors.Is(err, goredis.Nil):
		answer = ""
	case errors.As(err, &refused):
		fmt.Fprintln(a.errOut, refused.Error())
		return exitError(exitFailed)
	case err != nil:
		return fmt.Errorf("%s at %s: %w", command[0], address, err)
	}
	printAnswer(a.out, answer)
	return nil
}

func printAnswer(w io.Writer, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			printAnswer(w, e)
		}
	case nil:
		fmt.Fprintln(w)
	default:
		fmt.Fprintln(w, v)
	}
}
