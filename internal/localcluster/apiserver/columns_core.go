package apiserver

import (
	"fmt"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

var namespaceColumns = []column[*corev1.Namespace]{
	name[*corev1.Namespace](),
	{"Status", func(n *corev1.Namespace) any { return string(n.Status.Phase) }, false},
	age[*corev1.Namespace](),
}

var nodeColumns = []column[*corev1.Node]{
	name[*corev1.Node](),
	{"Status", func(n *corev1.Node) any { return nodeStatus(n) }, false},
	{"Roles", func(n *corev1.Node) any { return nodeRoles(n) }, false},
	age[*corev1.Node](),
	{"Version", func(n *corev1.Node) any { return n.Status.NodeInfo.KubeletVersion }, false},
	{"Internal-IP", func(n *corev1.Node) any {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				return a.Address
			}
		}
		return "<none>"
	}, true},
	{"External-IP", func(*corev1.Node) any { return "<none>" }, true},
	{"OS-Image", func(n *corev1.Node) any { return or(n.Status.NodeInfo.OSImage, "<unknown>") }, true},
	{"Kernel-Version", func(n *corev1.Node) any { return or(n.Status.NodeInfo.KernelVersion, "<unknown>") }, true},
	{"Container-Runtime", func(n *corev1.Node) any { return or(n.Status.NodeInfo.ContainerRuntimeVersion, "<unknown>") }, true},
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			status = "NotReady"
			if c.Status == corev1.ConditionTrue {
				status = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) string {
	var roles []string
	for label := range n.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		}
	}
	return orNone(strings.Join(roles, ","))
}

var podColumns = []column[*corev1.Pod]{
	name[*corev1.Pod](),
	{"Ready", func(p *corev1.Pod) any { return podReady(p) }, false},
	{"Status", func(p *corev1.Pod) any { return podStatus(p) }, false},
	{"Restarts", func(p *corev1.Pod) any { return podRestarts(p) }, false},
	age[*corev1.Pod](),
	{"IP", func(p *corev1.Pod) any { return orNone(p.Status.PodIP) }, true},
	{"Node", func(p *corev1.Pod) any { return orNone(p.Spec.NodeName) }, true},
	{"Nominated Node", func(p *corev1.Pod) any { return orNone(p.Status.NominatedNodeName) }, true},
	{"Readiness Gates", func(p *corev1.Pod) any { return "<none>" }, true},
}

func podReady(p *corev1.Pod) string {
	ready := 0
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready && c.State.Running != nil {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, len(p.Spec.Containers))
}

// podStatus is the one word that kubectl shows for a pod: what is wrong, if anything is, and otherwise its phase.
func podStatus(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "Terminating"
	}
	for i, c := range p.Status.InitContainerStatuses {
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case c.State.Terminated != nil:
			return "Init:" + terminated(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			return "Init:" + c.State.Waiting.Reason
		}
		return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
	}
	status := or(p.Status.Reason, string(p.Status.Phase))
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := p.Status.ContainerStatuses[i]
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			status = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			status = terminated(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
		}
	}
	if status == "Completed" && running {
		return "Running"
	}
	return status
}

func terminated(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func podRestarts(p *corev1.Pod) string {
	restarts, last := int32(0), time.Time{}
	for _, c := range p.Status.ContainerStatuses {
		restarts += c.RestartCount
		if t := c.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	if restarts == 0 || last.IsZero() {
		return itoa(restarts)
	}
	return fmt.Sprintf("%d (%s ago)", restarts, since(last))
}

var serviceColumns = []column[*corev1.Service]{
	name[*corev1.Service](),
	{"Type", func(s *corev1.Service) any { return string(s.Spec.Type) }, false},
	{"Cluster-IP", func(s *corev1.Service) any { return orNone(s.Spec.ClusterIP) }, false},
	{"External-IP", func(s *corev1.Service) any { return externalIP(s) }, false},
	{"Port(s)", func(s *corev1.Service) any {
		var ports []string
		for _, p := range s.Spec.Ports {
			port := itoa(p.Port)
			if _, local, err := net.SplitHostPort(v1alpha1.ServiceAddress(s, p.Port)); err == nil && local != port {
				port = local + "->" + port // where Services share an address
			}
			if p.NodePort > 0 {
				port += ":" + itoa(p.NodePort)
			}
			ports = append(ports, port+"/"+string(p.Protocol))
		}
		return orNone(strings.Join(ports, ","))
	}, false},
	age[*corev1.Service](),
	{"Selector", func(s *corev1.Service) any {
		return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: s.Spec.Selector})
	}, true},
}

func externalIP(s *corev1.Service) string {
	all := append([]string(nil), s.Spec.ExternalIPs...)
	for _, i := range s.Status.LoadBalancer.Ingress {
		all = append(all, or(i.IP, i.Hostname))
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(all) == 0 {
		return "<pending>"
	}
	return orNone(strings.Join(all, ","))
}

var endpointsColumns = []column[*corev1.Endpoints]{
	name[*corev1.Endpoints](),
	{"Endpoints", func(e *corev1.Endpoints) any {
		var all []string
		for _, s := range e.Subsets {
			for _, a := range s.Addresses {
				if len(s.Ports) == 0 {
					all = append(all, a.IP)
				}
				for _, p := range s.Ports {
					all = append(all, net.JoinHostPort(a.IP, itoa(p.Port)))
				}
			}
		}
		return firstFew(all, 3)
	}, false},
	age[*corev1.Endpoints](),
}

var configMapColumns = []column[*corev1.ConfigMap]{
	name[*corev1.ConfigMap](),
	{"Data", func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }, false},
	age[*corev1.ConfigMap](),
}

var secretColumns = []column[*corev1.Secret]{
	name[*corev1.Secret](),
	{"Type", func(s *corev1.Secret) any { return string(s.Type) }, false},
	{"Data", func(s *corev1.Secret) any { return int64(len(s.Data)) }, false},
	age[*corev1.Secret](),
}

var claimColumns = []column[*corev1.PersistentVolumeClaim]{
	name[*corev1.PersistentVolumeClaim](),
	{"Status", func(c *corev1.PersistentVolumeClaim) any {
		if c.DeletionTimestamp != nil {
			return "Terminating"
		}
		return string(c.Status.Phase)
	}, false},
	{"Volume", func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName }, false},
	{"Capacity", func(c *corev1.PersistentVolumeClaim) any {
		size, ok := c.Status.Capacity[corev1.ResourceStorage]
		if !ok {
			return ""
		}
		return size.String()
	}, false},
	{"Access Modes", func(c *corev1.PersistentVolumeClaim) any { return accessModes(c.Status.AccessModes) }, false},
	{"StorageClass", func(c *corev1.PersistentVolumeClaim) any { return value(c.Spec.StorageClassName) }, false},
	age[*corev1.PersistentVolumeClaim](),
}

func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	short := map[corev1.PersistentVolumeAccessMode]string{
		corev1.ReadWriteOnce: "RWO", corev1.ReadOnlyMany: "ROX", corev1.ReadWriteMany: "RWX", corev1.ReadWriteOncePod: "RWOP",
	}
	var all []string
	for _, m := range modes {
		all = append(all, short[m])
	}
	return strings.Join(all, ",")
}

var eventColumns = []column[*corev1.Event]{
	{"Last Seen", func(e *corev1.Event) any { return eventAge(e) }, false},
	{"Type", func(e *corev1.Event) any { return e.Type }, false},
	{"Reason", func(e *corev1.Event) any { return e.Reason }, false},
	{"Object", func(e *corev1.Event) any {
		return strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name
	}, false},
	{"Message", func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }, false},
	{"Source", func(e *corev1.Event) any { return or(e.Source.Component, e.ReportingController) }, true},
	{"Count", func(e *corev1.Event) any { return int64(eventCount(e)) }, true},
	{"Name", func(e *corev1.Event) any { return e.Name }, true},
}

func eventAge(e *corev1.Event) string {
	last := e.LastTimestamp.Time
	switch {
	case e.Series != nil:
		last = e.Series.LastObservedTime.Time
	case last.IsZero():
		last = e.EventTime.Time
	}
	return since(last)
}

func eventCount(e *corev1.Event) int32 {
	switch {
	case e.Series != nil:
		return e.Series.Count
	case e.Count == 0:
		return 1
	}
	return e.Count
}

// newEventColumns are the same for the events of events.k8s.io/v1.
func newEventColumns() []column[*eventsv1.Event] {
	columns := make([]column[*eventsv1.Event], len(eventColumns))
	for i, c := range eventColumns {
		columns[i] = column[*eventsv1.Event]{c.name, func(e *eventsv1.Event) any { return c.value(toCore(e)) }, c.wide}
	}
	return columns
}
