package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// lock makes sure that one command changes the lab at a time.
func (l *lab) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(l.cache, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the lab: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errors.New("another kubelab command is running")
	}
	return func() { _ = f.Close() }, nil
}

// up starts a cluster of n nodes. When that fails, nothing of it stays but its logs.
func (l *lab) up(ctx context.Context, n int) error {
	if err := installPackages(ctx); err != nil {
		return err
	}
	if err := l.down(ctx); err != nil {
		return fmt.Errorf("remove what is left of an earlier run: %w", err)
	}
	err := l.bringUp(ctx, n)
	if err != nil {
		// The context may be over, which must not keep us from cleaning up.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		if e := l.down(clean); e != nil {
			return fmt.Errorf("%w; and cleaning up failed: %w", err, e)
		}
	}
	return err
}

func (l *lab) bringUp(ctx context.Context, n int) error {
	if err := os.RemoveAll(l.logs()); err != nil {
		return fmt.Errorf("remove the logs of an earlier run: %w", err)
	}
	for _, dir := range []string{l.run, l.logs(), filepath.Join(l.cache, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the directories of the lab: %w", err)
		}
	}
	if err := l.buildPrograms(ctx); err != nil {
		return err
	}
	archives, err := l.makeImages(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	// The machines run a copy: this file may be built anew meanwhile.
	if err := writeWhole(l.program("kubelab"), program, 0o755); err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	for _, step := range []func() error{l.makePKI, l.saveSysctls, l.makeMountPoints} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := makeBridge(ctx); err != nil {
		return err
	}
	var nodes []int
	for i := 1; i <= n; i++ {
		nodes = append(nodes, i)
	}
	say("starting the control plane")
	if err := l.startMachine(ctx, spec{Name: control, IP: controlIP, Nodes: nodes}); err != nil {
		return err
	}
	say("starting %d nodes", n)
	if err := l.startNodes(ctx, nodes, archives); err != nil {
		return err
	}
	if err := l.kubectl(ctx, "", "wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"); err != nil {
		return err
	}
	if err := l.startMachine(ctx, spec{Name: clients, IP: clientsIP, Nodes: nodes}); err != nil {
		return err
	}
	say("starting DNS")
	if err := l.applyManifests(ctx); err != nil {
		return err
	}
	if err := l.kubectl(ctx, "", "-n", "kube-system", "rollout", "status", "daemonset/coredns", "--timeout=120s"); err != nil {
		return err
	}
	say("ready: export KUBECONFIG=%s", l.kubeconfig())
	return nil
}

// startNodes starts all of them at the same time and waits until the API knows them.
func (l *lab) startNodes(ctx context.Context, nodes []int, archives []string) error {
	failed := make([]error, len(nodes))
	var all sync.WaitGroup
	for k, i := range nodes {
		all.Go(func() {
			failed[k] = l.startMachine(ctx, spec{Name: nodeName(i), IP: nodeIP(i), Node: i, Nodes: nodes, Images: archives})
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	for _, i := range nodes {
		if err := l.kubectl(ctx, "", "wait", "--for=create", "node/"+nodeName(i), "--timeout=120s"); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) applyManifests(ctx context.Context) error {
	files, err := manifests.ReadDir("manifests")
	if err != nil {
		return fmt.Errorf("read the manifests: %w", err)
	}
	for _, f := range files {
		b, err := manifests.ReadFile("manifests/" + f.Name())
		if err != nil {
			return fmt.Errorf("read the manifests: %w", err)
		}
		if err := l.kubectl(ctx, string(b), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) kubectl(ctx context.Context, input string, args ...string) error {
	return quiet(ctx, input, l.program("kubectl"), append([]string{"--kubeconfig", l.kubeconfig()}, args...)...)
}

// down stops everything and removes all traces of a run, also of one that crashed halfway. Nothing is left to do when
// there was none.
func (l *lab) down(ctx context.Context) error {
	machines := []string{control, clients}
	for i := 1; i <= maxNodes; i++ {
		machines = append(machines, nodeName(i))
	}
	failed := make([]error, len(machines)) // one that does not stop must not keep the others running
	var all sync.WaitGroup
	for i, machine := range machines {
		all.Go(func() { failed[i] = l.stopMachine(ctx, machine) })
	}
	all.Wait()
	if err := errors.Join(append(failed, removeBridge(ctx), l.restoreSysctls())...); err != nil {
		return err
	}
	// Before what it lists: the directory of volumes is a mount point.
	l.removeMountPoints()
	if err := os.RemoveAll(l.run); err != nil {
		return fmt.Errorf("remove the state of the lab: %w", err)
	}
	return nil
}

// node powers one node off or on.
func (l *lab) node(ctx context.Context, what, which string) error {
	i, err := strconv.Atoi(strings.TrimPrefix(which, "kn"))
	name := nodeName(i)
	if err != nil || !exists(filepath.Join(l.dir(name), specFile)) {
		return fmt.Errorf("%w: node %s %s: expected the number of a node of this cluster", errUsage, what, which)
	}
	running := l.processOf(name) > 0
	switch {
	case what == "kill" && running:
		return l.stopMachine(ctx, name)
	case what == "kill":
		return fmt.Errorf("%s is off already", name)
	case what == "start" && running:
		return fmt.Errorf("%s is on already", name)
	case what == "start":
		return l.startMachine(ctx, spec{Name: name, IP: nodeIP(i), Node: i, Nodes: l.nodes()})
	}
	return fmt.Errorf("%w: node %s: expected kill or start", errUsage, what)
}

// images builds the program under test anew, and gives its image to all nodes that are on.
func (l *lab) images(ctx context.Context) error {
	archives, err := l.makeImages(ctx)
	if err != nil {
		return err
	}
	return l.give(ctx, archives)
}

// give imports the images of some archives into all nodes that are on.
func (l *lab) give(ctx context.Context, archives []string) error {
	for _, i := range l.nodes() {
		pid := l.processOf(nodeName(i))
		if pid == 0 {
			continue
		}
		for _, c := range importCommands(archives) {
			if err := quiet(ctx, "", "nsenter", append([]string{"-t", strconv.Itoa(pid), "-n", "-m", "-p"}, c...)...); err != nil {
				return fmt.Errorf("import an image into %s: %w", nodeName(i), err)
			}
		}
	}
	return nil
}

// status prints what is on and what is cut.
func (l *lab) status(ctx context.Context, out io.Writer) error {
	machines := l.machines()
	if len(machines) == 0 {
		_, err := fmt.Fprintln(out, "There is no cluster: kubelab up starts one.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "MACHINE\tADDRESS\tPOWER\tPROCESS\tPARTITIONED")
	for _, machine := range machines {
		power, process, cut := "off", "-", "no"
		if pid := l.processOf(machine); pid > 0 {
			power, process = "on", strconv.Itoa(pid)
		}
		if l.isCut(ctx, machine) {
			cut = "yes"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", machine, addressesOf(machine)[0].Addr(), power, process, cut)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the machines: %w", err)
	}
	_, err := fmt.Fprintf(out, "\nkubeconfig: %s\nlogs: %s\n", l.kubeconfig(), l.logs())
	return err
}
