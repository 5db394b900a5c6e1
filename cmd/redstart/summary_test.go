package main

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"redstart.dev/redstart/internal/localcluster/services"
)

// A port that another program took since the last time is told of, whether or not the Service is published elsewhere.
func TestSummaryTellsOfPortsInUse(t *testing.T) {
	const problem = "port 8080 cannot be published at 127.0.0.1:8080: it is in use by python3"
	for _, tt := range []struct{ name, published, want string }{
		{"elsewhere", "127.0.0.1:30001", "  web          http://127.0.0.1:30001\n    " + problem + "\n"},
		{"nowhere", "", "  web          not published\n    " + problem + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svc := &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{services.AnnotationPublished: tt.published}},
				Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
				Status:     corev1.ServiceStatus{Conditions: []metav1.Condition{{Type: services.ConditionPublished, Status: metav1.ConditionFalse, Message: problem}}},
			}
			s := summary{Services: published(svc, "")}
			var b bytes.Buffer
			s.print(&b, "redstart", false)
			if !strings.Contains(b.String(), tt.want) {
				t.Errorf("the summary is\n%swant in it\n%s", b.String(), tt.want)
			}
		})
	}
}
