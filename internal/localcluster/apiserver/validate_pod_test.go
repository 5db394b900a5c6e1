package apiserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// What the kubelet does not do is refused by the name of its field, not left out in silence.
func TestPodFieldsThatAreNotServed(t *testing.T) {
	for want, change := range map[string]func(*corev1.PodSpec){
		"spec.activeDeadlineSeconds":            func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = ptr.To[int64](60) },
		"spec.setHostnameAsFQDN":                func(s *corev1.PodSpec) { s.SetHostnameAsFQDN = ptr.To(true) },
		"spec.hostnameOverride":                 func(s *corev1.PodSpec) { s.HostnameOverride = ptr.To("other") },
		"spec.hostNetwork":                      func(s *corev1.PodSpec) { s.HostNetwork = true },
		"spec.containers[0].restartPolicy":      func(s *corev1.PodSpec) { s.Containers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyNever) },
		"spec.containers[0].restartPolicyRules": func(s *corev1.PodSpec) { s.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{}} },
		"spec.containers[0].tty":                func(s *corev1.PodSpec) { s.Containers[0].TTY = true },
		"spec.containers[0].terminationMessagePath": func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
			s.Containers[0].TerminationMessagePath = "/var/why"
		},
		"spec.containers[0].livenessProbe.grpc": func(s *corev1.PodSpec) {
			s.Containers[0].LivenessProbe = &corev1.Probe{SuccessThreshold: 1, ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{}}}
		},
		"spec.volumes[0]": func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}
		},
		"spec.containers[0].volumeMounts[0].subPath": func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: "a"}}
		},
	} {
		s := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}
		defaultPodSpec(&s)
		if errs := validatePodSpec(&s, 1, field.NewPath("spec")); len(errs) > 0 {
			t.Fatal(errs)
		}
		change(&s)
		errs := validatePodSpec(&s, 1, field.NewPath("spec"))
		if len(errs) != 1 || errs[0].Field != want || !strings.Contains(errs[0].Detail, "on Kubernetes") {
			t.Errorf("%s: %v", want, errs)
		}
	}
}
