package charts

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/config/crd"
	"redstart.dev/redstart/internal/install"
)

// TestChartIsInstall keeps the chart and redstart install equal, object by object.
func TestChartIsInstall(t *testing.T) {
	for _, tt := range []struct {
		name    string
		values  map[string]any
		options install.Options
	}{
		{
			"all namespaces",
			map[string]any{"image": map[string]any{"repository": "example.com/redstart", "tag": "v1"}},
			install.Options{Image: "example.com/redstart:v1", Replicas: 1},
		},
		{
			"some namespaces",
			map[string]any{
				"image":           map[string]any{"tag": "v1", "pullPolicy": "Always", "pullSecrets": []any{"a", "b"}},
				"watchNamespaces": []any{"staging", "redis"}, "replicas": 2,
			},
			install.Options{
				Image: "redstart:v1", ImagePullPolicy: corev1.PullAlways, ImagePullSecrets: []string{"a", "b"},
				Watch: []string{"redis", "staging"}, Replicas: 2,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Namespace = "redstart-system"
			got, _ := rendered(t, operatorChart, "redstart", "redstart-system", tt.values)
			want := map[string]*unstructured.Unstructured{}
			for _, o := range installed(t, tt.options) {
				want[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = o
			}
			for key, o := range want {
				if got[key] == nil {
					t.Errorf("the chart lacks %s", key)
				} else if d := cmp.Diff(string(unchanged(o)), string(unchanged(got[key]))); d != "" {
					t.Errorf("%s: install (-) and the chart (+) differ:\n%s", key, d)
				}
			}
			for key := range got {
				if want[key] == nil {
					t.Errorf("only the chart has %s", key)
				}
			}
		})
	}
}

// installed is what redstart install applies, but for the namespace, which helm install --create-namespace makes.
func installed(t *testing.T, o install.Options) []*unstructured.Unstructured {
	t.Helper()
	all, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range install.Objects(o) {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(client.Object(obj))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &unstructured.Unstructured{Object: fields})
	}
	return all
}

// TestDefinitionsStay: Helm upgrades them with the chart, and leaves them when it uninstalls it.
func TestDefinitionsStay(t *testing.T) {
	objects, _ := rendered(t, operatorChart, "redstart", "redstart-system", nil)
	n := 0
	for key, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		n++
		if o.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s goes when the chart is uninstalled", key)
		}
	}
	if n == 0 {
		t.Error("the chart has no definitions")
	}
	objects, notes := rendered(t, operatorChart, "redstart", "redstart-system", map[string]any{"crds": map[string]any{"enabled": false}})
	for key := range objects {
		if strings.HasPrefix(key, "CustomResourceDefinition") {
			t.Errorf("%s is there though crds.enabled is false", key)
		}
	}
	if !strings.Contains(notes, "crds.enabled is false") {
		t.Errorf("the notes do not say so:\n%s", notes)
	}
}

// TestUpgradeChangesNoMore: of two sets of values, the objects that differ are those that the difference is about.
func TestUpgradeChangesNoMore(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after map[string]any
		want  []string
	}{
		{"nothing", map[string]any{}, nil},
		{"replicas", map[string]any{"replicas": 2}, []string{"Deployment"}},
		{"image", map[string]any{"image": map[string]any{"tag": "v2"}}, []string{"Deployment"}},
		{"metrics", map[string]any{"networkPolicy": map[string]any{"metricsFrom": []any{map[string]any{"podSelector": map[string]any{}}}}}, []string{"NetworkPolicy"}},
		{"pod monitor", map[string]any{"metrics": map[string]any{"podMonitor": map[string]any{"enabled": true}}}, []string{"PodMonitor"}},
	} {
		before, _ := rendered(t, operatorChart, "redstart", "ns", nil)
		after, _ := rendered(t, operatorChart, "redstart", "ns", tt.after)
		var got []string
		for key, o := range after {
			if before[key] == nil || string(unchanged(before[key])) != string(unchanged(o)) {
				got = append(got, o.GetKind())
			}
		}
		slices.Sort(got)
		if !cmp.Equal(got, tt.want) || len(after) < len(before) {
			t.Errorf("%s changes %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestTwoReleases: two of them in one namespace do not take each other's pods.
func TestTwoReleases(t *testing.T) {
	one, _ := rendered(t, operatorChart, "one", "ns", nil)
	two, _ := rendered(t, operatorChart, "two", "ns", nil)
	for key := range one {
		if two[key] != nil && !strings.HasPrefix(key, "CustomResourceDefinition") {
			t.Errorf("both have %s", key)
		}
	}
}

func TestUnknownValuesAreRefused(t *testing.T) {
	for _, values := range []map[string]any{
		{"replica": 2}, {"replicas": 3}, {"image": map[string]any{"registry": "a"}}, {"watchNamespaces": []any{"A"}},
	} {
		if _, err := template(operatorChart, "redstart", "ns", values); err == nil {
			t.Errorf("%v is accepted", values)
		}
	}
}
