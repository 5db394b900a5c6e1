package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// reportReady is what a machine reports when all in it was started; anything else is an error.
const reportReady = "ready"

// reportFD is where a machine reports.
const reportFD = 3

// inside is the first process of a machine: it sets the machine up, starts its daemons, starts those again that end, and
// collects the orphans, for as long as the machine is on.
type inside struct {
	*lab
	spec
	alive map[int]*daemon // by process
}

type daemon struct {
	name string
	argv []string
}

type daemonEnd struct {
	pid    int
	status syscall.WaitStatus
}

// runMachine is the command "machine": it returns only with an error, and the machine is off then.
func runMachine(ctx context.Context, l *lab, file string) error {
	report := os.NewFile(reportFD, "report")
	if os.Getpid() != 1 {
		return errors.New("kubelab machine is started by kubelab up, in namespaces of its own")
	}
	m := &inside{lab: l, alive: map[int]*daemon{}}
	err := m.start(ctx, file)
	answer := reportReady
	if err != nil {
		answer = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	_, _ = fmt.Fprintln(report, answer)
	_ = report.Close()
	if err != nil {
		return err
	}
	return m.supervise()
}

func (m *inside) start(ctx context.Context, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read what this machine is: %w", err)
	}
	if err := json.Unmarshal(b, &m.spec); err != nil {
		return fmt.Errorf("read what this machine is, %s: %w", file, err)
	}
	// The input ends when the network was plugged in.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return fmt.Errorf("wait for the network: %w", err)
	}
	if err := m.mounts(); err != nil {
		return err
	}
	if err := m.addresses(ctx); err != nil {
		return err
	}
	switch {
	case m.Node > 0:
		return m.startNode(ctx)
	case m.Name == control:
		return m.startControl(ctx)
	}
	return m.startProxy(nodeName(m.Nodes[0]))
}

// mounts makes the file system of this machine: that of the machine around it, with directories of its own where state is
// kept.
func (m *inside) mounts() error {
	if err := syscall.Sethostname([]byte(m.Name)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	type mount struct {
		source, target, kind string
		flags                uintptr
	}
	all := []mount{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		// Kubelets want mounts in a pod's volumes to be seen in the pods.
		{"", "/", "", syscall.MS_REC | syscall.MS_SHARED},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
	}
	for _, dir := range ownDirs {
		all = append(all, mount{m.own(dir), dir, "", syscall.MS_BIND})
	}
	all = append(all, mount{m.dir("volumes"), volumesDir, "", syscall.MS_BIND})
	for _, t := range all {
		if t.flags&syscall.MS_BIND != 0 {
			if err := os.MkdirAll(t.source, 0o755); err != nil {
				return fmt.Errorf("make the directory for %s: %w", t.target, err)
			}
		}
		if err := syscall.Mount(t.source, t.target, t.kind, t.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", t.target, err)
		}
	}
	return nil
}

// own is where the machine's own part of a directory is kept.
func (m *inside) own(dir string) string {
	return filepath.Join(m.dir(m.Name), strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-"))
}

// addresses gives the machine its address and the routes to the pods of the other nodes.
func (m *inside) addresses(ctx context.Context) error {
	commands := []string{
		"link set lo up", "addr add " + m.IP + "/24 dev eth0", "link set eth0 up",
		// kube-proxy turns packets to a Service before they leave; without a route they would not get that far.
		"route add " + serviceNet + " dev eth0",
	}
	for _, i := range m.Nodes {
		if i != m.Node {
			commands = append(commands, "route add "+podSubnet(i)+" via "+nodeIP(i))
		}
	}
	for _, args := range commands {
		if err := quiet(ctx, "", "ip", strings.Fields(args)...); err != nil {
			return fmt.Errorf("set the network up: %w", err)
		}
	}
	for _, setting := range []string{
		"ipv4/ip_forward",
		// A pod that reaches another one of its node by a Service must get the answer from the Service.
		"bridge/bridge-nf-call-iptables",
	} {
		file := "/proc/sys/net/" + setting
		if err := os.WriteFile(file, []byte("1"), 0); err != nil && (setting == "ipv4/ip_forward" || exists(file)) {
			return fmt.Errorf("set %s: %w", file, err)
		}
	}
	return nil
}

// launch starts a daemon; supervise starts it again whenever it ends.
func (m *inside) launch(name string, argv ...string) error {
	return m.begin(&daemon{name: name, argv: argv})
}

func (m *inside) begin(d *daemon) error {
	log, err := os.OpenFile(m.log(m.Name, d.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", d.name, err)
	}
	defer log.Close()
	path := m.program(d.argv[0])
	if !exists(path) {
		if path, err = exec.LookPath(d.argv[0]); err != nil {
			return fmt.Errorf("find %s: %w", d.name, err)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(path, d.argv, &syscall.ProcAttr{
		Env: os.Environ(), Dir: "/", Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	m.alive[pid] = d
	return nil
}

// supervise collects every process that ends in this machine, and starts daemons again. A machine that is powered off is
// killed; nothing else ends it.
func (m *inside) supervise() error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	const pause = time.Second // between the end of a daemon and its next start
	again := make(chan *daemon)
	ended := make(chan daemonEnd)
	go collect(ended)
	for {
		select {
		case d := <-again:
			if err := m.begin(d); err != nil {
				return err
			}
		case e := <-ended:
			d := m.alive[e.pid]
			if d == nil {
				continue // an orphan
			}
			delete(m.alive, e.pid)
			say("%s: %s ended with %s; starting it again", m.Name, d.name, describe(e.status))
			time.AfterFunc(pause, func() { again <- d })
		}
	}
}

// collect waits for every child of this process, for ever: the first process of a PID namespace is the parent of all
// orphans in it.
func collect(ended chan<- daemonEnd) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == nil && pid > 0:
			ended <- daemonEnd{pid, status}
		case errors.Is(err, syscall.ECHILD):
			time.Sleep(100 * time.Millisecond) // nothing to wait for: all daemons are about to be started again
		}
	}
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal " + s.Signal().String()
	}
	return fmt.Sprintf("status %d", s.ExitStatus())
}
