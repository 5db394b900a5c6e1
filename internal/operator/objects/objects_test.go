package objects_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

var update = flag.Bool("update", false, "write the golden files")

// redis is the Redis of a file of testdata, with the defaults and a UID, as the API server gives it.
func redis(t testing.TB, file string) *v1alpha1.Redis {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r v1alpha1.Redis
	if err := yaml.UnmarshalStrict(b, &r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	r.UID = "5c1c3c5e-0000-4000-8000-000000000001"
	r.Namespace = "default"
	r.Default()
	if errs := r.Validate(); len(errs) > 0 {
		t.Fatalf("%s: %v", file, errs.ToAggregate())
	}
	return &r
}

func build(t testing.TB, r *v1alpha1.Redis, o objects.Options) []client.Object {
	t.Helper()
	all, err := objects.Build(r, o)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGolden builds the objects of each testdata/NAME.redis.yaml and compares them with testdata/NAME.golden.yaml.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.redis.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".redis.yaml"), func(t *testing.T) {
			r := redis(t, file)
			o := objects.Options{Replicas: r.MemberCount()}
			if strings.Contains(file, "cluster") {
				o.AgentImage = "redstart:v1"
			}
			var got bytes.Buffer
			for _, obj := range build(t, r, o) {
				b, err := yaml.Marshal(obj)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(b)
			}
			golden := strings.TrimSuffix(file, ".redis.yaml") + ".golden.yaml"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("%s differs (run with -update if that is meant; another pod template restarts every Redis):\n%s", golden, d)
			}
		})
	}
}

// TestPodTemplateIsStable changes everything that must reach the members without a restart, and finds the same pods.
func TestPodTemplateIsStable(t *testing.T) {
	base := redis(t, "testdata/sentinel.redis.yaml")
	want := templates(t, base)
	for name, change := range map[string]func(*v1alpha1.Redis){
		"replicas":   func(r *v1alpha1.Redis) { r.Spec.Replicas = ptr.To[int32](5) },
		"config":     func(r *v1alpha1.Redis) { r.Spec.Config = map[string]string{"maxmemory": "1gb"} },
		"password":   func(r *v1alpha1.Redis) { r.Spec.Auth = &v1alpha1.AuthSpec{SecretName: "other"} },
		"no auth":    func(r *v1alpha1.Redis) { r.Spec.Auth = &v1alpha1.AuthSpec{Enabled: ptr.To(false)} },
		"sentinels":  func(r *v1alpha1.Redis) { r.Spec.Sentinel.Replicas = ptr.To[int32](5) },
		"quorum":     func(r *v1alpha1.Redis) { r.Spec.Sentinel.Quorum = ptr.To[int32](3) },
		"down after": func(r *v1alpha1.Redis) { r.Spec.Sentinel.DownAfter = &metav1.Duration{Duration: time.Minute} },
		"durability": func(r *v1alpha1.Redis) {
			r.Spec.Durability = &v1alpha1.DurabilitySpec{MinReplicasToWrite: ptr.To[int32](1)}
		},
		"service": func(r *v1alpha1.Redis) {
			r.Spec.Service = &v1alpha1.ServiceSpec{Type: corev1.ServiceTypeNodePort, MasterName: "w", ReplicasName: "r"}
		},
		"labels of the Redis": func(r *v1alpha1.Redis) { r.Labels = map[string]string{"a": "b"} },
		"annotations":         func(r *v1alpha1.Redis) { r.Annotations = map[string]string{v1alpha1.AnnotationRestart: "x"} },
	} {
		r := base.DeepCopy()
		change(r)
		r.Default()
		if d := cmp.Diff(want, templates(t, r)); d != "" {
			t.Errorf("%s is in a pod template:\n%s", name, d)
		}
	}
	r := base.DeepCopy()
	r.Spec.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	if cmp.Equal(want, templates(t, r)) {
		t.Error("the resources are not in the pod template")
	}
}

// templates are the pod templates of a Redis as bytes, by StatefulSet.
func templates(t *testing.T, r *v1alpha1.Redis) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, obj := range build(t, r, objects.Options{Replicas: *r.Spec.Replicas, AgentImage: "redstart:v1"}) {
		if s, ok := obj.(*appsv1.StatefulSet); ok {
			b, err := json.Marshal(s.Spec.Template)
			if err != nil {
				t.Fatal(err)
			}
			found[s.Name] = string(b)
		}
	}
	if len(found) == 0 {
		t.Fatal("no StatefulSet")
	}
	return found
}

// TestUpgradeOfTheOperatorKeepsTheAgent: another image of the agent waits until the pods change for a reason of their own.
func TestUpgradeOfTheOperatorKeepsTheAgent(t *testing.T) {
	r := redis(t, "testdata/standalone.redis.yaml")
	set := func(r *v1alpha1.Redis, image string) *appsv1.StatefulSet {
		s, err := objects.StatefulSet(r, 1, image)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	image := func(s *appsv1.StatefulSet) string { return s.Spec.Template.Spec.InitContainers[0].Image }
	live := set(r, "redstart:v1")

	upgraded := set(r, "redstart:v2")
	objects.KeepAgentImage(upgraded, live)
	if got := image(upgraded); got != "redstart:v1" {
		t.Errorf("the upgrade alone changed the agent's image to %s", got)
	}
	r.Spec.Image = "redis:8.0"
	changed := set(r, "redstart:v2")
	objects.KeepAgentImage(changed, live)
	if got := image(changed); got != "redstart:v2" {
		t.Errorf("pods that change anyway keep the agent of %s", got)
	}
}
