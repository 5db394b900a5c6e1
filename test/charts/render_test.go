// Package charts tests the charts with Helm's own library. It is a module of its own, so that Helm stays out of the
// program's.
package charts

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	operatorChart = "../../charts/redstart"
	redisChart    = "../../charts/redis-ha"
)

// template is what helm template does.
func template(chart, release, namespace string, values map[string]any) (*release_, error) {
	c, err := loader.Load(chart)
	if err != nil {
		return nil, err
	}
	install := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	install.DryRun, install.ClientOnly, install.Replace = true, true, true
	install.ReleaseName, install.Namespace = release, namespace
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.34.0", Major: "1", Minor: "34"}
	install.APIVersions = chartutil.VersionSet{"monitoring.coreos.com/v1", "redstart.dev/v1alpha1"}
	return install.Run(c, values)
}

type release_ = release.Release

// rendered are the objects of a chart, by kind, namespace and name.
func rendered(t *testing.T, chart, release, namespace string, values map[string]any) (objects map[string]*unstructured.Unstructured, notes string) {
	t.Helper()
	r, err := template(chart, release, namespace, values)
	if err != nil {
		t.Fatalf("%s: %v", chart, err)
	}
	return parse(t, r.Manifest), r.Info.Notes
}

func parse(t *testing.T, manifest string) map[string]*unstructured.Unstructured {
	t.Helper()
	objects := map[string]*unstructured.Unstructured{}
	for d := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if err == io.EOF {
			return objects
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, manifest)
		}
		if len(u.Object) > 0 {
			objects[u.GetKind()+" "+u.GetNamespace()+"/"+u.GetName()] = u
		}
	}
}

func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(b, &values); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return values
}

// ciValues are the values of a chart's ci directory, and none at all.
func ciValues(t *testing.T, chart string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{"defaults": {}}
	files, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no values to test with: %v", chart, err)
	}
	for _, file := range files {
		all[filepath.Base(file)] = readValues(t, file)
	}
	return all
}

func TestLint(t *testing.T) {
	for _, chart := range []string{operatorChart, redisChart} {
		for name, values := range ciValues(t, chart) {
			l := lint.All(chart, values, "default", true)
			for _, m := range l.Messages {
				if m.Severity > support.InfoSev {
					t.Errorf("%s with %s: %s", chart, name, m)
				}
			}
		}
	}
}

// TestSchemas validates all that the charts render against the schemas of Kubernetes 1.34.
func TestSchemas(t *testing.T) {
	s := loadSchemas(t)
	for _, chart := range []string{operatorChart, redisChart} {
		for name, values := range ciValues(t, chart) {
			objects, _ := rendered(t, chart, "redstart", "redstart-system", values)
			for key, o := range objects {
				if err := s.validate(o); err != nil {
					t.Errorf("%s with %s: %s: %v", chart, name, key, err)
				}
			}
		}
	}
	bad := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"port": int64(1)}}}
	if s.validate(bad) == nil {
		t.Error("an unknown field passes")
	}
}

// unchanged is an object without what says who made it.
func unchanged(u *unstructured.Unstructured) []byte {
	u = u.DeepCopy()
	labels := u.GetLabels()
	delete(labels, "helm.sh/chart")
	delete(labels, "app.kubernetes.io/managed-by")
	u.SetLabels(labels)
	annotations := u.GetAnnotations()
	delete(annotations, "helm.sh/resource-policy")
	u.SetAnnotations(annotations)
	unstructured.RemoveNestedField(u.Object, "status")
	b, err := yaml.Marshal(u.Object)
	if err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b)
}
