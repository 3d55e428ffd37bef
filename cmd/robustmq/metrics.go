package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/robustmq/robustmq-go/tier/store/metrics"
)

// storeCollector exports the counters of the object store.
type storeCollector struct{ st *storage }

var (
	storeRequestsDesc = metricDesc("store_requests_total", "Requests to the object store, each try counted, by outcome.", "operation", "result")
	storeBytesDesc    = metricDesc("store_bytes_total", "Bytes of objects got and put.", "operation")
	storeFlightDesc   = metricDesc("store_requests_in_flight", "Requests under way.", "operation")
	storeTimeDesc     = metricDesc("store_request_duration_seconds", "Time of requests to the object store.", "operation")
	storeRetriesDesc  = metricDesc("store_retries_total", "Requests that were tried again.")
)

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storeRequestsDesc, storeBytesDesc, storeFlightDesc, storeTimeDesc, storeRetriesDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v), labels...)
	}
	for _, s := range c.st.storeStats.Snapshot() {
		put(storeRequestsDesc, counter, max(s.Count-s.NotFound-s.Exists-s.Temporary-s.Cancelled-s.Failed, 0), s.Op, "ok")
		put(storeRequestsDesc, counter, s.NotFound, s.Op, "not_found")
		put(storeRequestsDesc, counter, s.Exists, s.Op, "exists")
		put(storeRequestsDesc, counter, s.Temporary, s.Op, "temporary")
		put(storeRequestsDesc, counter, s.Cancelled, s.Op, "cancelled")
		put(storeRequestsDesc, counter, s.Failed, s.Op, "failed")
		put(storeBytesDesc, counter, s.Bytes, s.Op)
		put(storeFlightDesc, gauge, s.InFlight, s.Op)
		buckets := make(map[float64]uint64, len(metrics.Bounds))
		var n uint64
		for i, k := range s.Buckets {
			if n += uint64(k); i < len(metrics.Bounds) {
				buckets[metrics.Bounds[i].Seconds()] = n
			}
		}
		ch <- prometheus.MustNewConstHistogram(storeTimeDesc, n, s.Latency.Seconds(), buckets, s.Op)
	}
	put(storeRetriesDesc, counter, c.st.storeRetries.Load())
}

// liveCollector exports what reloads of the configuration came to.
type liveCollector struct{ live *live }

var (
	reloadsDesc     = metricDesc("config_reloads_total", "Reloads of the configuration (SIGHUP) by outcome.", "result")
	tlsFailuresDesc = metricDesc("tls_reload_failures_total", "Times that the certificate of the TLS listeners could not be read again.")
	tlsFailingDesc  = metricDesc("tls_reload_failing", "1 while it cannot be read, and the old one goes on.")
	tlsUntilDesc    = metricDesc("tls_certificate_expiry_timestamp_seconds", "When the certificate of the TLS listeners is over.")
)

// Describe implements prometheus.Collector.
func (c liveCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{reloadsDesc, tlsFailuresDesc, tlsFailingDesc, tlsUntilDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c liveCollector) Collect(ch chan<- prometheus.Metric) {
	l := c.live
	if l == nil {
		return
	}
	l.mu.Lock()
	reloads, failures := l.reloads, l.failures
	l.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(reloadsDesc, counter, float64(reloads), "ok")
	ch <- prometheus.MustNewConstMetric(reloadsDesc, counter, float64(failures), "failed")
	if l.tls == nil {
		return
	}
	failed, failing, until, _ := l.tls.state()
	ch <- prometheus.MustNewConstMetric(tlsFailuresDesc, counter, float64(failed))
	ch <- prometheus.MustNewConstMetric(tlsFailingDesc, gauge, boolValue(failing))
	ch <- prometheus.MustNewConstMetric(tlsUntilDesc, gauge, float64(until.Unix()))
}
