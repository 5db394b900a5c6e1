package importer

import (
	"fmt"
	"maps"
	"strings"

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
	whyCommands  = "no command is renamed or disabled: the agents and Sentinels need some of them"
	whyNoField   = "a Redis has no field for it"
	whyTLS       = "TLS is not served yet"
	whyUsers     = "users of their own are not served yet"
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

// redisHA is stable/redis-ha, in its old and its new form, and DandyDeveloper's chart, which is its successor.
func redisHA(values map[string]any) source {
	s := source{
		mode: v1alpha1.ModeSentinel, rules: redisHARules(), finish: finishRedisHA,
		ranks:    map[string]int{"global.priorityClassName": 1},
		defaults: map[string]any{"auth": false, "persistentVolume.size": "10Gi"},
	}
	if !empty(at(values, "redis.customConfig")) {
		s.rules["redis.config"] = drop("redis.customConfig takes its place")
		return s
	}
	if redisHAOld(values) {
		s.defaults["persistentVolume.size"] = "8Gi"
		return s
	}
	for name, v := range map[string]any{"min-replicas-to-write": 1, "min-replicas-max-lag": 5, "maxmemory-policy": "volatile-lru", "save": "900 1"} {
		s.rules["redis.config."+name] = settingOf(name)
		s.defaults["redis.config."+name] = v
	}
	delete(s.rules, "redis.config")
	s.rules["redis.config.*"] = func(j *job, path string, v any) outcome {
		name, found := strings.CutPrefix(path, "redis.config.")
		if !found {
			return configMap(j, path, v)
		}
		return settingOf(name)(j, path, v)
	}
	return s
}

// redisHAOld tells the first form of the chart, which counted servers and Sentinels apart, and had no settings of its own.
func redisHAOld(values map[string]any) bool {
	_, counted := values["replicas"].(map[string]any)
	_, pods := values["resources"].(map[string]any)
	return counted || pods || values["redis_image"] != nil || values["servers"] != nil
}

func redisHARules() map[string]rule {
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
		"affinity":                        placed("spec.affinity"),
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
		"redis.disableCommands":           drop(whyCommands),
		"redis.annotations":               drop("write annotations of the pods into spec.podMetadata.annotations"),
		"redis.updateStrategy.*":          drop(whyUpdates),
		"redis.podManagementPolicy":       drop(whyUpdates),
		"redis.extraVolumeMounts":         to("spec.extraVolumeMounts"),
		"redis.*":                         drop(whyNoField + ": the agent runs the server"),
		"redis.tlsPort":                   drop(whyTLS),
		"redis.tlsReplication":            drop(whyTLS),
		"redis.authClients":               drop(whyTLS),
		"sentinel.tlsPort":                drop(whyTLS),
		"sentinel.tlsReplication":         drop(whyTLS),
		"sentinel.authClients":            drop(whyTLS),
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
		"exporter.serviceMonitor.labels":  texts("spec.metrics.podMonitorLabels"),
		"exporter.*":                      drop(whyMetrics),
		"prometheusRule.*":                drop("write rules of your own; docs/kubernetes.md lists the metrics"),
		"networkPolicy.enabled":           onlyIf("spec.networkPolicy.enabled"),
		"networkPolicy.ingressRules":      ingressRules,
		"networkPolicy.egressRules":       drop("nothing is said about what the pods themselves connect to"),
		"networkPolicy.*":                 drop("the NetworkPolicy has the labels of the operator"),
		"tls.*":                           drop(whyTLS),
		"sysctlImage.*":                   drop(whyRoot),
		"init.*":                          drop(whyInit),
		"configmapTest.*":                 drop(whyTemplates),
		"configmap.*":                     drop(whyTemplates),
		"splitBrainDetection.*":           drop(whyRepair),
		"restore.*":                       off("a Redis restores nothing; bring the data over as docs/migrate.md tells"),
		"hostPath.*":                      drop("data is in claims, or ephemeral"),
		"emptyDir":                        drop("write spec.storage.ephemeral"),
		"nameOverride":                    drop(whyName),
		"fullnameOverride":                drop(whyName),
		"fullNameOverride":                drop(whyName),
		"ro_replicas":                     drop("every member may become master"),
		"schedulerName":                   drop("the cluster's own scheduler is used"),
		"restartPolicy":                   drop("pods are restarted by the cluster"),
		"global.priorityClassName":        to("spec.priorityClassName"),
		"global.*":                        drop("values for other charts"),
		"serviceLabels":                   drop("the objects have the labels of the operator"),
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
	j.refuseOldImage()
	if j.given["hardAntiAffinity"] == true {
		j.apart("hardAntiAffinity")
	}
	// The chart has the profile with the containers. Without one, no pod passes the restricted standard.
	if c, ok := j.spec["podSecurityContext"].(map[string]any); ok && c["seccompProfile"] == nil {
		c["seccompProfile"] = map[string]any{"type": "RuntimeDefault"}
	}
	j.withoutVolumes()
}

// apart lets no two members run on one node, and no two Sentinels, unless other rules were written.
func (j *job) apart(path string) {
	if j.get("spec.affinity") == nil {
		j.spec["affinity"] = hardAntiAffinity(j.name)
	} else {
		j.dropped(path, "another value went to spec.affinity already")
	}
}

// hardAntiAffinity lets no two members run on one node. Sentinels have the affinity of the members: by the key, a pod is kept from
// pods of its own kind alone. Else three nodes would not do for three members and three Sentinels.
func hardAntiAffinity(name string) map[string]any {
	return map[string]any{"podAntiAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": []any{map[string]any{
		"topologyKey":    "kubernetes.io/hostname",
		"labelSelector":  map[string]any{"matchLabels": map[string]any{v1alpha1.LabelName: name}},
		"matchLabelKeys": []any{v1alpha1.LabelComponent},
	}}}}
}
