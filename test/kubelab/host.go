package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ownDirs are the directories that every machine has for itself.
var ownDirs = []string{
	"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/etc/cni/net.d", "/var/log/pods", "/var/log/containers",
}

// volumesDir is where the provisioner of the controller manager makes volumes. All machines share it, as they would
// share storage on the network.
const volumesDir = "/tmp/hostpath_pv"

// madeFile lists the directories that this machine did not have, one a line.
func (l *lab) madeFile() string { return filepath.Join(l.run, "made") }

// makeMountPoints makes the directories that machines mount theirs on, and remembers which.
func (l *lab) makeMountPoints() error {
	var made []string
	for _, dir := range append(ownDirs, volumesDir) {
		for missing := dir; !exists(missing); missing = filepath.Dir(missing) {
			made = append(made, missing)
		}
	}
	// Written first: a crash in between must not leave what nobody remembers.
	slices.Sort(made)
	made = slices.Compact(made)
	if err := writeWhole(l.madeFile(), []byte(strings.Join(made, "\n")), 0o600); err != nil {
		return fmt.Errorf("remember the directories that are made: %w", err)
	}
	for _, dir := range made {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make the mount point %s: %w", dir, err)
		}
	}
	return nil
}

// removeMountPoints removes what makeMountPoints made, as far as it is empty.
func (l *lab) removeMountPoints() {
	b, err := os.ReadFile(l.madeFile())
	if err != nil {
		return
	}
	made := strings.Split(string(b), "\n")
	slices.Reverse(made)
	for _, dir := range made {
		if dir != "" {
			_ = os.Remove(dir)
		}
	}
}

// sysctls are what kubelets change for the whole machine.
var sysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes",
}

func (l *lab) savedSysctl(name string) string {
	return filepath.Join(l.run, "sysctl", strings.ReplaceAll(name, "/", "."))
}

// saveSysctls keeps what there was, unless an earlier run that crashed kept it already.
func (l *lab) saveSysctls() error {
	for _, name := range sysctls {
		if exists(l.savedSysctl(name)) {
			continue
		}
		b, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return fmt.Errorf("read the setting %s of this machine: %w", name, err)
		}
		if err := os.MkdirAll(filepath.Dir(l.savedSysctl(name)), 0o755); err != nil {
			return fmt.Errorf("keep the settings of this machine: %w", err)
		}
		if err := writeWhole(l.savedSysctl(name), b, 0o644); err != nil {
			return fmt.Errorf("keep the settings of this machine: %w", err)
		}
	}
	return nil
}

func (l *lab) restoreSysctls() error {
	for _, name := range sysctls {
		b, err := os.ReadFile(l.savedSysctl(name))
		if err != nil {
			continue // there was nothing to save
		}
		if err := os.WriteFile("/proc/sys/"+name, b, 0); err != nil {
			return fmt.Errorf("restore the setting %s of this machine: %w", name, err)
		}
		if err := os.Remove(l.savedSysctl(name)); err != nil {
			return fmt.Errorf("restore the setting %s of this machine: %w", name, err)
		}
	}
	return nil
}
