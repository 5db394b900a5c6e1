package redisstore

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a Store.
type Metrics struct {
	errors   *prometheus.CounterVec
	retries  *prometheus.CounterVec
	reads    *prometheus.CounterVec
	failover prometheus.Histogram
}

// NewMetrics registers the metrics of a Store with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "guestbook_store_errors_total",
			Help: "Failed attempts at the database, by operation and kind (connection, refused).",
		}, []string{"operation", "kind"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "guestbook_store_retries_total",
			Help: "Attempts that were made again, by operation.",
		}, []string{"operation"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "guestbook_store_reads_total",
			Help: "Pages read, by the role of the server that answered.",
		}, []string{"role"}),
		failover: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "guestbook_store_failover_seconds",
			Help:    "How long the database took no writes, each time that this front end saw it.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
	}
	reg.MustRegister(m.errors, m.retries, m.reads, m.failover)
	return m
}
