package operator

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

// troubleAfter is how long a pod may be missing or starting before events are asked why: most come up sooner.
const troubleAfter = 5 * time.Second

// eventsAtOnce bounds how many events are looked at.
const eventsAtOnce = 1000

// troubles asks the events of the namespace about pods that do not come up and do not say why: what a quota or an admission refuses,
// and what a kubelet cannot mount, is told nowhere else.
func (c *redisController) troubles(ctx context.Context, r *v1alpha1.Redis, mem *memory, o *observation) {
	switch {
	case c.agentImage == "", // on one machine there are no such refusals
		!slices.ContainsFunc(slices.Concat(o.members, o.sentinels), instance.silent):
		mem.silentSince = time.Time{}
		return
	case mem.silentSince.IsZero():
		mem.silentSince = o.now
	}
	if o.now.Sub(mem.silentSince) < troubleAfter {
		return
	}
	var list corev1.EventList
	err := c.applier.direct.List(ctx, &list, client.InNamespace(r.Namespace), client.Limit(eventsAtOnce),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("type", corev1.EventTypeWarning)})
	if err != nil { // less is told, and all else goes on
		c.log.Debug("cannot ask why pods do not come up", "redis", r.Name, "namespace", r.Namespace, "err", err)
		return
	}
	tell(r.Name, o.members, list.Items)
	tell(v1alpha1.SentinelName(r.Name), o.sentinels, list.Items)
}

// silent tells that a pod does not come up, and that the pod says not why, or no more than that a claim of it has no volume.
func (i instance) silent() bool {
	if i.pod == nil {
		return true
	}
	p := podProblem(i.pod)
	return i.pod.DeletionTimestamp == nil && i.agent == nil && !podStarted(i.pod) && (p == "" || strings.Contains(p, "PersistentVolumeClaim"))
}

// tell gives those instances of a StatefulSet that are silent what events say of them last. Of the creation of a pod only an event
// counts that is younger than all pods of the set: an older one may be about a pod that was there meanwhile.
func tell(set string, all []instance, events []corev1.Event) {
	var created time.Time
	for _, x := range all {
		if x.pod != nil && x.pod.CreationTimestamp.After(created) {
			created = x.pod.CreationTimestamp.Time
		}
	}
	for n := range all {
		x := &all[n]
		if !x.silent() {
			continue
		}
		var last time.Time
		for i := range events {
			e := &events[i]
			text := troubleOf(set, *x, e)
			if at := lastSeen(e); text != "" && at.After(last) && (x.pod != nil || at.After(created)) {
				x.trouble, last = text, at
			}
		}
	}
}

// troubleOf is what an event says of an instance, empty where it is about something else.
func troubleOf(set string, x instance, e *corev1.Event) string {
	about := e.InvolvedObject
	switch {
	case x.pod == nil && about.Kind == "StatefulSet" && about.Name == set && e.Reason == "FailedCreate":
		if what, why, found := strings.Cut(e.Message, " failed error: "); found && strings.HasPrefix(what, "create Pod "+x.name+" in ") {
			return "the pod cannot be created: " + why
		}
	case x.pod == nil:
	case about.Kind == "PersistentVolumeClaim" && about.Name == objects.ClaimName(x.name) && e.Reason == "ProvisioningFailed":
		if !lastSeen(e).Before(x.pod.CreationTimestamp.Time) {
			return "PersistentVolumeClaim " + about.Name + ": " + e.Message
		}
	case about.Kind == "Pod" && about.UID == x.pod.UID:
		switch e.Reason {
		case "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox":
			return e.Reason + ": " + e.Message
		}
	}
	return ""
}

// lastSeen is when an event happened last.
func lastSeen(e *corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	if e.EventTime.After(last) {
		last = e.EventTime.Time
	}
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	return last
}
