package importer

import (
	"fmt"
	"maps"

	"redstart.dev/redstart/api/v1alpha1"
)

// Reasons that several charts share.
const (
	whyAgents    = "the operator makes a ServiceAccount, with just what the agents need"
	whyBudget    = "the operator makes a PodDisruptionBudget, for one at a time"
	whyProbes    = "the agent answers the probes, and knows when a member serves its role"
	whyMetrics   = "the agents serve metrics themselves, at port 9379"
	whyNoProxy   = "there is no HAProxy: the Service of the Redis always leads to the master"
	whyInit      = "the agent takes the place of the init container and its scripts"
	whyRoot      = "nothing runs as root; set sysctls and owners of volumes on the nodes"
	whyName      = "the Redis is named by --name"
	whyContainer = "containers have no privileges and a read-only root already"
	whySentinels = "Sentinels have the password of the Redis"
	whyRepair    = "the agents do that themselves"
	whyUpdates   = "the operator restarts members in an order that loses nothing"
	whyTemplates = "the chart's own templates"
)

// storageRules are volumes, by the names of both families of charts, below a prefix.
func storageRules(prefix string) map[string]rule {
	return map[string]rule{
		prefix + ".enabled":      persistent,
		prefix + ".size":         volume("spec.storage.size"),
		prefix + ".storageClass": volume("spec.storage.storageClassName"),
		prefix + ".accessModes":  volume("spec.storage.accessModes"),
		prefix + ".annotations":  drop("claims get no annotations"),
		prefix + ".labels":       drop("claims get the labels of the Redis"),
		prefix + ".*":            drop("claims are made from size, storageClass and accessModes alone"),
	}
}

// redisHA are the rules for stable/redis-ha, in its old and its new form, and for DandyDeveloper's chart, which is its successor.
func redisHA() map[string]rule {
	rules := map[string]rule{
		"replicas":                        integer("spec.replicas"),
		"replicas.servers":                integer("spec.replicas"),
		"replicas.sentinels":              integer("spec.sentinel.replicas"),
		"redis_image":                     to("spec.image"),
		"image.repository":                keep("spec.image"),
		"image.tag":                       keep("spec.image"),
		"image.pullPolicy":                to("spec.imagePullPolicy"),
		"tag":                             keep("spec.image"),
		"imagePullSecrets":                to("spec.imagePullSecrets"),
		"resources.server":                object("spec.resources"),
		"resources.master":                object("spec.resources"),
		"resources.slave":                 object("spec.resources"),
		"resources.sentinel":              object("spec.sentinel.resources"),
		"redis.resources":                 object("spec.resources"),
		"sentinel.resources":              object("spec.sentinel.resources"),
		"nodeSelector":                    texts("spec.nodeSelector"),
		"tolerations":                     to("spec.tolerations"),
		"affinity":                        object("spec.affinity"),
		"additionalAffinities":            drop("write all affinities into spec.affinity"),
		"hardAntiAffinity":                keep("spec.affinity"),
		"topologySpreadConstraints.*":     drop("members are spread over nodes and zones already; write another spread into spec.topologySpreadConstraints"),
		"priorityClassName":               to("spec.priorityClassName"),
		"securityContext":                 object("spec.podSecurityContext"),
		"containerSecurityContext":        drop(whyContainer),
		"servers.serviceType":             serviceType,
		"servers.annotations":             texts("spec.service.annotations"),
		"serviceType":                     serviceType,
		"redis.serviceType":               serviceType,
		"serviceAnnotations":              texts("spec.service.annotations"),
		"rbac.*":                          drop(whyAgents),
		"serviceAccount.*":                drop(whyAgents),
		"auth":                            to("spec.auth.enabled"),
		"redisPassword":                   password,
		"existingSecret":                  existingSecret,
		"authKey":                         secretKey,
		"sentinel.auth":                   drop(whySentinels),
		"sentinel.password":               drop(whySentinels),
		"sentinel.existingSecret":         drop(whySentinels),
		"sentinel.authKey":                drop(whySentinels),
		"redis.config":                    configMap,
		"redis.customConfig":              configText,
		"redis.port":                      port(int64(v1alpha1.PortRedis)),
		"redis.masterGroupName":           masterName,
		"redis.disableCommands":           drop("Redstart and Sentinel need the commands"),
		"redis.annotations":               drop("write annotations of the pods into spec.podMetadata.annotations"),
		"redis.updateStrategy.*":          drop(whyUpdates),
		"redis.podManagementPolicy":       drop(whyUpdates),
		"redis.extraVolumeMounts":         to("spec.extraVolumeMounts"),
		"redis.*":                         drop(whyProbes + "; whatever else is below redis is of the chart's scripts"),
		"redis.livenessProbe.*":           drop(whyProbes),
		"redis.readinessProbe.*":          drop(whyProbes),
		"redis.startupProbe.*":            drop(whyProbes),
		"sentinel.livenessProbe.*":        drop(whyProbes),
		"sentinel.readinessProbe.*":       drop(whyProbes),
		"sentinel.startupProbe.*":         drop(whyProbes),
		"sentinel.port":                   port(int64(v1alpha1.PortSentinel)),
		"sentinel.quorum":                 integer("spec.sentinel.quorum"),
		"sentinel.customConfig":           drop("Sentinels are configured by spec.sentinel alone"),
		"sentinel.protected-mode":         drop("Sentinels have the password of the Redis"),
		"sentinel.*":                      drop("Sentinels are configured by spec.sentinel alone"),
		"labels":                          texts("spec.podMetadata.labels"),
		"podLabels":                       texts("spec.podMetadata.labels"),
		"podAnnotations":                  texts("spec.podMetadata.annotations"),
		"extraLabels":                     drop("the objects have the labels of the operator"),
		"extraVolumes":                    to("spec.extraVolumes"),
		"extraContainers":                 to("spec.extraContainers"),
		"extraInitContainers":             to("spec.initContainers"),
		"podDisruptionBudget":             drop(whyBudget),
		"podManagementPolicy":             drop(whyUpdates),
		"haproxy.*":                       drop(whyNoProxy),
		"exporter.enabled":                drop(whyMetrics),
		"exporter.serviceMonitor.enabled": onlyIf("spec.metrics.podMonitor"),
		"exporter.*":                      drop(whyMetrics),
		"prometheusRule.*":                drop("write rules of your own; docs/kubernetes.md lists the metrics"),
		"networkPolicy.enabled":           onlyIf("spec.networkPolicy.enabled"),
		"networkPolicy.*":                 drop("write spec.networkPolicy.allowFrom"),
		"tls.secretName":                  to("spec.tls.secretName"),
		"tls.*":                           drop("the keys of the Secret are tls.crt, tls.key and ca.crt"),
		"sysctlImage.*":                   drop(whyRoot),
		"init.*":                          drop(whyInit),
		"configmapTest.*":                 drop(whyTemplates),
		"configmap.*":                     drop(whyTemplates),
		"splitBrainDetection.*":           drop(whyRepair),
		"restore.*":                       drop("restoring from object storage is no part of a Redis; load the data by replication"),
		"hostPath.*":                      drop("data is in claims, or ephemeral"),
		"emptyDir":                        drop("write storage: {ephemeral: true}"),
		"nameOverride":                    drop(whyName),
		"fullnameOverride":                drop(whyName),
		"fullNameOverride":                drop(whyName),
		"ro_replicas":                     drop("every member may become master"),
		"schedulerName":                   drop("the cluster's own scheduler is used"),
		"restartPolicy":                   drop("pods are restarted by the cluster"),
		"global.*":                        drop("values for other charts"),
	}
	for _, prefix := range []string{"persistentVolume", "persistence"} {
		maps.Copy(rules, storageRules(prefix))
	}
	for name, r := range map[string]rule{
		"down-after-milliseconds": milliseconds("spec.sentinel.downAfter"),
		"failover-timeout":        milliseconds("spec.sentinel.failoverTimeout"),
		"parallel-syncs":          integer("spec.sentinel.parallelSyncs"),
	} {
		rules["sentinel.config."+name] = r
	}
	rules["sentinel.config.*"] = drop("Sentinels are configured by spec.sentinel alone")
	rules["redis.terminationGracePeriodSeconds"] = integer("spec.terminationGracePeriodSeconds")
	return rules
}

// masterName is how Sentinels call the master.
func masterName(j *job, _ string, v any) outcome {
	if v == j.name {
		return outcome{why: "that is so without being asked for"}
	}
	return outcome{why: fmt.Sprintf("Sentinels call the master by the name of the Redis, %s; tell your clients, or import with --name %v", j.name, v)}
}

func finishRedisHA(j *job) {
	j.imageOf("image.repository", "image.tag", "tag")
	if j.get("spec.auth.enabled") == nil {
		// The chart's default; ours is to have a password.
		j.spec["auth"] = merged(j.spec["auth"], "enabled", false)
	}
	if j.given["hardAntiAffinity"] == true && j.get("spec.affinity") == nil {
		j.spec["affinity"] = hardAntiAffinity(j.name)
	}
	j.withoutVolumes()
}

// merged is an object with one more field.
func merged(object any, field string, v any) map[string]any {
	m, _ := object.(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	m[field] = v
	return m
}

// hardAntiAffinity lets no two members run on one node.
func hardAntiAffinity(name string) map[string]any {
	return map[string]any{"podAntiAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": []any{map[string]any{
		"topologyKey": "kubernetes.io/hostname",
		"labelSelector": map[string]any{"matchLabels": map[string]any{
			v1alpha1.LabelName: name, v1alpha1.LabelComponent: v1alpha1.ComponentMember,
		}},
	}}}}
}
