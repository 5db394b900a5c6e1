package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateNode accepts what decides which pods may start here; what would end pods that run is left to kubectl drain.
func validateNode(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "taints")
	seen := sets.New[string]()
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}
	for i := range n.Spec.Taints {
		t, at := &n.Spec.Taints[i], path.Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		for _, msg := range validation.IsValidLabelValue(t.Value) {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, msg))
		}
		switch {
		case t.Effect == corev1.TaintEffectNoExecute:
			errs = append(errs, field.Forbidden(at.Child("effect"), "NoExecute ends no pod on one machine; use NoSchedule, and kubectl drain for the pods that run"))
		case !slices.Contains(effects, t.Effect):
			errs = append(errs, field.NotSupported(at.Child("effect"), t.Effect, effects))
		}
		key := t.Key + ":" + string(t.Effect)
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(at, key))
		}
		seen.Insert(key)
	}
	return errs
}
