package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// rolloutRules are the fields of both versions of Kruise's Rollout, by their paths. STRATEGY is spec.strategy.canary or
// spec.strategy.blueGreen.
var rolloutRules map[string]rolloutRule

const (
	noTrafficRouting = "objects TrafficRouting are not served; write trafficRoutings in the strategy"
	noPauseAtEnd     = "Kruise does not pause at a last step of all pods"
	noPodLeft        = "all pods are new then, so the new version gets all traffic"
)

func init() { // visit looks at the rules, which visit
	onlyCluster := rolloutDrop("it belongs to the object in its cluster")
	rolloutRules = map[string]rolloutRule{
		"status":                     onlyCluster,
		"metadata.creationTimestamp": onlyCluster,
		"metadata.finalizers":        onlyCluster,
		"metadata.generation":        onlyCluster,
		"metadata.managedFields":     onlyCluster,
		"metadata.ownerReferences":   onlyCluster,
		"metadata.resourceVersion":   onlyCluster,
		"metadata.selfLink":          onlyCluster,
		"metadata.uid":               onlyCluster,
		"metadata.name":              copied,
		"metadata.namespace":         copied,
		"metadata.labels":            copied,
		"metadata.annotations":       rolloutAnnotations,

		"spec.workloadRef.apiVersion":           copied,
		"spec.workloadRef.kind":                 copied,
		"spec.workloadRef.name":                 copied,
		"spec.objectRef.workloadRef.apiVersion": copiedTo("spec.workloadRef.apiVersion"),
		"spec.objectRef.workloadRef.kind":       copiedTo("spec.workloadRef.kind"),
		"spec.objectRef.workloadRef.name":       copiedTo("spec.workloadRef.name"),
		"spec.objectRef.type":                   rolloutDefault("workloadRef", "it must name a workload"),
		"spec.disabled":                         copiedIfTrue("spec.disabled"),
		"spec.rolloutID":                        rolloutDrop("every change of the pod template is a release; redstart rollout history numbers them"),
		"spec.strategy.paused":                  copiedIfTrue("spec.paused"),
		"spec.strategy.type":                    rolloutDefault("canary", "what is under spec.strategy says which strategy it is"),

		"STRATEGY.enableExtraWorkloadForCanary": rolloutStyle,
		"STRATEGY.disableGenerateCanaryService": rolloutDefault(false, "the pods of the new version always get the Service SERVICE-canary"),
		"STRATEGY.trafficRoutingRef":            rolloutDrop(noTrafficRouting),
		"STRATEGY.failureThreshold":             copied,
		"STRATEGY.patchPodTemplateMetadata":     rolloutPodMetadata,

		"STRATEGY.steps[].replicas":              rolloutReplicas,
		"STRATEGY.steps[].traffic":               rolloutTraffic,
		"STRATEGY.steps[].weight":                rolloutTraffic,
		"STRATEGY.steps[].matches":               rolloutMatches,
		"STRATEGY.steps[].requestHeaderModifier": rolloutRouted,
		"STRATEGY.steps[].pause":                 rolloutPause,
		"STRATEGY.steps[].pause.duration":        rolloutPauseDuration,

		"STRATEGY.trafficRoutings[].service":                        rolloutRouted,
		"STRATEGY.trafficRoutings[].gracePeriodSeconds":             rolloutRouted,
		"STRATEGY.trafficRoutings[].type":                           rolloutClass,
		"STRATEGY.trafficRoutings[].ingress.name":                   rolloutRouted,
		"STRATEGY.trafficRoutings[].ingress.classType":              rolloutRouted,
		"STRATEGY.trafficRoutings[].gateway.httpRouteName":          rolloutRouted,
		"STRATEGY.trafficRoutings[].customNetworkRefs[].apiVersion": rolloutRouted,
		"STRATEGY.trafficRoutings[].customNetworkRefs[].kind":       rolloutRouted,
		"STRATEGY.trafficRoutings[].customNetworkRefs[].name":       rolloutRouted,
		"STRATEGY.trafficRoutings[].additionalParams":               rolloutDrop("parameters for scripts are not served; a script of your own in the ConfigMap redstart-traffic-scripts can name the subsets"),
	}
}

// copied copies a value to the field of the same name.
func copied(k *rolloutJob, _, to string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing}
	}
	put(k.out, to, v)
	return outcome{to: []string{to}}
}

// copiedTo copies a value to another field.
func copiedTo(to string) rolloutRule {
	return func(k *rolloutJob, path, _ string, v any) outcome { return copied(k, path, to, v) }
}

// copiedIfTrue copies true; false is the default.
func copiedIfTrue(to string) rolloutRule {
	return func(k *rolloutJob, path, _ string, v any) outcome {
		if v == false {
			return outcome{why: "that is so without being asked for"}
		}
		return copied(k, path, to, v)
	}
}

func rolloutDrop(why string) rolloutRule {
	return func(_ *rolloutJob, _, _ string, v any) outcome {
		if empty(v) {
			return outcome{why: saysNothing}
		}
		return outcome{why: why}
	}
}

// rolloutDefault drops a value that is what Redstart does anyway, and says why any other is dropped.
func rolloutDefault(same any, why string) rolloutRule {
	return func(_ *rolloutJob, _, _ string, v any) outcome {
		if v == same || empty(v) {
			return outcome{why: "that is so without being asked for"}
		}
		return outcome{why: why}
	}
}

// rolloutAnnotations copies those that are not Kruise's, with a line for each.
func rolloutAnnotations(k *rolloutJob, path, to string, v any) outcome {
	m, ok := v.(map[string]any)
	if !ok {
		return outcome{why: "expected a map"}
	}
	kept := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := path + "[" + name + "]"
		switch {
		case name == kruiseGroup+"/rolling-style" && k.alpha:
			k.tell(at, m[name], []string{"spec.strategy." + k.style}, "")
		case name == kruiseGroup+"/trafficrouting":
			k.tell(at, m[name], nil, noTrafficRouting)
		case name == kruiseGroup+"/rollback-in-batch":
			k.tell(at, m[name], nil, "who applies the old version in the middle goes back at once; redstart rollout undo takes the steps")
		case strings.Contains(name, "kruise.io/"):
			k.tell(at, m[name], nil, "it is for Kruise's controllers")
		case name == "kubectl.kubernetes.io/last-applied-configuration":
			k.tell(at, "...", nil, "it belongs to the object in its cluster")
		default:
			kept[name] = m[name]
			k.tell(at, m[name], []string{to}, "")
		}
	}
	if len(kept) > 0 {
		put(k.out, to, kept)
	}
	return outcome{}
}

// rolloutStyle tells which strategy it has become; look has chosen it.
func rolloutStyle(k *rolloutJob, _, _ string, v any) outcome {
	why := ""
	if v == true && k.style == "partition" {
		why = "only of a Deployment there can be an extra one"
	}
	return outcome{to: []string{"spec.strategy." + k.style}, why: why}
}

func rolloutPodMetadata(k *rolloutJob, path, to string, v any) outcome {
	if k.style == "partition" && !empty(v) {
		return outcome{why: "pods that are replaced in place are those of the workload"}
	}
	return copied(k, path, to, v)
}

// rolloutReplicas copies the number of pods of a step.
func rolloutReplicas(k *rolloutJob, path, to string, v any) outcome {
	if k.style == "blueGreen" {
		return outcome{why: "the second set is always full"}
	}
	o := copied(k, path, to, v)
	if step := k.step(path); k.leavesNone(step) && empty(step["traffic"]) && empty(step["weight"]) {
		traffic := strings.TrimSuffix(to, "replicas") + "traffic"
		put(k.out, traffic, "100%")
		o.to, o.why = append(o.to, traffic), noPodLeft
	}
	return o
}

// rolloutMatches copies the requests that go to the new version.
func rolloutMatches(k *rolloutJob, path, to string, v any) outcome {
	if k.leavesNone(k.step(path)) && !empty(v) {
		return outcome{why: noPodLeft}
	}
	return rolloutRouted(k, path, to, v)
}

// rolloutTraffic copies the share of a step: the text traffic, or the number weight of v1alpha1, which says how many pods
// there are where replicas does not.
func rolloutTraffic(k *rolloutJob, path, to string, v any) outcome {
	if empty(v) {
		return outcome{why: saysNothing}
	}
	share := fmt.Sprint(v)
	if strings.HasSuffix(path, ".weight") {
		share += "%"
	}
	at := to[:strings.LastIndexByte(to, '.')]
	step := k.step(path)
	var o outcome
	if k.leavesNone(step) {
		if share != "100%" {
			o.why = noPodLeft
		}
		put(k.out, at+".traffic", "100%")
		o.to = []string{at + ".traffic"}
	} else if !empty(step["matches"]) {
		o.why = "matches say which requests go to the new version, and Kruise looks at them alone"
	} else if !k.routed {
		o.why = k.unrouted
	} else {
		put(k.out, at+".traffic", share)
		o.to = []string{at + ".traffic"}
	}
	if step["replicas"] == nil && k.style != "blueGreen" && share != "0%" && (k.alpha || !k.routed) {
		put(k.out, at+".replicas", share)
		o.to = append(o.to, at+".replicas")
	}
	return o
}

// rolloutRouted copies what makes sense with trafficRoutings alone.
func rolloutRouted(k *rolloutJob, path, to string, v any) outcome {
	if !k.routed && !empty(v) {
		return outcome{why: k.unrouted}
	}
	return copied(k, path, to, v)
}

// rolloutClass copies the type of a trafficRouting in old manifests of v1alpha1, which is the class of its Ingress.
func rolloutClass(k *rolloutJob, path, to string, v any) outcome {
	return rolloutRouted(k, path, strings.TrimSuffix(to, "type")+"ingress.classType", v)
}

// rolloutPause is a pause without a duration.
func rolloutPause(k *rolloutJob, path, to string, _ any) outcome {
	if k.ends(k.stepAt(path)) {
		return outcome{why: noPauseAtEnd}
	}
	put(k.out, to, map[string]any{})
	return outcome{to: []string{to}}
}

// rolloutPauseDuration copies seconds to a duration.
func rolloutPauseDuration(k *rolloutJob, path, to string, v any) outcome {
	seconds, ok := whole(v)
	switch {
	case k.ends(k.stepAt(path)):
		return outcome{why: noPauseAtEnd}
	case v == nil:
		put(k.out, strings.TrimSuffix(to, ".duration"), map[string]any{})
		return outcome{to: []string{strings.TrimSuffix(to, ".duration")}}
	case !ok || seconds < 0:
		put(k.out, to, fmt.Sprint(v)) // the check names it
	case seconds == 0:
		return outcome{why: "it goes on at once, without a pause"}
	default:
		put(k.out, to, fmt.Sprintf("%ds", seconds))
	}
	return outcome{to: []string{to}}
}
