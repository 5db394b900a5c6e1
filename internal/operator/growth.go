package operator

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
)

// This file decides how the storage of a Redis grows. Every function is pure.
//
// The claims are enlarged in place, while they are in use. The claim template of a StatefulSet cannot be changed, so the
// StatefulSet is made anew around its pods: members that come later get the new size, and those that are there notice
// nothing. Before it goes, no claim may name it as an owner: a garbage collector that has not seen that its dependents
// were let go would take the data with it.

// growth is the next step towards a larger storage. The zero value: there is nothing to do.
type growth struct {
	// enlarge are the names of the claims to ask more for, to size.
	enlarge []string
	size    resource.Quantity
	// has is the size that every claim asks for at least, nil where there is none.
	has *resource.Quantity
	// disown: the claims have to be taken off the StatefulSet first.
	disown bool
	// remake: the StatefulSet is to be deleted, and its pods left alone.
	remake bool
	// waits is what has to happen by itself first.
	waits string
}

// nextGrowth compares the size that is wanted with the claims and with the live StatefulSet of the members. claims
// are those of the members.
func nextGrowth(r *v1alpha1.Redis, set *appsv1.StatefulSet, claims []corev1.PersistentVolumeClaim) growth {
	if set == nil || r.Spec.Storage == nil || r.Spec.Storage.Size == nil {
		return growth{}
	}
	size := *r.Spec.Storage.Size
	g := growth{size: size}
	for _, c := range claims {
		have := c.Spec.Resources.Requests[corev1.ResourceStorage]
		if have.Cmp(size) < 0 {
			g.enlarge = append(g.enlarge, c.Name)
		}
		if g.has == nil || have.Cmp(*g.has) < 0 {
			g.has = &have
		}
	}
	switch {
	case len(g.enlarge) > 0:
	case set.DeletionTimestamp != nil:
		g.waits = "the StatefulSet is made anew around its pods"
	case templateSize(set).Cmp(size) >= 0:
		g.waits = growing(size, claims)
	case ownsAny(set.UID, claims) || retentionDeletes(set):
		g.disown, g.waits = true, "the claims are taken off the StatefulSet"
	default:
		g.remake = true
	}
	return g
}

// growing names claims whose volumes have not grown yet: the driver of the storage does that.
func growing(size resource.Quantity, claims []corev1.PersistentVolumeClaim) string {
	var names []string
	for _, c := range claims {
		if have, ok := c.Status.Capacity[corev1.ResourceStorage]; ok && have.Cmp(size) < 0 {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s to grow to %s; its storage driver does that", strings.Join(names, ", "), size.String())
}

// templateSize is the size of the claims that a StatefulSet makes; zero where it makes none.
func templateSize(set *appsv1.StatefulSet) *resource.Quantity {
	for _, t := range set.Spec.VolumeClaimTemplates {
		if q, ok := t.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
			return &q
		}
	}
	return &resource.Quantity{}
}

func ownsAny(uid types.UID, claims []corev1.PersistentVolumeClaim) bool {
	for _, c := range claims {
		for _, o := range c.OwnerReferences {
			if o.UID == uid {
				return true
			}
		}
	}
	return false
}

func retentionDeletes(set *appsv1.StatefulSet) bool {
	p := set.Spec.PersistentVolumeClaimRetentionPolicy
	return p != nil && (p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType ||
		p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
}

// keepClaims makes a StatefulSet that can be applied to the live one although its claims are to grow: the template's size is
// that of the live one until it is made anew, and while disown is wanted no claim belongs to it.
func (g growth) keepClaims(wanted, live *appsv1.StatefulSet) {
	if live == nil || len(wanted.Spec.VolumeClaimTemplates) == 0 || len(live.Spec.VolumeClaimTemplates) == 0 {
		return
	}
	size := templateSize(live)
	wanted.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: *size}
	if g.disown || g.remake {
		retain := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
		wanted.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: retain, WhenScaled: retain,
		}
	}
}
