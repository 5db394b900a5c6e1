package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"redstart.dev/redstart/api/v1alpha1"
)

func newRedis(name string, mode v1alpha1.Mode) *v1alpha1.Redis {
	return &v1alpha1.Redis{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec:       v1alpha1.RedisSpec{Mode: mode},
	}
}

func reason(r *v1alpha1.Redis, kind string) string {
	if c := meta.FindStatusCondition(r.Status.Conditions, kind); c != nil {
		return c.Reason
	}
	return ""
}

// owned are the objects of a Redis named cache in mode Sentinel, by name.
var owned = map[string]client.Object{
	"ConfigMap cache": &corev1.ConfigMap{}, "Secret cache": &corev1.Secret{}, "ServiceAccount cache": &corev1.ServiceAccount{},
	"Role cache": &rbacv1.Role{}, "RoleBinding cache": &rbacv1.RoleBinding{},
	"Service cache": &corev1.Service{}, "Service cache-replicas": &corev1.Service{}, "Service cache-members": &corev1.Service{},
	"Service cache-sentinel": &corev1.Service{}, "PodDisruptionBudget cache": &policyv1.PodDisruptionBudget{},
	"PodDisruptionBudget cache-sentinel": &policyv1.PodDisruptionBudget{},
	"StatefulSet cache":                  &appsv1.StatefulSet{}, "StatefulSet cache-sentinel": &appsv1.StatefulSet{},
}

// TestObjects makes a Redis whose pods never run, and looks at what the operator makes of it, what it repairs, and
// that it then leaves everything alone.
func TestObjects(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.must(c.client.Create(c.ctx(), newRedis("cache", v1alpha1.ModeSentinel)))
	for name, obj := range owned {
		_, key, _ := strings.Cut(name, " ")
		c.eventually(name+" exists", func(context.Context) bool { return c.get(key, obj) == nil })
		if o := metav1.GetControllerOf(obj); o == nil || o.Kind != "Redis" || o.Name != "cache" {
			t.Errorf("%s belongs to %v", name, o)
		}
	}
	r := c.until("cache", "six pods exist and the status says so", func(r *v1alpha1.Redis) bool {
		return r.Status.Replicas == 3 && len(r.Status.Sentinels) == 3 && r.Status.Endpoints != nil && r.Status.Endpoints.Write != ""
	})
	if r.Status.Phase != v1alpha1.PhaseCreating || r.Status.Ready != "0/3" || reason(r, v1alpha1.ConditionReady) != v1alpha1.ReasonNoMaster {
		t.Errorf("phase %q, ready %q, reason %q", r.Status.Phase, r.Status.Ready, reason(r, v1alpha1.ConditionReady))
	}

	// While nothing changes nothing is asked of the API server.
	c.eventually("all is quiet", func(context.Context) bool {
		before := c.requests.Load()
		c.eventually("two looks at the agents passed", pause(5*time.Second))
		return c.requests.Load() == before
	})

	// What somebody else changes or deletes comes back; what is no longer wanted goes.
	password := c.secret("cache")
	c.must(c.client.Delete(c.ctx(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "cache-replicas", Namespace: "default"}}))
	var svc corev1.Service
	c.must(c.get("cache", &svc))
	svc.Spec.Selector[v1alpha1.LabelRole] = "replica"
	c.must(c.client.Update(c.ctx(), &svc))
	c.eventually("the Services are as they were", func(context.Context) bool {
		var read, write corev1.Service
		return c.get("cache-replicas", &read) == nil && c.get("cache", &write) == nil && write.Spec.Selector[v1alpha1.LabelRole] == "master"
	})
	c.change("cache", func(r *v1alpha1.Redis) {
		r.Spec.Config = map[string]string{"maxmemory": "1gb"}
		r.Spec.Replicas = ptr.To[int32](5)
		r.Spec.Service = &v1alpha1.ServiceSpec{Annotations: map[string]string{"team": "web"}}
	})
	c.eventually("five members are wanted", func(context.Context) bool {
		var set appsv1.StatefulSet
		var config corev1.ConfigMap
		return c.get("cache", &set) == nil && *set.Spec.Replicas == 5 &&
			c.get("cache", &config) == nil && strings.Contains(config.Data[v1alpha1.ConfigMapKeyAgent], `"maxmemory": "1gb"`) &&
			c.get("cache", &svc) == nil && svc.Annotations["team"] == "web"
	})
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Service = nil })
	c.eventually("the annotation is gone", func(context.Context) bool {
		return c.get("cache", &svc) == nil && svc.Annotations["team"] == ""
	})
	if got := c.secret("cache"); got != password || len(got) != 32 {
		t.Errorf("the password changed, or is not of 32 characters: %q", got)
	}
}

// TestWhatOneMachineCannotDo is accepted, told of, and not made.
func TestWhatOneMachineCannotDo(t *testing.T) {
	c := newCluster(t)
	c.operator()
	r := newRedis("cache", v1alpha1.ModeReplication)
	r.Spec.NetworkPolicy = &v1alpha1.NetworkPolicySpec{Enabled: true}
	r.Spec.Metrics = &v1alpha1.MetricsSpec{PodMonitor: true}
	r.Spec.Service = &v1alpha1.ServiceSpec{MasterName: "first", Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: ptr.To("example.com/lb")}
	c.must(c.client.Create(c.ctx(), r))
	r = c.until("cache", "the condition tells of it", func(r *v1alpha1.Redis) bool {
		return reason(r, v1alpha1.ConditionSpecServed) == v1alpha1.ReasonNotOnOneMachine && r.Status.Replicas == 3
	})
	message := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionSpecServed).Message
	for _, field := range []string{"spec.networkPolicy: ", "spec.service.loadBalancerClass: ", "spec.metrics.podMonitor: the cluster has no kind PodMonitor"} {
		if !strings.Contains(message, field) {
			t.Errorf("the message says nothing of %s: %s", field, message)
		}
	}
	var policy networkingv1.NetworkPolicy
	if err := c.get("cache", &policy); !apierrors.IsNotFound(err) {
		t.Errorf("a NetworkPolicy without effect was made: %v", err)
	}

	// A Service of another name takes the place of the old one.
	c.change("cache", func(r *v1alpha1.Redis) {
		r.Spec.NetworkPolicy, r.Spec.Metrics = nil, nil
		r.Spec.Service = &v1alpha1.ServiceSpec{MasterName: "second"}
	})
	var svc corev1.Service
	c.eventually("the Service has its new name", func(context.Context) bool {
		return c.get("second", &svc) == nil && apierrors.IsNotFound(c.get("first", &svc))
	})
	c.until("cache", "all is served", func(r *v1alpha1.Redis) bool {
		return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionSpecServed)
	})
}

// TestExternal: every member gets an address outside, the agents and the status are told of it, and those of members that go are
// taken away.
func TestExternal(t *testing.T) {
	c := newCluster(t)
	c.operator()
	r := newRedis("cache", v1alpha1.ModeReplication)
	r.Spec.Replicas = ptr.To[int32](2)
	r.Spec.Service = &v1alpha1.ServiceSpec{External: &v1alpha1.ExternalSpec{Type: corev1.ServiceTypeNodePort}}
	c.must(c.client.Create(c.ctx(), r))
	r = c.until("cache", "both members have an address outside", func(r *v1alpha1.Redis) bool {
		return len(r.Status.Members) == 2 && r.Status.Members[0].External != "" && r.Status.Members[1].External != ""
	})
	var svc corev1.Service
	c.must(c.get("cache-1-external", &svc))
	want := fmt.Sprintf("127.0.0.1:%d", svc.Spec.Ports[0].NodePort)
	if got := r.Status.Members[1].External; got != want {
		t.Errorf("cache-1 is at %s, want %s", got, want)
	}
	c.eventually("the agents are told", func(context.Context) bool {
		var config corev1.ConfigMap
		return c.get("cache", &config) == nil && strings.Contains(config.Data[v1alpha1.ConfigMapKeyAgent], fmt.Sprintf("%q: %q", "cache-1", want))
	})
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Service = nil })
	c.eventually("the Services are gone", func(context.Context) bool { return apierrors.IsNotFound(c.get("cache-1-external", &svc)) })
	c.until("cache", "the status tells of no address", func(r *v1alpha1.Redis) bool { return r.Status.Members[1].External == "" })
}

// TestStorageGrows: the claims grow, the StatefulSet is made anew around its pods, and the pods stay. It owns its claims, which is
// the case in which they could be lost.
func TestStorageGrows(t *testing.T) {
	c := newCluster(t)
	c.operator()
	r := newRedis("cache", v1alpha1.ModeReplication)
	r.Spec.Storage = &v1alpha1.StorageSpec{Size: ptr.To(resource.MustParse("1Gi")), Retain: v1alpha1.RetainPolicyDelete}
	c.must(c.client.Create(c.ctx(), r))
	var before, set appsv1.StatefulSet
	c.until("cache", "three pods exist", func(r *v1alpha1.Redis) bool { return r.Status.Replicas == 3 })
	c.must(c.get("cache", &before))
	pods := c.pods("cache", v1alpha1.ComponentMember)
	c.eventually("the claims belong to the StatefulSet", func(context.Context) bool {
		for _, claim := range c.claims() {
			if len(claim.OwnerReferences) != 1 {
				return false
			}
		}
		return true
	})
	c.change("cache", func(r *v1alpha1.Redis) { r.Spec.Storage.Size = ptr.To(resource.MustParse("2Gi")) })
	c.eventually("the StatefulSet is another, with the new size, and owns its claims again", func(context.Context) bool {
		if c.get("cache", &set) != nil || set.UID == before.UID {
			return false
		}
		for _, claim := range c.claims() {
			if len(claim.OwnerReferences) != 1 || claim.OwnerReferences[0].UID != set.UID {
				return false
			}
		}
		return true
	})
	if got := set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().String(); got != "2Gi" {
		t.Errorf("new members get %s", got)
	}
	claims := c.claims()
	if len(claims) != 3 {
		t.Errorf("there are %d claims", len(claims))
	}
	for _, claim := range claims {
		if claim.DeletionTimestamp != nil || claim.Spec.Resources.Requests.Storage().String() != "2Gi" {
			t.Errorf("claim %s: %+v", claim.Name, claim)
		}
	}
	for name, p := range c.pods("cache", v1alpha1.ComponentMember) {
		if p.UID != pods[name].UID || p.DeletionTimestamp != nil {
			t.Errorf("%s was replaced", name)
		}
		if owner := metav1.GetControllerOf(&p); owner == nil || owner.UID != set.UID {
			t.Errorf("%s belongs to %v", name, owner)
		}
	}
	if err := c.client.Patch(c.ctx(), newRedis("cache", ""), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"storage":{"size":"1Gi"}}}`))); !apierrors.IsInvalid(err) {
		t.Errorf("the storage shrank: %v", err)
	}
}

func (c *cluster) claims() []corev1.PersistentVolumeClaim {
	c.t.Helper()
	var list corev1.PersistentVolumeClaimList
	c.must(c.client.List(c.ctx(), &list, client.InNamespace("default")))
	return list.Items
}

func (c *cluster) secret(name string) string {
	c.t.Helper()
	var s corev1.Secret
	c.must(c.get(name, &s))
	return string(s.Data[v1alpha1.SecretKeyPassword])
}

// pause is true once, after d.
func pause(d time.Duration) func(context.Context) bool {
	end := time.Now().Add(d)
	return func(context.Context) bool { return time.Now().After(end) }
}

// TestMissingSecret: nothing is made before the Secret that the user named is there.
func TestMissingSecret(t *testing.T) {
	c := newCluster(t)
	c.operator()
	r := newRedis("cache", v1alpha1.ModeReplication)
	r.Spec.Auth = &v1alpha1.AuthSpec{SecretName: "mine"}
	c.must(c.client.Create(c.ctx(), r))
	r = c.until("cache", "the condition names the Secret", func(r *v1alpha1.Redis) bool {
		return reason(r, v1alpha1.ConditionReady) == v1alpha1.ReasonSecretMissing
	})
	message := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady).Message
	if want := `Secret mine of spec.auth.secretName does not exist; create it with the key "password"`; message != want {
		t.Errorf("%q, want %q", message, want)
	}
	var set appsv1.StatefulSet
	if err := c.get("cache", &set); !apierrors.IsNotFound(err) {
		t.Errorf("a StatefulSet was made without the Secret: %v", err)
	}
	c.eventually("an event tells of it", func(ctx context.Context) bool {
		var events corev1.EventList
		c.must(c.client.List(ctx, &events, client.InNamespace("default")))
		for _, e := range events.Items {
			if e.Reason == v1alpha1.ReasonSecretMissing && e.InvolvedObject.Name == "cache" && e.Type == corev1.EventTypeWarning {
				return true
			}
		}
		return false
	})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: "default"},
		Data:       map[string][]byte{v1alpha1.SecretKeyPassword: []byte("s3cret\n")},
	}
	c.must(c.client.Create(c.ctx(), secret))
	r = c.until("cache", "the condition says what is wrong with the password", func(r *v1alpha1.Redis) bool {
		return reason(r, v1alpha1.ConditionReady) == v1alpha1.ReasonSecretInvalid
	})
	message = meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady).Message
	if want := `Secret mine, key "password": the password ends with a line end, `; !strings.HasPrefix(message, want) {
		t.Errorf("%q, want %q", message, want)
	}
	if err := c.get("cache", &set); !apierrors.IsNotFound(err) {
		t.Errorf("a StatefulSet was made with a password that does not work: %v", err)
	}
	secret.Data[v1alpha1.SecretKeyPassword] = []byte("s3cret")
	c.must(c.client.Update(c.ctx(), secret))
	c.eventually("the members are made", func(context.Context) bool { return c.get("cache", &set) == nil })
	var own corev1.Secret
	c.must(c.get("cache", &own))
	if _, ok := own.Data[v1alpha1.SecretKeyPassword]; ok || len(own.Data[v1alpha1.SecretKeyAgentToken]) != 32 {
		t.Errorf("the own Secret has the keys %v", own.Data)
	}
}

// TestNameTaken: what belongs to somebody else is left alone.
func TestNameTaken(t *testing.T) {
	c := newCluster(t)
	c.operator()
	c.must(c.client.Create(c.ctx(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cache", Namespace: "default"}, Data: map[string]string{"a": "b"}}))
	c.must(c.client.Create(c.ctx(), newRedis("cache", v1alpha1.ModeStandalone)))
	r := c.until("cache", "the condition names the ConfigMap", func(r *v1alpha1.Redis) bool {
		return reason(r, v1alpha1.ConditionProgressing) == v1alpha1.ReasonNameTaken
	})
	message := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProgressing).Message
	if want := "ConfigMap cache exists and does not belong to this Redis; rename or delete it"; message != want {
		t.Errorf("%q, want %q", message, want)
	}
	var m corev1.ConfigMap
	c.must(c.get("cache", &m))
	if m.Data["a"] != "b" || len(m.Data) != 1 || m.OwnerReferences != nil {
		t.Errorf("the ConfigMap was changed: %+v", m)
	}
	c.must(c.client.Delete(c.ctx(), &m))
	var set appsv1.StatefulSet
	c.eventually("the member is made", func(context.Context) bool { return c.get("cache", &set) == nil })
}
