package importer

import (
	"fmt"
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
		"containerPorts.redis":      port(int64(v1alpha1.PortRedis)),
		"nodeSelector":              texts("spec.nodeSelector"),
		"tolerations":               to("spec.tolerations"),
		"affinity":                  placed("spec.affinity"),
		"topologySpreadConstraints": placed("spec.topologySpreadConstraints"),
		"priorityClassName":         to("spec.priorityClassName"),
		"podLabels":                 texts("spec.podMetadata.labels"),
		"podAnnotations":            texts("spec.podMetadata.annotations"),
		"configuration":             configText,
		"configmap":                 configText, // the same, before it had that name
		"extraFlags":                flags,
		"extraVolumes":              to("spec.extraVolumes"),
		"extraVolumeMounts":         to("spec.extraVolumeMounts"),
		"sidecars":                  to("spec.extraContainers"),
		"initContainers":            to("spec.initContainers"),

		"terminationGracePeriodSeconds": integer("spec.terminationGracePeriodSeconds"),

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
		"disableCommands":                        drop(whyCommands),
		"command":                                drop(whyInit),
		"args":                                   drop(whyInit),
		"preExecCmds":                            drop(whyInit),
		"pdb.*":                                  drop(whyBudget),
		"serviceAccount.*":                       drop(whyAgents),
		"persistentVolumeClaimRetentionPolicy.*": drop("volumes stay unless spec.storage.retain is Delete"),
		"podAffinityPreset":                      drop("members prefer different nodes; write another rule into spec.affinity"),
		"podAntiAffinityPreset":                  antiAffinity,
		"nodeAffinityPreset.*":                   drop("write the rule into spec.affinity"),
		"*":                                      drop(whyNoField),
	}
	out := storageRules(prefix + ".persistence")
	maps.Copy(out, serviceRules(prefix+".service"))
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
		"configmap":           configText, // the same, before it had that name
		"existingConfigmap":   drop("write its settings into spec.config"),
		"commonLabels":        drop("the objects have the labels of the operator"),
		"commonAnnotations":   drop("write annotations of the pods into spec.podMetadata.annotations"),
		"nameOverride":        drop(whyName),
		"fullnameOverride":    drop(whyName),

		"metrics.podMonitor.enabled":     onlyIf("spec.metrics.podMonitor"),
		"metrics.serviceMonitor.enabled": onlyIf("spec.metrics.podMonitor"),

		"metrics.podMonitor.additionalLabels":     texts("spec.metrics.podMonitorLabels"),
		"metrics.serviceMonitor.additionalLabels": texts("spec.metrics.podMonitorLabels"),
		"metrics.serviceMonitor.selector":         texts("spec.metrics.podMonitorLabels"),

		"metrics.prometheusRule.*": drop("write rules of your own; docs/kubernetes.md lists the metrics"),
		"metrics.*":                drop(whyMetrics),

		"networkPolicy.enabled":             onlyIf("spec.networkPolicy.enabled"),
		"networkPolicy.allowExternalEgress": drop("nothing is said about what the pods themselves connect to"),
		"networkPolicy.extraEgress":         drop("nothing is said about what the pods themselves connect to"),
		"networkPolicy.*":                   drop("write spec.networkPolicy.allowFrom, and allowMetricsFrom"),

		"tls.enabled": off(whyTLS),
		"tls.*":       drop(whyTLS),

		"serviceAccount.*":             drop(whyAgents),
		"rbac.*":                       drop(whyAgents),
		"podSecurityPolicy.*":          drop("Kubernetes has none any more; pods pass the restricted standard"),
		"pdb.*":                        drop(whyBudget),
		"volumePermissions.*":          drop(whyRoot),
		"sysctl.*":                     drop(whyRoot),
		"sysctlImage.*":                drop(whyRoot),
		"diagnosticMode.*":             drop(whyBitnami),
		"kubectl.*":                    drop(whyBitnami),
		"securityContext.*":            drop("pods run as the user of the stock image; write another one into spec.podSecurityContext"),
		"containerSecurityContext.*":   drop(whyContainer),
		"redisPort":                    port(int64(v1alpha1.PortRedis)),
		"namespaceOverride":            drop("apply the Redis to a namespace with -n"),
		"persistence.*":                drop("claims are made by the operator"),
		"configmapChecksumAnnotations": drop(whyBitnami),
		"secretChecksumAnnotations":    drop(whyBitnami),
		"useExternalDNS.*":             drop("write the annotation into spec.service.annotations"),
		"extraDeploy":                  drop("apply these objects yourself"),
		"clusterDomain":                drop("members find each other by their addresses"),
		"kubeVersion":                  drop(whyBitnami),
		"secretAnnotations":            drop(whyBitnami),
		"serviceBindings.*":            drop(whyBitnami),
		"useHostnames":                 drop("members are announced by their addresses, and found again by their names"),
		"nameResolutionThreshold":      drop("members are announced by their addresses, and found again by their names"),
		"nameResolutionTimeout":        drop("members are announced by their addresses, and found again by their names"),
	}
}

// authRules are those of the password, below a prefix: auth., or nothing in older versions of the charts.
func authRules(prefix, enabled string) map[string]rule {
	follows := drop("the agent reads the password from the Secret, and follows its changes")
	return map[string]rule{
		prefix + enabled:                     to("spec.auth.enabled"),
		prefix + "password":                  password,
		prefix + "existingSecret":            existingSecret,
		prefix + "existingSecretPasswordKey": secretKey,
		prefix + "usePasswordFile":           follows,
		prefix + "usePasswordFiles":          follows,
		prefix + "usePasswordFileFromSecret": follows,
	}
}

// ranks of Bitnami's charts: arguments have the last word, then the files for a role, then the one for all; the global password
// counts more than the other, an existing Secret more than both.
func bitnamiRanks() map[string]int {
	ranks := map[string]int{
		"auth.existingSecret": -2, "existingSecret": -2, "global.redis.password": -1,
		"global.storageClass": -1, "global.defaultStorageClass": 1,
	}
	for _, pods := range []string{"master", "replica", "slave", "redis"} {
		ranks[pods+".extraFlags"], ranks[pods+".configuration"], ranks[pods+".configmap"] = -2, -1, -1
	}
	return ranks
}

// bitnamiRedis is Bitnami's redis. Which parts of its values count depends on how its pods are arranged.
func bitnamiRedis(values map[string]any) source {
	s := source{
		mode: v1alpha1.ModeReplication, rules: bitnamiRules(), ranks: bitnamiRanks(), finish: finishBitnami,
		defaults: map[string]any{"commonConfiguration": "appendonly yes\nsave \"\""},
	}
	_, old := values["cluster"]
	counted, pods := "replica.replicaCount", "replica"
	if _, slaves := values["slave"]; old || slaves {
		counted, pods = "cluster.slaveCount", "slave"
	}
	if _, found := values["configmap"]; found {
		s.defaults = map[string]any{}
	}
	sized := "master"
	switch {
	case at(values, "architecture") == "standalone" || at(values, "cluster.enabled") == false:
		s.mode = v1alpha1.ModeStandalone
		instead(s.rules, pods, "mode Standalone is one member")
		instead(s.rules, "sentinel", "mode Standalone has no Sentinels")
		s.rules[counted] = drop("mode Standalone is one member")
	case at(values, "sentinel.enabled") == true:
		// Each of the chart's pods has a server and a Sentinel, and all of them are those of replica.
		s.mode = v1alpha1.ModeSentinel
		conf, flags := s.rules["master.configuration"], s.rules["master.extraFlags"]
		instead(s.rules, "master", "with Sentinels all pods are those of "+pods)
		s.rules["master.configuration"], s.rules["master.configmap"], s.rules["master.extraFlags"] = conf, conf, flags
		instead(s.rules, pods+".service", "with Sentinels the Service is that of sentinel")
		sized = pods
	default:
		instead(s.rules, "sentinel", "mode Replication has no Sentinels")
		nodePort := integer("spec.service.nodePorts.replicas")
		instead(s.rules, pods+".service", "both Services are as that of master")
		s.rules[pods+".service.nodePorts.redis"], s.rules[pods+".service.nodePort"] = nodePort, nodePort
		s.defaults[counted] = map[string]any{"replica.replicaCount": 3, "cluster.slaveCount": 2}[counted]
	}
	s.rules["sentinel.enabled"] = keep("spec.mode")
	s.defaults[sized+".persistence.size"] = "8Gi"
	s.bitnamiPolicy(values)
	return s
}

func bitnamiRules() map[string]rule {
	rules := commonRules()
	for _, prefix := range []string{"master", "replica", "slave"} {
		maps.Copy(rules, podRules(prefix))
	}
	maps.Copy(rules, authRules("auth.", "enabled"))
	maps.Copy(rules, authRules("", "usePassword"))
	maps.Copy(rules, serviceRules("sentinel.service"))
	maps.Copy(rules, map[string]rule{
		"architecture":          keep("spec.mode", "spec.replicas"),
		"cluster.enabled":       keep("spec.mode", "spec.replicas"),
		"sentinel.enabled":      keep("spec.mode"),
		"replica.replicaCount":  keep("spec.replicas"),
		"cluster.slaveCount":    keep("spec.replicas"),
		"master.count":          drop(whyAlike + ", and there is one master"),
		"master.kind":           drop(whyAlike),
		"replica.kind":          drop(whyAlike),
		"replica.autoscaling.*": drop("scale with kubectl scale, or an autoscaler of the Redis"),

		"replica.externalMaster.enabled": off("a Redis follows no server outside"),
		"replica.externalMaster.*":       drop("a Redis follows no server outside"),

		"auth.sentinel": drop(whySentinels),
		"auth.acl.*":    off(whyUsers),

		"sentinel.quorum":                    integer("spec.sentinel.quorum"),
		"sentinel.downAfterMilliseconds":     milliseconds("spec.sentinel.downAfter"),
		"sentinel.failoverTimeout":           milliseconds("spec.sentinel.failoverTimeout"),
		"sentinel.parallelSyncs":             integer("spec.sentinel.parallelSyncs"),
		"sentinel.resources":                 object("spec.sentinel.resources"),
		"sentinel.masterSet":                 masterName,
		"sentinel.port":                      port(int64(v1alpha1.PortSentinel)),
		"sentinel.containerPorts.sentinel":   port(int64(v1alpha1.PortSentinel)),
		"sentinel.service.ports.sentinel":    port(int64(v1alpha1.PortSentinel)),
		"sentinel.service.sentinelPort":      port(int64(v1alpha1.PortSentinel)),
		"sentinel.usePassword":               drop(whySentinels),
		"sentinel.getMasterTimeout":          drop(whyInit),
		"sentinel.automateClusterRecovery":   drop(whyRepair),
		"sentinel.redisShutdownWaitFailover": drop("a member hands over before it stops, always"),
		"sentinel.image.*":                   drop("Sentinels run the image of the members"),
		"sentinel.masterService.*":           drop("the Service of the Redis always leads to the master"),
		"sentinel.externalAccess.enabled":    off("members of mode Sentinel are not announced outside the cluster yet"),
		"sentinel.externalAccess.*":          drop("members of mode Sentinel are not announced outside the cluster yet"),
		"sentinel.persistence.*":             drop("Sentinels keep nothing that their agents could not give them again"),
		"sentinel.*":                         drop("Sentinels are configured by spec.sentinel alone"),
	})
	return rules
}

// bitnamiCluster is Bitnami's redis-cluster.
func bitnamiCluster(values map[string]any) source {
	s := source{
		mode: v1alpha1.ModeCluster, rules: bitnamiClusterRules(), ranks: bitnamiRanks(), finish: finishBitnamiCluster,
		defaults: map[string]any{"cluster.nodes": 6, "cluster.replicas": 1, "redis.useAOFPersistence": "yes", "persistence.size": "8Gi"},
	}
	s.bitnamiPolicy(values)
	return s
}

func bitnamiClusterRules() map[string]rule {
	rules := commonRules()
	maps.Copy(rules, podRules("redis"))
	maps.Copy(rules, storageRules("persistence"))
	maps.Copy(rules, serviceRules("service"))
	maps.Copy(rules, authRules("", "usePassword"))
	maps.Copy(rules, map[string]rule{
		"cluster.nodes":                          keep("spec.shards"),
		"cluster.replicas":                       keep("spec.replicasPerShard"),
		"cluster.init":                           drop("the operator makes the cluster"),
		"cluster.externalAccess.enabled":         off("write spec.service.external"),
		"cluster.externalAccess.*":               drop("write spec.service.external"),
		"cluster.update.*":                       drop("change spec.shards and spec.replicasPerShard; the slots move by themselves"),
		"redis.configmap":                        configText,
		"redis.useAOFPersistence":                appendonly,
		"redis.containerPorts.*":                 drop("the ports are always the same"),
		"aclConfig":                              drop(whyUsers),
		"updateJob.*":                            drop(whyUpdates),
		"podDisruptionBudget.*":                  drop(whyBudget),
		"minAvailable":                           drop(whyBudget),
		"maxUnavailable":                         drop(whyBudget),
		"podSecurityContext.*":                   drop("pods run as the user of the stock image; write another one into spec.podSecurityContext"),
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

// antiAffinity is soft, as it is here, or hard.
func antiAffinity(j *job, path string, v any) outcome {
	if v == "soft" {
		return outcome{why: asItIs}
	}
	if v != "hard" {
		return outcome{why: saysNothing}
	}
	return to("spec.affinity")(j, path, hardAntiAffinity(j.name))
}

func finishBitnami(j *job) {
	j.stockImage()
	counted := "replica.replicaCount"
	if _, old := j.given["cluster.slaveCount"]; old {
		counted = "cluster.slaveCount"
	}
	replicas, ok := whole(j.given[counted])
	switch {
	case !ok:
	case j.mode == v1alpha1.ModeSentinel:
		j.spec["replicas"] = replicas
	case j.mode == v1alpha1.ModeReplication:
		j.spec["replicas"] = replicas + 1
		j.explainLine(counted, "the master counts too")
	}
	j.withoutVolumes()
}

func finishBitnamiCluster(j *job) {
	j.stockImage()
	nodes, _ := whole(j.given["cluster.nodes"])
	each, _ := whole(j.given["cluster.replicas"])
	each = max(each, 0)
	j.spec["shards"], j.spec["replicasPerShard"] = nodes/(each+1), each
	if nodes%(each+1) != 0 {
		j.explainLine("cluster.nodes", fmt.Sprintf("%d shards of %d members each; %d are left over", nodes/(each+1), each+1, nodes%(each+1)))
	}
	j.withoutVolumes()
}

// dropped takes the line of a value back.
func (j *job) dropped(path, why string) {
	for i := range j.lines {
		if l := &j.lines[i]; l.Mapped() && l.Path == path {
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
