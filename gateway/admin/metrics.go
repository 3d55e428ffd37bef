package admin

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/robustmq/robustmq-go/gateway"
)

// metricsHandler serves everything that is measured, in a registry of its own.
func (s *Server) metricsHandler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{s})
	reg.MustRegister(s.env.Collectors...)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		Timeout:             20 * time.Second,
		ErrorHandling:       promhttp.ContinueOnError,
	})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("robustmq_"+name, help, labels, nil)
}

// protocolMetrics are read from gateway.Stats, once a protocol.
var protocolMetrics = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(*gateway.Stats) int64
}{
	{desc("connections", "Open client connections.", "protocol"), prometheus.GaugeValue, func(s *gateway.Stats) int64 { return s.Connections.Load() }},
	{desc("connections_accepted_total", "Connections accepted.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.Accepted.Load() }},
	{desc("connections_refused_total", "Connections refused: over a cap, or not logged in in time.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.Refused.Load() }},
	{desc("auth_failures_total", "Logins that were refused.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.AuthFailures.Load() }},
	{desc("messages_received_total", "Messages from clients.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.MessagesIn.Load() }},
	{desc("received_bytes_total", "Bytes of messages from clients.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.BytesIn.Load() }},
	{desc("messages_sent_total", "Messages to clients.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.MessagesOut.Load() }},
	{desc("sent_bytes_total", "Bytes of messages to clients.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.BytesOut.Load() }},
	{desc("messages_dropped_total", "At-most-once messages that a slow consumer did not get.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.Dropped.Load() }},
	{desc("slow_consumers_total", "Connections closed for being slow.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.SlowConsumers.Load() }},
	{desc("protocol_errors_total", "Clients that broke their protocol.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.ProtocolErrors.Load() }},
	{desc("damaged_offsets_passed_total", "Offsets of damaged records that consumers were led past, each consumer counted.", "protocol"), prometheus.CounterValue, func(s *gateway.Stats) int64 { return s.DamagePassed.Load() }},
	{desc("subscriptions", "Open subscriptions.", "protocol"), prometheus.GaugeValue, func(s *gateway.Stats) int64 { return s.Subscriptions.Load() }},
}

var (
	readyDesc         = desc("ready", "1 while the gateway serves, 0 otherwise.")
	degradedDesc      = desc("degraded", "1 while something needs looking after although the gateway may serve, 0 otherwise.")
	buildDesc         = desc("build_info", "Always 1; the version is the label.", "version")
	adminFailDesc     = desc("admin_auth_failures_total", "Logins to the admin API that were refused.")
	topicsDesc        = desc("topics", "Topics, internal ones left out.")
	autoTopicsDesc    = desc("topics_auto_created", "Topics that were made by the first use of their subject.")
	shardsDesc        = desc("shards", "Shards of all topics.")
	groupsDesc        = desc("groups", "Consumer groups.", "protocol")
	groupLagDesc      = desc("group_lag_messages", "Messages that groups have yet to finish, all groups together.", "protocol")
	groupMaxLagDesc   = desc("group_lag_max_messages", "Lag of the group that is furthest behind.", "protocol")
	groupUnackedDesc  = desc("group_unacked_messages", "Messages delivered to groups and not acknowledged.", "protocol")
	pinnedDesc        = desc("group_pinned_bytes", "Stored bytes that retention would free, were it not for the group: of the ten groups that pin most.", "group")
	pinnedSumDesc     = desc("groups_pinned_bytes", "Sum of what each group pins; what several pin is counted for each.")
	pinningDesc       = desc("groups_pinning", "Groups that pin anything.")
	groupConsumerDesc = desc("group_consumers", "Consumers attached to groups.", "protocol")
)

// collector reads what the gateways and package shard can tell. There are no
// labels by topic, group or client, since their number is not bounded, but for the
// few groups that pin most.
type collector struct{ s *Server }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for i := range protocolMetrics {
		ch <- protocolMetrics[i].desc
	}
	for _, d := range []*prometheus.Desc{readyDesc, degradedDesc, buildDesc, adminFailDesc, topicsDesc, autoTopicsDesc, shardsDesc,
		groupsDesc, groupLagDesc, groupMaxLagDesc, groupUnackedDesc, groupConsumerDesc,
		pinnedDesc, pinnedSumDesc, pinningDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int64, labels ...string) { put(d, prometheus.GaugeValue, v, labels...) }
	for _, p := range c.s.env.Protocols {
		for i := range protocolMetrics {
			m := &protocolMetrics[i]
			put(m.desc, m.kind, m.get(p.Stats), p.Name)
		}
	}
	flag := func(d *prometheus.Desc, on bool) {
		if on {
			gauge(d, 1)
		} else {
			gauge(d, 0)
		}
	}
	h := c.s.health()
	flag(readyDesc, h.down == "")
	flag(degradedDesc, h.degraded != "")
	gauge(buildDesc, 1, c.s.env.Version)
	put(adminFailDesc, prometheus.CounterValue, c.s.authFail.Load())
	var topics, auto, shards int64
	for _, t := range c.s.env.Broker.Topics.List() {
		topics++
		shards += int64(t.Shards)
		if t.Auto {
			auto++
		}
	}
	gauge(topicsDesc, topics)
	gauge(autoTopicsDesc, auto)
	gauge(shardsDesc, shards)
	c.pinned(gauge)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for protocol, x := range c.s.lags(ctx) {
		gauge(groupsDesc, x.groups, protocol)
		gauge(groupLagDesc, x.lag, protocol)
		gauge(groupMaxLagDesc, x.max, protocol)
		gauge(groupUnackedDesc, x.unacked, protocol)
		gauge(groupConsumerDesc, x.consumers, protocol)
	}
}

// topPinning is how many groups are named in metrics.
const topPinning = 10

// pinned tells which groups keep what retention would free.
func (c collector) pinned(gauge func(*prometheus.Desc, int64, ...string)) {
	all := c.s.pinned()
	names := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(all[b], all[a]), strings.Compare(a, b))
	})
	var sum int64
	for i, n := range names {
		sum += all[n]
		if i < topPinning {
			gauge(pinnedDesc, all[n], strings.ToValidUTF8(n, "\uFFFD"))
		}
	}
	gauge(pinnedSumDesc, sum)
	gauge(pinningDesc, int64(len(names)))
}
