package v1alpha1_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
)

// crd is the generated CRD, ready to validate objects as an API server does.
type crd struct {
	schema     validation.SchemaCreateValidator
	update     validation.SchemaValidator
	structural *structuralschema.Structural
	cel        *cel.Validator
}

func loadCRD(t *testing.T, plural string) *crd {
	t.Helper()
	raw, err := os.ReadFile("../../config/crd/redstart.dev_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	v1 := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(raw, v1); err != nil {
		t.Fatal(err)
	}
	if asJSON, err := yaml.YAMLToJSON(raw); err != nil || len(asJSON) > 250<<10 {
		t.Fatalf("the CRD has %d bytes, %v; kubectl apply keeps a copy of it in annotations, which may have 256 KiB", len(asJSON), err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	v1.Status.StoredVersions = []string{"v1alpha1"}
	internal := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(v1, internal, nil); err != nil {
		t.Fatal(err)
	}
	// Above all, the estimated cost of the CEL rules: a cluster refuses a CRD whose rules might run for too long.
	if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), internal); len(errs) > 0 {
		for _, err := range errs {
			t.Errorf("an API server refuses the CRD: %v", err)
		}
		t.FailNow()
	}
	props, err := apiextensions.GetSchemaForVersion(internal, "v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := structuralschema.NewStructural(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
	if err != nil {
		t.Fatal(err)
	}
	return &crd{schema: v, update: v, structural: s, cel: cel.NewValidator(s, true, celconfig.PerCallLimit)}
}

// validate is what an API server finds in obj, which replaces old if that is not nil.
func (c *crd) validate(obj, old map[string]any) field.ErrorList {
	errs := validation.ValidateCustomResource(nil, obj, c.schema)
	if len(errs) > 0 {
		return errs
	}
	var before any
	if old != nil {
		before = old
	}
	celErrs, _ := c.cel.Validate(context.Background(), nil, c.structural, obj, before, celconfig.RuntimeCELCostBudget)
	return celErrs
}

// parse reads a Redis from the YAML of its spec.
func parse(t *testing.T, name, spec string) map[string]any {
	t.Helper()
	return parseKind(t, "Redis", name, spec)
}

func parseKind(t *testing.T, kind, name, spec string) map[string]any {
	t.Helper()
	obj := map[string]any{}
	doc := "apiVersion: redstart.dev/v1alpha1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: " + spec
	asJSON, err := yaml.YAMLToJSON([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := utiljson.Unmarshal(asJSON, &obj); err != nil { // whole numbers stay whole, as in an API server
		t.Fatal(err)
	}
	return obj
}

// goValidate is what Default and Validate make of obj. Decoding may fail already.
func goValidate(t *testing.T, obj, old map[string]any) []string {
	t.Helper()
	r, err := decode(obj)
	if err != nil {
		return []string{err.Error()}
	}
	r.Default()
	errs := r.Validate()
	if old != nil {
		was, err := decode(old)
		if err != nil {
			t.Fatal(err)
		}
		was.Default()
		errs = append(errs, r.ValidateUpdate(was)...)
	}
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

func decode(obj map[string]any) (*v1alpha1.Redis, error) {
	b, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	r := &v1alpha1.Redis{}
	return r, json.Unmarshal(b, r)
}

func TestValidation(t *testing.T) {
	c := loadCRD(t, "redises")
	for _, tc := range []struct {
		about string
		name  string // of the Redis; cache by default
		spec  string
		old   string // the spec before, for an update
		has   string // the size of the volumes, as the status tells it
		want  string // the field that is wrong; empty if all is well
	}{
		{about: "nothing at all", spec: `{}`},
		{about: "standalone", spec: `{mode: Standalone}`},
		{about: "sentinel", spec: `{mode: Sentinel, replicas: 5, sentinel: {replicas: 5, quorum: 3, downAfter: 500ms, failoverTimeout: 2s, parallelSyncs: 2}}`},
		{about: "everything that is served", spec: `{mode: Replication, image: "valkey/valkey:8", imagePullPolicy: Always, replicas: 4, config: {maxmemory: 1gb, save: "", appendonly: "yes"}, storage: {size: 2Gi, storageClassName: fast, accessModes: [ReadWriteOnce], retain: Delete}, auth: {enabled: true, secretName: my.secret}, durability: {minReplicasToWrite: 1, maxLag: 5s}, service: {type: NodePort, masterName: redis-leader, replicasName: redis-follower}, podMetadata: {labels: {team: a}}, terminationGracePeriodSeconds: 30, metrics: {podMonitor: true}, users: []}`},
		{about: "ephemeral", spec: `{storage: {ephemeral: true}}`},
		{about: "name too long", name: strings.Repeat("a", 41), spec: `{}`, want: "metadata.name"},
		{about: "name begins with a digit", name: "1cache", spec: `{}`, want: "metadata.name"},
		{about: "name with a dot", name: "a.b", spec: `{}`, want: "metadata.name"},
		{about: "mode Cluster", spec: `{mode: Cluster}`},
		{about: "cluster", spec: `{mode: Cluster, shards: 500, replicasPerShard: 5, durability: {minReplicasToWrite: 5}, service: {masterName: entry}}`},
		{about: "cluster without replicas", spec: `{mode: Cluster, shards: 3, replicasPerShard: 0}`},
		{about: "cluster with replicas", spec: `{mode: Cluster, replicas: 6}`, want: "spec.replicas"},
		{about: "two shards", spec: `{mode: Cluster, shards: 2}`, want: "spec.shards"},
		{about: "too many shards", spec: `{mode: Cluster, shards: 501}`, want: "spec.shards"},
		{about: "too many replicas of a shard", spec: `{mode: Cluster, replicasPerShard: 6}`, want: "spec.replicasPerShard"},
		{about: "cluster with a Service for reads", spec: `{mode: Cluster, service: {replicasName: reads}}`, want: "spec.service.replicasName"},
		{about: "durability above replicasPerShard", spec: `{mode: Cluster, durability: {minReplicasToWrite: 2}}`, want: "spec.durability.minReplicasToWrite"},
		{about: "shards changed", spec: `{mode: Cluster, shards: 6, replicasPerShard: 2}`, old: `{mode: Cluster}`},
		{about: "unknown mode", spec: `{mode: cluster}`, want: "spec.mode"},
		{about: "mode changed", spec: `{mode: Sentinel}`, old: `{}`, want: "spec.mode"},
		{about: "mode spelled out", spec: `{mode: Replication}`, old: `{}`},
		{about: "image with a space", spec: `{image: "redis 7"}`, want: "spec.image"},
		{about: "pull policy", spec: `{imagePullPolicy: Sometimes}`, want: "spec.imagePullPolicy"},
		{about: "no replicas", spec: `{replicas: 0}`, want: "spec.replicas"},
		{about: "too many replicas", spec: `{replicas: 33}`, want: "spec.replicas"},
		{about: "two of one", spec: `{mode: Standalone, replicas: 2}`, want: "spec.replicas"},
		{about: "shards", spec: `{shards: 3}`, want: "spec.shards"},
		{about: "replicasPerShard", spec: `{replicasPerShard: 1}`, want: "spec.replicasPerShard"},
		{about: "users", spec: `{users: [{name: a}]}`, want: "spec.users"},
		{about: "tls", spec: `{tls: {secretName: a}}`, want: "spec.tls"},
		{about: "gateway", spec: `{gateway: {}}`, want: "spec.gateway"},
		{about: "backup", spec: `{backup: {schedule: "* * * * *", secretName: a}}`, want: "spec.backup"},
		{about: "networkPolicy", spec: `{networkPolicy: {enabled: true, allowFrom: [{podSelector: {}}, {namespaceSelector: {matchLabels: {a: b}}, podSelector: {matchExpressions: [{key: a, operator: Exists}]}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}, {ipBlock: {cidr: "2001:db8::/32"}}], allowMetricsFrom: [{namespaceSelector: {}}]}}`},
		{about: "peer of nobody", spec: `{networkPolicy: {enabled: true, allowFrom: [{}]}}`, want: "spec.networkPolicy.allowFrom[0]"},
		{about: "peer of everything", spec: `{networkPolicy: {enabled: true, allowFrom: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}}`, want: "spec.networkPolicy.allowFrom[0].ipBlock"},
		{about: "network of words", spec: `{networkPolicy: {enabled: true, allowMetricsFrom: [{ipBlock: {cidr: office}}]}}`, want: "spec.networkPolicy.allowMetricsFrom[0].ipBlock.cidr"},
		{about: "except of words", spec: `{networkPolicy: {enabled: true, allowFrom: [{ipBlock: {cidr: 10.0.0.0/8, except: [kitchen]}}]}}`, want: "spec.networkPolicy.allowFrom[0].ipBlock.except[0]"},
		{about: "except of elsewhere", spec: `{networkPolicy: {enabled: true, allowFrom: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}}`, want: "spec.networkPolicy.allowFrom[0].ipBlock.except[0]"},
		{about: "except of all", spec: `{networkPolicy: {enabled: true, allowFrom: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]}}`, want: "spec.networkPolicy.allowFrom[0].ipBlock.except[0]"},
		{about: "podMonitor", spec: `{metrics: {podMonitor: true, podMonitorLabels: {release: prometheus}}}`},
		{about: "load balancer", spec: `{service: {type: LoadBalancer, loadBalancerClass: example.com/lb, loadBalancerSourceRanges: [10.0.0.0/8], externalTrafficPolicy: Local, nodePorts: {master: 30079}, ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4]}}`},
		{about: "class of no load balancer", spec: `{service: {loadBalancerClass: a}}`, want: "spec.service.loadBalancerClass"},
		{about: "source ranges of no load balancer", spec: `{service: {type: NodePort, loadBalancerSourceRanges: [10.0.0.0/8]}}`, want: "spec.service.loadBalancerSourceRanges"},
		{about: "source range of words", spec: `{service: {type: LoadBalancer, loadBalancerSourceRanges: [home]}}`, want: "spec.service.loadBalancerSourceRanges[0]"},
		{about: "traffic policy inside", spec: `{service: {externalTrafficPolicy: Local}}`, want: "spec.service.externalTrafficPolicy"},
		{about: "traffic policy", spec: `{service: {type: NodePort, externalTrafficPolicy: Near}}`, want: "spec.service.externalTrafficPolicy"},
		{about: "node ports inside", spec: `{service: {nodePorts: {master: 30079}}}`, want: "spec.service.nodePorts"},
		{about: "node port", spec: `{service: {type: NodePort, nodePorts: {master: 70000}}}`, want: "spec.service.nodePorts.master"},
		{about: "one node port for both", spec: `{service: {type: NodePort, nodePorts: {master: 30079, replicas: 30079}}}`, want: "spec.service.nodePorts.replicas"},
		{about: "family policy", spec: `{service: {ipFamilyPolicy: Both}}`, want: "spec.service.ipFamilyPolicy"},
		{about: "family", spec: `{service: {ipFamilies: [IPv5]}}`, want: "spec.service.ipFamilies[0]"},
		{about: "one family twice", spec: `{service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv6]}}`, want: "spec.service.ipFamilies"},
		{about: "two families of one stack", spec: `{service: {ipFamilies: [IPv6, IPv4]}}`, want: "spec.service.ipFamilies"},
		{about: "external", spec: `{service: {external: {type: LoadBalancer, host: redis.example.com, annotations: {a: b}, loadBalancerClass: c, loadBalancerSourceRanges: [10.0.0.0/8]}}}`},
		{about: "external by nodes", spec: `{mode: Standalone, service: {external: {type: NodePort}}}`},
		{about: "external with Sentinels", spec: `{mode: Sentinel, service: {external: {type: NodePort}}}`, want: "spec.service.external"},
		{about: "external with shards", spec: `{mode: Cluster, service: {announceHostnames: true, external: {type: LoadBalancer}}}`},
		{about: "external with shards by nodes", spec: `{mode: Cluster, service: {external: {type: NodePort}}}`, want: "spec.service.external.type"},
		{about: "external with shards by one host", spec: `{mode: Cluster, service: {external: {type: LoadBalancer, host: a.example}}}`, want: "spec.service.external.host"},
		{about: "host names without shards", spec: `{service: {announceHostnames: true}}`, want: "spec.service.announceHostnames"},
		{about: "external inside", spec: `{service: {external: {type: ClusterIP}}}`, want: "spec.service.external.type"},
		{about: "external host", spec: `{service: {external: {type: NodePort, host: "a b"}}}`, want: "spec.service.external.host"},
		{about: "external class", spec: `{service: {external: {type: NodePort, loadBalancerClass: c}}}`, want: "spec.service.external.loadBalancerClass"},
		{about: "sentinels without the mode", spec: `{sentinel: {}}`, want: "spec.sentinel"},
		{about: "even sentinels", spec: `{mode: Sentinel, sentinel: {replicas: 4}}`, want: "spec.sentinel.replicas"},
		{about: "one sentinel", spec: `{mode: Sentinel, sentinel: {replicas: 1}}`, want: "spec.sentinel.replicas"},
		{about: "quorum of one", spec: `{mode: Sentinel, sentinel: {quorum: 1}}`, want: "spec.sentinel.quorum"},
		{about: "quorum above all", spec: `{mode: Sentinel, sentinel: {quorum: 4}}`, want: "spec.sentinel.quorum"},
		{about: "downAfter too short", spec: `{mode: Sentinel, sentinel: {downAfter: 499ms}}`, want: "spec.sentinel.downAfter"},
		{about: "downAfter without a unit", spec: `{mode: Sentinel, sentinel: {downAfter: "5"}}`, want: "duration"},
		{about: "failoverTimeout too long", spec: `{mode: Sentinel, sentinel: {failoverTimeout: 31m}}`, want: "spec.sentinel.failoverTimeout"},
		{about: "parallelSyncs", spec: `{mode: Sentinel, sentinel: {parallelSyncs: 0}}`, want: "spec.sentinel.parallelSyncs"},
		{about: "config in upper case", spec: `{config: {MaxMemory: 1gb}}`, want: "spec.config[MaxMemory]"},
		{about: "config with a space", spec: `{config: {"maxmemory 1gb": ""}}`, want: "spec.config[maxmemory 1gb]"},
		{about: "config with a second line", spec: `{config: {maxmemory: "1gb\nport 1"}}`, want: "spec.config[maxmemory]"},
		{about: "config too long", spec: `{config: {maxmemory: ` + strings.Repeat("x", 1025) + `}}`, want: "spec.config[maxmemory]"},
		{about: "storage of nothing", spec: `{storage: {size: "0"}}`, want: "spec.storage.size"},
		{about: "storage of words", spec: `{storage: {size: much}}`, want: "quantit"},
		{about: "ephemeral with a size", spec: `{storage: {ephemeral: true, size: 1Gi}}`, want: "spec.storage.ephemeral"},
		{about: "access mode", spec: `{storage: {accessModes: [ReadWrite]}}`, want: "spec.storage.accessModes[0]"},
		{about: "retain", spec: `{storage: {retain: Keep}}`, want: "spec.storage.retain"},
		{about: "retain changed", spec: `{storage: {retain: Delete}}`, old: `{}`},
		{about: "size spelled another way", spec: `{storage: {size: 1024Mi}}`, old: `{}`},
		{about: "size grown", spec: `{storage: {size: 2Gi}}`, old: `{}`},
		{about: "size shrunk", spec: `{storage: {size: 2Gi}}`, old: `{storage: {size: 3Gi}}`, want: "spec.storage.size"},
		{about: "size taken back that volumes were refused", spec: `{storage: {size: 2Gi}}`, old: `{storage: {size: 3Gi}}`, has: "2Gi"},
		{about: "size shrunk below what volumes have", spec: `{storage: {size: 1Gi}}`, old: `{storage: {size: 3Gi}}`, has: "2Gi", want: "spec.storage.size"},
		{about: "size below what volumes had before", spec: `{storage: {size: 2Gi}}`, old: `{storage: {size: 2Gi}}`, has: "5Gi"},
		{about: "size shrunk to the default", spec: `{}`, old: `{storage: {size: 3Gi}}`, want: "spec.storage.size"},
		{about: "class changed", spec: `{storage: {storageClassName: b}}`, old: `{storage: {storageClassName: a}}`, want: "spec.storage"},
		{about: "modes changed", spec: `{storage: {accessModes: [ReadWriteMany]}}`, old: `{}`, want: "spec.storage"},
		{about: "made ephemeral", spec: `{storage: {ephemeral: true}}`, old: `{}`, want: "spec.storage"},
		{about: "secret name", spec: `{auth: {secretName: My_Secret}}`, want: "spec.auth.secretName"},
		{about: "durability above replicas", spec: `{durability: {minReplicasToWrite: 3}}`, want: "spec.durability.minReplicasToWrite"},
		{about: "durability of one", spec: `{mode: Standalone, durability: {minReplicasToWrite: 1}}`, want: "spec.durability.minReplicasToWrite"},
		{about: "durability below nothing", spec: `{durability: {minReplicasToWrite: -1}}`, want: "spec.durability.minReplicasToWrite"},
		{about: "lag of half a second", spec: `{durability: {maxLag: 1500ms}}`, want: "spec.durability.maxLag"},
		{about: "lag too long", spec: `{durability: {maxLag: 2h}}`, want: "spec.durability.maxLag"},
		{about: "service type", spec: `{service: {type: ExternalName}}`, want: "spec.service.type"},
		{about: "service name", spec: `{service: {masterName: "1"}}`, want: "spec.service.masterName"},
		{about: "name of the members", spec: `{service: {masterName: cache-members}}`, want: "spec.service.masterName"},
		{about: "name of the sentinels", spec: `{service: {replicasName: cache-sentinel}}`, want: "spec.service.replicasName"},
		{about: "one name for both", spec: `{service: {replicasName: cache}}`, want: "spec.service.replicasName"},
		{about: "one other name for both", spec: `{service: {masterName: cache-replicas}}`, want: "spec.service.replicasName"},
		{about: "owned label", spec: `{podMetadata: {labels: {redis-role: master}}}`, want: "spec.podMetadata.labels[redis-role]"},
		{about: "owned label family", spec: `{podMetadata: {labels: {redstart.dev/redis: x}}}`, want: "spec.podMetadata.labels[redstart.dev/redis]"},
		{about: "extras", spec: `{extraContainers: [{name: exporter, image: e, ports: [{containerPort: 9121}], volumeMounts: [{name: data, mountPath: /data}, {name: ca, mountPath: /ca}]}], initContainers: [{name: wait, image: w}], extraVolumes: [{name: ca, secret: {secretName: ca}}], extraVolumeMounts: [{name: ca, mountPath: /etc/ca, readOnly: true}]}`},
		{about: "extra container of a taken name", spec: `{extraContainers: [{name: redis, image: e}]}`, want: "spec.extraContainers[0].name"},
		{about: "init container of a taken name", spec: `{initContainers: [{name: agent, image: e}]}`, want: "spec.initContainers[0].name"},
		{about: "extra volume of a taken name", spec: `{extraVolumes: [{name: data, emptyDir: {}}]}`, want: "spec.extraVolumes[0].name"},
		{about: "mount over the data", spec: `{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /data}]}`, want: "spec.extraVolumeMounts[0].mountPath"},
		{about: "mount below the data", spec: `{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /data/a}]}`, want: "spec.extraVolumeMounts[0].mountPath"},
		{about: "mount of a relative path", spec: `{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: a}]}`, want: "spec.extraVolumeMounts[0].mountPath"},
		{about: "no grace", spec: `{terminationGracePeriodSeconds: 4}`, want: "spec.terminationGracePeriodSeconds"},
	} {
		t.Run(tc.about, func(t *testing.T) {
			name := tc.name
			if name == "" {
				name = "cache"
			}
			var old map[string]any
			if tc.old != "" {
				old = parse(t, name, tc.old)
			}
			obj := parse(t, name, tc.spec)
			if tc.has != "" {
				obj["status"] = map[string]any{"storageSize": tc.has}
				old["status"] = obj["status"]
			}
			both(t, c, obj, old, tc.want)
		})
	}
}

func TestOwnedSettingsAreRefused(t *testing.T) {
	c := loadCRD(t, "redises")
	for _, name := range []string{
		"aclfile", "bind", "bind-source-addr", "cluster-enabled", "daemonize", "dir", "enable-debug-command", "enable-module-command",
		"enable-protected-configs", "include", "loadmodule", "logfile", "masterauth", "masteruser", "min-replicas-max-lag",
		"min-replicas-to-write", "min-slaves-max-lag", "min-slaves-to-write", "pidfile", "port", "protected-mode", "rename-command",
		"replica-announce-ip", "replica-announce-port", "replica-announced", "replica-priority", "replica-read-only", "replicaof",
		"requirepass", "sentinel", "slave-announce-ip", "slave-priority", "slave-read-only", "slaveof", "supervised", "syslog-enabled",
		"syslog-facility", "syslog-ident", "tls-port", "unixsocket", "unixsocketperm", "user",
	} {
		both(t, c, parse(t, "cache", "{config: {"+name+": x}}"), nil, "spec.config["+name+"]")
	}
	for _, name := range []string{"maxmemory", "replica-serve-stale-data", "save", "client-output-buffer-limit", "users"} {
		both(t, c, parse(t, "cache", "{config: {"+name+": x}}"), nil, "")
	}
}

// TestRulesOfGoAlone are those that would cost too much as rules of the CRD: the condition of the Redis tells of them, or redstart
// apply.
func TestRulesOfGoAlone(t *testing.T) {
	for spec, want := range map[string]string{
		`{extraContainers: [{name: a, image: e, ports: [{containerPort: 6379}]}]}`:        "spec.extraContainers[0].ports[0].containerPort",
		`{extraContainers: [{name: a, image: e}], initContainers: [{name: a, image: e}]}`: "spec.initContainers[0].name",
		// An API server knows these by the keys of the lists.
		`{extraContainers: [{name: a, image: e}, {name: a, image: f}]}`:                                                  "spec.extraContainers[1].name",
		`{extraVolumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]}`:                                             "spec.extraVolumes[1].name",
		`{extraVolumeMounts: [{name: a, mountPath: /a}]}`:                                                                "spec.extraVolumeMounts[0].name",
		`{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /a/../data}]}`:               "spec.extraVolumeMounts[0].mountPath",
		`{networkPolicy: {enabled: true, allowFrom: [{podSelector: {matchExpressions: [{key: a, operator: Equals}]}}]}}`: "spec.networkPolicy.allowFrom[0].podSelector.matchExpressions[0].operator",
		`{networkPolicy: {enabled: true, allowMetricsFrom: [{namespaceSelector: {matchLabels: {"a b": c}}}]}}`:           "spec.networkPolicy.allowMetricsFrom[0].namespaceSelector.matchLabels",
		`{metrics: {podMonitor: true, podMonitorLabels: {"a b": c}}}`:                                                    "spec.metrics.podMonitorLabels",
	} {
		if got := goValidate(t, parse(t, "cache", spec), nil); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want one error of %s", spec, got, want)
		}
	}
}

// both demands the same verdict of the Go code and of the CRD, and that the Go code names the field.
func both(t *testing.T, c *crd, obj, old map[string]any, want string) {
	t.Helper()
	inGo := goValidate(t, obj, old)
	inCRD := c.validate(obj, old)
	if want == "" {
		if len(inGo) > 0 || len(inCRD) > 0 {
			t.Errorf("in Go: %q\nin the CRD: %v\nwant no errors", inGo, inCRD)
		}
		return
	}
	if len(inGo) != 1 || !strings.Contains(inGo[0], want) {
		t.Errorf("in Go: %q, want one error of %s", inGo, want)
	}
	if len(inCRD) == 0 {
		t.Errorf("the CRD accepts what Go refuses: %q", inGo)
	}
}

func TestDefaultIsIdempotentAndValid(t *testing.T) {
	c := loadCRD(t, "redises")
	for _, mode := range []v1alpha1.Mode{"", v1alpha1.ModeStandalone, v1alpha1.ModeReplication, v1alpha1.ModeSentinel, v1alpha1.ModeCluster} {
		r := &v1alpha1.Redis{ObjectMeta: metav1.ObjectMeta{Name: "cache"}, Spec: v1alpha1.RedisSpec{Mode: mode}}
		r.Default()
		once := r.DeepCopy()
		r.Default()
		a, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("mode %q: defaulted once: %s\ntwice: %s", mode, a, b)
		}
		obj := map[string]any{}
		if err := utiljson.Unmarshal(b, &obj); err != nil {
			t.Fatal(err)
		}
		obj["apiVersion"], obj["kind"] = v1alpha1.GroupVersion.String(), "Redis"
		both(t, c, obj, nil, "")
	}
}
