package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// kubernetesVersion is that of modules/kube/go.mod.
const kubernetesVersion = "1.34.4"

// The addresses of the lab. They are fixed, so that two labs cannot run beside each other on one machine.
const (
	bridge      = "kubelab0"
	labPrefix   = "10.123.0."
	hostIP      = labPrefix + "1"
	clientsIP   = labPrefix + "9"
	controlIP   = labPrefix + "10"
	apiServer   = "https://" + controlIP + ":6443"
	podNetwork  = "10.200.0.0/16"
	serviceNet  = "10.96.0.0/16"
	apiService  = "10.96.0.1"
	dnsService  = "10.96.0.10"
	maxNodes    = 9
	clusterName = "cluster.local"
)

// Names of the machines that are no nodes.
const (
	// control runs etcd, the API server, the controllers and the scheduler.
	control = "api"
	// clients stands between this machine and the Services: it runs kube-proxy alone, so that the clients of a test keep
	// reaching what they may reach whichever node is down.
	clients = "clients"
)

func nodeName(i int) string { return fmt.Sprintf("kn%d", i) }
func nodeIP(i int) string   { return fmt.Sprintf("%s1%d", labPrefix, i) }
func podSubnet(i int) string {
	return fmt.Sprintf("10.200.%d.0/24", i)
}

// nodeIndex is the number of a node's name, 0 for any other name.
func nodeIndex(name string) int {
	for i := 1; i <= maxNodes; i++ {
		if nodeName(i) == name {
			return i
		}
	}
	return 0
}

// addressesOf is everything that a machine sends from: its own address and those of its pods.
func addressesOf(machine string) []netip.Prefix {
	host := func(ip string) netip.Prefix { return netip.PrefixFrom(netip.MustParseAddr(ip), 32) }
	switch machine {
	case "host":
		return []netip.Prefix{host(hostIP)}
	case clients:
		return []netip.Prefix{host(clientsIP)}
	case control:
		return []netip.Prefix{host(controlIP)}
	}
	i := nodeIndex(machine)
	return []netip.Prefix{host(nodeIP(i)), netip.MustParsePrefix(podSubnet(i))}
}

// lab is where everything is on the disk of this machine.
type lab struct {
	source string // the directory of this module
	cache  string // programs and images, kept between runs
	run    string // the state of the running lab, removed with it
}

func newLab() (*lab, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache directory: %w", err)
	}
	source, err := findSource()
	if err != nil {
		return nil, err
	}
	cache = filepath.Join(cache, "redstart-kubelab")
	l := &lab{source: source, cache: cache, run: filepath.Join(cache, "run")}
	if err := os.MkdirAll(l.cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the lab: %w", err)
	}
	return l, nil
}

// findSource looks for this module in the working directory and those above it.
func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for {
		source := filepath.Join(dir, "test", "kubelab")
		if _, err := os.Stat(filepath.Join(source, "modules", "kube", "go.mod")); err == nil {
			return source, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("test/kubelab is not in this directory or above it: run kubelab inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

func (l *lab) repository() string { return filepath.Dir(filepath.Dir(l.source)) }
func (l *lab) kubeconfig() string { return filepath.Join(l.run, "kubeconfig") }
func (l *lab) pki() string        { return filepath.Join(l.run, "pki") }
func (l *lab) dir(machine string) string {
	return filepath.Join(l.run, machine)
}
func (l *lab) logs() string { return filepath.Join(l.cache, "log") }
func (l *lab) log(machine, daemon string) string {
	return filepath.Join(l.logs(), machine+"-"+daemon+".log")
}

// program is the path of a program that build made.
func (l *lab) program(name string) string { return filepath.Join(l.run, "bin", name) }

// nodes are the numbers of all nodes that were made, running or not.
func (l *lab) nodes() []int {
	var made []int
	for i := 1; i <= maxNodes; i++ {
		if _, err := os.Stat(filepath.Join(l.dir(nodeName(i)), specFile)); err == nil {
			made = append(made, i)
		}
	}
	return made
}

// keyOf is a short hash of files and strings, for the name of what is made from them.
func keyOf(files []string, also ...string) (string, error) {
	sum := sha256.New()
	_, _ = io.WriteString(sum, strings.Join(also, "\x00"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read what a cached file depends on: %w", err)
		}
		_, _ = fmt.Fprintf(sum, "\x00%s %d\x00", filepath.Base(file), len(b))
		_, _ = sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}
