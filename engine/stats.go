package engine

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/wal"
)

// Stats are counters since Open and gauges of now.
type Stats struct {
	WAL    wal.Stats
	Reader tier.ReaderStats

	Flushes, FlushedBytes int64 // segments committed and their bytes
	FlushFailures         int64
	FlushFailing          error         // why the last flush failed, nil when it did not
	FailingSince          time.Time     // of the first of the failures in a row
	WALMaxBytes           int64         // of WAL.LiveBytes; appends are refused there
	UnflushedBytes        int64         // in the WAL and in no segment
	UnflushedAge          time.Duration // of the oldest of them; 0: none
	Merges, MergedBytes   int64
	Unmergeable           int64 // segments that are damaged and left out of merging
	DeletedObjects        int64
	LostRecords           int64 // found missing from the WAL at replay
	TailBytes             int64 // of batches in memory
	Shards                int64 // in memory

	DamagedReads  int64         // that met stored records which cannot be read
	DamagedRanges int64         // of them, met within the last hour
	ClockAhead    time.Duration // of what is believed; 0: it is believed

	Segments, Extents, Deletions int // that the catalog names

	Snapshots        int64         // of state, written
	UnmergedSegments int64         // that no merge has taken yet, as of the last look
	UnmergedBytes    int64         // of them
	UnmergedAge      time.Duration // of the oldest of them; 0: none

	EtcdBytes, EtcdUsedBytes, EtcdQuotaBytes int64 // as of the last look; a quota of 0 is not known
	SegmentRowBytes                          int64 // that segments take of etcd
}

// Stats gives a snapshot. It may be called concurrently with everything.
func (e *Engine) Stats() Stats {
	c := &e.counters
	s := Stats{WAL: e.wal.Stats(), Reader: e.reader.Stats(),
		Flushes: c.flushes.Load(), FlushedBytes: c.flushedBytes.Load(), FlushFailures: c.flushFailures.Load(),
		Merges: c.merges.Load(), MergedBytes: c.mergedBytes.Load(), DeletedObjects: c.deletedObjects.Load(),
		LostRecords: c.lostRecords.Load(), Unmergeable: c.unmergeable.Load(), WALMaxBytes: e.opts.WALMaxBytes, Deletions: len(e.cat.Deletions()), ClockAhead: e.clock.ahead()}
	reads, ranges := e.damaged.counts(e.opts.Now())
	s.DamagedReads, s.DamagedRanges = reads, int64(ranges)
	s.Segments, s.Extents = e.cat.SegmentStats()
	s.Snapshots = c.snapshots.Load()
	if u := e.fresh.Load(); u != nil {
		s.UnmergedSegments, s.UnmergedBytes = int64(u.segments), u.bytes
		if u.oldest > 0 {
			s.UnmergedAge = max(0, e.opts.Now().Sub(time.UnixMilli(u.oldest)))
		}
	}
	if u := e.use.Load(); u != nil {
		s.EtcdBytes, s.EtcdUsedBytes, s.EtcdQuotaBytes, s.SegmentRowBytes = u.DB, u.InUse, u.Quota, u.Rows
	}
	f := &e.flusher.mu
	f.Lock()
	s.FlushFailing, s.UnflushedBytes = f.failing, f.bytes
	if f.failing != nil {
		s.FailingSince = f.since
	}
	if !f.oldest.IsZero() {
		s.UnflushedAge = e.opts.Now().Sub(f.oldest)
	}
	f.Unlock()
	e.tails.mu.Lock()
	s.TailBytes = e.tails.bytes
	e.tails.mu.Unlock()
	for i := range e.shards {
		st := &e.shards[i]
		st.RLock()
		s.Shards += int64(len(st.m))
		st.RUnlock()
	}
	return s
}

// DefaultOptions gives what zero values of Options stand for.
func DefaultOptions() Options {
	var o Options
	o.setDefaults()
	return o
}

// ShardBytes gives what a shard takes: in segments from its start on, and what is
// in none yet.
func (e *Engine) ShardBytes(_ context.Context, id shard.ID) (int64, error) {
	if t, ok := e.topics.ByNum(id.Topic); !ok || id.Index >= t.Shards {
		return 0, shard.At(shard.ErrTopicNotFound, "measure shard", id, 0)
	}
	var n int64
	start := e.kept.start(id)
	for _, x := range e.cat.Extents(id) {
		if x.Extent.Last >= start {
			n += x.Extent.Len
		}
	}
	st := &e.shards[hashID(id)%shardStripes]
	st.RLock()
	s := st.m[id]
	st.RUnlock()
	if s == nil { // then nothing of it is in memory
		return n, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.tail {
		s.tail[i].each(func(t *tailEntry) bool {
			if t.base >= s.flushed {
				n += int64(t.size)
			}
			return true
		})
	}
	return n, nil
}
