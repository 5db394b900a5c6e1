package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// specFile is in the directory of each machine.
const specFile = "machine.json"

// spec is what the first process of a machine is told.
type spec struct {
	Name  string
	IP    string
	Node  int   // number of the node, 0 for the other machines
	Nodes []int // all nodes of the lab
	// Images to import; empty where the disk has them from before.
	Images []string
}

// startMachine powers a machine on: a process with network, mount, PID, host name and IPC namespaces of its own, whose
// death is that of all that runs in it. It returns when everything in it was started.
func (l *lab) startMachine(ctx context.Context, s spec) error {
	if err := os.MkdirAll(l.dir(s.Name), 0o755); err != nil {
		return fmt.Errorf("make the disk of %s: %w", s.Name, err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the description of %s: %w", s.Name, err)
	}
	file := filepath.Join(l.dir(s.Name), specFile)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return fmt.Errorf("describe %s: %w", s.Name, err)
	}
	if s.Node > 0 {
		if err := makeCgroups(s.Name); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(l.log(s.Name, "machine"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", s.Name, err)
	}
	defer log.Close()
	closeInherited()
	// The machine waits for the end of its input, which tells it that its network is there, and reports on report.
	wire, plug, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	defer wire.Close()
	defer plug.Close()
	report, reported, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	defer report.Close()
	defer reported.Close()

	cmd := exec.Command(filepath.Join(l.run, "bin", "kubelab"), "machine", file)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = l.source, wire, log, log, []*os.File{reported}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS |
			syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	_ = reported.Close()
	if err := l.plugIn(ctx, s, cmd.Process.Pid); err != nil {
		return err
	}
	_ = plug.Close()
	if err := awaitReport(ctx, report, 3*time.Minute); err != nil {
		return fmt.Errorf("%s: %w (logs: %s)", s.Name, err, l.logs())
	}
	return cmd.Process.Release()
}

// closeInherited keeps what the shell had open, such as a lock, out of the machines, which outlive this command.
func closeInherited() {
	open, _ := os.ReadDir("/proc/self/fd")
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// awaitReport waits for the one line that a machine says about its start.
func awaitReport(ctx context.Context, report *os.File, limit time.Duration) error {
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(report).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case line := <-answer:
		switch line {
		case reportReady:
			return nil
		case "":
			return errors.New("it died while it started")
		}
		return errors.New(line)
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(limit):
		return fmt.Errorf("it did not start within %s", limit)
	}
}

// processOf finds the first process of a machine, as this machine counts processes; 0 when it is off. It looks at what
// runs rather than at a file, so that it is right after any crash.
func (l *lab) processOf(machine string) int {
	file := filepath.Join(l.dir(machine), specFile)
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		args := strings.Split(string(b), "\x00")
		if len(args) < 3 || filepath.Base(args[0]) != "kubelab" || args[1] != "machine" || args[2] != file {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			return pid
		}
	}
	return 0
}

// stopMachine powers a machine off and waits until all that ran in it is gone. Its disk stays.
func (l *lab) stopMachine(ctx context.Context, machine string) error {
	pid := l.processOf(machine)
	// First, so that nobody hears of its end: the kernel closes the connections of processes that it kills.
	l.unplug(ctx, machine)
	if pid > 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop %s, process %d: %w", machine, pid, err)
		}
	}
	err := waitFor(ctx, time.Minute, machine+" to be off", func(context.Context) error {
		if pid > 0 && !ended(pid) {
			return errors.New("its processes are still being killed")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return removeCgroups(ctx, machine)
}

// ended tells whether a process is gone, or waits for its parent to notice: the first process of a PID namespace gets
// that far when all others in it are gone.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// cgroupRoots are the hierarchies that a kubelet uses: one of cgroup v2, or each controller of v1.
func cgroupRoots() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}
	}
	entries, _ := os.ReadDir(root)
	var roots []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "unified" {
			roots = append(roots, filepath.Join(root, e.Name()))
		}
	}
	return roots
}

// makeCgroups makes the control group of a node in every hierarchy: its kubelet expects it.
func makeCgroups(machine string) error {
	for _, root := range cgroupRoots() {
		dir := filepath.Join(root, machine)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the control group of %s: %w", machine, err)
		}
		if subtree := filepath.Join(root, "cgroup.subtree_control"); exists(subtree) {
			if err := os.WriteFile(subtree, []byte("+cpu +cpuset +memory +pids +io"), 0); err != nil {
				return fmt.Errorf("delegate the controllers to %s: %w", machine, err)
			}
		}
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if filepath.Base(root) != "cpuset" { // v1 alone starts with none
				continue
			}
			b, err := os.ReadFile(filepath.Join(root, f))
			if err != nil {
				return fmt.Errorf("read the CPUs of this machine: %w", err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), b, 0); err != nil {
				return fmt.Errorf("give %s its CPUs: %w", machine, err)
			}
		}
	}
	return nil
}

// removeCgroups removes the control groups of a machine, deepest first. The kernel may need a moment to see the last
// process gone. runc makes groups in a hierarchy of v2 beside those of v1 too.
func removeCgroups(ctx context.Context, machine string) error {
	return waitFor(ctx, time.Minute, "the control groups of "+machine+" to be removed", func(context.Context) error {
		var failed error
		for _, root := range append(cgroupRoots(), "/sys/fs/cgroup/unified") {
			var dirs []string
			_ = filepath.WalkDir(filepath.Join(root, machine), func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				if err := syscall.Rmdir(dirs[i]); err != nil && !errors.Is(err, syscall.ENOENT) {
					failed = fmt.Errorf("remove %s: %w", dirs[i], err)
				}
			}
		}
		return failed
	})
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
