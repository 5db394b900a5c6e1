package objects_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"redstart.dev/redstart/api/v1alpha1"
	"redstart.dev/redstart/internal/operator/objects"
)

func TestExternalServicesLeadToOneMemberEach(t *testing.T) {
	r := redis(t, "testdata/replication-cluster.redis.yaml")
	if s := objects.ExternalServices(r, 2); len(s) > 0 {
		t.Errorf("nobody asked for %v", s)
	}
	r.Spec.Service.External = &v1alpha1.ExternalSpec{Type: corev1.ServiceTypeNodePort, Annotations: map[string]string{"a": "b"}}
	all := objects.ExternalServices(r, 2)
	if len(all) != 2 {
		t.Fatalf("%d Services for two members", len(all))
	}
	for i, want := range []string{"redis-0", "redis-1"} {
		s := all[i]
		if s.Name != want+"-external" || s.Spec.Selector[appsv1.StatefulSetPodNameLabel] != want ||
			s.Spec.Selector[v1alpha1.LabelName] != "redis" || s.Spec.Type != corev1.ServiceTypeNodePort || s.Annotations["a"] != "b" {
			t.Errorf("Service of %s: %+v", want, s)
		}
	}
}

func TestExternalAddress(t *testing.T) {
	service := func(kind corev1.ServiceType, nodePort int32, ingress ...corev1.LoadBalancerIngress) *corev1.Service {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 6379, NodePort: nodePort}}}}
		s.Status.LoadBalancer.Ingress = ingress
		return s
	}
	name, number := corev1.LoadBalancerIngress{Hostname: "lb.example.com"}, corev1.LoadBalancerIngress{IP: "2001:db8::1"}
	for _, tc := range []struct {
		about            string
		s                *corev1.Service
		host, node, want string
	}{
		{"a port of the node", service(corev1.ServiceTypeNodePort, 30079), "", "192.0.2.1", "192.0.2.1:30079"},
		{"a port of all nodes", service(corev1.ServiceTypeNodePort, 30079), "redis.example.com", "192.0.2.1", "redis.example.com:30079"},
		{"no port yet", service(corev1.ServiceTypeNodePort, 0), "", "192.0.2.1", ""},
		{"on no node yet", service(corev1.ServiceTypeNodePort, 30079), "", "", ""},
		{"a load balancer", service(corev1.ServiceTypeLoadBalancer, 30079, name), "", "192.0.2.1", "lb.example.com:6379"},
		{"a load balancer with an address", service(corev1.ServiceTypeLoadBalancer, 0, name, number), "", "", "[2001:db8::1]:6379"},
		{"a load balancer behind a name", service(corev1.ServiceTypeLoadBalancer, 0), "redis.example.com", "", "redis.example.com:6379"},
		{"no load balancer yet", service(corev1.ServiceTypeLoadBalancer, 30079), "", "192.0.2.1", ""},
	} {
		if got := objects.ExternalAddress(tc.s, tc.host, tc.node); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.about, got, tc.want)
		}
	}
	node := &corev1.Node{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeExternalIP, Address: "192.0.2.1"},
	}}}
	if got := objects.NodeAddress(node); got != "192.0.2.1" {
		t.Errorf("a node's address is %q", got)
	}
}

func TestPodMonitorSelectsThePodsOfOneRedis(t *testing.T) {
	r := redis(t, "testdata/sentinel.redis.yaml")
	if m, err := objects.PodMonitor(r); m != nil || err != nil {
		t.Errorf("nobody asked for %v, %v", m, err)
	}
	r.Spec.Metrics = &v1alpha1.MetricsSpec{PodMonitor: true, PodMonitorLabels: map[string]string{"release": "prometheus", v1alpha1.LabelName: "other"}}
	m, err := objects.PodMonitor(r)
	if err != nil {
		t.Fatal(err)
	}
	if l := m.GetLabels(); l["release"] != "prometheus" || l[v1alpha1.LabelName] != "cache" {
		t.Errorf("labels %v", l)
	}
	if len(m.GetOwnerReferences()) != 1 || m.GetName() != "cache" || m.GetKind() != "PodMonitor" {
		t.Errorf("object %+v", m)
	}
}
