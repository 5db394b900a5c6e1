package operator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// instance is what is known of one member or one Sentinel.
type instance struct {
	name    string
	ordinal int
	pod     *corev1.Pod // nil while it does not exist
	// agent is what its agent answered just now, nil when it did not answer, and unanswered is why.
	agent      *v1alpha1.AgentStatus
	unanswered error
	// outdated is why it has to be restarted, empty when it need not.
	outdated string
	// unaware: what its agent says of its settings is about older ones than those wanted now.
	unaware bool
	// trouble is what events say why it does not come up, empty where they say nothing or its pod says it.
	trouble string
}

// instances are those of a StatefulSet, by ordinal: the first wanted ones whether they exist or not, and what exists
// beyond them.
func instances(set string, wanted int32, pods []corev1.Pod) []instance {
	var all []instance
	for i := range wanted {
		all = append(all, instance{name: fmt.Sprintf("%s-%d", set, i), ordinal: int(i)})
	}
	for i := range pods {
		p := &pods[i]
		n, err := strconv.Atoi(strings.TrimPrefix(p.Name, set+"-"))
		switch {
		case err != nil || n < 0:
		case n < int(wanted):
			all[n].pod = p
		default:
			all = append(all, instance{name: p.Name, ordinal: n, pod: p})
		}
	}
	slices.SortFunc(all, func(a, b instance) int { return a.ordinal - b.ordinal })
	return all
}

// role is what the agent says, else what it last wrote on its pod.
func (i instance) role() v1alpha1.Role {
	switch {
	case i.agent != nil:
		return i.agent.Role
	case i.pod != nil:
		return v1alpha1.Role(i.pod.Labels[v1alpha1.LabelRole])
	}
	return ""
}

// ready tells whether it serves. An agent that was too slow to answer is what its pod's probe last said.
func (i instance) ready() bool {
	if i.pod == nil || i.pod.DeletionTimestamp != nil {
		return false
	}
	if i.agent != nil {
		return i.agent.Ready && !i.agent.Stopping
	}
	return podReady(i.pod)
}

// settled tells whether it serves for certain: it says so itself, now, and not its probe a moment ago. Nothing is
// taken away from a Redis on less.
func (i instance) settled() bool { return i.agent != nil && i.ready() && podReady(i.pod) }

// isMaster tells whether it takes writes as far as it knows.
func (i instance) isMaster() bool {
	if i.agent != nil {
		return i.agent.Role == v1alpha1.RoleMaster && !i.agent.Fenced && i.agent.Server.Up && i.ready()
	}
	return i.role() == v1alpha1.RoleMaster && i.ready()
}

// stuck tells that it is down and will hardly come back as it is: nothing is lost by replacing its pod.
func (i instance) stuck(now time.Time) bool {
	if i.pod == nil || i.pod.DeletionTimestamp != nil || podReady(i.pod) {
		return false
	}
	if i.agent != nil {
		server := i.agent.Server
		return !server.Up && !server.Loading && now.Sub(notReadySince(i.pod)) > time.Minute
	}
	return podProblem(i.pod) != ""
}

// message is why it is not ready, or what its agent says that it does.
func (i instance) message() string {
	switch {
	case i.pod == nil:
		return orElse(i.trouble, "the pod does not exist yet")
	case i.pod.DeletionTimestamp != nil:
		return "the pod is stopping"
	}
	if p := i.problem(); p != "" && !podReady(i.pod) {
		return p
	}
	switch {
	case i.agent != nil && i.agent.Message != "":
		return i.agent.Message
	case i.ready():
		return ""
	case i.unanswered != nil && podStarted(i.pod):
		return "the agent does not answer"
	case i.agent == nil:
		return "the pod is starting"
	}
	return "not ready"
}

// master finds the member that takes writes: the one of the highest term, should an old one not know yet.
func master(members []instance) *instance {
	var found *instance
	term := func(i *instance) int64 {
		if i.agent == nil {
			return -1
		}
		return i.agent.Term
	}
	for i := range members {
		if m := &members[i]; m.isMaster() && (found == nil || term(m) > term(found)) {
			found = m
		}
	}
	return found
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// notReadySince is when a pod was last ready, or was made.
func notReadySince(p *corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}

// podStarted tells whether every container has started.
func podStarted(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running == nil {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) > 0
}

// problem is what Kubernetes says why its pod cannot be created or started, empty when it says nothing of the kind.
func (i instance) problem() string {
	if i.trouble != "" || i.pod == nil {
		return i.trouble
	}
	return podProblem(i.pod)
}

// podProblem is what the kubelet or the scheduler says why a pod cannot start, empty when it says nothing of the kind.
func podProblem(p *corev1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := s.State.Waiting
		if w == nil || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing" || w.Reason == "" {
			continue
		}
		text := w.Reason
		if w.Message != "" {
			text += ": " + w.Message
		}
		if t := s.LastTerminationState.Terminated; t != nil {
			text += fmt.Sprintf(" (exit code %d", t.ExitCode)
			if t.Message != "" {
				text += ": " + strings.TrimSpace(t.Message)
			}
			text += ")"
		}
		return text
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.Reason + ": " + c.Message
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return strings.TrimSuffix("Failed: "+p.Status.Reason+" "+p.Status.Message, ": ")
	}
	return ""
}

// unaware tells whether an agent has yet to look at the wanted settings, whose hash is wanted: until it has, nothing is
// known of whether they need a restart. An agent of an older release does not say what it looked at.
func unaware(i instance, wanted string) bool {
	return i.agent != nil && i.agent.ConfigSeen != "" && i.agent.ConfigSeen != wanted
}

// outdated is why an instance has to be restarted: its pod is of an older revision of its StatefulSet, was made before
// a restart was asked for, or has settings that its server takes at its start alone. Empty when it need not be.
func outdated(i instance, set *appsv1.StatefulSet, restartedAt, now time.Time) string {
	if i.pod == nil {
		return ""
	}
	// The StatefulSet's controller has to have seen the last change, or its revision is that of the one before.
	if set != nil && set.Status.ObservedGeneration >= set.Generation && set.Status.UpdateRevision != "" {
		if have := i.pod.Labels[appsv1.ControllerRevisionHashLabelKey]; have != "" && have != set.Status.UpdateRevision {
			return "its pod is of an older revision"
		}
	}
	// A time to come is waited for; a pod could never be younger than it.
	if !restartedAt.After(now) && i.pod.CreationTimestamp.Time.Before(restartedAt) {
		return "a restart was asked for"
	}
	if i.agent != nil && len(i.agent.PendingRestart) > 0 && i.agent.ConfigError == "" {
		return strings.Join(i.agent.PendingRestart, ", ") + " changes at a restart"
	}
	return ""
}
