package apiserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"redstart.dev/redstart/internal/localcluster/routing"
)

// maxDataBytes is how much a ConfigMap or a Secret may hold, as on Kubernetes.
const maxDataBytes = 1 << 20

// maxAffinitySeconds is how long a Service may send a client to the same pod after its last connection.
const maxAffinitySeconds = 86400

func validateService(svc *corev1.Service) field.ErrorList {
	path, s := field.NewPath("spec"), &svc.Spec
	var errs field.ErrorList
	switch s.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
	case corev1.ServiceTypeExternalName:
		refuse(&errs, true, path.Child("type"))
	default:
		errs = append(errs, field.NotSupported(path.Child("type"), s.Type,
			[]corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer}))
	}
	headless := s.ClusterIP == corev1.ClusterIPNone
	if headless && s.Type != corev1.ServiceTypeClusterIP {
		errs = append(errs, field.Invalid(path.Child("clusterIP"), s.ClusterIP, fmt.Sprintf("may not be set to 'None' for %s services", s.Type)))
	}
	if len(s.Ports) == 0 && !headless && s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), "a Service needs a port"))
	}
	refuse(&errs, len(s.ExternalIPs) > 0, path.Child("externalIPs"))
	refuse(&errs, s.LoadBalancerClass != nil, path.Child("loadBalancerClass"))
	refuse(&errs, len(s.LoadBalancerSourceRanges) > 0, path.Child("loadBalancerSourceRanges"))
	refuse(&errs, s.LoadBalancerIP != "", path.Child("loadBalancerIP"))
	errs = append(errs, validateSessionAffinity(s, path)...)
	errs = append(errs, metav1validation.ValidateLabels(s.Selector, path.Child("selector"))...)
	if text, ok := svc.Annotations[routing.AnnotationUpstream]; ok {
		if _, err := routing.ParsePolicy(text); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "annotations").Key(routing.AnnotationUpstream), text, err.Error()))
		}
	}
	names, numbers := sets.New[string](), sets.New[string]()
	for i, p := range s.Ports {
		at := path.Child("ports").Index(i)
		switch {
		case p.Name != "":
			errs = append(errs, validateLabelName(p.Name, names, at.Child("name"))...)
		case len(s.Ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), "every port of several needs a name"))
		}
		for _, msg := range validation.IsValidPortNum(int(p.Port)) {
			errs = append(errs, field.Invalid(at.Child("port"), p.Port, msg))
		}
		errs = append(errs, validatePortReference(p.TargetPort, at.Child("targetPort"))...)
		refuse(&errs, p.Protocol != corev1.ProtocolTCP, at.Child("protocol"))
		if p.NodePort != 0 && s.Type == corev1.ServiceTypeClusterIP {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
		}
		if key := portKey(p); numbers.Has(key) {
			errs = append(errs, field.Duplicate(at, key))
		} else {
			numbers.Insert(key)
		}
	}
	return errs
}

// validateSessionAffinity has Kubernetes' own bounds.
func validateSessionAffinity(s *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	at := path.Child("sessionAffinityConfig")
	switch c := s.SessionAffinityConfig; {
	case s.SessionAffinity != corev1.ServiceAffinityNone && s.SessionAffinity != corev1.ServiceAffinityClientIP:
		return field.ErrorList{field.NotSupported(path.Child("sessionAffinity"), s.SessionAffinity,
			[]corev1.ServiceAffinity{corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone})}
	case c == nil:
	case s.SessionAffinity == corev1.ServiceAffinityNone:
		return field.ErrorList{field.Forbidden(at, "must not be set when session affinity is None")}
	case c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil:
		if n := *c.ClientIP.TimeoutSeconds; n < 1 || n > maxAffinitySeconds {
			return field.ErrorList{field.Invalid(at.Child("clientIP", "timeoutSeconds"), n, fmt.Sprintf("must be from 1 to %d", maxAffinitySeconds))}
		}
	}
	return nil
}

func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	if old.Spec.Type == corev1.ServiceTypeExternalName || old.Spec.ClusterIP == "" {
		return nil
	}
	return apivalidation.ValidateImmutableField(s.Spec.ClusterIP, old.Spec.ClusterIP, field.NewPath("spec", "clusterIP"))
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, v := range c.Data {
		errs = append(errs, validateKey(key, field.NewPath("data"))...)
		if _, ok := c.BinaryData[key]; ok {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(v)
	}
	for key, v := range c.BinaryData {
		errs = append(errs, validateKey(key, field.NewPath("binaryData"))...)
		size += len(v)
	}
	return append(errs, validateSize(size)...)
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, v := range s.Data {
		errs = append(errs, validateKey(key, field.NewPath("data"))...)
		size += len(v)
	}
	if s.Type == corev1.SecretTypeTLS {
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(field.NewPath("data").Key(key), "a Secret of type kubernetes.io/tls needs it"))
			}
		}
	}
	return append(errs, validateSize(size)...)
}

func validateKey(key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(path.Key(key), key, msg))
	}
	return errs
}

func validateSize(bytes int) field.ErrorList {
	if bytes > maxDataBytes {
		return field.ErrorList{field.TooLong(field.NewPath("data"), "", maxDataBytes)}
	}
	return nil
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	errs := apivalidation.ValidateImmutableField(c.Immutable, old.Immutable, field.NewPath("immutable"))
	errs = append(errs, apivalidation.ValidateImmutableField(c.Data, old.Data, field.NewPath("data"))...)
	return append(errs, apivalidation.ValidateImmutableField(c.BinaryData, old.BinaryData, field.NewPath("binaryData"))...)
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	errs := apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))
	if old.Immutable == nil || !*old.Immutable {
		return errs
	}
	errs = append(errs, apivalidation.ValidateImmutableField(s.Immutable, old.Immutable, field.NewPath("immutable"))...)
	return append(errs, apivalidation.ValidateImmutableField(s.Data, old.Data, field.NewPath("data"))...)
}

func validateClaim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	return validateClaimSpec(&c.Spec, field.NewPath("spec"))
}

// validateClaimSpec accepts claims that a directory of this machine can be.
func validateClaimSpec(s *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), "at least 1 access mode is required"))
	}
	size, ok := s.Resources.Requests[corev1.ResourceStorage]
	switch at := path.Child("resources", "requests").Key("storage"); {
	case !ok:
		errs = append(errs, field.Required(at, "say how much storage is wanted, for example 1Gi"))
	case size.Sign() <= 0:
		errs = append(errs, field.Invalid(at, size.String(), "must be greater than zero"))
	}
	refuse(&errs, s.Selector != nil, path.Child("selector"))
	refuse(&errs, s.DataSource != nil, path.Child("dataSource"))
	refuse(&errs, s.DataSourceRef != nil, path.Child("dataSourceRef"))
	refuse(&errs, s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem, path.Child("volumeMode"))
	return errs
}

func validateClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	same := c.Spec.DeepCopy()
	same.Resources.Requests = old.Spec.Resources.Requests
	if old.Spec.VolumeName == "" {
		same.VolumeName = ""
	}
	if old.Spec.StorageClassName == nil {
		same.StorageClassName = nil
	}
	if !equality.Semantic.DeepEqual(*same, old.Spec) {
		return field.ErrorList{field.Forbidden(field.NewPath("spec"), "is immutable after creation except resources.requests")}
	}
	now, was := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if now.Cmp(was) < 0 {
		return field.ErrorList{field.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than previous value")}
	}
	return nil
}

func hasVolume(volumes []corev1.Volume, name string) bool {
	for _, v := range volumes {
		if v.Name == name {
			return true
		}
	}
	return false
}

func claimVolume(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
	}}
}

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if b.Spec.MinAvailable != nil && b.Spec.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, "", "minAvailable and maxUnavailable cannot be both set"))
	}
	_, minErrs := validateShare(b.Spec.MinAvailable, path.Child("minAvailable"))
	_, maxErrs := validateShare(b.Spec.MaxUnavailable, path.Child("maxUnavailable"))
	return append(append(errs, minErrs...), maxErrs...)
}
