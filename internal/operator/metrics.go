package operator

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	ours "redstart.dev/redstart/internal/metrics"
)

// metrics are what the operator counts, besides what controller-runtime does.
type metrics struct {
	ready     *prometheus.GaugeVec
	failovers *prometheus.CounterVec
}

// newMetrics registers the metrics with controller-runtime's registry, which its server serves, or takes those that an
// earlier operator of the same process registered.
func newMetrics() (*metrics, error) {
	ready, err := ours.Register(prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "redstart_redis_ready", Help: "Whether a Redis is ready: 1 or 0.",
	}, []string{"namespace", "name"}))
	if err != nil {
		return nil, err
	}
	failovers, err := ours.Register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "redstart_failovers_total", Help: "Changes of master that the operator saw, by whether they were planned.",
	}, []string{"namespace", "name", "planned"}))
	if err != nil {
		return nil, err
	}
	return &metrics{ready: ready, failovers: failovers}, nil
}

func (m *metrics) observe(r *v1alpha1.Redis, ready bool) {
	value := 0.0
	if ready {
		value = 1
	}
	m.ready.WithLabelValues(r.Namespace, r.Name).Set(value)
}

func (m *metrics) failedOver(r *v1alpha1.Redis, planned bool) {
	m.failovers.WithLabelValues(r.Namespace, r.Name, strconv.FormatBool(planned)).Inc()
}

// forget drops the series of a Redis that is gone.
func (m *metrics) forget(key types.NamespacedName) {
	labels := prometheus.Labels{"namespace": key.Namespace, "name": key.Name}
	m.ready.DeletePartialMatch(labels)
	m.failovers.DeletePartialMatch(labels)
}
