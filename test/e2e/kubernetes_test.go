package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The image under test, as test/kubelab names it.
const (
	defaultImage = "redstart:dev"
	// upgradedImage is the same image under another name.
	upgradedImage = "redstart:next"
)

// kubernetes is a real cluster: that of test/kubelab, whose nodes run on this machine, or any other.
type kubernetes struct {
	config string
	// lab is the program kubelab; empty where the cluster is somebody else's.
	lab string
	// image of the program under test.
	image string
	dir   string
	c     *cluster
}

// startKubernetes installs the custom resource definitions and the operator in the cluster of $KUBECONFIG. $KUBELAB is the program that controls its
// nodes, if it is of test/kubelab; $REDSTART_IMAGE is the image under test.
func startKubernetes(c *cluster, dir string) error {
	config := os.Getenv("KUBECONFIG")
	if config == "" {
		return errors.New("-backend kubernetes: KUBECONFIG is not set; make e2e starts a cluster and sets it")
	}
	k := &kubernetes{config: config, lab: os.Getenv("KUBELAB"), image: os.Getenv("REDSTART_IMAGE"), dir: dir, c: c}
	if k.image == "" {
		k.image = defaultImage
	}
	c.backend = k
	if err := c.connect(); err != nil {
		return err
	}
	return k.install(k.image)
}

// install installs the operator of an image, or upgrades the one that runs, and waits until it does.
func (k *kubernetes) install(image string) error {
	k.image = image
	if out, err := k.c.redstart("install", "--image", image, "--image-pull-policy", "IfNotPresent"); err != nil {
		return fmt.Errorf("redstart install: %w\n%s", err, out)
	}
	return nil
}

func (k *kubernetes) kubeconfig() string { return k.config }
func (k *kubernetes) flags() []string    { return []string{"--kubeconfig", k.config} }

func (k *kubernetes) has(n need) bool {
	if n == needKubernetes {
		return true
	}
	return k.lab != "" && slices.Contains([]need{needProcesses, needNodes, needPartition, needDisks, needGateway}, n)
}

// process finds a process of a pod of the lab among those of this machine: by its control group, which has the pod's UID and the
// container's ID, and the number that it has in its own PID namespace.
func (k *kubernetes) process(of string, pid int) (int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || !strings.Contains(string(groups), of) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			ids, ok := strings.CutPrefix(line, "NSpid:")
			if f := strings.Fields(ids); ok && len(f) > 0 && f[len(f)-1] == strconv.Itoa(pid) {
				return strconv.Atoi(f[0])
			}
		}
	}
	return 0, fmt.Errorf("no process %d in pod or container %s", pid, of)
}

// containerID is the ID of a container that runs; no process has that of one that does not.
func containerID(p *corev1.Pod, name string) string {
	for _, c := range p.Status.ContainerStatuses {
		if _, id, ok := strings.Cut(c.ContainerID, "://"); ok && c.Name == name {
			return id
		}
	}
	return "of " + name + ", which does not run"
}

// volume: the lab's volumes are directories of this machine.
func (k *kubernetes) volume(ctx context.Context, c client.Client, namespace, claim string) (string, error) {
	pvc := &corev1.PersistentVolumeClaim{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: claim}, pvc); err != nil {
		return "", err
	}
	pv := &corev1.PersistentVolume{}
	if err := c.Get(ctx, client.ObjectKey{Name: pvc.Spec.VolumeName}, pv); err != nil {
		return "", err
	}
	if pv.Spec.HostPath == nil {
		return "", fmt.Errorf("volume %s of claim %s is no directory of this machine", pv.Name, claim)
	}
	return filepath.Join(filepath.Dir(k.config), "volumes", filepath.Base(pv.Spec.HostPath.Path)), nil
}

// control runs a command of kubelab.
func (k *kubernetes) control(args ...string) error {
	limit := 5 * time.Minute
	if args[0] == "gateway" {
		limit = 40 * time.Minute // it may have to be built
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if out, err := exec.CommandContext(ctx, k.lab, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("kubelab %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// stop removes the operator.
func (k *kubernetes) stop() error {
	if out, err := k.c.redstart("uninstall"); err != nil {
		return fmt.Errorf("redstart uninstall: %w\n%s", err, out)
	}
	return os.RemoveAll(k.dir)
}
