package kubelet

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate names the fields of a pod that cannot be honoured where pods are plain processes. Fields that only
// confine a container (securityContext, resource limits), or choose among nodes or images, are accepted.
func Validate(spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	root := field.NewPath("spec")
	no := func(at *field.Path, why string) {
		errs = append(errs, field.Forbidden(at, why))
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i].VolumeSource
		if v.EmptyDir == nil && v.PersistentVolumeClaim == nil && v.ConfigMap == nil && v.Secret == nil {
			no(root.Child("volumes").Index(i), "on one machine a volume is an emptyDir, persistentVolumeClaim, configMap or secret")
		}
	}
	if spec.HostPID || spec.HostIPC || spec.HostNetwork {
		no(root.Child("hostNetwork"), "pods are processes of this machine; leave hostNetwork, hostPID and hostIPC out")
	}
	if len(spec.EphemeralContainers) > 0 {
		no(root.Child("ephemeralContainers"), "not on one machine")
	}
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		no(root.Child("os"), "leave it out: pods run on this machine's system")
	}
	for i := range spec.InitContainers {
		at := root.Child("initContainers").Index(i)
		if spec.InitContainers[i].RestartPolicy != nil {
			no(at.Child("restartPolicy"), "sidecars are not run on one machine; use a second container")
		}
		validateContainer(at, &spec.InitContainers[i], no)
	}
	for i := range spec.Containers {
		validateContainer(root.Child("containers").Index(i), &spec.Containers[i], no)
	}
	return errs
}

func validateContainer(at *field.Path, c *corev1.Container, no func(*field.Path, string)) {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].SubPath != "" || c.VolumeMounts[i].SubPathExpr != "" {
			no(at.Child("volumeMounts").Index(i).Child("subPath"), "on one machine a process sees the whole volume; leave it out")
		}
	}
	if len(c.VolumeDevices) > 0 {
		no(at.Child("volumeDevices"), "not on one machine")
	}
	for name, p := range map[string]*corev1.Probe{"startupProbe": c.StartupProbe, "livenessProbe": c.LivenessProbe, "readinessProbe": c.ReadinessProbe} {
		if p != nil && p.GRPC != nil {
			no(at.Child(name).Child("grpc"), "use httpGet, tcpSocket or exec")
		}
	}
	if c.Lifecycle == nil {
		return
	}
	if c.Lifecycle.StopSignal != nil {
		no(at.Child("lifecycle").Child("stopSignal"), "processes are stopped by SIGTERM")
	}
	for name, h := range map[string]*corev1.LifecycleHandler{"preStop": c.Lifecycle.PreStop, "postStart": c.Lifecycle.PostStart} {
		if h != nil && h.Exec == nil && h.HTTPGet == nil && h.Sleep == nil {
			no(at.Child("lifecycle").Child(name), "use exec, httpGet or sleep")
		}
	}
}
