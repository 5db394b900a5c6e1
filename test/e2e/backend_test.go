package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

var backendName = flag.String("backend", "embedded", "where to run: embedded (redstart up) or kubernetes (the cluster of $KUBECONFIG)")

// need is what a scenario asks of the cluster that it runs on.
type need string

const (
	// needEmbedded: redstart up, with its files and addresses on this machine.
	needEmbedded need = "the embedded cluster"
	// needKubernetes: a real cluster, where the operator runs in a pod.
	needKubernetes need = "a real Kubernetes"
	// needProcesses: signals to the processes in a pod.
	needProcesses need = "signals to processes in pods"
	// needNodes: nodes that can be powered off and on.
	needNodes need = "nodes to power off"
	// needPartition: networks that can be cut.
	needPartition need = "networks to cut"
	// needGateway: a gateway that is not ours, and a Prometheus.
	needGateway need = "images of Traefik and Prometheus"
	// needDisks: the files of a member's volume.
	needDisks need = "files of volumes"
)

// backend is a kind of cluster that the suite runs on.
type backend interface {
	// kubeconfig is the path of a kubeconfig of an administrator.
	kubeconfig() string
	// flags tell the command line which cluster is meant.
	flags() []string
	// has tells whether the cluster offers what a scenario needs.
	has(need) bool
	// process is a process of a pod, known by its UID, or of a container, by its ID, as this machine numbers it. Each container of a pod
	// has a process 1, and the pod's own too.
	process(of string, pid int) (int, error)
	// volume is the directory of a claim on this machine.
	volume(ctx context.Context, c client.Client, namespace, claim string) (string, error)
	// stop takes down what the suite started.
	stop() error
}

// cluster is the system under test: a backend, a client of its API, and the command line that is tested with it.
type cluster struct {
	client.Client
	backend
	config *rest.Config
	binary string
}

var shared struct {
	once sync.Once
	c    *cluster
	err  error
}

// theCluster starts the backend once for the whole run. The test is skipped where the backend lacks what it needs.
func theCluster(t *testing.T, needs ...need) *cluster {
	t.Helper()
	shared.once.Do(func() { shared.c, shared.err = startCluster() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	for _, n := range needs {
		if !shared.c.has(n) {
			t.Skipf("skipped: it needs %s", n)
		}
	}
	return shared.c
}

func startCluster() (*cluster, error) {
	dir, err := os.MkdirTemp("", "redstart-e2e-")
	if err != nil {
		return nil, err
	}
	binary, err := redstartBinary(dir)
	if err != nil {
		return nil, err
	}
	c := &cluster{binary: binary}
	switch *backendName {
	case "embedded":
		c.backend = &embedded{dir: dir, binary: binary}
		if out, err := c.redstart("up", "-d"); err != nil {
			return nil, fmt.Errorf("redstart up -d: %w\n%s", err, out)
		}
		return c, c.connect()
	case "kubernetes":
		return c, startKubernetes(c, dir)
	}
	return nil, fmt.Errorf("-backend %s: expected embedded or kubernetes", *backendName)
}

// stopBackend ends what theCluster started.
func stopBackend() {
	if shared.c == nil || shared.c.backend == nil {
		return
	}
	if err := shared.c.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// redstartBinary is $REDSTART_BIN, or a fresh build.
func redstartBinary(dir string) (string, error) {
	if bin := os.Getenv("REDSTART_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	bin := filepath.Join(dir, "redstart")
	if out, err := exec.Command("go", "build", "-o", bin, "redstart.dev/redstart/cmd/redstart").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build redstart: %w\n%s", err, out)
	}
	return bin, nil
}

func (c *cluster) connect() error {
	var err error
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig()); err != nil {
		return err
	}
	c.config.QPS, c.config.Burst = 500, 500
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	c.Client, err = client.New(c.config, client.Options{Scheme: scheme})
	return err
}

// redstart runs the command line under test, bounded.
func (c *cluster) redstart(args ...string) (string, error) {
	return runRedstart(c.binary, append(c.flags(), args...)...)
}

func runRedstart(binary string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	return string(out), err
}

// embedded is "redstart up" with a state directory of its own, as a user starts it.
type embedded struct{ dir, binary string }

// embeddedIn is a cluster in a directory that is not started yet.
func embeddedIn(binary, dir string) *cluster {
	return &cluster{binary: binary, backend: &embedded{dir: dir, binary: binary}}
}

func (e *embedded) kubeconfig() string { return filepath.Join(e.dir, "kubeconfig") }
func (e *embedded) flags() []string    { return []string{"--state-dir", e.dir} }

func (e *embedded) has(n need) bool {
	return n == needEmbedded || n == needProcesses || n == needDisks
}

// process: pods are processes of this machine.
func (e *embedded) process(_ string, pid int) (int, error) { return pid, nil }

func (e *embedded) volume(_ context.Context, _ client.Client, namespace, claim string) (string, error) {
	return filepath.Join(e.dir, "volumes", namespace, claim), nil
}

func (e *embedded) stop() error {
	if out, err := runRedstart(e.binary, append(e.flags(), "down")...); err != nil {
		return fmt.Errorf("redstart down: %w\n%s", err, out)
	}
	return os.RemoveAll(e.dir)
}
