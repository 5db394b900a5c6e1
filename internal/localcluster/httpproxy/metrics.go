package httpproxy

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"redstart.dev/redstart/internal/localcluster/routing"
	"redstart.dev/redstart/internal/localcluster/traffic"
)

// metrics counts requests, for Prometheus and for the windows of package traffic.
type metrics struct {
	registry *prometheus.Registry
	recorder *traffic.Recorder
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	skipped  prometheus.Counter

	counters sync.Map // of counterKey
}

// series is what one request of a key and class changes.
type series struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
	recent   *traffic.Series
}

type counterKey struct {
	traffic.Key
	class int
}

func newMetrics() *metrics {
	by := []string{"namespace", "route", "rule", "service"}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		recorder: traffic.NewRecorder(time.Now),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "redstart_gateway_requests_total",
			Help: "Requests by HTTPRoute, rule, backend Service and class of the status code: 2xx to 5xx, or gone when the client left before there was an answer.",
		}, append(by, "code")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "redstart_gateway_request_duration_seconds",
			Help: "Time from a request to the end of its answer; of answers that stay open, to its beginning.",
			Buckets: []float64{
				.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60,
			},
		}, by),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "redstart_gateway_retries_total",
			Help: "Requests that were given to another pod because one could not be reached.",
		}, []string{"namespace", "service"}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "redstart_gateway_not_mirrored_total",
			Help: "Requests that were not copied to a mirror: their body is too large, or too many copies are on their way.",
		}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.retries, m.skipped)
	return m
}

// count counts one request; a code of 0 is of a client that left before there was an answer.
func (m *metrics) count(k traffic.Key, code int, took time.Duration) {
	s := m.of(counterKey{k, code / 100})
	s.requests.Inc()
	if code != 0 {
		s.seconds.Observe(took.Seconds())
	}
	s.recent.Add(time.Now(), code, took)
}

func (m *metrics) of(k counterKey) *series {
	if s, ok := m.counters.Load(k); ok {
		return s.(*series)
	}
	class := "gone"
	if k.class > 0 {
		class = strconv.Itoa(k.class) + "xx"
	}
	s, _ := m.counters.LoadOrStore(k, &series{
		requests: m.requests.WithLabelValues(k.Namespace, k.Route, k.Rule, k.Service, class),
		seconds:  m.seconds.WithLabelValues(k.Namespace, k.Route, k.Rule, k.Service),
		recent:   m.recorder.Series(k.Key),
	})
	return s.(*series)
}

// keep forgets what belongs to routes that are gone.
func (m *metrics) keep(known func(namespace, route string) bool) {
	m.counters.Range(func(key, _ any) bool {
		k := key.(counterKey)
		if k.Route != "" && !known(k.Namespace, k.Route) {
			m.counters.Delete(k)
			labels := prometheus.Labels{"namespace": k.Namespace, "route": k.Route}
			m.requests.DeletePartialMatch(labels)
			m.seconds.DeletePartialMatch(labels)
		}
		return true
	})
	m.recorder.Keep(func(k traffic.Key) bool { return k.Route == "" || known(k.Namespace, k.Route) })
}

func (m *metrics) retried(b *routing.Backend) {
	m.retries.WithLabelValues(b.Namespace, b.Service).Inc()
}

func (m *metrics) notMirrored(n int) { m.skipped.Add(float64(n)) }

func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}
