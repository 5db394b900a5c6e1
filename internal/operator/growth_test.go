package operator

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestNextGrowth walks through every state of storage that grows from 1Gi to 2Gi.
func TestNextGrowth(t *testing.T) {
	quantity := func(s string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
	}
	claim := func(name, asked, has string, owners ...metav1.OwnerReference) corev1.PersistentVolumeClaim {
		return corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners},
			Spec:       corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: quantity(asked)}},
			Status:     corev1.PersistentVolumeClaimStatus{Capacity: quantity(has)},
		}
	}
	set := func(size string, policy appsv1.PersistentVolumeClaimRetentionPolicyType) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{UID: "s"}, Spec: appsv1.StatefulSetSpec{
			VolumeClaimTemplates:                 []corev1.PersistentVolumeClaim{claim("data", size, size)},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: policy, WhenScaled: policy},
		}}
	}
	const retain, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	leaving := set("1Gi", retain)
	leaving.DeletionTimestamp = ptr.To(metav1.Now())
	ours := metav1.OwnerReference{UID: "s"}
	r := &v1alpha1.Redis{Spec: v1alpha1.RedisSpec{Storage: &v1alpha1.StorageSpec{Size: ptr.To(resource.MustParse("2Gi"))}}}
	for _, tc := range []struct {
		about  string
		set    *appsv1.StatefulSet
		claims []corev1.PersistentVolumeClaim
		want   growth
		waits  bool
	}{
		{about: "no StatefulSet yet", want: growth{}},
		{about: "nothing to do", set: set("2Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "2Gi")}},
		{about: "nothing to do, of a set that owns its claims", set: set("2Gi", remove), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "2Gi", ours)}},
		{about: "larger by hand", set: set("2Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "3Gi", "3Gi")}},
		{about: "claims are small", set: set("1Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "1Gi", "1Gi"), claim("b", "2Gi", "1Gi")}, want: growth{enlarge: []string{"a"}}},
		{about: "a claim is small although the set is not", set: set("2Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "1Gi", "1Gi")}, want: growth{enlarge: []string{"a"}}},
		{about: "the set is old", set: set("1Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi")}, want: growth{remake: true}},
		{about: "the set is old and would delete", set: set("1Gi", remove), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi")}, want: growth{disown: true}, waits: true},
		{about: "the set still owns", set: set("1Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi", ours)}, want: growth{disown: true}, waits: true},
		{about: "somebody else owns", set: set("1Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi", metav1.OwnerReference{UID: "x"})}, want: growth{remake: true}},
		{about: "the set goes", set: leaving, claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi")}, waits: true},
		{about: "the driver has not grown the volume", set: set("2Gi", retain), claims: []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi")}, waits: true},
	} {
		got := nextGrowth(r, tc.set, tc.claims)
		if len(got.enlarge) != len(tc.want.enlarge) || got.disown != tc.want.disown || got.remake != tc.want.remake || (got.waits != "") != tc.waits {
			t.Errorf("%s: %+v, want %+v, waits %v", tc.about, got, tc.want, tc.waits)
		}
		if tc.set == nil {
			continue
		}
		// What is applied meanwhile must be acceptable to the live StatefulSet, and must own no claim before it goes.
		wanted := set("2Gi", remove)
		got.keepClaims(wanted, tc.set)
		if templateSize(wanted).Cmp(*templateSize(tc.set)) != 0 {
			t.Errorf("%s: the claim template changes, which no API server takes", tc.about)
		}
		if (got.disown || got.remake) && retentionDeletes(wanted) {
			t.Errorf("%s: the claims would go with the StatefulSet", tc.about)
		}
	}
	claims := []corev1.PersistentVolumeClaim{claim("a", "2Gi", "1Gi"), claim("b", "1500Mi", "1Gi"), claim("c", "2Gi", "2Gi")}
	if g := nextGrowth(r, set("2Gi", retain), claims); g.has == nil || g.has.String() != "1500Mi" {
		t.Errorf("the claims ask for %v at least, want 1500Mi", g.has)
	}
	if g := nextGrowth(r, set("2Gi", retain), nil); g.has != nil {
		t.Errorf("no claims ask for %v", g.has)
	}
	if g := nextGrowth(&v1alpha1.Redis{Spec: v1alpha1.RedisSpec{Storage: &v1alpha1.StorageSpec{Ephemeral: true}}}, set("1Gi", retain), nil); g.remake || g.disown {
		t.Errorf("ephemeral storage grows: %+v", g)
	}
}
