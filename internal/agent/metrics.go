package agent

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"redstart.dev/redstart/api/v1alpha1"
)

// metrics are the counters that no status has.
type metrics struct {
	failovers       atomic.Int64
	handoverSeconds prometheus.Histogram
}

func newHandoverSeconds() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "redstart_handover_seconds", Help: "How long writers waited in a handover by this member.",
		Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
	})
}

// collector turns the newest status into metrics. Where redis_exporter has a name it is used, as dashboards know those.
type collector struct{ b *base }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descUp          = gauge("redis_up", "Whether the server answers.")
	descInstance    = gauge("redis_instance_info", "The server's role, engine and version.", "role", "redis_version", "engine", "run_id")
	descClients     = gauge("redis_connected_clients", "Connected clients.")
	descMemory      = gauge("redis_memory_used_bytes", "Memory used by the data and the server.")
	descKeys        = gauge("redis_db_keys", "Keys in all databases.")
	descOffset      = gauge("redis_master_repl_offset", "Replication offset, in bytes.")
	descLink        = gauge("redis_master_link_up", "Whether a replica's link to its master is up.")
	descReplicas    = gauge("redis_connected_slaves", "Replicas connected to this server.")
	descReplicaLag  = gauge("redis_connected_slave_lag_seconds", "Seconds since a replica's last acknowledgement.", "slave")
	descReplicaMiss = gauge("redstart_replica_lag_bytes", "Bytes that a connected replica has not acknowledged.", "slave")
	descLoading     = gauge("redis_loading_dump_file", "Whether the server loads its data.")
	descReady       = gauge("redstart_ready", "Whether this pod serves its role.")
	descFenced      = gauge("redstart_fenced", "Whether the agent makes the server refuse writes.")
	descTerm        = gauge("redstart_term", "Highest term under which this member held the data.")
	descFailovers   = gauge("redstart_failovers_total", "Changes of master to this member.")
	descRenewErrors = gauge("redstart_lease_renew_errors_total", "Renewals of the Lease that failed.")
	descAPI         = gauge("redstart_kubernetes_api_reachable", "Whether the Kubernetes API answers.")
	descMonitoring  = gauge("redis_sentinel_masters", "Masters that the Sentinel monitors.")
)

// Describe has nothing to say: which metrics there are depends on the status.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the newest status.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.b.status.Load()
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	put(descUp, flag(s.Server.Up))
	put(descReady, flag(s.Ready))
	put(descAPI, flag(s.APIReachable))
	if s.Server.Up {
		put(descInstance, 1, string(s.Server.Role), s.Server.Version, s.Server.Engine, s.Server.RunID)
		put(descClients, float64(s.Server.Clients))
		put(descMemory, float64(s.Server.Memory))
	}
	if s.Sentinel != nil {
		put(descMonitoring, flag(s.Sentinel.Monitoring))
		return
	}
	put(descFenced, flag(s.Fenced))
	put(descTerm, float64(s.Term))
	count(descFailovers, c.b.metrics.failovers.Load())
	c.b.lease.mu.Lock()
	errors := c.b.lease.renewErrors
	c.b.lease.mu.Unlock()
	count(descRenewErrors, errors)
	if !s.Server.Up {
		return
	}
	put(descLoading, flag(s.Server.Loading))
	put(descKeys, float64(s.Server.Keys))
	put(descOffset, float64(s.Server.Offset))
	put(descReplicas, float64(len(s.Server.Replicas)))
	if s.Server.Role == v1alpha1.RoleReplica {
		put(descLink, flag(s.Server.LinkUp))
	}
	for _, r := range s.Server.Replicas {
		put(descReplicaLag, float64(r.LagSeconds), r.Address)
		put(descReplicaMiss, float64(s.Server.Offset-r.Offset), r.Address)
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
