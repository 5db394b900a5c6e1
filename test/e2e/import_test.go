package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// The values that the charts and the importer are tested with.
const (
	importData = "../../internal/importer/testdata"
	chartData  = redisChart + "/ci"
)

// TestImportedValues makes a Redis of the values of each well-known chart, by redstart import and by charts/redis-ha, on a cluster that
// has what the values ask of it: classes of storage, labels of nodes, Secrets.
func TestImportedValues(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needKubernetes)
	c.storageClass(t, "fast", nil)
	c.labelNodes(t, "disk", "ssd")
	for _, tt := range []struct {
		file, from, secret string
		mode               v1alpha1.Mode
		members            int
	}{
		{"redis-ha-old.yaml", "redis-ha", "", v1alpha1.ModeSentinel, 5},
		{"dandydeveloper.yaml", "dandydeveloper", "my-secret", v1alpha1.ModeSentinel, 3},
		{"bitnami-redis.yaml", "bitnami-redis", "", v1alpha1.ModeSentinel, 5},
		{"bitnami-redis-cluster.yaml", "bitnami-redis-cluster", "cluster-secret", v1alpha1.ModeCluster, 9},
	} {
		t.Run("redstart import/"+tt.from, func(t *testing.T) {
			ns := c.namespace(t)
			c.passwordSecret(t, ns, tt.secret)
			// What it reports goes to standard error, which redstart apply must not read.
			out, err := exec.Command(c.binary, "import", filepath.Join(importData, tt.file), "--from", tt.from, "--name", "cache").Output()
			if err != nil {
				t.Fatalf("redstart import: %v", err)
			}
			file := filepath.Join(t.TempDir(), "cache.yaml")
			if err := os.WriteFile(file, []byte(withDefaultImage(string(out))), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := c.redstart("-n", ns, "apply", "-f", file); err != nil {
				t.Fatalf("redstart apply: %v\n%s", err, out)
			}
			c.checkImported(t, ns, tt.mode, tt.members)
		})
	}
	h := c.helm(t)
	for _, tt := range []struct {
		file, secret string
		members      int
	}{
		{"redis-ha-values.yaml", "", 5},
		{"bitnami-values.yaml", "mine", 3},
	} {
		t.Run("helm install/"+tt.file, func(t *testing.T) {
			ns := c.namespace(t)
			c.passwordSecret(t, ns, tt.secret)
			h := *h
			h.t = t
			h.run("install", "cache", redisChart, "-n", ns, "-f", filepath.Join(chartData, tt.file), "--set-string", "image.tag=7.2")
			c.checkImported(t, ns, v1alpha1.ModeSentinel, tt.members)
		})
	}
}

// isNetwork tells whether a call failed on its way to a server, or back.
func isNetwork(err error) bool {
	var e net.Error
	return errors.As(err, &e)
}

var imageLine = regexp.MustCompile(`(?m)^  image: .*$`)

// withDefaultImage takes the image of a Redis that every cluster of the suite has: that of the values may be no longer there.
func withDefaultImage(redis string) string {
	return imageLine.ReplaceAllString(redis, "  image: "+v1alpha1.DefaultImage)
}

// checkImported waits for the Redis and looks whether it is what the values ask for: so many members, a password that it asks for, and
// data on volumes.
func (c *cluster) checkImported(t *testing.T, namespace string, mode v1alpha1.Mode, members int) {
	t.Helper()
	in := &instance{t: t, cluster: c, name: "cache", namespace: namespace, sharded: mode == v1alpha1.ModeCluster}
	in.dumpIfFailed()
	in.waitReady()
	ctx := context.Background()
	r := in.redis(ctx)
	if r.Spec.Mode != mode || len(r.Status.Members) != members {
		t.Errorf("it is of mode %s with %d members, want %s with %d", r.Spec.Mode, len(r.Status.Members), mode, members)
	}
	secret := &corev1.Secret{}
	if err := c.Get(ctx, in.key(r.AuthSecretName()), secret); err != nil {
		t.Fatal(err)
	}
	client := in.writes()()
	var refused error
	// The Redis is ready a moment before all kube-proxies know where its Service leads.
	eventually(t, 30*time.Second, "an answer by the Service", func(ctx context.Context) bool {
		refused = client.Set(ctx, "key", "value", 0).Err()
		return !isNetwork(refused)
	})
	_ = client.Close()
	if refused == nil || !strings.Contains(refused.Error(), "NOAUTH") {
		t.Errorf("without a password a write ends with %v", refused)
	}
	in.password = string(secret.Data[v1alpha1.SecretKeyPassword])
	client = in.writes()()
	defer func() { _ = client.Close() }()
	if err := client.Set(ctx, "key", "value", 0).Err(); err != nil {
		t.Errorf("write with the password: %v", err)
	}
	for i := range members {
		claim := &corev1.PersistentVolumeClaim{}
		if err := c.Get(ctx, in.key(fmt.Sprintf("data-cache-%d", i)), claim); err != nil {
			t.Error(err)
		} else if want := *r.Spec.Storage.Size; claim.Spec.Resources.Requests.Storage().Cmp(want) != 0 || claim.Status.Phase != corev1.ClaimBound {
			t.Errorf("claim %s is %s with %s, want Bound with %s", claim.Name, claim.Status.Phase, claim.Spec.Resources.Requests.Storage(), want.String())
		}
	}
}

// passwordSecret makes a Secret with a password, if it has a name.
func (c *cluster) passwordSecret(t *testing.T, namespace, name string) {
	t.Helper()
	if name == "" {
		return
	}
	s := &corev1.Secret{StringData: map[string]string{v1alpha1.SecretKeyPassword: "correct-horse"}}
	s.Namespace, s.Name = namespace, name
	if err := c.Create(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

// storageClass makes a class like the default one, with a change.
func (c *cluster) storageClass(t *testing.T, name string, change func(*storagev1.StorageClass)) {
	t.Helper()
	ctx := context.Background()
	all := &storagev1.StorageClassList{}
	if err := c.List(ctx, all); err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Items {
		if s.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		class := &storagev1.StorageClass{
			Provisioner: s.Provisioner, Parameters: s.Parameters, ReclaimPolicy: s.ReclaimPolicy,
			VolumeBindingMode: s.VolumeBindingMode, AllowVolumeExpansion: s.AllowVolumeExpansion,
		}
		class.Name = name
		if change != nil {
			change(class)
		}
		switch err := c.Create(ctx, class); {
		case apierrors.IsAlreadyExists(err):
			t.Fatalf("the cluster has a storage class %s already", name)
		case err != nil:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(ctx, class); err != nil {
				t.Error(err)
			}
		})
		return
	}
	t.Fatal("the cluster has no default storage class")
}

// labelNodes labels all nodes for the time of a test.
func (c *cluster) labelNodes(t *testing.T, key, value string) {
	t.Helper()
	ctx := context.Background()
	set := func(value string) {
		nodes := &corev1.NodeList{}
		if err := c.List(ctx, nodes); err != nil {
			t.Fatal(err)
		}
		for i := range nodes.Items {
			patch := client.RawPatch("application/merge-patch+json", []byte(fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, key, value)))
			if err := c.Patch(ctx, &nodes.Items[i], patch); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(fmt.Sprintf("%q", value))
	t.Cleanup(func() { set("null") })
}
