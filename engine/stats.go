package engine

import (
	"time"

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

	Segments, Extents, Deletions int // that the catalog names
}

// Stats gives a snapshot. It may be called concurrently with everything.
func (e *Engine) Stats() Stats {
	c := &e.counters
	s := Stats{WAL: e.wal.Stats(), Reader: e.reader.Stats(),
		Flushes: c.flushes.Load(), FlushedBytes: c.flushedBytes.Load(), FlushFailures: c.flushFailures.Load(),
		Merges: c.merges.Load(), MergedBytes: c.mergedBytes.Load(), DeletedObjects: c.deletedObjects.Load(),
		LostRecords: c.lostRecords.Load(), Unmergeable: c.unmergeable.Load(), WALMaxBytes: e.opts.WALMaxBytes, Deletions: len(e.cat.Deletions())}
	s.Segments, s.Extents = e.cat.SegmentStats()
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
