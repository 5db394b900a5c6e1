package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// debian is what a machine of the lab needs beside what is built: a program that shows that it is there, and the package
// that has it.
var debian = []struct{ program, pkg string }{
	{"containerd", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/bridge", "containernetworking-plugins"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"conntrack", "conntrack"},
	{"mount", "mount"},
	{"redis-server", "redis-server"},
	{"redis-cli", "redis-tools"},
	{"busybox", "busybox-static"},
}

// installPackages installs the Debian packages that are missing.
func installPackages(ctx context.Context) error {
	var missing []string
	for _, d := range debian {
		if _, err := exec.LookPath(d.program); err != nil {
			missing = append(missing, d.pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("missing on this machine: %s; kubelab installs them on Debian alone", strings.Join(missing, ", "))
	}
	say("installing %s", strings.Join(missing, ", "))
	if err := quiet(ctx, "", "apt-get", "-q", "update"); err != nil {
		return err
	}
	args := []string{"-o", "DPkg::Lock::Timeout=300", "-q", "-y", "--no-install-recommends", "install"}
	cmd := exec.CommandContext(ctx, "apt-get", append(args, missing...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return runQuiet(cmd)
}

// built is one Go module and the programs that it becomes.
type built struct {
	module  string // directory under modules
	pkg     string // main package
	name    string
	links   []string // other names of the program
	ldflags string
	minutes int // that building it takes on two cores, about
}

func builtModules() []built {
	return []built{
		{
			module: "kube", pkg: ".", name: "kubernetes", ldflags: kubernetesLdflags(), minutes: 15,
			links: []string{"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"},
		},
		{module: "etcd", pkg: ".", name: "etcd", minutes: 1},
		{module: "coredns", pkg: ".", name: "coredns", minutes: 1},
	}
}

// kubernetesLdflags stamp the version, which kubelets and API servers compare.
func kubernetesLdflags() string {
	var b strings.Builder
	v := strings.Split(kubernetesVersion, ".")
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range [][2]string{
			{"gitVersion", "v" + kubernetesVersion},
			{"gitMajor", v[0]},
			{"gitMinor", v[1]},
			{"gitTreeState", "clean"},
			{"gitCommit", strings.Repeat("0", 40)},
			{"buildDate", "2026-01-01T00:00:00Z"},
		} {
			_, _ = fmt.Fprintf(&b, " -X %s.%s=%s", pkg, set[0], set[1])
		}
	}
	return b.String()
}

// buildPrograms builds what the cache does not have yet, and links all programs into the run directory under their names.
func (l *lab) buildPrograms(ctx context.Context) error {
	bin := filepath.Join(l.run, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return fmt.Errorf("make the directory of the programs: %w", err)
	}
	for _, m := range builtModules() {
		path, err := l.build(ctx, m)
		if err != nil {
			return err
		}
		for _, name := range append(m.links, m.name) {
			if err := relink(path, filepath.Join(bin, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lab) build(ctx context.Context, m built) (string, error) {
	dir := filepath.Join(l.source, "modules", m.module)
	files := []string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}
	if main := filepath.Join(dir, "main.go"); exists(main) {
		files = append(files, main)
	}
	key, err := keyOf(files, m.ldflags, runtime.Version(), runtime.GOARCH)
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.cache, "bin", m.name+"-"+key)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	say("building %s, which is not in the cache: some %d minutes on two cores", m.name, m.minutes)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"+m.ldflags, "-o", path+".new", m.pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if err := runQuiet(cmd); err != nil {
		return "", fmt.Errorf("build %s: %w", m.name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("build %s: %w", m.name, err)
	}
	return path, nil
}

// relink makes name a symbolic link to path, whatever it was.
func relink(path, name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := os.Symlink(path, name); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}
