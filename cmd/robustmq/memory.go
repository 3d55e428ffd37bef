package main

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/robustmq/robustmq-go/gateway"
)

// Most of the memory is bytes of batches: the collector does not look into them,
// so that collecting more often than Go's 100 costs little and saves a quarter.
const gcPercent = 50

// Parts of the limit, in percent. What is left is the catalog's, the engine's
// tables', goroutines' and the collector's.
const (
	connectionShare = 20
	memoryShare     = 10 // of tails, appends, blocks and groups, each
	stateShare      = 5
	// connectionRoom is the limit's share of one connection. One that does not read takes
	// up to 30 KiB beside what is accounted for, and they may take a quarter together.
	connectionRoom = 120 << 10
	minConnections = 500
	// minAppend leaves room for a batch of the largest size and one more.
	minAppend = 40 << 20
)

// boundMemory finds how much memory the process may take and fits its parts to it.
func (c *Config) boundMemory(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	limit, from := memoryLimit(c.Memory.Limit, log)
	c.processMemory = limit
	c.fitMemory(limit)
	m := &c.Memory
	log.Info("memory", "limit", limit, "from", from, "connections", m.Connections, "connection_bytes", m.ConnectionBytes, "tails", m.TailBytes, "appends", m.AppendBytes,
		"blocks", m.CacheBytes, "groups", m.GroupBytes, "state", m.StateBytes)
}

// memoryLimit gives the limit of the process, and where it is from. Go's collector
// is told of it, but for the machine's memory, which others use too.
func memoryLimit(configured int64, log *slog.Logger) (limit int64, from string) {
	if _, err := memlimit.Set(memlimit.WithRatio(0.9), memlimit.WithProvider(memlimit.FromCgroup)); err != nil {
		log.Debug("no memory limit found", "error", err)
	}
	now := debug.SetMemoryLimit(-1)
	switch {
	case configured > 0:
		debug.SetMemoryLimit(min(now, configured))
		return configured, "memory.limit"
	case now < math.MaxInt64 && os.Getenv("GOMEMLIMIT") != "":
		return now, "GOMEMLIMIT"
	case now < math.MaxInt64:
		return now, "cgroup"
	}
	if all, err := memlimit.FromSystem(); err == nil && all > 0 {
		return int64(min(all, math.MaxInt64)) / 2, "machine"
	}
	return 4 << 30, "default"
}

// fitMemory makes what the configuration leaves at its default small enough.
func (c *Config) fitMemory(limit int64) {
	m, d := &c.Memory, defaults().Memory
	part := limit / 100
	if m.Connections == 0 {
		m.Connections = int(max(limit/connectionRoom, minConnections))
	}
	if m.ConnectionBytes == 0 {
		m.ConnectionBytes = part * connectionShare
	}
	for _, f := range []struct {
		at                     *int64
		standard, share, least int64
	}{
		{&m.TailBytes, d.TailBytes, memoryShare, 1 << 20},
		{&m.AppendBytes, d.AppendBytes, memoryShare, minAppend},
		{&m.CacheBytes, d.CacheBytes, memoryShare, 8 << 20},
		{&m.GroupBytes, d.GroupBytes, memoryShare, 1 << 20},
		{&m.StateBytes, d.StateBytes, stateShare, 1 << 20},
	} {
		if *f.at == f.standard {
			*f.at = min(*f.at, max(part*f.share, f.least))
		}
	}
}

// memoryCollector exports the memory for connections.
type memoryCollector struct{ m *gateway.Memory }

var memoryMetrics = []struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	get    func(*gateway.MemoryStats) int64
	labels []string
}{
	{metricDesc("connection_memory_limit_bytes", "What connections may hold, in both directions together."), gauge, func(s *gateway.MemoryStats) int64 { return s.Limit }, nil},
	{connectionMemory, gauge, func(s *gateway.MemoryStats) int64 { return s.Incoming }, []string{"incoming"}},
	{connectionMemory, gauge, func(s *gateway.MemoryStats) int64 { return s.Queued }, []string{"queued"}},
	{metricDesc("connection_memory_waiting", "Connections that are not read until there is memory."), gauge, func(s *gateway.MemoryStats) int64 { return int64(s.Waiting) }, nil},
	{metricDesc("connection_memory_waits_total", "Frames that had to wait for memory."), counter, func(s *gateway.MemoryStats) int64 { return s.Waits }, nil},
	{metricDesc("connection_memory_refused_total", "Frames larger than the memory for connections."), counter, func(s *gateway.MemoryStats) int64 { return s.Refused }, nil},
	{metricDesc("connection_memory_short_closed_total", "Connections that did not read, closed because the process ran out of memory."), counter, func(s *gateway.MemoryStats) int64 { return s.Short }, nil},
	{metricDesc("connection_memory_closed_total", "Connections closed for holding memory without sending, while others waited."), counter, func(s *gateway.MemoryStats) int64 { return s.Evicted }, nil},
	{metricDesc("connection_memory_cut_total", "Times a slow client's queue was held to less than its own bound."), counter, func(s *gateway.MemoryStats) int64 { return s.Cut }, nil},
}

var connectionMemory = metricDesc("connection_memory_bytes", "What connections hold: of what clients send, of what is queued for them.", "kind")

// Describe implements prometheus.Collector.
func (c memoryCollector) Describe(ch chan<- *prometheus.Desc) {
	for i := range memoryMetrics {
		ch <- memoryMetrics[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c memoryCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.m.Stats()
	for i := range memoryMetrics {
		m := &memoryMetrics[i]
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.get(&s)), m.labels...)
	}
}
