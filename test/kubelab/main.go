// Kubelab runs a real Kubernetes of some nodes on one Linux machine, without a registry, Docker or virtual machines: each
// node is a set of namespaces with its own containerd, kubelet and kube-proxy. It is what the end-to-end suite breaks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const usage = `Kubelab runs a real Kubernetes of some nodes on this machine, for tests. It needs Debian, root, and Go.

Usage, inside the repository:
  kubelab build                  Build the programs of Kubernetes that the cache lacks, and print the directory of all
  kubelab up [--nodes N]         Build what is missing and start a cluster, in place of one that is there (N: 1 to 9; default 3)
  kubelab down                   Stop it and remove all that it made; what was built stays in the cache
  kubelab status                 Show the machines: kn1 to knN are nodes, api has the API server, clients runs kube-proxy alone
  kubelab node kill N            Power a node off
  kubelab node start N           Power it on again, with its disk
  kubelab partition A from B     Cut all traffic between two lists of machines, such as: partition kn1 from kn2,kn3,api
                                 (host stands for this machine; it replaces an earlier partition)
  kubelab heal                   End the partition
  kubelab images                 Build redstart anew and import it into the nodes
  kubelab gateway                Install the Gateway API, and give the nodes images of Traefik and Prometheus
  kubelab kubeconfig             Print the path of the kubeconfig
`

// errUsage is a wrong command line: exit status 2.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kubelab: %v\n", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		_, err := io.WriteString(out, usage)
		return err
	}
	l, err := newLab()
	if err != nil {
		return err
	}
	if args[0] == "kubeconfig" && len(args) == 1 {
		_, err := fmt.Fprintln(out, l.kubeconfig())
		return err
	}
	if os.Geteuid() != 0 && args[0] != "build" {
		return errors.New("namespaces, mounts and networks are root's to make: run it as root")
	}
	if args[0] == "machine" && len(args) == 2 {
		return runMachine(ctx, l, args[1])
	}
	if args[0] != "status" {
		unlock, err := l.lock()
		if err != nil {
			return err
		}
		defer unlock()
	}
	switch command, rest := args[0], args[1:]; {
	case command == "up":
		nodes, err := nodesFlag(rest)
		if err != nil {
			return err
		}
		return l.up(ctx, nodes)
	case command == "build" && len(rest) == 0:
		if err := l.buildPrograms(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, filepath.Dir(l.program("etcd")))
		return err
	case command == "down" && len(rest) == 0:
		return l.down(ctx)
	case command == "status" && len(rest) == 0:
		return l.status(ctx, out)
	case command == "node" && len(rest) == 2:
		return l.node(ctx, rest[0], rest[1])
	case command == "partition" && len(rest) == 3 && rest[1] == "from":
		a, b, err := l.sides(rest[0], rest[2])
		if err != nil {
			return err
		}
		return l.partition(ctx, a, b)
	case command == "heal" && len(rest) == 0:
		return l.heal(ctx)
	case command == "images" && len(rest) == 0:
		return l.images(ctx)
	case command == "gateway" && len(rest) == 0:
		return l.gateway(ctx)
	}
	return fmt.Errorf("%w: kubelab %s; kubelab help lists the commands", errUsage, strings.Join(args, " "))
}

func nodesFlag(args []string) (int, error) {
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	nodes := f.Int("nodes", 3, "")
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return 0, fmt.Errorf("%w: kubelab up %s; expected kubelab up [--nodes N]", errUsage, strings.Join(args, " "))
	}
	if *nodes < 1 || *nodes > maxNodes {
		return 0, fmt.Errorf("%w: --nodes=%d: expected 1 to %d", errUsage, *nodes, maxNodes)
	}
	return *nodes, nil
}

// sides reads the two sides of a partition.
func (l *lab) sides(a, b string) (as, bs []string, err error) {
	known := append(l.machines(), "host")
	as, bs = strings.Split(a, ","), strings.Split(b, ",")
	for _, machine := range slices.Concat(as, bs) {
		if !slices.Contains(known, machine) {
			return nil, nil, fmt.Errorf("%w: partition: no machine %q; there are %s", errUsage, machine, strings.Join(known, ", "))
		}
	}
	for _, machine := range as {
		if slices.Contains(bs, machine) {
			return nil, nil, fmt.Errorf("%w: partition: %s is on both sides", errUsage, machine)
		}
	}
	return as, bs, nil
}
