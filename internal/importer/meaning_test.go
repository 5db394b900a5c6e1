package importer_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/internal/importer"
)

// TestMeaning: what the values make of a chart, they make of a Redis. The report and the Redis have each of want, and none of not.
func TestMeaning(t *testing.T) {
	for _, tt := range []struct {
		name, from, values string
		want, not          []string
	}{
		{
			"with Sentinels Bitnami's pods are those of replica", "bitnami-redis",
			`{sentinel: {enabled: true, service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8]}}, master: {persistence: {size: 8Gi}, configuration: "maxmemory 1gb"}, replica: {persistence: {size: 100Gi}}}`,
			[]string{"size: 100Gi", "maxmemory: 1gb", "- 10.0.0.0/8", "master.persistence.size: \"8Gi\" (with Sentinels all pods are those of replica)"},
			nil,
		},
		{
			"a standalone one has no replicas", "bitnami-redis",
			`{architecture: standalone, replica: {persistence: {size: 100Gi}, resources: {limits: {memory: 1Gi}}}}`,
			[]string{"size: 8Gi", "mode: Standalone", "replica.persistence.size: \"100Gi\" (mode Standalone is one member)"},
			[]string{"memory: 1Gi"},
		},
		{
			"only the Service for writes is told to be outside", "bitnami-redis",
			`{master: {service: {type: ClusterIP}}, replica: {service: {type: LoadBalancer, nodePorts: {redis: 30001}}}}`,
			[]string{"type: ClusterIP", "both Services are as that of master"},
			[]string{"type: LoadBalancer"},
		},
		{
			"how a load balancer is reached is kept", "bitnami-redis",
			`{master: {service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8], externalTrafficPolicy: Local, loadBalancerClass: x, nodePorts: {redis: 30001}}}}`,
			[]string{"- 10.0.0.0/8", "externalTrafficPolicy: Local", "loadBalancerClass: x", "master: 30001"},
			nil,
		},
		{
			"the files for a role have the last word, arguments before them", "bitnami-redis",
			`{commonConfiguration: "appendonly yes\nsave 900 1\nloglevel debug", master: {configuration: "appendonly no\nloglevel notice", extraFlags: ["--loglevel", "warning", "--maxmemory-policy allkeys-lru"]}}`,
			[]string{`appendonly: "no"`, "loglevel: warning", "maxmemory-policy: allkeys-lru", "save: 900 1"},
			nil,
		},
		{
			"lines of one setting add up, and an empty save takes them away", "bitnami-redis",
			`{commonConfiguration: "save 900 1\nsave \"\"\nsave 300 10\nclient-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 0 0 0\nsave 60 1"}`,
			[]string{"save: 300 10 60 1", "client-output-buffer-limit: normal 0 0 0 replica 0 0 0"},
			nil,
		},
		{
			"so do lists", "dandydeveloper",
			`{redis: {config: {save: ["900 1", "300 10"], client-output-buffer-limit: ["normal 0 0 0", "replica 0 0 0"]}}}`,
			[]string{"save: 900 1 300 10", "client-output-buffer-limit: normal 0 0 0 replica 0 0 0"},
			nil,
		},
		{
			"a chart's own settings are those of the Redis", "bitnami-redis", `{}`,
			[]string{"replicas: 4", "size: 8Gi", `appendonly: "yes"`, `save: ""`, "(the chart's default"},
			nil,
		},
		{
			"those of redis-ha too", "redis-ha", `{redis: {config: {maxmemory: 1gb}}}`,
			[]string{"maxmemory-policy: volatile-lru", "minReplicasToWrite: 1", "maxLag: 5s", "size: 10Gi", "enabled: false"},
			nil,
		},
		{
			"one that is taken away is not", "redis-ha", `{replicas: 1, redis: {config: {maxmemory-policy: null, min-replicas-max-lag: 7}}, persistentVolume: {enabled: false}}`,
			[]string{"maxLag: 7s", "ephemeral: true"},
			[]string{"volatile-lru", "minReplicasToWrite: 1", "10Gi"},
		},
		{
			"a configuration of one's own takes the place of all settings", "dandydeveloper", `{redis: {customConfig: "maxmemory 1gb", config: {maxmemory: 2gb}}}`,
			[]string{"maxmemory: 1gb", "redis.customConfig takes its place"},
			[]string{"volatile-lru"},
		},
		{
			"Bitnami's policy lets everybody in", "bitnami-redis", `{networkPolicy: {enabled: true}, metrics: {enabled: true}}`,
			[]string{"cidr: ::/0", "namespaceSelector: {}", "allowMetricsFrom:"},
			nil,
		},
		{
			"unless it is told otherwise", "bitnami-redis", `{networkPolicy: {enabled: true, allowExternal: false, ingressNSMatchLabels: {team: web}, ingressNSPodMatchLabels: {app: x}}}`,
			[]string{"team: web", "app: x", `RELEASE-client: "true"`},
			[]string{"cidr"},
		},
		{
			"the peers of redis-ha's policy", "dandydeveloper",
			`{networkPolicy: {enabled: true, ingressRules: [{selectors: [{namespaceSelector: {matchLabels: {team: web}}, podSelector: {}}]}, {selectors: [{podSelector: {matchLabels: {app: monitor}}}], ports: [{port: 9121}]}]}}`,
			[]string{"team: web", "podSelector: {}", "rules for other ports than 6379 were left out"},
			[]string{"    app: monitor"},
		},
		{
			"labels by which Prometheus finds the monitor", "bitnami-redis", `{metrics: {serviceMonitor: {enabled: true, additionalLabels: {release: prometheus}}}}`,
			[]string{"podMonitorLabels:\n      release: prometheus"},
			nil,
		},
		{
			"hard anti-affinity keeps members from members, and lets Sentinels on their nodes", "redis-ha", `{hardAntiAffinity: true}`,
			[]string{"matchLabelKeys:\n        - redstart.dev/component"},
			[]string{"redstart.dev/component: member"},
		},
		{
			"pods that pass the restricted standard do so still", "redis-ha", `{securityContext: {runAsUser: 1000}}`,
			[]string{"seccompProfile:\n      type: RuntimeDefault"},
			nil,
		},
		{
			"an image that is too old", "redis-ha", `{image: {repository: redis, tag: 5.0.6-alpine}}`,
			[]string{"members need Redis 6.2 or later"},
			[]string{"image: redis:5"},
		},
		{"one that is not", "redis-ha", `{image: {repository: redis, tag: 7}}`, []string{"image: redis:7"}, []string{"6.2"}},
		{
			"the first form of Bitnami's chart", "bitnami-redis",
			`{cluster: {slaveCount: 2}, usePassword: false, configmap: "maxmemory 1gb", slave: {resources: {limits: {memory: 1Gi}}, persistence: {size: 20Gi}}}`,
			[]string{"replicas: 3", "enabled: false", "maxmemory: 1gb", "memory: 1Gi", "size: 20Gi"},
			[]string{"does not know"},
		},
		{
			"numbers are written in full, and passwords not at all", "bitnami-redis",
			`{auth: {password: 12345678, acl: {users: [{username: a, password: hunter2}]}}, commonConfiguration: "requirepass hunter2", master: {podAnnotations: {port: 12345678}}}`,
			[]string{`port: "12345678"`, "auth.password: (not shown)", "Secret cache-auth with 8 characters"},
			[]string{"hunter2", "e+07"},
		},
		{
			"what is empty hides nothing", "bitnami-redis",
			`{master: {resources: {limits: {}, requests: {}}}, replica: {resources: {limits: {memory: 1Gi}}}}`,
			[]string{"memory: 1Gi", "it is empty, and sets nothing"},
			nil,
		},
		{
			"a class for all is for those without one", "bitnami-redis", `{global: {defaultStorageClass: slow}, master: {persistence: {storageClass: fast}}}`,
			[]string{"storageClassName: fast"},
			[]string{"storageClassName: slow"},
		},
		{
			"volumes of some are volumes of all", "bitnami-redis", `{master: {persistence: {enabled: false}}, replica: {persistence: {enabled: true, size: 20Gi}}}`,
			[]string{"size: 20Gi", "others have volumes, and all members are alike"},
			[]string{"ephemeral: true"},
		},
		{
			"labels of the chart's pods select none of a Redis", "bitnami-redis",
			`{master: {affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {app.kubernetes.io/name: redis}}}]}}}}`,
			[]string{"look through its labelSelectors: pods have the labels redstart.dev/redis: cache and"},
			nil,
		},
		{
			"members are left over", "bitnami-redis-cluster", `{cluster: {nodes: 7, replicas: 1}}`,
			[]string{"shards: 3", "3 shards of 2 members each; 1 are left over", `appendonly: "yes"`},
			nil,
		},
	} {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(tt.values), &values); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r, err := importer.Import(values, tt.from, "cache")
		got := told(t, r, err)
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: it lacks %q:\n%s", tt.name, want, got)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(got, not) {
				t.Errorf("%s: it has %q:\n%s", tt.name, not, got)
			}
		}
	}
}
