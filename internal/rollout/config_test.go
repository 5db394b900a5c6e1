package rollout_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"redstart.dev/redstart/api/v1alpha1"
)

// TestWatchConfig: a change of what a ConfigMap or Secret of the pods holds is a new version, any other change of them is
// none, and nobody looks while nothing changes.
func TestWatchConfig(t *testing.T) {
	c := startCluster(t)
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"COLOUR": "green"}}
	c.create(settings)
	d := deployment("web", 1)
	from := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	d.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: from("settings")}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: from("late"), Optional: new(true)}},
	}
	c.create(d)
	c.rollout("web", `
workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web}
watchConfig: true
strategy: {canary: {steps: [{replicas: 1, pause: {}}]}}`)
	c.healthy("web", 1)
	c.eventually("the hash of the configuration", func() error {
		ro := &v1alpha1.Rollout{}
		if err := c.get("web", ro); err != nil {
			return err
		}
		if ro.Status.ConfigHash == "" {
			return fmt.Errorf("none")
		}
		return nil
	})

	looks := 0.0
	c.eventually("the looks after the last change", func() error {
		looks = reconciles(t)
		time.Sleep(time.Second)
		if n := reconciles(t) - looks; n > 0 {
			return fmt.Errorf("%.0f more within a second", n)
		}
		return nil
	})
	time.Sleep(7 * time.Second)
	if n := reconciles(t) - looks; n > 0 {
		t.Errorf("%.0f looks while nothing changed, want none", n)
	}

	change := func(how func(*corev1.ConfigMap)) {
		t.Helper()
		c.eventually("a change of ConfigMap settings", func() error {
			if err := c.get("settings", settings); err != nil {
				return err
			}
			how(settings)
			return c.Update(c.ctx, settings)
		})
	}
	change(func(m *corev1.ConfigMap) { m.Annotations = map[string]string{"read-by": "somebody"} })
	c.eventually("a look at the annotated ConfigMap", func() error {
		if n := reconciles(t); n <= looks {
			return fmt.Errorf("none")
		}
		return nil
	})
	if ro := c.phase("web", v1alpha1.RolloutHealthy, 0); len(ro.Status.History) != 1 {
		t.Errorf("an annotation of a ConfigMap began a release: %+v", ro.Status.History)
	}

	change(func(m *corev1.ConfigMap) { m.Data["COLOUR"] = "blue" })
	c.phase("web", v1alpha1.RolloutPaused, 1)
	c.command("web", "promote")
	c.healthy("web", 2)
	c.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "late"}, StringData: map[string]string{"KEY": "x"}})
	c.phase("web", v1alpha1.RolloutPaused, 1)
}

// reconciles is how often Rollouts were looked at.
func reconciles(t *testing.T) float64 {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "controller" && l.GetValue() == "rollout" {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
