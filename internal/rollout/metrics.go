package rollout

import (
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"redstart.dev/redstart/api/v1alpha1"
	ours "redstart.dev/redstart/internal/metrics"
	"redstart.dev/redstart/internal/rollout/notify"
)

// metrics are what the controller counts, besides what controller-runtime does.
type metrics struct {
	phase    *prometheus.GaugeVec
	traffic  *prometheus.GaugeVec
	releases *prometheus.CounterVec
	notified *prometheus.CounterVec
}

// newMetrics registers the metrics with controller-runtime's registry, or takes those that an earlier controller of the
// same process registered.
func newMetrics() (*metrics, error) {
	phase, err := ours.Register(prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "redstart_rollout_phase", Help: "1 for the phase that a Rollout is in.",
	}, []string{"namespace", "name", "phase"}))
	if err != nil {
		return nil, err
	}
	traffic, err := ours.Register(prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "redstart_rollout_traffic_percent", Help: "Share of the traffic of the new version, in percent.",
	}, []string{"namespace", "name"}))
	if err != nil {
		return nil, err
	}
	releases, err := ours.Register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "redstart_rollout_releases_total", Help: "Releases that ended, by how.",
	}, []string{"namespace", "name", "outcome"}))
	if err != nil {
		return nil, err
	}
	notified, err := ours.Register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "redstart_rollout_notifications_total",
		Help: "Messages to webhooks, by what became of them: delivered, failed (given up), or dropped because too many waited.",
	}, []string{"namespace", "name", "webhook", "result"}))
	if err != nil {
		return nil, err
	}
	return &metrics{phase, traffic, releases, notified}, nil
}

func (m *metrics) observe(ro *v1alpha1.Rollout, before *v1alpha1.RolloutStatus) {
	st := &ro.Status
	if before.Phase != st.Phase && before.Phase != "" {
		m.phase.DeleteLabelValues(ro.Namespace, ro.Name, string(before.Phase))
	}
	m.phase.WithLabelValues(ro.Namespace, ro.Name, string(st.Phase)).Set(1)
	share := 0.0
	if st.Route != nil && !st.Route.Restored {
		share = float64(st.Route.Weight)
	}
	m.traffic.WithLabelValues(ro.Namespace, ro.Name).Set(share)
	last := int64(0)
	if len(before.History) > 0 {
		last = before.History[0].Number
	}
	for _, h := range st.History {
		if h.Number > last {
			m.releases.WithLabelValues(ro.Namespace, ro.Name, string(h.Outcome)).Inc()
		}
	}
}

func (m *metrics) notification(key types.NamespacedName, webhook string, v notify.Verdict) {
	m.notified.WithLabelValues(key.Namespace, key.Name, webhook, string(v)).Inc()
}

// forget drops the series of a Rollout that is gone.
func (m *metrics) forget(key types.NamespacedName) {
	labels := prometheus.Labels{"namespace": key.Namespace, "name": key.Name}
	m.phase.DeletePartialMatch(labels)
	m.traffic.DeletePartialMatch(labels)
	m.releases.DeletePartialMatch(labels)
	m.notified.DeletePartialMatch(labels)
}
