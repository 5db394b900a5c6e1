package services

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"redstart.dev/redstart/api/v1alpha1"
)

// testPod makes a ready pod with the label app=db and a named port.
func testPod(name, ip string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), Labels: map[string]string{"app": "db"}}}
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "redis", ContainerPort: 6379, Protocol: corev1.ProtocolTCP}}}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	for _, c := range change {
		c(p)
	}
	return p
}

func unready(p *corev1.Pod)     { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func terminating(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }
func ended(p *corev1.Pod)       { p.Status.Phase = corev1.PodFailed }
func other(p *corev1.Pod)       { p.Labels = map[string]string{"app": "other"} }
func elsewhere(p *corev1.Pod)   { p.Namespace = "elsewhere" }
func sharedPort(p *corev1.Pod) {
	p.Annotations = map[string]string{v1alpha1.AnnotationPorts: `{"6379": 40123}`}
}

func testService(target intstr.IntOrString) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "default", UID: "svc"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "db"}, ClusterIP: "127.64.1.1",
			Ports: []corev1.ServicePort{{Name: "redis", Port: 6379, TargetPort: target, Protocol: corev1.ProtocolTCP}},
		},
	}
}

func TestBackends(t *testing.T) {
	pods := []*corev1.Pod{
		testPod("b", "127.64.128.2", unready), testPod("a", "127.64.128.1"), testPod("c", "127.64.128.3", terminating),
		testPod("d", "127.64.128.4", ended), testPod("e", "127.64.128.5", other), testPod("f", "127.64.128.6", elsewhere), testPod("g", ""),
		testPod("h", "127.0.0.1", sharedPort),
	}
	show := func(svc *corev1.Service) string {
		var out []string
		for _, b := range backendsOf(svc, &svc.Spec.Ports[0], pods) {
			s := b.address
			if b.ready {
				s += " ready"
			}
			out = append(out, s)
		}
		return strings.Join(out, "\n")
	}
	const all = "127.64.128.1:6379 ready\n127.64.128.2:6379\n127.64.128.3:6379\n127.0.0.1:40123 ready"
	silent := testService(intstr.FromInt32(6379))
	silent.Spec.PublishNotReadyAddresses = true
	bare := testService(intstr.FromInt32(6379))
	bare.Spec.Selector = nil
	for name, tt := range map[string]struct {
		svc  *corev1.Service
		want string
	}{
		"a number":         {testService(intstr.FromInt32(6379)), all},
		"a name":           {testService(intstr.FromString("redis")), all},
		"an unknown name":  {testService(intstr.FromString("http")), ""},
		"not said":         {testService(intstr.IntOrString{}), all},
		"not ready ones":   {silent, "127.64.128.1:6379 ready\n127.64.128.2:6379 ready\n127.64.128.3:6379 ready\n127.0.0.1:40123 ready"},
		"without selector": {bare, ""},
	} {
		if d := cmp.Diff(tt.want, show(tt.svc)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestEndpoints(t *testing.T) {
	svc := testService(intstr.FromString("redis"))
	pods := []*corev1.Pod{testPod("a", "127.64.128.1"), testPod("b", "127.64.128.2", unready), testPod("c", "127.64.128.3", terminating), testPod("h", "127.0.0.1", sharedPort)}
	groups := groupPods(svc, selected(svc, pods))
	var got []string
	names := map[string]bool{}
	for _, g := range groups {
		s := sliceOf(svc, g)
		names[s.Name] = true
		for _, e := range s.Endpoints {
			got = append(got, fmt.Sprintf("%s:%d ready=%t serving=%t terminating=%t %s", e.Addresses[0], *s.Ports[0].Port, *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating, e.TargetRef.Name))
		}
	}
	want := []string{
		"127.64.128.1:6379 ready=true serving=true terminating=false a",
		"127.64.128.2:6379 ready=false serving=false terminating=false b",
		"127.64.128.3:6379 ready=false serving=true terminating=true c",
		"127.0.0.1:40123 ready=true serving=true terminating=false h",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(names) != 2 {
		t.Errorf("slices %v, want one for each port number", names)
	}
	var addresses []string
	for _, s := range subsetsOf(svc, groups) {
		for _, a := range s.Addresses {
			addresses = append(addresses, "ready "+a.IP)
		}
		for _, a := range s.NotReadyAddresses {
			addresses = append(addresses, "not ready "+a.IP)
		}
	}
	if d := cmp.Diff([]string{"ready 127.64.128.1", "not ready 127.64.128.2", "ready 127.0.0.1"}, addresses); d != "" {
		t.Error(d)
	}
	none := groupPods(svc, nil)
	if s := sliceOf(svc, none[0]); len(s.Endpoints) != 0 || len(subsetsOf(svc, none)) != 0 {
		t.Error("a Service without pods has endpoints")
	}
}

func TestPublishedPorts(t *testing.T) {
	for _, tt := range []struct {
		kind           corev1.ServiceType
		port, nodePort int32
		want           []int32
	}{
		{corev1.ServiceTypeClusterIP, 8080, 0, nil},
		{corev1.ServiceTypeNodePort, 8080, 30080, []int32{30080}},
		{corev1.ServiceTypeLoadBalancer, 8080, 30080, []int32{8080, 30080}},
		{corev1.ServiceTypeLoadBalancer, 80, 30080, []int32{30080}},
		{corev1.ServiceTypeLoadBalancer, 8080, 0, []int32{8080}},
	} {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: tt.kind}}
		if got := publishedPorts(svc, &corev1.ServicePort{Port: tt.port, NodePort: tt.nodePort}); !slices.Equal(got, tt.want) {
			t.Errorf("%s %d, node port %d: %v, want %v", tt.kind, tt.port, tt.nodePort, got, tt.want)
		}
	}
}
