package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The images that tests of a gateway use.
const (
	traefikImage    = "kubelab/traefik:3"
	prometheusImage = "kubelab/prometheus:2"
)

// traefik is not part of every lab: few tests need it, and it takes a while to build.
var traefik = built{
	module: "traefik", pkg: "github.com/traefik/traefik/v3/cmd/traefik", name: "traefik", minutes: 10,
	ldflags: " -X github.com/traefik/traefik/v3/pkg/version.Version=3.6.12", // that of modules/traefik/go.mod
}

// gateway installs the custom resource definitions of the Gateway API, and gives the nodes images of a gateway and of
// what measures its traffic. It starts neither: that is the test's, in its own namespace and with its own rights.
func (l *lab) gateway(ctx context.Context) error {
	if len(l.nodes()) == 0 {
		return errors.New("there is no cluster: kubelab up starts one")
	}
	if err := os.MkdirAll(filepath.Join(l.cache, "bin"), 0o755); err != nil {
		return fmt.Errorf("make the directory of the programs: %w", err)
	}
	proxy, err := l.build(ctx, traefik)
	if err != nil {
		return err
	}
	metrics, err := l.debianProgram(ctx, "prometheus")
	if err != nil {
		return err
	}
	nobody := "65534:65534"
	prometheus := image{
		name: "prometheus", tags: []string{prometheusImage}, files: map[string]string{}, command: []string{"/usr/bin/prometheus"}, user: nobody,
		texts: map[string]string{"/etc/nsswitch.conf": "hosts: files dns\n"},
	}
	if err := prometheus.add(ctx, "/usr/bin/prometheus", metrics); err != nil {
		return err
	}
	images := []image{
		{name: "traefik", tags: []string{traefikImage}, files: map[string]string{"/traefik": proxy}, command: []string{"/traefik"}, user: nobody},
		prometheus,
	}
	var archives []string
	for _, img := range images {
		file, err := l.archive(img)
		if err != nil {
			return fmt.Errorf("make the image %s: %w", img.name, err)
		}
		archives = append(archives, file)
	}
	say("giving the images of Traefik and Prometheus to the nodes")
	if err := l.give(ctx, archives); err != nil {
		return err
	}
	return l.installGatewayAPI(ctx)
}

// installGatewayAPI installs the definitions of the version that Traefik was built with.
func (l *lab) installGatewayAPI(ctx context.Context) error {
	const module = "sigs.k8s.io/gateway-api"
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = filepath.Join(l.source, "modules", traefik.module), append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		return cmd
	}
	if err := runQuiet(command("mod", "download", module)); err != nil {
		return err
	}
	dir, err := command("list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("find the module %s: %w", module, err)
	}
	definitions := filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard")
	if err := l.kubectl(ctx, "", "apply", "--server-side", "--force-conflicts", "-f", definitions); err != nil {
		return err
	}
	return l.kubectl(ctx, "", "wait", "--for=condition=Established", "crd/httproutes.gateway.networking.k8s.io", "--timeout=60s")
}

// debianProgram is a program of the Debian package of its name, which is unpacked in the cache and not installed:
// installed, it would run as a service of this machine.
func (l *lab) debianProgram(ctx context.Context, name string) (string, error) {
	dir := filepath.Join(l.cache, "debian", name)
	program := filepath.Join(dir, "usr", "bin", name)
	if exists(program) {
		return program, nil
	}
	say("unpacking Debian's %s", name)
	unpacked := dir + ".new"
	if err := os.RemoveAll(unpacked); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := os.MkdirAll(unpacked, 0o755); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := quiet(ctx, "", "apt-get", "-q", "update"); err != nil {
		return "", err
	}
	download := exec.CommandContext(ctx, "apt-get", "-q", "download", name)
	download.Dir = unpacked
	if err := runQuiet(download); err != nil {
		return "", err
	}
	packages, err := filepath.Glob(filepath.Join(unpacked, name+"_*.deb"))
	if err != nil || len(packages) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages; expected one", name, len(packages))
	}
	if err := quiet(ctx, "", "dpkg-deb", "-x", packages[0], unpacked); err != nil {
		return "", err
	}
	if err := os.Remove(packages[0]); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	if err := os.Rename(unpacked, dir); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	return program, nil
}
