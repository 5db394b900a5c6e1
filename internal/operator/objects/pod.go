package objects

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	// containerAgent copies the agent's binary.
	containerAgent = "agent"
	// volumeAgent holds the agent's binary, which an init container copies into it.
	volumeAgent = "redstart"
	// agentDir is where volumeAgent is mounted.
	agentDir = "/redstart"
	// dataDir is where volumeData is mounted.
	dataDir = "/data"
	// redisID is the user and the group of Redis in the official images of Redis and Valkey.
	redisID = 999
)

// pod is where the pods of members and Sentinels differ.
type pod struct {
	component  string
	container  string
	ports      []corev1.ContainerPort
	resources  corev1.ResourceRequirements
	agentImage string
	// extras: it gets the containers and volumes of the user.
	extras bool
}

// podTemplate is the pod of a member or of a Sentinel. It holds what was asked for as part of a pod, and nothing that
// may change without a restart: replicas, configuration and password reach the agent through the API. What is written
// here is written for ever: another byte would make every Redis restart when the operator is upgraded.
func podTemplate(r *v1alpha1.Redis, p pod) corev1.PodTemplateSpec {
	labels := map[string]string{}
	var annotations map[string]string
	if m := r.Spec.PodMetadata; m != nil {
		maps.Copy(labels, m.Labels)
		annotations = maps.Clone(m.Annotations)
	}
	maps.Copy(labels, Selector(r, p.component))

	spec := corev1.PodSpec{
		ServiceAccountName:            r.Name,
		TerminationGracePeriodSeconds: ptr.To(ptr.Deref(r.Spec.TerminationGracePeriodSeconds, 60)),
		ImagePullSecrets:              r.Spec.ImagePullSecrets,
		NodeSelector:                  r.Spec.NodeSelector,
		Tolerations:                   r.Spec.Tolerations,
		PriorityClassName:             r.Spec.PriorityClassName,
		SecurityContext:               podSecurityContext(r),
		Affinity:                      affinity(r, p.component),
		TopologySpreadConstraints:     spread(r, p.component),
	}
	c := corev1.Container{
		Name:            p.container,
		Image:           r.Spec.Image,
		ImagePullPolicy: r.Spec.ImagePullPolicy,
		Command:         []string{"redstart", "agent"},
		Env:             env(r, p.component),
		Ports:           p.ports,
		Resources:       p.resources,
		VolumeMounts:    []corev1.VolumeMount{{Name: volumeData, MountPath: dataDir}},
		SecurityContext: containerSecurityContext(),
		// The agent answers once its loop turns, which is before its server has loaded its data: loading may take
		// many minutes, and /readyz tells when it is over.
		StartupProbe:   probe("/livez", 1, 600),
		ReadinessProbe: probe("/readyz", 1, 3),
		// A hung server is the agent's to deal with, which fences it first. The kubelet's part is a hung agent.
		LivenessProbe: probe("/livez", 10, 6),
	}
	if p.agentImage != "" {
		c.Command[0] = agentDir + "/redstart"
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeAgent, MountPath: agentDir, ReadOnly: true})
		spec.Volumes = []corev1.Volume{emptyDir(volumeAgent)}
		spec.InitContainers = []corev1.Container{{
			Name:            containerAgent,
			Image:           p.agentImage,
			Args:            []string{"copy-agent", agentDir + "/redstart"},
			VolumeMounts:    []corev1.VolumeMount{{Name: volumeAgent, MountPath: agentDir}},
			SecurityContext: containerSecurityContext(),
		}}
	}
	if p.extras {
		c.VolumeMounts = append(c.VolumeMounts, r.Spec.ExtraVolumeMounts...)
		spec.Volumes = append(spec.Volumes, r.Spec.ExtraVolumes...)
		spec.InitContainers = append(spec.InitContainers, r.Spec.InitContainers...)
	}
	spec.Containers = []corev1.Container{c}
	if p.extras {
		// The server's container comes first: it is the one that kubectl logs and exec mean.
		spec.Containers = append(spec.Containers, r.Spec.ExtraContainers...)
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations}, Spec: spec}
}

func env(r *v1alpha1.Redis, component string) []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
		}}
	}
	all := []corev1.EnvVar{
		field("POD_NAME", "metadata.name"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("POD_IP", "status.podIP"),
		field("POD_UID", "metadata.uid"),
		{Name: "REDSTART_REDIS", Value: r.Name},
		{Name: "REDSTART_COMPONENT", Value: component},
	}
	if r.Spec.Service.DualStack() {
		all = append(all, field("POD_IPS", "status.podIPs"))
	}
	return all
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString(portAgent), Scheme: corev1.URISchemeHTTP},
		},
		PeriodSeconds: period, TimeoutSeconds: 5, FailureThreshold: failures, SuccessThreshold: 1,
	}
}

func containerPort(name string, number int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.ProtocolTCP}
}

// podSecurityContext passes the restricted pod security standard unless the user says otherwise.
func podSecurityContext(r *v1alpha1.Redis) *corev1.PodSecurityContext {
	if r.Spec.PodSecurityContext != nil {
		return r.Spec.PodSecurityContext
	}
	return &corev1.PodSecurityContext{
		RunAsNonRoot:        ptr.To(true),
		RunAsUser:           ptr.To[int64](redisID),
		RunAsGroup:          ptr.To[int64](redisID),
		FSGroup:             ptr.To[int64](redisID),
		FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
		SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func containerSecurityContext() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		ReadOnlyRootFilesystem:   ptr.To(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// affinity keeps pods of one Redis on different nodes where it can: a node that is lost should cost one of them.
func affinity(r *v1alpha1.Redis, component string) *corev1.Affinity {
	if r.Spec.Affinity != nil {
		return r.Spec.Affinity
	}
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100,
			PodAffinityTerm: corev1.PodAffinityTerm{
				TopologyKey:   corev1.LabelHostname,
				LabelSelector: &metav1.LabelSelector{MatchLabels: Selector(r, component)},
			},
		}},
	}}
}

// spread does the same for zones, which the affinity does not know.
func spread(r *v1alpha1.Redis, component string) []corev1.TopologySpreadConstraint {
	if len(r.Spec.TopologySpreadConstraints) > 0 {
		return r.Spec.TopologySpreadConstraints
	}
	var all []corev1.TopologySpreadConstraint
	for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		all = append(all, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: Selector(r, component)},
		})
	}
	return all
}
