package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/client"
	"redstart.dev/redstart/internal/plan"
	"redstart.dev/redstart/internal/redis"
	"redstart.dev/redstart/internal/redis/migrate"
)

// clusterTarget is the Redis Cluster that a command is about: one of ours by its name, or any by the address of a node.
type clusterTarget struct {
	addr, user, passwordFile string
}

func (t *clusterTarget) flags(f *pflag.FlagSet) {
	f.StringVar(&t.addr, "addr", "", "`HOST:PORT` of any node of a Redis Cluster that is not ours")
	f.StringVar(&t.user, "user", "", "`NAME` of the ACL user, with --addr (default: the default user)")
	f.StringVar(&t.passwordFile, "password-file", "", "`FILE` with the password, with --addr (default: $REDISCLI_AUTH)")
}

// check demands either a name or --addr.
func (t *clusterTarget) check(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 1 || (len(args) == 1) == (t.addr != ""):
		return usagef("name one Redis, or a node with --addr HOST:PORT; usage: %s", cmd.UseLine())
	case t.addr != "" && !isHostPort(t.addr):
		return usagef("--addr: expected HOST:PORT, such as 10.0.0.1:6379, got %q", t.addr)
	case t.addr == "" && (t.user != "" || t.passwordFile != ""):
		return usagef("--user and --password-file go with --addr; the password of a Redis of ours is known")
	}
	return nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, errPort := strconv.ParseUint(port, 10, 16)
	return err == nil && errPort == nil && host != "" && n > 0
}

// credentials are those of a cluster that is not ours.
func (t *clusterTarget) credentials() (migrate.Credentials, error) {
	c := migrate.Credentials{Username: t.user, Password: os.Getenv("REDISCLI_AUTH")}
	if t.passwordFile != "" {
		data, err := os.ReadFile(t.passwordFile)
		if err != nil {
			return c, fmt.Errorf("--password-file: %w", err)
		}
		c.Password = strings.TrimRight(string(data), "\r\n")
	}
	if c.Username != "" && c.Password == "" {
		return c, usagef("--user %s needs a password: give --password-file FILE, or set REDISCLI_AUTH", c.Username)
	}
	return c, nil
}

func newClusterCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look at a Redis Cluster, ours or any other",
		Example: `  redstart cluster check cache
  redstart cluster check --addr 10.0.0.1:6379`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; expected redstart cluster check", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newClusterCheckCommand(a))
	return cmd
}

// clusterCheck is what cluster check -o json prints.
type clusterCheck struct {
	Nodes    int            `json:"nodes"`
	Masters  int            `json:"masters"`
	Findings []plan.Finding `json:"findings"`
}

func newClusterCheckCommand(a *app) *cobra.Command {
	var target clusterTarget
	var output string
	cmd := &cobra.Command{
		Use:   "check {NAME | --addr HOST:PORT}",
		Short: "Say what is wrong with a Redis Cluster, and what to do",
		Long: `Asks every node what it believes, compares that, and says what is wrong and what to do about it: slots without an
owner or left open, nodes that failed, cannot be reached or do not know each other, that disagree about slots, masters
without a replica or with all of them on the same machine, unequal shares. It changes nothing.
Exit code 0: nothing is wrong; 1: something is.`,
		Example: `  redstart cluster check cache
  redstart cluster check --addr 10.0.0.1:6379 --password-file secret.txt -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "table", "json", "yaml"); err != nil {
				return err
			}
			return target.check(cmd, args)
		},
		ValidArgsFunction: a.completeNames(client.Redises),
		RunE: func(cmd *cobra.Command, args []string) error {
			witnesses, err := a.witnesses(cmd.Context(), target, strings.Join(args, ""))
			if err != nil {
				return err
			}
			return a.printCheck(witnesses, output)
		},
	}
	target.flags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table, json or yaml")
	return cmd
}

func (a *app) printCheck(witnesses []plan.Witness, output string) error {
	check := clusterCheck{Nodes: len(witnesses), Findings: plan.DiagnoseCluster(witnesses)}
	for _, w := range witnesses {
		if me := w.View.Myself(); me != nil && me.Role == v1alpha1.RoleMaster && len(me.Slots) > 0 {
			check.Masters++
		}
	}
	if check.Findings == nil {
		check.Findings = []plan.Finding{}
	}
	switch output {
	case "json":
		if err := writeJSON(a.out, check); err != nil {
			return err
		}
	case "yaml":
		data, err := yaml.Marshal(check)
		if err != nil {
			return err
		}
		if _, err := a.out.Write(data); err != nil {
			return err
		}
	default:
		for _, f := range check.Findings {
			mark := "risk "
			if f.Serious {
				mark = "ERROR"
			}
			fmt.Fprintf(a.out, "%s %s: %s\n      %s\n", mark, f.Code, f.Message, f.Advice)
		}
		if len(check.Findings) == 0 {
			fmt.Fprintf(a.out, "%d nodes, %d masters with slots: nothing is wrong\n", check.Nodes, check.Masters)
		}
	}
	if len(check.Findings) > 0 {
		return exitError(exitFailed)
	}
	return nil
}

// witnesses asks every node of a cluster.
func (a *app) witnesses(ctx context.Context, target clusterTarget, name string) ([]plan.Witness, error) {
	if target.addr == "" {
		return a.memberViews(ctx, name)
	}
	credentials, err := target.credentials()
	if err != nil {
		return nil, err
	}
	c, err := connectCluster(ctx, []string{target.addr}, credentials)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var out []plan.Witness
	for _, v := range c.Views() {
		w := plan.Witness{ID: v.ID, Name: v.Address, View: v.View}
		w.Error, w.Refused = whyNot(v.Err)
		if w.Name == "" {
			w.Name = v.ID
		}
		out = append(out, w)
	}
	return out, nil
}

// whyNot says why a node did not tell, and whether it let nobody in.
func whyNot(err error) (why string, refused bool) {
	switch {
	case err == nil:
		return "", false
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", false
	}
	return err.Error(), redis.IsWrongPassword(err)
}

// connectCluster says in one line what is wrong with an address that a user gave.
func connectCluster(ctx context.Context, addrs []string, credentials migrate.Credentials) (*migrate.Cluster, error) {
	c, err := migrate.Connect(ctx, addrs, credentials)
	switch {
	case redis.IsClusterDisabled(err):
		return nil, fmt.Errorf("%s is no node of a Redis Cluster (cluster-enabled is no)", strings.Join(addrs, ", "))
	case redis.IsWrongPassword(err):
		return nil, fmt.Errorf("%w; give --password-file FILE, or set REDISCLI_AUTH", err)
	}
	return c, err
}

// memberViews asks the members of a Redis of ours, each through an address that works from here.
func (a *app) memberViews(ctx context.Context, name string) ([]plan.Witness, error) {
	c, pods, password, err := a.clusterMembers(ctx, name)
	if err != nil {
		return nil, err
	}
	out := make([]plan.Witness, len(pods))
	var asked sync.WaitGroup
	for i := range pods {
		asked.Go(func() {
			out[i] = plan.Witness{Name: pods[i].Name, Host: pods[i].Spec.NodeName}
			if c.Local {
				out[i].Host = "" // all of them are on this machine, by design
			}
			var err error
			if out[i].View, err = memberView(ctx, c, &pods[i], password); err != nil {
				out[i].Error, out[i].Refused = whyNot(err)
			} else if me := out[i].View.Myself(); me != nil {
				out[i].ID = me.ID
			}
		})
	}
	asked.Wait()
	return out, nil
}

func memberView(ctx context.Context, c *client.Client, pod *corev1.Pod, password string) (v1alpha1.ClusterView, error) {
	address, done, err := reach(ctx, c, pod, v1alpha1.PortRedis)
	if err != nil {
		return v1alpha1.ClusterView{}, err
	}
	defer done()
	server := redis.NewClient(address, password)
	defer server.Close()
	return server.ClusterView(ctx)
}

// clusterMembers finds the pods of a Redis of ours in mode Cluster, and its password.
func (a *app) clusterMembers(ctx context.Context, name string) (*client.Client, []corev1.Pod, string, error) {
	c, err := a.connect()
	if err != nil {
		return nil, nil, "", err
	}
	if name, err = redisName(name); err != nil {
		return nil, nil, "", err
	}
	r, err := c.Redis(ctx, name)
	if err != nil {
		return nil, nil, "", err
	}
	if r.Spec.Mode != v1alpha1.ModeCluster {
		return nil, nil, "", fmt.Errorf("Redis %s is in mode %s; this is for mode Cluster (see redstart status %s)", r.Name, r.Spec.Mode, r.Name)
	}
	pods, err := listPods(ctx, c, labels.Set{v1alpha1.LabelName: r.Name, v1alpha1.LabelComponent: v1alpha1.ComponentMember}.String())
	if err == nil && len(pods) == 0 {
		err = errors.New("it has no pods yet")
	}
	if err != nil {
		return nil, nil, "", fmt.Errorf("members of Redis %s: %w", r.Name, err)
	}
	password, err := redisPassword(ctx, c, r)
	return c, pods, password, err
}
