// Package progress says, from what the API server knows, how far a set of objects is on its way to be ready, and
// shows that on a terminal or in a log.
package progress

import (
	"fmt"
	"sort"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
)

// World is what was seen of a namespace.
type World struct {
	Redises      []*v1alpha1.Redis
	Deployments  []*appsv1.Deployment
	StatefulSets []*appsv1.StatefulSet
	Pods         []*corev1.Pod
	// Since is when this run of the cluster began, on one machine: what the API server remembers of pods that started
	// before is not true any more. Zero elsewhere.
	Since time.Time
}

// Target is an object that shall become ready: kind (Redis, Deployment or StatefulSet), namespace (empty for the one that is
// looked at) and name. Generation is the one that must have been observed, 0 for any.
type Target struct {
	Kind, Namespace, Name string
	Generation            int64
}

// State is how far a target or one of its pods is.
type State string

// The states, from the first to the last.
const (
	Waiting State = "waiting"
	Working State = "starting"
	Ready   State = "ready"
	Failing State = "failing"
)

// Item is a target, or a pod of one.
type Item struct {
	// Name is "Kind name" for a target and the pod's name for a pod.
	Name  string `json:"name"`
	State State  `json:"state"`
	// Detail is for people: the role of a member, what is waited for, what went wrong.
	Detail string `json:"detail,omitempty"`
	// Message is the owner's longer explanation of why it is not ready.
	Message string `json:"message,omitempty"`
	// Pods of a target.
	Pods []Item `json:"pods,omitempty"`
}

// Done tells whether every item is ready.
func Done(items []Item) bool {
	for _, i := range items {
		if i.State != Ready {
			return false
		}
	}
	return true
}

// Observe is how far targets are.
func Observe(w World, targets []Target) []Item {
	var items []Item
	for _, t := range targets {
		item := Item{Name: t.Kind + " " + t.Name, State: Waiting}
		switch t.Kind {
		case "Redis":
			item = redisItem(item, w, t)
		case "Deployment":
			item = deploymentItem(item, w, t)
		case "StatefulSet":
			item = statefulSetItem(item, w, t)
		default:
			item.State = Ready
		}
		if item.State == Ready && !Done(item.Pods) {
			item.State = Working
		}
		sort.Slice(item.Pods, func(i, j int) bool { return item.Pods[i].Name < item.Pods[j].Name })
		items = append(items, item)
	}
	return items
}

func redisItem(item Item, w World, t Target) Item {
	for _, p := range w.Pods {
		if p.Labels[v1alpha1.LabelName] == t.Name {
			item.Pods = append(item.Pods, podItem(w, p))
		}
	}
	for _, r := range w.Redises {
		if r.Name != t.Name {
			continue
		}
		item.State = Working
		item.Detail = strings.TrimSpace(string(r.Status.Phase) + " " + r.Status.Ready)
		if r.Status.ObservedGeneration < max(t.Generation, r.Generation) {
			item.Detail = "waiting for the operator"
			return item
		}
		for _, c := range r.Status.Conditions {
			switch {
			case c.Type != v1alpha1.ConditionReady:
			case c.Status == "True":
				item.State = Ready
				item.Detail = "master " + r.Status.Master
				if r.Spec.Mode == v1alpha1.ModeCluster {
					item.Detail = fmt.Sprintf("%d shards", len(r.Status.Shards))
				}
			default:
				item.Message = c.Message
			}
		}
		if r.Status.Phase == v1alpha1.PhaseFailed {
			item.State = Failing
		}
	}
	return item
}

func deploymentItem(item Item, w World, t Target) Item {
	for _, d := range w.Deployments {
		if d.Name != t.Name {
			continue
		}
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		s := d.Status
		item.State = Working
		item.Detail = fmt.Sprintf("%d/%d available", s.AvailableReplicas, want)
		if s.ObservedGeneration >= max(t.Generation, d.Generation) && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.Replicas == want {
			item.State = Ready
		}
		if rollout := d.Annotations[v1alpha1.AnnotationHeldBy]; rollout != "" && s.UpdatedReplicas < want && s.ReadyReplicas == want {
			item.State = Ready // as far as anybody but its Rollout can bring it
			item.Detail += ", held by Rollout " + rollout
		}
		item.Pods = selected(w, d.Spec.Selector.MatchLabels)
	}
	return item
}

func statefulSetItem(item Item, w World, t Target) Item {
	for _, d := range w.StatefulSets {
		if d.Name != t.Name {
			continue
		}
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		s := d.Status
		item.State = Working
		item.Detail = fmt.Sprintf("%d/%d ready", s.ReadyReplicas, want)
		if s.ObservedGeneration >= max(t.Generation, d.Generation) && s.ReadyReplicas == want && s.Replicas == want {
			item.State = Ready
		}
		item.Pods = selected(w, d.Spec.Selector.MatchLabels)
	}
	return item
}

func selected(w World, labels map[string]string) []Item {
	var out []Item
next:
	for _, p := range w.Pods {
		for k, v := range labels {
			if p.Labels[k] != v {
				continue next
			}
		}
		out = append(out, podItem(w, p))
	}
	return out
}

// podItem says of a pod what "kubectl get pods" would, and its role.
func podItem(w World, p *corev1.Pod) Item {
	item := Item{Name: p.Name, State: Working, Detail: strings.ToLower(string(p.Status.Phase))}
	if p.Status.Phase == corev1.PodPending {
		item.State = Waiting
	}
	for _, c := range p.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			item.Detail = strings.TrimSuffix(c.State.Waiting.Reason+": "+c.State.Waiting.Message, ": ")
			if c.State.Waiting.Reason == "CreateContainerConfigError" { // it waits for what may be made in a moment
				item.State = Waiting
			} else if strings.Contains(c.State.Waiting.Reason, "BackOff") || strings.Contains(c.State.Waiting.Reason, "Error") {
				item.State = Failing
			}
		case c.State.Terminated != nil:
			item.State = Failing
			item.Detail = fmt.Sprintf("ended with exit code %d", c.State.Terminated.ExitCode)
		}
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			item.State, item.Detail = Ready, p.Labels[v1alpha1.LabelRole]
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			item.Detail = strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		}
	}
	if !startedSince(p, w.Since) {
		item.State, item.Detail = Waiting, "starting again"
	}
	if p.DeletionTimestamp != nil {
		item.State, item.Detail = Working, "stopping"
	}
	return item
}

// startedSince tells whether every container of a pod was started since; container times are whole seconds.
func startedSince(p *corev1.Pod, since time.Time) bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil && c.State.Running.StartedAt.Time.Before(since.Truncate(time.Second)) {
			return false
		}
	}
	return true
}
