package apiserver

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// atLeast demands that *n, if there is one, is low or more.
func atLeast(n *int32, low int32, path *field.Path) field.ErrorList {
	if n != nil && *n < low {
		return field.ErrorList{field.Invalid(path, *n, fmt.Sprintf("must be %d or more", low))}
	}
	return nil
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	path, s := field.NewPath("spec"), &d.Spec
	errs := atLeast(s.Replicas, 0, path.Child("replicas"))
	errs = append(errs, atLeast(&s.MinReadySeconds, 0, path.Child("minReadySeconds"))...)
	errs = append(errs, atLeast(s.RevisionHistoryLimit, 0, path.Child("revisionHistoryLimit"))...)
	if p := s.ProgressDeadlineSeconds; p != nil && *p <= s.MinReadySeconds {
		errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *p, "must be greater than minReadySeconds"))
	}
	errs = append(errs, validateSelector(s.Selector, s.Template.Labels, path.Child("selector"))...)
	errs = append(errs, validateTemplate(&s.Template, s.Replicas, path.Child("template"), corev1.RestartPolicyAlways)...)
	return append(errs, validateStrategy(&s.Strategy, path.Child("strategy"))...)
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch {
	case s.Type == appsv1.RecreateDeploymentStrategyType && s.RollingUpdate != nil:
		return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
	case s.Type == appsv1.RecreateDeploymentStrategyType:
		return nil
	case s.Type != appsv1.RollingUpdateDeploymentStrategyType:
		return field.ErrorList{field.NotSupported(path.Child("type"), s.Type,
			[]appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
	}
	var errs field.ErrorList
	path = path.Child("rollingUpdate")
	zero := 0
	for name, v := range map[string]*intstr.IntOrString{"maxUnavailable": s.RollingUpdate.MaxUnavailable, "maxSurge": s.RollingUpdate.MaxSurge} {
		n, err := validateShare(v, path.Child(name))
		errs = append(errs, err...)
		if len(err) == 0 && n == 0 {
			zero++
		}
	}
	if zero == 2 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), s.RollingUpdate.MaxUnavailable.String(), "may not be 0 when `maxSurge` is 0"))
	}
	return errs
}

// validateShare checks a number of pods or a percentage of them, and returns it.
func validateShare(v *intstr.IntOrString, path *field.Path) (int, field.ErrorList) {
	if v == nil {
		return 0, nil
	}
	n := v.IntValue()
	if v.Type == intstr.String {
		if msgs := validation.IsValidPercent(v.StrVal); len(msgs) > 0 {
			return 0, field.ErrorList{field.Invalid(path, v.StrVal, "must be a whole number or a percentage such as '25%'")}
		}
		percent, err := intstr.GetScaledValueFromIntOrPercent(v, 100, true)
		if err != nil {
			return 0, field.ErrorList{field.Invalid(path, v.StrVal, err.Error())}
		}
		n = percent
	}
	if n < 0 {
		return n, field.ErrorList{field.Invalid(path, v.String(), "must be 0 or more")}
	}
	return n, nil
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
}

func validateReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	path, s := field.NewPath("spec"), &r.Spec
	errs := atLeast(s.Replicas, 0, path.Child("replicas"))
	errs = append(errs, atLeast(&s.MinReadySeconds, 0, path.Child("minReadySeconds"))...)
	errs = append(errs, validateSelector(s.Selector, s.Template.Labels, path.Child("selector"))...)
	return append(errs, validateTemplate(&s.Template, s.Replicas, path.Child("template"), corev1.RestartPolicyAlways)...)
}

func validateReplicaSetUpdate(r, old *appsv1.ReplicaSet) field.ErrorList {
	return apivalidation.ValidateImmutableField(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))
}

func validateStatefulSet(set *appsv1.StatefulSet) field.ErrorList {
	path, s := field.NewPath("spec"), &set.Spec
	errs := atLeast(s.Replicas, 0, path.Child("replicas"))
	errs = append(errs, atLeast(&s.MinReadySeconds, 0, path.Child("minReadySeconds"))...)
	errs = append(errs, atLeast(s.RevisionHistoryLimit, 0, path.Child("revisionHistoryLimit"))...)
	if s.Ordinals != nil {
		errs = append(errs, atLeast(&s.Ordinals.Start, 0, path.Child("ordinals", "start"))...)
	}
	errs = append(errs, validateSelector(s.Selector, s.Template.Labels, path.Child("selector"))...)
	switch s.PodManagementPolicy {
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.NotSupported(path.Child("podManagementPolicy"), s.PodManagementPolicy,
			[]appsv1.PodManagementPolicyType{appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement}))
	}
	switch u := s.UpdateStrategy; u.Type {
	case appsv1.OnDeleteStatefulSetStrategyType:
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if u.RollingUpdate != nil {
			errs = append(errs, atLeast(u.RollingUpdate.Partition, 0, path.Child("updateStrategy", "rollingUpdate", "partition"))...)
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("updateStrategy", "type"), u.Type,
			[]appsv1.StatefulSetUpdateStrategyType{appsv1.OnDeleteStatefulSetStrategyType, appsv1.RollingUpdateStatefulSetStrategyType}))
	}
	claims := sets.New[string]()
	template := s.Template.DeepCopy()
	for i := range s.VolumeClaimTemplates {
		c, at := &s.VolumeClaimTemplates[i], path.Child("volumeClaimTemplates").Index(i)
		errs = append(errs, validateLabelName(c.Name, claims, at.Child("metadata", "name"))...)
		errs = append(errs, validateClaimSpec(&c.Spec, at.Child("spec"))...)
		// The pods have a volume for every claim; it may be mounted like the others.
		if !hasVolume(template.Spec.Volumes, c.Name) {
			template.Spec.Volumes = append(template.Spec.Volumes, claimVolume(c.Name))
		}
	}
	return append(errs, validateTemplate(template, s.Replicas, path.Child("template"), corev1.RestartPolicyAlways)...)
}

func validateStatefulSetUpdate(set, old *appsv1.StatefulSet) field.ErrorList {
	same := set.Spec.DeepCopy()
	was := old.Spec
	same.Replicas, same.Template, same.UpdateStrategy = was.Replicas, was.Template, was.UpdateStrategy
	same.PersistentVolumeClaimRetentionPolicy, same.MinReadySeconds = was.PersistentVolumeClaimRetentionPolicy, was.MinReadySeconds
	same.Ordinals, same.RevisionHistoryLimit = was.Ordinals, was.RevisionHistoryLimit
	if !equality.Semantic.DeepEqual(*same, was) {
		return field.ErrorList{field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', "+
			"'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")}
	}
	return nil
}

func validateRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	return apivalidation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))
}
