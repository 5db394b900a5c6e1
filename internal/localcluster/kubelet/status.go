package kubelet

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/internal/localcluster/address"
)

// statusInput is all that a pod's status follows from.
type statusInput struct {
	pod     *corev1.Pod // its status is the former one
	address address.Address
	hostIP  string
	start   metav1.Time
	inits   []corev1.ContainerStatus
	mains   []corev1.ContainerStatus
	now     metav1.Time

	unschedulable string // why there is no node for it
}

// podStatus is the status as kubectl and controllers know it. It is pure.
func podStatus(in statusInput) corev1.PodStatus {
	old := &in.pod.Status
	if in.unschedulable != "" {
		waits := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: in.unschedulable}
		return corev1.PodStatus{
			Phase: corev1.PodPending, QOSClass: old.QOSClass, ObservedGeneration: in.pod.Generation,
			Conditions: transitions([]corev1.PodCondition{waits}, old.Conditions, in.now),
		}
	}
	s := corev1.PodStatus{
		Phase:                 phase(in.pod.Spec.RestartPolicy, in.inits, in.mains),
		QOSClass:              old.QOSClass,
		StartTime:             &in.start,
		InitContainerStatuses: in.inits,
		ContainerStatuses:     in.mains,
		ObservedGeneration:    in.pod.Generation,
	}
	if in.address.IP.IsValid() {
		ip := in.address.IP.String()
		s.PodIP, s.PodIPs = ip, []corev1.PodIP{{IP: ip}}
		s.HostIP, s.HostIPs = in.hostIP, []corev1.HostIP{{IP: in.hostIP}}
	}
	scheduled := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}
	initialized := condition(corev1.PodInitialized, notInitialized(in.inits), "ContainersNotInitialized", "containers with incomplete status")
	unready := notReady(in.mains)
	ready := condition(corev1.PodReady, unready, "ContainersNotReady", "containers with unready status")
	containers := condition(corev1.ContainersReady, unready, "ContainersNotReady", "containers with unready status")
	if s.Phase == corev1.PodSucceeded {
		initialized = corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, Reason: "PodCompleted"}
		ready = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodCompleted"}
		containers = corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, Reason: "PodCompleted"}
	}
	s.Conditions = transitions([]corev1.PodCondition{initialized, ready, containers, scheduled}, old.Conditions, in.now)
	return s
}

// phase follows the rules of every kubelet.
func phase(policy corev1.RestartPolicy, inits, mains []corev1.ContainerStatus) corev1.PodPhase {
	for i := range inits {
		if t := inits[i].State.Terminated; t == nil || t.ExitCode != 0 {
			if t != nil && policy == corev1.RestartPolicyNever {
				return corev1.PodFailed
			}
			return corev1.PodPending
		}
	}
	var waiting, running, failed int
	for i := range mains {
		c := &mains[i]
		switch {
		case c.State.Running != nil:
			running++
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			failed++
		case c.State.Terminated != nil:
		case c.LastTerminationState.Terminated != nil: // waits to be started again
			running++
		default:
			waiting++
		}
	}
	switch {
	case waiting > 0:
		return corev1.PodPending
	case running > 0, policy == corev1.RestartPolicyAlways, policy == "":
		return corev1.PodRunning
	case failed == 0:
		return corev1.PodSucceeded
	case policy == corev1.RestartPolicyOnFailure:
		return corev1.PodRunning
	}
	return corev1.PodFailed
}

func notInitialized(inits []corev1.ContainerStatus) []string {
	return names(inits, func(c *corev1.ContainerStatus) bool {
		return c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
	})
}

func notReady(mains []corev1.ContainerStatus) []string {
	return names(mains, func(c *corev1.ContainerStatus) bool { return c.Ready })
}

// names are those of the containers that are not ok.
func names(all []corev1.ContainerStatus, ok func(*corev1.ContainerStatus) bool) []string {
	var not []string
	for i := range all {
		if !ok(&all[i]) {
			not = append(not, all[i].Name)
		}
	}
	return not
}

func condition(kind corev1.PodConditionType, not []string, reason, message string) corev1.PodCondition {
	if len(not) == 0 {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue}
	}
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message + ": [" + strings.Join(not, " ") + "]"}
}

// transitions sets the time of every condition: its former one while its status stays. Conditions of others are kept.
func transitions(conditions, old []corev1.PodCondition, now metav1.Time) []corev1.PodCondition {
	for i := range conditions {
		conditions[i].LastTransitionTime = now
	}
	for _, o := range old {
		i := slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == o.Type })
		switch {
		case i < 0:
			conditions = append(conditions, o)
		case conditions[i].Status == o.Status:
			conditions[i].LastTransitionTime = o.LastTransitionTime
		}
	}
	return conditions
}
