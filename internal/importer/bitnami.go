package importer

import (
	"maps"

	"redstart.dev/redstart/api/v1alpha1"
)

const (
	whyAlike   = "all members are alike: any of them may become master"
	whyBitnami = "it is of the chart's own templates"
)

// podRules are what Bitnami's charts say of pods, below a prefix such as master.
func podRules(prefix string) map[string]rule {
	rules := map[string]rule{
		"resources":                 object("spec.resources"),
		"resourcesPreset":           drop("write spec.resources"),
		"nodeSelector":              texts("spec.nodeSelector"),
		"tolerations":               to("spec.tolerations"),
		"affinity":                  object("spec.affinity"),
		"topologySpreadConstraints": to("spec.topologySpreadConstraints"),
		"priorityClassName":         to("spec.priorityClassName"),
		"podLabels":                 texts("spec.podMetadata.labels"),
		"podAnnotations":            texts("spec.podMetadata.annotations"),
		"configuration":             configText,
		"extraVolumes":              to("spec.extraVolumes"),
		"extraVolumeMounts":         to("spec.extraVolumeMounts"),
		"sidecars":                  to("spec.extraContainers"),
		"initContainers":            to("spec.initContainers"),

		"terminationGracePeriodSeconds": integer("spec.terminationGracePeriodSeconds"),

		"service.type":        serviceType,
		"service.annotations": texts("spec.service.annotations"),
		"service.ports.redis": port(int64(v1alpha1.PortRedis)),
		"service.*":           drop("the Services are those of spec.service"),

		"podSecurityContext.*":                   drop("pods run as the user of the stock image; write another one into spec.podSecurityContext"),
		"containerSecurityContext.*":             drop(whyContainer),
		"startupProbe.*":                         drop(whyProbes),
		"livenessProbe.*":                        drop(whyProbes),
		"readinessProbe.*":                       drop(whyProbes),
		"customStartupProbe":                     drop(whyProbes),
		"customLivenessProbe":                    drop(whyProbes),
		"customReadinessProbe":                   drop(whyProbes),
		"updateStrategy.*":                       drop(whyUpdates),
		"podManagementPolicy":                    drop(whyUpdates),
		"disableCommands":                        drop("Redstart and Sentinel need the commands"),
		"command":                                drop(whyInit),
		"args":                                   drop(whyInit),
		"preExecCmds":                            drop(whyInit),
		"extraFlags":                             drop("write settings into spec.config"),
		"pdb.*":                                  drop(whyBudget),
		"serviceAccount.*":                       drop(whyAgents),
		"persistentVolumeClaimRetentionPolicy.*": drop("volumes stay unless spec.storage.retain is Delete"),
		"podAffinityPreset":                      drop("members prefer different nodes; write another rule into spec.affinity"),
		"podAntiAffinityPreset":                  drop("members prefer different nodes; write another rule into spec.affinity"),
		"nodeAffinityPreset.*":                   drop("write the rule into spec.affinity"),
		"*":                                      drop(whyBitnami),
	}
	out := storageRules(prefix + ".persistence")
	for name, r := range rules {
		out[prefix+"."+name] = r
	}
	return out
}

// commonRules are those of all charts of Bitnami.
func commonRules() map[string]rule {
	return map[string]rule{
		"global.storageClass":        volume("spec.storage.storageClassName"),
		"global.defaultStorageClass": volume("spec.storage.storageClassName"),
		"global.redis.password":      password,
		"global.imagePullSecrets":    pullSecrets,
		"global.imageRegistry":       drop("write the registry into spec.image"),
		"global.*":                   drop("values for other charts"),

		"image.registry":    keep("spec.image"),
		"image.repository":  keep("spec.image"),
		"image.tag":         keep("spec.image"),
		"image.digest":      drop("write the digest into spec.image"),
		"image.pullPolicy":  to("spec.imagePullPolicy"),
		"image.pullSecrets": pullSecrets,
		"image.*":           drop(whyBitnami),

		"commonConfiguration": configText,
		"existingConfigmap":   drop("write its settings into spec.config"),
		"commonLabels":        drop("the objects have the labels of the operator"),
		"commonAnnotations":   drop("write annotations of the pods into spec.podMetadata.annotations"),
		"nameOverride":        drop(whyName),
		"fullnameOverride":    drop(whyName),

		"metrics.podMonitor.enabled":     onlyIf("spec.metrics.podMonitor"),
		"metrics.serviceMonitor.enabled": onlyIf("spec.metrics.podMonitor"),
		"metrics.prometheusRule.*":       drop("write rules of your own; docs/kubernetes.md lists the metrics"),
		"metrics.*":                      drop(whyMetrics),

		"networkPolicy.enabled":       onlyIf("spec.networkPolicy.enabled"),
		"networkPolicy.allowExternal": drop("only peers of spec.networkPolicy.allowFrom may connect"),
		"networkPolicy.*":             drop("write spec.networkPolicy.allowFrom"),

		"tls.enabled":        drop("spec.tls.secretName turns it on"),
		"tls.existingSecret": to("spec.tls.secretName"),
		"tls.authClients":    drop("write spec.tls.clientAuth"),
		"tls.*":              drop("the keys of the Secret are tls.crt, tls.key and ca.crt"),

		"serviceAccount.*":        drop(whyAgents),
		"rbac.*":                  drop(whyAgents),
		"podSecurityPolicy.*":     drop("Kubernetes has none any more; pods pass the restricted standard"),
		"pdb.*":                   drop(whyBudget),
		"volumePermissions.*":     drop(whyRoot),
		"sysctl.*":                drop(whyRoot),
		"sysctlImage.*":           drop(whyRoot),
		"diagnosticMode.*":        drop(whyBitnami),
		"kubectl.*":               drop(whyBitnami),
		"useExternalDNS.*":        drop("write the annotation into spec.service.annotations"),
		"extraDeploy":             drop("apply these objects yourself"),
		"clusterDomain":           drop("members find each other by their addresses"),
		"kubeVersion":             drop(whyBitnami),
		"secretAnnotations":       drop(whyBitnami),
		"serviceBindings.*":       drop(whyBitnami),
		"useHostnames":            drop("members are announced by their addresses, and found again by their names"),
		"nameResolutionThreshold": drop("members are announced by their addresses, and found again by their names"),
		"nameResolutionTimeout":   drop("members are announced by their addresses, and found again by their names"),
	}
}

func bitnamiRedis() map[string]rule {
	rules := commonRules()
	maps.Copy(rules, podRules("master"))
	maps.Copy(rules, podRules("replica"))
	maps.Copy(rules, map[string]rule{
		"architecture":          keep("spec.mode", "spec.replicas"),
		"sentinel.enabled":      keep("spec.mode"),
		"replica.replicaCount":  keep("spec.replicas"),
		"master.count":          drop(whyAlike + ", and there is one master"),
		"master.kind":           drop(whyAlike),
		"replica.kind":          drop(whyAlike),
		"replica.autoscaling.*": drop("scale with kubectl scale, or an autoscaler of the Redis"),

		"auth.enabled":                   to("spec.auth.enabled"),
		"auth.sentinel":                  drop(whySentinels),
		"auth.password":                  password,
		"auth.existingSecret":            existingSecret,
		"auth.existingSecretPasswordKey": secretKey,
		"auth.usePasswordFiles":          drop("the agent reads the password from the Secret, and follows its changes"),
		"auth.usePasswordFileFromSecret": drop("the agent reads the password from the Secret, and follows its changes"),
		"auth.acl.*":                     drop("write spec.users"),

		"sentinel.quorum":                    integer("spec.sentinel.quorum"),
		"sentinel.downAfterMilliseconds":     milliseconds("spec.sentinel.downAfter"),
		"sentinel.failoverTimeout":           milliseconds("spec.sentinel.failoverTimeout"),
		"sentinel.parallelSyncs":             integer("spec.sentinel.parallelSyncs"),
		"sentinel.resources":                 object("spec.sentinel.resources"),
		"sentinel.masterSet":                 masterName,
		"sentinel.getMasterTimeout":          drop(whyInit),
		"sentinel.automateClusterRecovery":   drop(whyRepair),
		"sentinel.redisShutdownWaitFailover": drop("a member hands over before it stops, always"),
		"sentinel.service.type":              serviceType,
		"sentinel.service.annotations":       texts("spec.service.annotations"),
		"sentinel.*":                         drop("Sentinels are configured by spec.sentinel alone"),
	})
	return rules
}

func bitnamiCluster() map[string]rule {
	rules := commonRules()
	maps.Copy(rules, podRules("redis"))
	maps.Copy(rules, storageRules("persistence"))
	maps.Copy(rules, map[string]rule{
		"cluster.nodes":                          keep("spec.shards"),
		"cluster.replicas":                       keep("spec.replicasPerShard"),
		"cluster.init":                           drop("the operator makes the cluster"),
		"cluster.externalAccess.*":               drop("write spec.service.external"),
		"cluster.update.*":                       drop("change spec.shards and spec.replicasPerShard; the slots move by themselves"),
		"redis.configmap":                        configText,
		"redis.useAOFPersistence":                appendonly,
		"redis.containerPorts.*":                 drop("the ports are always the same"),
		"usePassword":                            to("spec.auth.enabled"),
		"password":                               password,
		"existingSecret":                         existingSecret,
		"existingSecretPasswordKey":              secretKey,
		"usePasswordFile":                        drop("the agent reads the password from the Secret, and follows its changes"),
		"usePasswordFiles":                       drop("the agent reads the password from the Secret, and follows its changes"),
		"aclConfig":                              drop("write spec.users"),
		"service.type":                           serviceType,
		"service.annotations":                    texts("spec.service.annotations"),
		"service.*":                              drop("the Services are those of spec.service"),
		"updateJob.*":                            drop(whyUpdates),
		"podDisruptionBudget":                    drop(whyBudget),
		"podSecurityContext.*":                   drop("pods run as the user of the stock image; write another one into spec.podSecurityContext"),
		"containerSecurityContext.*":             drop(whyContainer),
		"initScripts":                            drop(whyInit),
		"persistentVolumeClaimRetentionPolicy.*": drop("volumes stay unless spec.storage.retain is Delete"),
	})
	return rules
}

// pullSecrets are names in Bitnami's charts, and objects with a name in a pod.
func pullSecrets(j *job, p string, v any) outcome {
	list, _ := v.([]any)
	var out []any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			item = m["name"]
		}
		out = append(out, map[string]any{"name": item})
	}
	return to("spec.imagePullSecrets")(j, p, out)
}

func appendonly(j *job, _ string, v any) outcome { return j.setting("appendonly", settingText(v)) }

func finishBitnami(j *job) {
	j.stockImage()
	replicas, counted := whole(j.given["replica.replicaCount"])
	switch {
	case j.given["architecture"] == "standalone":
		j.mode = v1alpha1.ModeStandalone
		for _, field := range []string{"sentinel", "replicas"} {
			delete(j.spec, field)
		}
		j.dropped("sentinel.", "mode Standalone has no Sentinels")
		j.dropped("replica.replicaCount", "mode Standalone is one member")
	case j.given["sentinel.enabled"] == true:
		// Each of the chart's pods has a server and a Sentinel, so that their number is that of both.
		j.mode = v1alpha1.ModeSentinel
		if counted {
			j.spec["replicas"] = replicas
		}
	default:
		delete(j.spec, "sentinel")
		j.dropped("sentinel.", "mode Replication has no Sentinels")
		if counted {
			j.spec["replicas"] = replicas + 1 // and the master
			j.explainLine("replica.replicaCount", "the master counts too")
		} else {
			j.spec["replicas"] = int64(4) // the chart's default of three, and the master
		}
	}
	j.withoutVolumes()
}

func finishBitnamiCluster(j *job) {
	j.stockImage()
	nodes, ok := whole(j.given["cluster.nodes"])
	if !ok {
		nodes = 6
	}
	each, ok := whole(j.given["cluster.replicas"])
	if !ok {
		each = 1
	}
	j.spec["shards"], j.spec["replicasPerShard"] = nodes/(each+1), each
	j.withoutVolumes()
}

// dropped takes the lines of a part of the values back.
func (j *job) dropped(prefix, why string) {
	for i := range j.lines {
		if l := &j.lines[i]; l.Mapped() && (l.Path == prefix || len(l.Path) > len(prefix) && l.Path[:len(prefix)] == prefix) {
			if l.Path == "sentinel.enabled" {
				continue
			}
			l.To, l.Why = nil, why
		}
	}
}

func (j *job) explainLine(path, why string) {
	for i := range j.lines {
		if l := &j.lines[i]; l.Path == path {
			l.Why = why
		}
	}
}
