package objects

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// volumeData is the volume of a member's data, and of a Sentinel's state.
const volumeData = "data"

// ClaimName is the claim of a member's volume, as Kubernetes names it.
func ClaimName(pod string) string { return volumeData + "-" + pod }

// annotationTemplate is the hash of a StatefulSet's pod template without the image of the agent.
const annotationTemplate = "redstart.dev/template"

// StatefulSet is the members of a Redis. Its pods are replaced by the operator alone (OnDelete), replicas first and
// the master last.
func StatefulSet(r *v1alpha1.Redis, replicas int32, agentImage string) (*appsv1.StatefulSet, error) {
	ports := []corev1.ContainerPort{containerPort(portRedis, v1alpha1.PortRedis), containerPort(portAgent, v1alpha1.PortAgent)}
	if r.Spec.Mode == v1alpha1.ModeCluster {
		ports = append(ports, containerPort(portBus, v1alpha1.PortBus))
	}
	s, err := statefulSet(r, r.Name, replicas, pod{
		component:  v1alpha1.ComponentMember,
		container:  portRedis,
		ports:      ports,
		resources:  r.Spec.Resources,
		extras:     true,
		agentImage: agentImage,
	})
	if err != nil {
		return nil, err
	}
	s.Spec.ServiceName = v1alpha1.MembersName(r.Name)
	if ephemeral(r) {
		s.Spec.Template.Spec.Volumes = append(s.Spec.Template.Spec.Volumes, emptyDir(volumeData))
		return s, nil
	}
	s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claim(r)}
	retain := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if st := r.Spec.Storage; st != nil && st.Retain == v1alpha1.RetainPolicyDelete {
		retain = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenDeleted: retain, WhenScaled: retain,
	}
	return s, nil
}

// SentinelStatefulSet is the Sentinels of a Redis. They keep no data that their agents could not give them again.
func SentinelStatefulSet(r *v1alpha1.Redis, agentImage string) (*appsv1.StatefulSet, error) {
	sentinel := ptr.Deref(r.Spec.Sentinel, v1alpha1.SentinelSpec{})
	s, err := statefulSet(r, v1alpha1.SentinelName(r.Name), ptr.Deref(sentinel.Replicas, 0), pod{
		component:  v1alpha1.ComponentSentinel,
		container:  portSentinel,
		ports:      []corev1.ContainerPort{containerPort(portSentinel, v1alpha1.PortSentinel), containerPort(portAgent, v1alpha1.PortAgent)},
		resources:  sentinel.Resources,
		agentImage: agentImage,
	})
	if err != nil {
		return nil, err
	}
	s.Spec.ServiceName = v1alpha1.SentinelName(r.Name)
	s.Spec.Template.Spec.Volumes = append(s.Spec.Template.Spec.Volumes, emptyDir(volumeData))
	return s, nil
}

func statefulSet(r *v1alpha1.Redis, name string, replicas int32, p pod) (*appsv1.StatefulSet, error) {
	hash, err := templateHash(r, p)
	if err != nil {
		return nil, err
	}
	meta := objectMeta(r, name, p.component)
	meta.Annotations = map[string]string{annotationTemplate: hash}
	return &appsv1.StatefulSet{
		TypeMeta:   typeMeta(appsv1.SchemeGroupVersion, "StatefulSet"),
		ObjectMeta: meta,
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To(replicas),
			Selector: &metav1.LabelSelector{MatchLabels: Selector(r, p.component)},
			// All at once: none of them is the first, the authority says who is master.
			PodManagementPolicy: appsv1.ParallelPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			Template:            podTemplate(r, p),
		},
	}, nil
}

// templateHash is the hash of a pod template without the image of the agent.
func templateHash(r *v1alpha1.Redis, p pod) (string, error) {
	if p.agentImage != "" {
		p.agentImage = "any"
	}
	b, err := json.Marshal(podTemplate(r, p))
	if err != nil {
		return "", fmt.Errorf("encode the pods of Redis %s/%s: %w", r.Namespace, r.Name, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// KeepAgentImage leaves the agent's image of a StatefulSet as it is in the live one, unless the rest of the pod template changes
// too: an upgrade of the operator alone restarts no member. live may be nil, or another StatefulSet.
func KeepAgentImage(wanted, live *appsv1.StatefulSet) {
	if live == nil || live.Name != wanted.Name || live.Annotations[annotationTemplate] != wanted.Annotations[annotationTemplate] {
		return
	}
	keepAgentImage(&wanted.Spec.Template.Spec, &live.Spec.Template.Spec)
}

// KeepAgentImageOfPod does the same where the live StatefulSet is gone and one of its pods is left.
func KeepAgentImageOfPod(wanted *appsv1.StatefulSet, pod *corev1.Pod) {
	if wanted.Spec.Selector.MatchLabels[v1alpha1.LabelComponent] == pod.Labels[v1alpha1.LabelComponent] {
		keepAgentImage(&wanted.Spec.Template.Spec, &pod.Spec)
	}
}

func keepAgentImage(to, from *corev1.PodSpec) {
	image := func(s *corev1.PodSpec) *string {
		for i := range s.InitContainers {
			if c := &s.InitContainers[i]; c.Name == containerAgent {
				return &c.Image
			}
		}
		return nil
	}
	if t, f := image(to), image(from); t != nil && f != nil {
		*t = *f
	}
}

func claim(r *v1alpha1.Redis) corev1.PersistentVolumeClaim {
	storage := ptr.Deref(r.Spec.Storage, v1alpha1.StorageSpec{})
	modes := storage.AccessModes
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	return corev1.PersistentVolumeClaim{
		// No owner reference: the retention policy alone says how long a claim lives.
		ObjectMeta: metav1.ObjectMeta{Name: volumeData, Labels: maps.Clone(Selector(r, v1alpha1.ComponentMember))},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      modes,
			StorageClassName: storage.StorageClassName,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: ptr.Deref(storage.Size, resource.MustParse("1Gi")),
			}},
		},
	}
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}
