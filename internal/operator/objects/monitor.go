package objects

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"redstart.dev/redstart/api/v1alpha1"
)

// PodMonitorKind is the kind by which the Prometheus operator is told of pods to scrape. Few clusters have it, so it is
// no object of Build.
var PodMonitorKind = schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"}

// PodMonitor lets Prometheus read the metrics of the members and Sentinels; nil where none is wanted.
func PodMonitor(r *v1alpha1.Redis) (*unstructured.Unstructured, error) {
	m := r.Spec.Metrics
	if m == nil || !m.PodMonitor {
		return nil, nil
	}
	meta := objectMeta(r, r.Name, "")
	all := maps.Clone(m.PodMonitorLabels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, meta.Labels)
	meta.Labels = all
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&meta)
	if err != nil {
		return nil, err
	}
	delete(fields, "creationTimestamp")
	u := &unstructured.Unstructured{Object: map[string]any{
		"metadata": fields,
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{v1alpha1.LabelName: r.Name}},
			"podMetricsEndpoints": []any{map[string]any{
				"port": portAgent, "path": "/metrics",
			}},
			"podTargetLabels": []any{v1alpha1.LabelName, v1alpha1.LabelRole, v1alpha1.LabelComponent},
		},
	}}
	u.SetGroupVersionKind(PodMonitorKind)
	return u, nil
}
