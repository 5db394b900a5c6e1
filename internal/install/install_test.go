package install_test

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/config/crd"
	"redstart.dev/redstart/internal/install"
	"redstart.dev/redstart/internal/operator/objects"
)

var update = flag.Bool("update", false, "write charts/redstart/files anew")

func keys(all []client.Object) []string {
	var out []string
	for _, o := range all {
		out = append(out, install.Key(o))
	}
	return out
}

// find is the object of a type and a name.
func find[T client.Object](t *testing.T, all []client.Object, name string) T {
	t.Helper()
	for _, o := range all {
		if typed, ok := o.(T); ok && o.GetName() == name {
			return typed
		}
	}
	t.Fatalf("no %T %s among %q", *new(T), name, keys(all))
	panic("unreachable")
}

func TestClusterWide(t *testing.T) {
	all := install.Objects(install.Options{Namespace: "redstart-system", Image: "redstart:v1", Replicas: 2})
	want := []string{
		"ServiceAccount redstart-system/redstart-operator",
		"Role redstart-system/redstart-operator-leader", "RoleBinding redstart-system/redstart-operator-leader",
		"ClusterRole redstart-operator", "ClusterRoleBinding redstart-operator",
		"ClusterRole redstart-operator-view", "ClusterRole redstart-operator-edit",
		"Service redstart-system/redstart-operator-metrics", "NetworkPolicy redstart-system/redstart-operator",
		"PodDisruptionBudget redstart-system/redstart-operator", "Deployment redstart-system/redstart-operator",
	}
	if d := cmp.Diff(want, keys(all)); d != "" {
		t.Error(d)
	}
	d := find[*appsv1.Deployment](t, all, install.Name)
	if w := install.Watched(d); w != nil {
		t.Errorf("it watches %q, want all", w)
	}
}

// In some namespaces it may do nothing in any other.
func TestNamespaced(t *testing.T) {
	o := install.Options{Namespace: "ops", Watch: []string{"a", "b"}, Image: "redstart:v1", Replicas: 1}
	all := install.Objects(o)
	for _, obj := range all {
		switch obj.(type) {
		case *rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding:
			t.Errorf("there is a %s", install.Key(obj))
		}
		if !slices.Contains([]string{"ops", "a", "b"}, obj.GetNamespace()) {
			t.Errorf("%s is in another namespace", install.Key(obj))
		}
	}
	d := find[*appsv1.Deployment](t, all, install.Name)
	if got := install.Watched(d); !cmp.Equal(got, o.Watch) {
		t.Errorf("it watches %q, want %q", got, o.Watch)
	}
	fewer := o
	fewer.Watch = []string{"b"}
	left := keys(install.Left(all, install.Objects(fewer)))
	if want := []string{"Role a/redstart-operator", "RoleBinding a/redstart-operator"}; !cmp.Equal(left, want) {
		t.Errorf("without a it leaves %q behind, want %q", left, want)
	}
}

// The pods pass the restricted standard of Kubernetes, and Redises let them in.
func TestPodIsRestricted(t *testing.T) {
	all := install.Objects(install.Options{Namespace: "ops", Image: "redstart:v1", Replicas: 1, ImagePullSecrets: []string{"pull"}})
	d := find[*appsv1.Deployment](t, all, install.Name)
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	switch sc := c.SecurityContext; {
	case !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault,
		*sc.AllowPrivilegeEscalation, !*sc.ReadOnlyRootFilesystem, !cmp.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}):
		t.Errorf("the pod is not restricted: %v %v", pod.SecurityContext, sc)
	}
	for k, v := range objects.OperatorSelector() {
		if d.Spec.Template.Labels[k] != v {
			t.Errorf("the pods lack the label %s=%s", k, v)
		}
	}
	if len(pod.ImagePullSecrets) != 1 || pod.ImagePullSecrets[0].Name != "pull" {
		t.Errorf("pull secrets: %v", pod.ImagePullSecrets)
	}
	if !slices.Contains(c.Args, "--leader-elect") || !slices.Contains(c.Args, "--agent-image=redstart:v1") {
		t.Errorf("arguments %q", c.Args)
	}
}

// resources of the kinds of a Redis's objects.
var resources = map[string]string{
	"ConfigMap": "configmaps", "NetworkPolicy": "networkpolicies", "PodDisruptionBudget": "poddisruptionbudgets", "Role": "roles",
	"RoleBinding": "rolebindings", "Service": "services", "ServiceAccount": "serviceaccounts", "StatefulSet": "statefulsets",
}

// TestOperatorMayDoItsWork: it may apply every object that it builds, and give the agents what it gives them.
func TestOperatorMayDoItsWork(t *testing.T) {
	rules := objects.OperatorRules()
	files, err := filepath.Glob("../operator/objects/testdata/*.redis.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no Redises: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := &v1alpha1.Redis{}
		if err := yaml.Unmarshal(b, r); err != nil {
			t.Fatal(err)
		}
		r.Default()
		built, err := objects.Build(r, objects.Options{Replicas: 3, AgentImage: "redstart:v1"})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range built {
			gvk := o.GetObjectKind().GroupVersionKind()
			resource, known := resources[gvk.Kind]
			if !known {
				t.Fatalf("the resource of %s is not known to this test", gvk.Kind)
			}
			for _, verb := range []string{"get", "list", "watch", "create", "patch"} {
				if !install.Allows(rules, verb, gvk.Group, resource) {
					t.Errorf("the operator may not %s %s", verb, resource)
				}
			}
			if role, ok := o.(*rbacv1.Role); ok {
				givesNoMoreThanItHas(t, rules, role)
			}
		}
	}
}

func givesNoMoreThanItHas(t *testing.T, rules []rbacv1.PolicyRule, role *rbacv1.Role) {
	t.Helper()
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					if !install.Allows(rules, verb, group, resource) {
						t.Errorf("the agents may %s %s %s, the operator may not", verb, group, resource)
					}
				}
			}
		}
	}
}

// TestChartFiles keeps what charts/redstart takes from here in step.
func TestChartFiles(t *testing.T) {
	const dir = "../../charts/redstart/files"
	want, err := install.ChartFiles()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range want {
		file := filepath.Join(dir, name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // sources are for everybody
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != string(text) {
			t.Errorf("%s is not current; run make generate", file)
		}
	}
	n := 0
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return err
	})
	if err != nil || n != len(want) {
		t.Errorf("%s has %d files, want %d, error %v; run make generate", dir, n, len(want), err)
	}
}

func TestCRDs(t *testing.T) {
	all, err := crd.All()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range all {
		names = append(names, u.GetName())
	}
	if !slices.Contains(names, "redises.redstart.dev") {
		t.Errorf("the definitions are %q", names)
	}
}

func TestDefaultImage(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "redstart:v1.2.3", "b06d567-dirty": "redstart:b06d567-dirty", "(devel)": "redstart:latest", "": "redstart:latest",
		strings.Repeat("a", 129): "redstart:latest",
	} {
		if got := install.DefaultImage(version); got != want {
			t.Errorf("version %q: %s, want %s", version, got, want)
		}
	}
}
