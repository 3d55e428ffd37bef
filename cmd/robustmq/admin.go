package main

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/robustmq/robustmq-go/engine"
	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/admin"
	"github.com/robustmq/robustmq-go/shard"
)

// adminEndpoints are the admin gateway's listeners.
func (c *Config) adminEndpoints() []endpoint {
	var out []endpoint
	p := gateway.Protocol{Name: "admin"}
	if a := c.Admin.Listen; a != "" && a != "off" {
		out = append(out, endpoint{protocol: p, addr: a})
	}
	if a := c.Admin.TLSListen; a != "" && a != "off" {
		out = append(out, endpoint{protocol: p, addr: a, tls: true})
	}
	return out
}

// startAdmin makes this incarnation's admin server, and opens the listeners unless
// a former one did: they outlive it.
func (s *server) startAdmin(tlsConfig *tls.Config) error {
	es := s.cfg.adminEndpoints()
	if len(es) == 0 {
		return nil
	}
	env := admin.Env{
		Broker: s.storage.engine.Broker(), Auth: s.auth, Engine: adminEngine{s.storage}, Drain: s.drain, Pinned: s.storage.engine.Pinned,
		Collectors: []prometheus.Collector{engineCollector{s.storage}, storeCollector{s.storage}, liveCollector{s.cfg.live}, memoryCollector{s.memory}},
		Version:    version, Log: s.log.With("protocol", "admin"),
	}
	for _, p := range protocols() {
		view := admin.Protocol{Name: p.Name, Server: s.servers[p.Name], Stats: s.stats[p.Name]}
		for _, l := range s.listeners {
			if l.Protocol == p.Name {
				view.Listeners = append(view.Listeners, l)
			}
		}
		env.Protocols = append(env.Protocols, view)
	}
	var err error
	if s.admin, err = admin.New(env); err != nil {
		return err
	}
	s.front.Show(s.admin)
	if s.front.Listening() {
		return nil
	}
	for _, e := range es {
		var conf *tls.Config
		if e.tls {
			if tlsConfig == nil {
				return errors.New("configuration: a tls listener needs tls.cert_file and tls.key_file")
			}
			conf = tlsConfig
		}
		at, err := s.front.Start(e.addr, conf)
		if err != nil {
			return err
		}
		s.log.Info("listening", "protocol", "admin", "address", at.String(), "tls", e.tls)
	}
	return nil
}

// adminEngine is the engine as the admin gateway asks for it.
type adminEngine struct{ st *storage }

var _ admin.Engine = adminEngine{}

// Health implements admin.Engine.
func (a adminEngine) Health() (down, degraded error) {
	down, degraded = a.st.engine.Health()
	return down, errors.Join(degraded, a.st.trouble.Trouble(), a.st.live.health())
}

// Flush implements admin.Engine.
func (a adminEngine) Flush(ctx context.Context) error { return a.st.engine.Flush(ctx) }

// TrustClock implements admin.Engine.
func (a adminEngine) TrustClock(ctx context.Context) error { return a.st.engine.TrustClock(ctx) }

// Segments implements admin.Engine.
func (a adminEngine) Segments(id shard.ID) []admin.Segment {
	exts := a.st.cat.Extents(id)
	out := make([]admin.Segment, len(exts))
	for i := range exts {
		x, seg := &exts[i].Extent, exts[i].Segment
		out[i] = admin.Segment{
			Object: seg.Key, Size: seg.Size, Level: int(seg.Level), Created: time.UnixMilli(seg.Created).UTC(),
			Base: x.Base, Last: x.Last, Records: x.Records, Position: x.Pos, Length: x.Len,
			MinTime: time.UnixMilli(x.MinTime).UTC(), MaxTime: time.UnixMilli(x.MaxTime).UTC(),
		}
	}
	return out
}

// engineCollector exports the engine's counters.
type engineCollector struct{ st *storage }

// Describe implements prometheus.Collector.
func (c engineCollector) Describe(ch chan<- *prometheus.Desc) {
	for i := range engineMetrics {
		ch <- engineMetrics[i].desc
	}
	ch <- walSyncDesc
}

// Collect implements prometheus.Collector.
func (c engineCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.st.engine.Stats()
	for i := range engineMetrics {
		m := &engineMetrics[i]
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.get(&s), m.labels...)
	}
	// Bucket i counts syncs that took less than 2^i microseconds; the last one
	// has no bound.
	buckets := make(map[float64]uint64)
	var n uint64
	for i, k := range s.WAL.SyncLatency {
		if n += uint64(k); i < len(s.WAL.SyncLatency)-1 {
			buckets[float64(int64(1)<<i)/1e6] = n
		}
	}
	ch <- prometheus.MustNewConstHistogram(walSyncDesc, n, s.WAL.SyncTime.Seconds(), buckets)
}

func metricDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("robustmq_"+name, help, labels, nil)
}

var walSyncDesc = metricDesc("wal_sync_duration_seconds", "Time of one write and fdatasync of the write-ahead log.")

var (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var engineMetrics = []struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	get    func(*engine.Stats) float64
	labels []string
}{
	{metricDesc("flush_segments_total", "Segments written to object storage and committed."), counter, func(s *engine.Stats) float64 { return float64(s.Flushes) }, nil},
	{metricDesc("flush_bytes_total", "Bytes of segments written and committed."), counter, func(s *engine.Stats) float64 { return float64(s.FlushedBytes) }, nil},
	{metricDesc("flush_failures_total", "Flushes that failed; nothing is lost by that."), counter, func(s *engine.Stats) float64 { return float64(s.FlushFailures) }, nil},
	{metricDesc("flush_failing", "1 while the last flush failed."), gauge, func(s *engine.Stats) float64 { return boolValue(s.FlushFailing != nil) }, nil},
	{metricDesc("flush_lag_seconds", "Age of the oldest record that is not in object storage."), gauge, func(s *engine.Stats) float64 { return s.UnflushedAge.Seconds() }, nil},
	{metricDesc("flush_lag_bytes", "Bytes that are not in object storage."), gauge, func(s *engine.Stats) float64 { return float64(s.UnflushedBytes) }, nil},
	{metricDesc("merges_total", "Runs of segments merged into larger ones."), counter, func(s *engine.Stats) float64 { return float64(s.Merges) }, nil},
	{metricDesc("merge_bytes_total", "Bytes of merged segments written."), counter, func(s *engine.Stats) float64 { return float64(s.MergedBytes) }, nil},
	{metricDesc("objects_deleted_total", "Objects deleted that nobody needs any more."), counter, func(s *engine.Stats) float64 { return float64(s.DeletedObjects) }, nil},
	{metricDesc("objects_awaiting_deletion", "Objects within their grace."), gauge, func(s *engine.Stats) float64 { return float64(s.Deletions) }, nil},
	{metricDesc("records_lost_total", "Records found missing from the write-ahead log at the start; one for a batch of which nothing is known, so it is the least that it may be."), counter, func(s *engine.Stats) float64 { return float64(s.LostRecords) }, nil},
	{metricDesc("waiting_slots", "Slots that wait for the log of a former owner: of them only what is object-durable is served."), gauge, func(s *engine.Stats) float64 { return float64(s.WaitingSlots) }, nil},
	{metricDesc("wal_abandoned_total", "Logs of this cluster that were given up for lost, ever."), counter, func(s *engine.Stats) float64 { return float64(s.AbandonedLogs) }, nil},
	{metricDesc("damaged_reads_total", "Reads that met stored records which cannot be read: damaged, or in an object that is gone."), counter, func(s *engine.Stats) float64 { return float64(s.DamagedReads) }, nil},
	{metricDesc("damaged_ranges", "Damaged ranges of offsets that reads met within the last hour."), gauge, func(s *engine.Stats) float64 { return float64(s.DamagedRanges) }, nil},
	{metricDesc("clock_held", "1 while the clock is ahead of what can be believed: nothing is freed or expires by it."), gauge, func(s *engine.Stats) float64 { return boolValue(s.ClockAhead > 0) }, nil},
	{metricDesc("clock_ahead_seconds", "How far the clock is ahead of what is believed."), gauge, func(s *engine.Stats) float64 { return s.ClockAhead.Seconds() }, nil},
	{metricDesc("segments", "Segments that the catalog names."), gauge, func(s *engine.Stats) float64 { return float64(s.Segments) }, nil},
	{metricDesc("segment_extents", "Extents of shards in them."), gauge, func(s *engine.Stats) float64 { return float64(s.Extents) }, nil},
	{metricDesc("state_snapshots_total", "Snapshots of state written."), counter, func(s *engine.Stats) float64 { return float64(s.Snapshots) }, nil},
	{metricDesc("unmerged_segments", "Segments that no merge has taken yet."), gauge, func(s *engine.Stats) float64 { return float64(s.UnmergedSegments) }, nil},
	{metricDesc("unmerged_bytes", "Bytes of those segments."), gauge, func(s *engine.Stats) float64 { return float64(s.UnmergedBytes) }, nil},
	{metricDesc("unmerged_age_seconds", "Age of the oldest of those segments."), gauge, func(s *engine.Stats) float64 { return s.UnmergedAge.Seconds() }, nil},
	{metricDesc("etcd_db_bytes", "Size of etcd's file, of the largest member."), gauge, func(s *engine.Stats) float64 { return float64(s.EtcdBytes) }, nil},
	{metricDesc("etcd_db_used_bytes", "What of it is not free."), gauge, func(s *engine.Stats) float64 { return float64(s.EtcdUsedBytes) }, nil},
	{metricDesc("etcd_quota_bytes", "Size from which on etcd refuses writes; 0 if it is not known."), gauge, func(s *engine.Stats) float64 { return float64(s.EtcdQuotaBytes) }, nil},
	{metricDesc("catalog_rows_bytes", "What segments take in etcd."), gauge, func(s *engine.Stats) float64 { return float64(s.SegmentRowBytes) }, nil},
	{metricDesc("shards_loaded", "Shards in memory."), gauge, func(s *engine.Stats) float64 { return float64(s.Shards) }, nil},
	{metricDesc("tail_bytes", "Newest batches kept in memory."), gauge, func(s *engine.Stats) float64 { return float64(s.TailBytes) }, nil},

	{metricDesc("wal_entries_total", "Record batches synced to the write-ahead log."), counter, func(s *engine.Stats) float64 { return float64(s.WAL.Entries) }, nil},
	{metricDesc("wal_data_bytes_total", "Bytes of those batches."), counter, func(s *engine.Stats) float64 { return float64(s.WAL.DataBytes) }, nil},
	{metricDesc("wal_written_bytes_total", "Bytes written for them, headers included."), counter, func(s *engine.Stats) float64 { return float64(s.WAL.LogBytes) }, nil},
	{metricDesc("wal_padding_bytes_total", "Zeros written to fill pages, overwritten by the next write."), counter, func(s *engine.Stats) float64 { return float64(s.WAL.PadBytes) }, nil},
	{metricDesc("wal_stalls_total", "Times the writer waited for a file."), counter, func(s *engine.Stats) float64 { return float64(s.WAL.Stalls) }, nil},
	{metricDesc("wal_refused_total", "Appends refused because the log is full."), counter, func(s *engine.Stats) float64 { return float64(s.WAL.Refused) }, nil},
	{metricDesc("wal_live_bytes", "Log that is not trimmed."), gauge, func(s *engine.Stats) float64 { return float64(s.WAL.LiveBytes) }, nil},
	{metricDesc("wal_queued_bytes", "Appends that are not synced."), gauge, func(s *engine.Stats) float64 { return float64(s.WAL.QueuedBytes) }, nil},
	{metricDesc("wal_files", "Files that hold the log."), gauge, func(s *engine.Stats) float64 { return float64(s.WAL.Files) }, nil},
	{metricDesc("wal_disk_full", "1 while no further file can be made."), gauge, func(s *engine.Stats) float64 { return boolValue(s.WAL.DiskFull) }, nil},
	{metricDesc("wal_failed", "1 when a write or sync failed: the gateway has to be restarted."), gauge, func(s *engine.Stats) float64 { return boolValue(s.WAL.Failed != nil) }, nil},

	{metricDesc("reader_block_hits_total", "Blocks of segments that a read found in the cache."), counter, func(s *engine.Stats) float64 { return float64(s.Reader.Hits) }, nil},
	{metricDesc("reader_block_misses_total", "Blocks that a read had to get from the store."), counter, func(s *engine.Stats) float64 { return float64(s.Reader.Misses) }, nil},
	{metricDesc("reader_blocks_shared_total", "Blocks that a read waited for while another got them."), counter, func(s *engine.Stats) float64 { return float64(s.Reader.Shared) }, nil},
	{metricDesc("reader_blocks_ahead_total", "Blocks read ahead."), counter, func(s *engine.Stats) float64 { return float64(s.Reader.Ahead) }, nil},
	{metricDesc("reader_received_bytes_total", "Bytes of segments received from the store."), counter, func(s *engine.Stats) float64 { return float64(s.Reader.Bytes) }, nil},
	{metricDesc("reader_errors_total", "Reads from the store that failed."), counter, func(s *engine.Stats) float64 { return float64(s.Reader.Errors) }, nil},
}
