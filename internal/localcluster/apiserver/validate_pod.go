package apiserver

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// notHere is the answer to a field that is fine on Kubernetes and cannot be honoured by one machine's processes.
const notHere = "not supported on one machine; remove it or run this on Kubernetes"

// refuse adds an error for path if the field is used.
func refuse(errs *field.ErrorList, used bool, path *field.Path) {
	if used {
		*errs = append(*errs, field.Forbidden(path, notHere))
	}
}

func validatePod(p *corev1.Pod) field.ErrorList {
	return validatePodSpec(&p.Spec, 1, field.NewPath("spec"))
}

// validatePodUpdate allows what Kubernetes allows, and to give a pod its node: there is no scheduler here.
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList {
	same := p.Spec.DeepCopy()
	if old.Spec.NodeName == "" {
		same.NodeName = ""
	}
	same.Tolerations = old.Spec.Tolerations
	if len(same.Containers) == len(old.Spec.Containers) {
		for i := range same.Containers {
			same.Containers[i].Image = old.Spec.Containers[i].Image
		}
	}
	if !equality.Semantic.DeepEqual(*same, old.Spec) {
		return field.ErrorList{field.Forbidden(field.NewPath("spec"),
			"of a pod, only the images of containers and tolerations may change; delete the pod and create it again")}
	}
	return nil
}

// validateTemplate checks the template of replicas pods, whose restartPolicy is one of policies.
func validateTemplate(t *corev1.PodTemplateSpec, replicas *int32, path *field.Path, policies ...corev1.RestartPolicy) field.ErrorList {
	errs := metav1validation.ValidateLabels(t.Labels, path.Child("metadata", "labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, path.Child("metadata", "annotations"))...)
	errs = append(errs, validatePodSpec(&t.Spec, wanted(replicas), path.Child("spec"))...)
	if !slices.Contains(policies, t.Spec.RestartPolicy) {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, policies))
	}
	return errs
}

// validatePodSpec checks a pod, or the template of replicas pods.
func validatePodSpec(s *corev1.PodSpec, replicas int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse(&errs, s.HostNetwork, path.Child("hostNetwork"))
	refuse(&errs, s.HostPID, path.Child("hostPID"))
	refuse(&errs, s.HostIPC, path.Child("hostIPC"))
	refuse(&errs, s.HostUsers != nil, path.Child("hostUsers"))
	refuse(&errs, s.ShareProcessNamespace != nil && *s.ShareProcessNamespace, path.Child("shareProcessNamespace"))
	refuse(&errs, s.RuntimeClassName != nil, path.Child("runtimeClassName"))
	refuse(&errs, len(s.HostAliases) > 0, path.Child("hostAliases"))
	refuse(&errs, s.DNSConfig != nil, path.Child("dnsConfig"))
	refuse(&errs, len(s.ReadinessGates) > 0, path.Child("readinessGates"))
	refuse(&errs, len(s.SchedulingGates) > 0, path.Child("schedulingGates"))
	refuse(&errs, len(s.ResourceClaims) > 0, path.Child("resourceClaims"))
	refuse(&errs, len(s.EphemeralContainers) > 0, path.Child("ephemeralContainers"))
	refuse(&errs, s.Overhead != nil, path.Child("overhead"))
	refuse(&errs, s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN, path.Child("setHostnameAsFQDN"))
	refuse(&errs, s.HostnameOverride != nil, path.Child("hostnameOverride"))
	refuse(&errs, s.ActiveDeadlineSeconds != nil, path.Child("activeDeadlineSeconds"))
	refuse(&errs, s.SchedulerName != corev1.DefaultSchedulerName, path.Child("schedulerName"))
	refuse(&errs, s.OS != nil && string(s.OS.Name) != runtime.GOOS, path.Child("os"))
	for label, v := range s.NodeSelector {
		fits := label == corev1.LabelOSStable && v == runtime.GOOS || label == corev1.LabelArchStable && v == runtime.GOARCH
		refuse(&errs, !fits, path.Child("nodeSelector"))
	}
	for i, c := range s.TopologySpreadConstraints {
		refuse(&errs, c.WhenUnsatisfiable != corev1.ScheduleAnyway, path.Child("topologySpreadConstraints").Index(i).Child("whenUnsatisfiable"))
	}
	errs = append(errs, validateAffinity(s.Affinity, replicas, path.Child("affinity"))...)
	errs = append(errs, validatePodSecurity(s.SecurityContext, path.Child("securityContext"))...)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be 0 or more"))
	}
	switch s.RestartPolicy {
	case corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	default:
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), s.RestartPolicy,
			[]corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}))
	}
	volumes, volumeErrs := validateVolumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, volumeErrs...)
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), "a pod needs a container"))
	}
	names := sets.New[string]()
	for i := range s.InitContainers {
		at := path.Child("initContainers").Index(i)
		errs = append(errs, validateContainer(&s.InitContainers[i], names, volumes, at)...)
	}
	for i := range s.Containers {
		errs = append(errs, validateContainer(&s.Containers[i], names, volumes, path.Child("containers").Index(i))...)
	}
	return errs
}

// validateAffinity accepts what one node satisfies by itself: every preference, and required anti-affinity of a
// single pod.
func validateAffinity(a *corev1.Affinity, replicas int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if a == nil {
		return nil
	}
	const required = "requiredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		refuse(&errs, n.RequiredDuringSchedulingIgnoredDuringExecution != nil, path.Child("nodeAffinity", required))
	}
	if p := a.PodAntiAffinity; p != nil && len(p.RequiredDuringSchedulingIgnoredDuringExecution) > 0 && replicas > 1 {
		errs = append(errs, field.Forbidden(path.Child("podAntiAffinity", required), fmt.Sprintf(
			"there is one machine for %d pods; use preferredDuringSchedulingIgnoredDuringExecution, or run this on Kubernetes", replicas)))
	}
	return errs
}

// validatePodSecurity accepts what only confines. Pods run as the user who runs the cluster; what would need more
// rights than that is refused.
func validatePodSecurity(c *corev1.PodSecurityContext, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c == nil {
		return nil
	}
	refuseRoot(&errs, c.RunAsUser, path.Child("runAsUser"))
	refuse(&errs, c.SELinuxOptions != nil, path.Child("seLinuxOptions"))
	refuse(&errs, c.WindowsOptions != nil, path.Child("windowsOptions"))
	refuse(&errs, c.AppArmorProfile != nil, path.Child("appArmorProfile"))
	refuse(&errs, len(c.Sysctls) > 0, path.Child("sysctls"))
	return errs
}

func validateSecurity(c *corev1.SecurityContext, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c == nil {
		return nil
	}
	refuse(&errs, c.Privileged != nil && *c.Privileged, path.Child("privileged"))
	refuseRoot(&errs, c.RunAsUser, path.Child("runAsUser"))
	refuse(&errs, c.Capabilities != nil && len(c.Capabilities.Add) > 0, path.Child("capabilities", "add"))
	refuse(&errs, c.SELinuxOptions != nil, path.Child("seLinuxOptions"))
	refuse(&errs, c.WindowsOptions != nil, path.Child("windowsOptions"))
	refuse(&errs, c.AppArmorProfile != nil, path.Child("appArmorProfile"))
	refuse(&errs, c.ProcMount != nil && *c.ProcMount != corev1.DefaultProcMount, path.Child("procMount"))
	return errs
}

func refuseRoot(errs *field.ErrorList, user *int64, path *field.Path) {
	if user != nil && *user == 0 && os.Getuid() != 0 {
		*errs = append(*errs, field.Forbidden(path, fmt.Sprintf("pods run as the user who runs redstart up (%d); remove it, or run this on Kubernetes", os.Getuid())))
	}
}

// validateVolumes accepts what can be a directory.
func validateVolumes(volumes []corev1.Volume, path *field.Path) (sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		errs = append(errs, validateLabelName(v.Name, names, at.Child("name"))...)
		kinds := 0
		for _, set := range []bool{v.EmptyDir != nil, v.PersistentVolumeClaim != nil, v.ConfigMap != nil, v.Secret != nil} {
			if set {
				kinds++
			}
		}
		rest := v.VolumeSource
		rest.EmptyDir, rest.PersistentVolumeClaim, rest.ConfigMap, rest.Secret = nil, nil, nil, nil
		switch {
		case rest != (corev1.VolumeSource{}):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("volume %q: on one machine a volume is an emptyDir, persistentVolumeClaim, configMap or secret; use one of them or run this on Kubernetes", v.Name)))
		case kinds != 1:
			errs = append(errs, field.Forbidden(at, "must have exactly one of emptyDir, persistentVolumeClaim, configMap and secret"))
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "":
			errs = append(errs, field.Required(at.Child("persistentVolumeClaim", "claimName"), "name the claim"))
		case v.ConfigMap != nil && v.ConfigMap.Name == "":
			errs = append(errs, field.Required(at.Child("configMap", "name"), "name the ConfigMap"))
		case v.Secret != nil && v.Secret.SecretName == "":
			errs = append(errs, field.Required(at.Child("secret", "secretName"), "name the Secret"))
		}
	}
	return names, errs
}

// validateLabelName checks a name that must be a DNS-1123 label and not be in seen yet.
func validateLabelName(name string, seen sets.Set[string], path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "give it a name")}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	if seen.Has(name) {
		errs = append(errs, field.Duplicate(path, name))
	}
	seen.Insert(name)
	return errs
}

// validateSelector demands a selector that selects the template's pods.
func validateSelector(s *metav1.LabelSelector, template map[string]string, path *field.Path) field.ErrorList {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return field.ErrorList{field.Required(path, "give labels that the pods of the template have")}
	}
	errs := metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
	if len(errs) > 0 {
		return errs
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return field.ErrorList{field.Invalid(path, s, err.Error())}
	}
	if !selector.Matches(labelsSet(template)) {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "template", "metadata", "labels"), template, "`selector` does not match template `labels`")}
	}
	return nil
}
