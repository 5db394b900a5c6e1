package charts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/importer"
)

// redisOf is the Redis that values render, after the rules of its type accepted it.
func redisOf(t *testing.T, values map[string]any) (*v1alpha1.Redis, map[string]*unstructured.Unstructured, string) {
	t.Helper()
	objects, notes := rendered(t, redisChart, "cache", "data", values)
	u := objects["Redis data/cache"]
	if u == nil {
		t.Fatalf("no Redis among %d objects", len(objects))
	}
	r := &v1alpha1.Redis{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, r, true); err != nil {
		t.Fatal(err)
	}
	r.Default()
	if errs := r.Validate(); len(errs) > 0 {
		t.Errorf("the rules of a Redis refuse it: %v", errs.ToAggregate())
	}
	return r, objects, notes
}

// TestChartIsImport: the same values give the same Redis by the chart and by redstart import.
func TestChartIsImport(t *testing.T) {
	all := ciValues(t, redisChart)
	for name, text := range map[string]string{
		"settings":     `{redis: {config: {maxmemory: 1073741824, save: ["900 1", "300 10"], min-slaves-to-write: 2, activedefrag: true}}}`,
		"one member":   `{replicas: 1, persistentVolume: {enabled: false}, auth: true}`,
		"apart":        `{hardAntiAffinity: true, securityContext: {runAsUser: 1000, fsGroup: 1000}}`,
		"replication":  `{architecture: replication, master: {persistence: {storageClass: fast}, service: {type: NodePort}}, replica: {persistence: {size: 20Gi, storageClass: slow}, service: {type: LoadBalancer}}}`,
		"volumes":      `{architecture: replication, master: {persistence: {enabled: false}}, replica: {persistence: {enabled: true}}}`,
		"standalone":   `{architecture: standalone, master: {resources: {limits: {memory: 1Gi}}}, replica: {replicaCount: 2, nodeSelector: {a: b}, persistence: {size: 20Gi}}}`,
		"sentinels":    `{architecture: replication, sentinel: {enabled: true, service: {type: LoadBalancer, annotations: {a: b}}}, master: {nodeSelector: {a: b}, service: {type: NodePort}}, replica: {nodeSelector: {c: d}}}`,
		"common":       `{architecture: replication, commonConfiguration: "# mine\nappendonly no\nsave 900 1\nsave \"\"\nsave 300 10\nsave 60 1\nclient-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 0 0 0\nmaxmemory 1gb\nmaxmemory 2gb"}`,
		"first form":   `{replicas: {servers: 3}, redis: {config: {maxmemory: 1gb}}}`,
		"monitor":      `{exporter: {enabled: true, serviceMonitor: {enabled: true, labels: {release: prometheus}}}}`,
		"no monitor":   `{exporter: {enabled: true, serviceMonitor: {enabled: false}}}`,
		"pod monitor":  `{architecture: replication, metrics: {enabled: true, podMonitor: {enabled: true, additionalLabels: {release: prometheus}}}}`,
		"old monitor":  `{architecture: replication, metrics: {enabled: true, serviceMonitor: {enabled: true, selector: {release: prometheus}}}}`,
		"empty values": `{architecture: replication, auth: {enabled: true}, commonConfiguration: "", master: {resources: {}, persistence: {storageClass: "-"}}}`,
	} {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = values
	}
	for name, values := range all {
		from := "redis-ha"
		if values["architecture"] != nil {
			from = "bitnami-redis"
		}
		got, objects, _ := redisOf(t, values)
		imported, err := importer.Import(values, from, "cache")
		if err != nil {
			t.Fatal(err)
		}
		want := &v1alpha1.Redis{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(imported.Redis.Object, want); err != nil {
			t.Fatal(err)
		}
		want.Default()
		if d := cmp.Diff(asJSON(t, want.Spec), asJSON(t, got.Spec)); d != "" {
			t.Errorf("%s: import (-) and the chart (+) differ:\n%s", name, d)
		}
		if (objects["Secret data/cache-auth"] != nil) != (imported.Secret != nil) {
			t.Errorf("%s: only one of them makes a Secret", name)
		}
	}
}

func asJSON(t *testing.T, spec v1alpha1.RedisSpec) map[string]any {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spec)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values map[string]any
		want   []string
		not    string
	}{
		{"nothing", nil, []string{"cache.data.svc:6379", "cache-sentinel.data.svc:26379", "There is no password"}, "Without meaning"},
		{"generated", map[string]any{"auth": true}, []string{"get secret cache -o jsonpath"}, "no password"},
		{"generated for Bitnami's values", map[string]any{"architecture": "replication", "auth": map[string]any{"enabled": true}}, []string{"get secret cache -o jsonpath"}, "cache-auth"},
		{"given", map[string]any{"auth": true, "redisPassword": "abc"}, []string{"get secret cache-auth -o jsonpath"}, "abc"},
		{"existing", map[string]any{"auth": true, "existingSecret": "mine"}, []string{"get secret mine -o jsonpath"}, "no password"},
		{
			"dropped",
			map[string]any{"haproxy": map[string]any{"enabled": true}, "rbac": map[string]any{"create": true}, "redis": map[string]any{"masterGroupName": "mymaster"}},
			[]string{"Without meaning here:", "haproxy: the Service", "rbac: the operator", "mymaster: Sentinels call the master cache"},
			"exporter",
		},
		{
			"alike",
			map[string]any{"architecture": "replication", "master": map[string]any{"persistence": map[string]any{"size": "1Gi"}}, "replica": map[string]any{"persistence": map[string]any{"size": "2Gi"}}},
			[]string{"replica.persistence: all members are alike"},
			"Sentinels are",
		},
		{
			"with Bitnami's Sentinels",
			map[string]any{"architecture": "replication", "sentinel": map[string]any{"enabled": true}, "master": map[string]any{"nodeSelector": map[string]any{"a": "b"}}},
			[]string{"master: with Sentinels all pods are those of replica"},
			"replica: ",
		},
	} {
		_, _, notes := redisOf(t, tt.values)
		for _, want := range tt.want {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: the notes lack %q:\n%s", tt.name, want, notes)
			}
		}
		if strings.Contains(notes, tt.not) {
			t.Errorf("%s: the notes have %q:\n%s", tt.name, tt.not, notes)
		}
	}
}

func TestUnknownRedisValuesAreRefused(t *testing.T) {
	for _, values := range []map[string]any{
		{"replica_count": 3},
		{"redis": map[string]any{"customArgs": "x"}},
		{"sentinel": map[string]any{"config": map[string]any{"x": 1}}},
		{"image": map[string]any{"repository": "bitnami/redis", "tag": "7.2"}},
		{"redis": map[string]any{"port": 6380}},
		{"image": map[string]any{"repository": "redis", "tag": "5.0.6-alpine"}},
		{"redis_image": "quay.io/smile/redis:4.0.8r0"},
		{"architecture": "cluster"},
	} {
		if _, err := template(redisChart, "cache", "data", values); err == nil {
			t.Errorf("%v is accepted", values)
		}
	}
}

// TestRedisUpgradeChangesNoMore: what changes of the Redis is what was changed in the values, and nothing restarts for the rest.
func TestRedisUpgradeChangesNoMore(t *testing.T) {
	base := map[string]any{"auth": true, "redisPassword": "abc"}
	_, before, _ := redisOf(t, base)
	more := map[string]any{"auth": true, "redisPassword": "abc", "replicas": 5}
	_, after, _ := redisOf(t, more)
	old, now := before["Redis data/cache"].DeepCopy(), after["Redis data/cache"].DeepCopy()
	unstructured.RemoveNestedField(now.Object, "spec", "replicas")
	if d := cmp.Diff(string(unchanged(old)), string(unchanged(now))); d != "" {
		t.Errorf("more changed than replicas:\n%s", d)
	}
	if d := cmp.Diff(string(unchanged(before["Secret data/cache-auth"])), string(unchanged(after["Secret data/cache-auth"]))); d != "" {
		t.Errorf("the Secret changed:\n%s", d)
	}
}
