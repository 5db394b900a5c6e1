package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestStorageGrows enlarges the volumes of a Redis whose class allows it. The lab's volumes are directories and grow by no driver: the
// Redis says what it waits for, and the test then writes into the claims what a driver does.
func TestStorageGrows(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needDisks, needKubernetes)
	in, before := c.enlarged(t, "e2e-grows", true)
	in.waitClaims("2Gi")
	const waits = "data-cache-0, data-cache-1, data-cache-2 to grow to 2Gi; its storage driver does that"
	eventually(t, time.Minute, "the condition Progressing to name "+waits, func(context.Context) bool {
		c := in.condition(v1alpha1.ConditionProgressing)
		return c.Reason == v1alpha1.ReasonStorageGrowing && strings.Contains(c.Message, waits)
	})
	for _, claim := range in.claims() {
		base := claim.DeepCopy()
		claim.Status.Capacity[corev1.ResourceStorage] = resource.MustParse("2Gi")
		if err := in.Status().Patch(context.Background(), claim, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
	}
	in.waitCondition(v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonIdle)
	in.waitReady()
	set := &appsv1.StatefulSet{}
	if err := in.Get(context.Background(), in.key("cache"), set); err != nil {
		t.Fatal(err)
	}
	if size := set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage(); size.String() != "2Gi" {
		t.Errorf("members to come get %s", size)
	}
	if now := in.runs(); !slices.Equal(before, now) {
		t.Errorf("pods restarted: %v before, %v now", before, now)
	}
}

// TestStorageGrowthRefused: the class of the lab does not let volumes grow. The Redis says so, and goes on.
func TestStorageGrowthRefused(t *testing.T) {
	beyondCore(t)
	c := theCluster(t, needDisks, needKubernetes)
	in, before := c.enlarged(t, "e2e-rigid", false)
	refused := in.waitCondition(v1alpha1.ConditionSpecServed, metav1.ConditionFalse, v1alpha1.ReasonStorageNotGrown)
	t.Log(refused.Message)
	for _, want := range []string{"spec.storage.size: ", "PersistentVolumeClaim data-cache-", "to 2Gi", "storageclass", "write 1Gi to leave it so"} {
		if !strings.Contains(refused.Message, want) {
			t.Errorf("it does not say %q: %s", want, refused.Message)
		}
	}
	in.waitReady()
	in.waitClaims("1Gi")
	in.update(func(r *v1alpha1.Redis) { r.Spec.Storage.Size = ptr.To(resource.MustParse("1Gi")) }) // as it is told
	in.waitCondition(v1alpha1.ConditionSpecServed, metav1.ConditionTrue, v1alpha1.ReasonAllServed)
	if now := in.runs(); !slices.Equal(before, now) {
		t.Errorf("pods restarted: %v before, %v now", before, now)
	}
}

// enlarged makes a Redis with volumes of 1Gi of a class that allows them to grow, or not, and asks for 2Gi. runs are those of its
// containers before that.
func (c *cluster) enlarged(t *testing.T, class string, allowed bool) (in *instance, runs []string) {
	t.Helper()
	c.storageClass(t, class, func(s *storagev1.StorageClass) { s.AllowVolumeExpansion = &allowed })
	spec := redisSpec(v1alpha1.ModeReplication)
	spec.Storage = &v1alpha1.StorageSpec{Size: ptr.To(resource.MustParse("1Gi")), StorageClassName: &class}
	in = c.create(t, spec)
	runs = in.runs()
	in.update(func(r *v1alpha1.Redis) { r.Spec.Storage.Size = ptr.To(resource.MustParse("2Gi")) })
	return in, runs
}

func (in *instance) claims() []*corev1.PersistentVolumeClaim {
	in.t.Helper()
	list := &corev1.PersistentVolumeClaimList{}
	if err := in.List(context.Background(), list, client.InNamespace(in.namespace), client.MatchingLabels{v1alpha1.LabelName: in.name}); err != nil {
		in.t.Fatal(err)
	}
	var all []*corev1.PersistentVolumeClaim
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all
}

// waitClaims waits until all claims ask for a size.
func (in *instance) waitClaims(size string) {
	in.t.Helper()
	eventually(in.t, time.Minute, "claims of "+size, func(context.Context) bool {
		all := in.claims()
		return len(all) == 3 && !slices.ContainsFunc(all, func(c *corev1.PersistentVolumeClaim) bool {
			return c.Spec.Resources.Requests.Storage().String() != size
		})
	})
}

// waitCondition waits for a condition of the Redis, and logs what it was where it never is.
func (in *instance) waitCondition(kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	in.t.Helper()
	var c metav1.Condition
	defer func() {
		if c.Status != status || c.Reason != reason {
			in.t.Logf("%s is %s, %s: %s", kind, c.Status, c.Reason, c.Message)
		}
	}()
	eventually(in.t, time.Minute, fmt.Sprintf("%s %s, %s", kind, status, reason), func(context.Context) bool {
		c = in.condition(kind)
		return c.Status == status && c.Reason == reason
	})
	return c
}
