package apiserver

import (
	corev1 "k8s.io/api/core/v1"
)

// prepareX normalizes an object before it is validated. old has no UID when the object is being created.

func preparePod(p, old *corev1.Pod) {
	if old.UID == "" {
		p.Status.Phase = corev1.PodPending
		p.Status.QOSClass = qualityOfService(p)
	}
}

// qualityOfService is for people who read it; nothing is enforced here.
func qualityOfService(p *corev1.Pod) corev1.PodQOSClass {
	guaranteed, burstable := true, false
	for _, c := range append(append([]corev1.Container(nil), p.Spec.Containers...), p.Spec.InitContainers...) {
		burstable = burstable || len(c.Resources.Requests)+len(c.Resources.Limits) > 0
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, ok := c.Resources.Limits[name]
			request := c.Resources.Requests[name]
			guaranteed = guaranteed && ok && limit.Cmp(request) == 0
		}
	}
	switch {
	case guaranteed:
		return corev1.PodQOSGuaranteed
	case burstable:
		return corev1.PodQOSBurstable
	}
	return corev1.PodQOSBestEffort
}

// podGracePeriod is how long a pod may take to end. One that has not been started by any node ends at once.
func podGracePeriod(p *corev1.Pod) int64 {
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return 0
	}
	if p.Spec.TerminationGracePeriodSeconds != nil {
		return *p.Spec.TerminationGracePeriodSeconds
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

// prepareService keeps what the server once gave: a client that updates a Service without naming its cluster IP and
// its node ports means the same ones.
func prepareService(s, old *corev1.Service) {
	if old.UID == "" || s.Spec.Type == corev1.ServiceTypeExternalName || old.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	if s.Spec.ClusterIP == "" {
		s.Spec.ClusterIP, s.Spec.ClusterIPs = old.Spec.ClusterIP, old.Spec.ClusterIPs
	}
	if s.Spec.Type != corev1.ServiceTypeNodePort && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0
		}
		s.Spec.ExternalTrafficPolicy, s.Spec.AllocateLoadBalancerNodePorts = "", nil
		return
	}
	given := map[string]int32{}
	for _, p := range old.Spec.Ports {
		given[portKey(p)] = p.NodePort
	}
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].NodePort == 0 {
			s.Spec.Ports[i].NodePort = given[portKey(s.Spec.Ports[i])]
		}
	}
}

func portKey(p corev1.ServicePort) string { return string(p.Protocol) + "/" + itoa(p.Port) }

// prepareSecret folds stringData, which is for writing only, into data.
func prepareSecret(s, _ *corev1.Secret) {
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func prepareClaim(c, old *corev1.PersistentVolumeClaim) {
	if old.UID == "" {
		c.Status.Phase = corev1.ClaimPending
	}
}
