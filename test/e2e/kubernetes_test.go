package e2e

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Where the operator runs on a cluster, and from which image: test/kubelab has it under this name.
const (
	systemNamespace = "redstart-system"
	operatorName    = "redstart-operator"
	defaultImage    = "redstart:dev"
	// upgradedImage is the same image under another name.
	upgradedImage = "redstart:latest"
)

//go:embed testdata/operator.yaml
var operatorManifest string

// kubernetes is a real cluster: that of test/kubelab, whose nodes run on this machine, or any other.
type kubernetes struct {
	config string
	// lab is the program kubelab; empty where the cluster is somebody else's.
	lab string
	// image of the program under test.
	image string
	made  []*unstructured.Unstructured
	c     *cluster
}

// startKubernetes installs the CRD and the operator in the cluster of $KUBECONFIG. $KUBELAB is the program that controls its
// nodes, if it is of test/kubelab; $REDSTART_IMAGE is the image under test.
func startKubernetes(c *cluster, dir string) error {
	config := os.Getenv("KUBECONFIG")
	if config == "" {
		return errors.New("-backend kubernetes: KUBECONFIG is not set; make e2e starts a cluster and sets it")
	}
	k := &kubernetes{config: config, lab: os.Getenv("KUBELAB"), image: os.Getenv("REDSTART_IMAGE"), c: c}
	if k.image == "" {
		k.image = defaultImage
	}
	_ = os.Remove(dir) // nothing is kept in it
	c.backend = k
	if err := c.connect(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	crds, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "*.yaml"))
	if err != nil || len(crds) == 0 {
		return fmt.Errorf("find the CRDs: %w", err)
	}
	for _, file := range crds {
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read a CRD: %w", err)
		}
		if err := k.apply(ctx, string(b)); err != nil {
			return err
		}
	}
	return k.installOperator(ctx, k.image)
}

// installOperator makes the operator of an image run, in place of one that does.
func (k *kubernetes) installOperator(ctx context.Context, image string) error {
	k.image = image
	if err := k.apply(ctx, strings.ReplaceAll(operatorManifest, "IMAGE", image)); err != nil {
		return err
	}
	return k.awaitOperator(ctx)
}

// apply makes the objects of a manifest and remembers them.
func (k *kubernetes) apply(ctx context.Context, manifest string) error {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifest)), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := documents.Decode(&o.Object); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read a manifest: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		k.made = append(k.made, o.DeepCopy())
		if err := k.c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("e2e"), client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}

// awaitOperator waits until the operator that is wanted runs, and no other one does.
func (k *kubernetes) awaitOperator(ctx context.Context) error {
	var seen string
	for {
		d := &appsv1.Deployment{}
		err := k.c.Get(ctx, client.ObjectKey{Namespace: systemNamespace, Name: operatorName}, d)
		s := d.Status
		if err == nil && s.ObservedGeneration == d.Generation && s.UpdatedReplicas == *d.Spec.Replicas &&
			s.AvailableReplicas == *d.Spec.Replicas && s.Replicas == *d.Spec.Replicas {
			return nil
		}
		seen = fmt.Sprintf("%+v, %v", s, err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("the operator did not become ready: %s", seen)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (k *kubernetes) kubeconfig() string { return k.config }
func (k *kubernetes) flags() []string    { return []string{"--kubeconfig", k.config} }

func (k *kubernetes) has(n need) bool {
	if n == needKubernetes {
		return true
	}
	return k.lab != "" && slices.Contains([]need{needProcesses, needNodes, needPartition, needDisks}, n)
}

// process finds a process of a pod of the lab among those of this machine: by its control group, which has the pod's UID, and
// the number that it has in its own PID namespace.
func (k *kubernetes) process(podUID string, pid int) (int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || !strings.Contains(string(groups), podUID) {
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
	return 0, fmt.Errorf("no process %d in pod %s", pid, podUID)
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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, k.lab, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("kubelab %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// stop removes what the suite made. The CRD goes first, with every Redis that a failed test left.
func (k *kubernetes) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var failed []error
	for _, o := range k.made {
		if err := k.c.Delete(ctx, o); err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("delete %s %s: %w", o.GetKind(), o.GetName(), err))
		}
	}
	return errors.Join(failed...)
}
