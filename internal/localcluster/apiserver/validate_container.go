package apiserver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func labelsSet(m map[string]string) labels.Set { return labels.Set(m) }

func validateContainer(c *corev1.Container, names, volumes sets.Set[string], path *field.Path) field.ErrorList {
	errs := validateLabelName(c.Name, names, path.Child("name"))
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), "name an image; on one machine it stands for a command"))
	}
	refuse(&errs, len(c.VolumeDevices) > 0, path.Child("volumeDevices"))
	refuse(&errs, c.Stdin, path.Child("stdin"))
	refuse(&errs, c.TTY, path.Child("tty"))
	refuse(&errs, c.RestartPolicy != nil, path.Child("restartPolicy"))
	refuse(&errs, len(c.RestartPolicyRules) > 0, path.Child("restartPolicyRules"))
	errs = append(errs, validateSecurity(c.SecurityContext, path.Child("securityContext"))...)
	errs = append(errs, validatePorts(c.Ports, path.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	paths := sets.New[string]()
	for i, m := range c.VolumeMounts {
		at := path.Child("volumeMounts").Index(i)
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		switch {
		case m.MountPath == "":
			errs = append(errs, field.Required(at.Child("mountPath"), "say where the volume is mounted"))
		case paths.Has(m.MountPath):
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		refuse(&errs, m.SubPath != "" || m.SubPathExpr != "", at.Child("subPath"))
	}
	errs = append(errs, validateTerminationMessage(c, path)...)
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{{"livenessProbe", c.LivenessProbe}, {"readinessProbe", c.ReadinessProbe}, {"startupProbe", c.StartupProbe}} {
		errs = append(errs, validateProbe(p.probe, p.name != "readinessProbe", path.Child(p.name))...)
	}
	if l := c.Lifecycle; l != nil {
		refuse(&errs, l.StopSignal != nil, path.Child("lifecycle", "stopSignal"))
		for name, h := range map[string]*corev1.LifecycleHandler{"postStart": l.PostStart, "preStop": l.PreStop} {
			if h != nil && h.Exec == nil && h.HTTPGet == nil && h.Sleep == nil {
				errs = append(errs, field.Required(path.Child("lifecycle", name), "must have exec, httpGet or sleep"))
			}
		}
	}
	return errs
}

// validateTerminationMessage accepts paths that a file of the container's own stands for.
func validateTerminationMessage(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return strings.HasPrefix(c.TerminationMessagePath, strings.TrimSuffix(m.MountPath, "/")+"/")
	})
	if c.TerminationMessagePath != corev1.TerminationMessagePathDefault && !mounted {
		errs = append(errs, field.Forbidden(path.Child("terminationMessagePath"),
			"on one machine it is in a volume that the container mounts, or left out for the file that $REDSTART_TERMINATION_LOG names; or run this on Kubernetes"))
	}
	policies := []corev1.TerminationMessagePolicy{corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError}
	if !slices.Contains(policies, c.TerminationMessagePolicy) {
		errs = append(errs, field.NotSupported(path.Child("terminationMessagePolicy"), c.TerminationMessagePolicy, policies))
	}
	return errs
}

func validatePorts(ports []corev1.ContainerPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, numbers := sets.New[string](), sets.New[string]()
	for i, p := range ports {
		at := path.Index(i)
		for _, msg := range validation.IsValidPortNum(int(p.ContainerPort)) {
			errs = append(errs, field.Invalid(at.Child("containerPort"), p.ContainerPort, msg))
		}
		if p.Name != "" {
			for _, msg := range validation.IsValidPortName(p.Name) {
				errs = append(errs, field.Invalid(at.Child("name"), p.Name, msg))
			}
			if names.Has(p.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), p.Name))
			}
			names.Insert(p.Name)
		}
		key := string(p.Protocol) + "/" + strconv.Itoa(int(p.ContainerPort))
		if numbers.Has(key) {
			errs = append(errs, field.Duplicate(at.Child("containerPort"), key))
		}
		numbers.Insert(key)
		refuse(&errs, p.HostPort != 0, at.Child("hostPort"))
		refuse(&errs, p.HostIP != "", at.Child("hostIP"))
		refuse(&errs, p.Protocol != corev1.ProtocolTCP, at.Child("protocol"))
	}
	return errs
}

func validateEnv(env []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range env {
		at := path.Index(i)
		for _, msg := range validation.IsRelaxedEnvVarName(e.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), e.Name, msg))
		}
		f := e.ValueFrom
		if f == nil {
			continue
		}
		sources := 0
		for _, set := range []bool{f.FieldRef != nil, f.ResourceFieldRef != nil, f.ConfigMapKeyRef != nil, f.SecretKeyRef != nil} {
			if set {
				sources++
			}
		}
		refuse(&errs, f.FileKeyRef != nil, at.Child("valueFrom", "fileKeyRef"))
		if sources != 1 && f.FileKeyRef == nil {
			errs = append(errs, field.Invalid(at.Child("valueFrom"), "", "must have exactly one of fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef"))
		}
		if e.Value != "" {
			errs = append(errs, field.Invalid(at.Child("valueFrom"), "", "may not be specified when `value` is not empty"))
		}
	}
	return errs
}

func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse(&errs, len(r.Claims) > 0, path.Child("claims"))
	for name, q := range r.Limits {
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), q.String(), "must be 0 or more"))
		}
	}
	for name, q := range r.Requests {
		at := path.Child("requests").Key(string(name))
		limit, ok := r.Limits[name]
		switch {
		case q.Sign() < 0:
			errs = append(errs, field.Invalid(at, q.String(), "must be 0 or more"))
		case ok && q.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(at, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

func validateProbe(p *corev1.Probe, oneSuccess bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p == nil {
		return nil
	}
	refuse(&errs, p.GRPC != nil, path.Child("grpc"))
	handlers := 0
	for _, set := range []bool{p.Exec != nil, p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil} {
		if set {
			handlers++
		}
	}
	if handlers != 1 {
		errs = append(errs, field.Invalid(path, "", "must have exactly one of exec, httpGet and tcpSocket"))
	}
	for name, n := range map[string]int32{
		"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		if n < 0 {
			errs = append(errs, field.Invalid(path.Child(name), n, "must be 0 or more"))
		}
	}
	if oneSuccess && p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	if p.HTTPGet != nil {
		errs = append(errs, validatePortReference(p.HTTPGet.Port, path.Child("httpGet", "port"))...)
	}
	if p.TCPSocket != nil {
		errs = append(errs, validatePortReference(p.TCPSocket.Port, path.Child("tcpSocket", "port"))...)
	}
	return errs
}

// validatePortReference checks a port by number or by name.
func validatePortReference(port intstr.IntOrString, path *field.Path) field.ErrorList {
	msgs := validation.IsValidPortName(port.StrVal)
	if port.Type == intstr.Int {
		msgs = validation.IsValidPortNum(port.IntValue())
	}
	var errs field.ErrorList
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(path, port.String(), msg))
	}
	return errs
}
