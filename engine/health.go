package engine

import (
	"errors"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// walAlarm is the share of Options.WALMaxBytes from which on health is red.
const walAlarm = 0.8

// Stats are figures of an engine: gauges of now, and counters since it was opened.
type Stats struct {
	// WALBytes are not flushed yet; at WALMaxBytes appends are refused.
	WALBytes, WALMaxBytes int64
	// FlushFailing is the last flush's error, nil when it went well; FailingSince
	// is when that began.
	FlushFailing error
	FailingSince time.Time
	Flushes      int64
	FlushedBytes int64
	Merges       int64
	MergedBytes  int64
	// Unmergeable segments are damaged and left out of merging.
	Unmergeable    int64
	DeletedObjects int64
	// LostRecords were acknowledged and cannot be had any more.
	LostRecords int64
	// Shards are those in memory.
	Shards int
}

// Stats gives the figures.
func (e *Engine) Stats() Stats {
	f, c := &e.flusher, &e.counters
	s := Stats{WALBytes: e.wal.Stats().LiveBytes, WALMaxBytes: e.opts.WALMaxBytes, Flushes: c.flushes.Load(),
		FlushedBytes: c.flushedBytes.Load(), Merges: c.merges.Load(), MergedBytes: c.mergedBytes.Load(),
		Unmergeable: c.unmergeable.Load(), DeletedObjects: c.deletedObjects.Load(), LostRecords: c.lostRecords.Load()}
	f.mu.Lock()
	if s.FlushFailing = f.mu.failing; s.FlushFailing != nil {
		s.FailingSince = f.mu.since
	}
	f.mu.Unlock()
	for i := range e.shards {
		st := &e.shards[i]
		st.RLock()
		s.Shards += len(st.m)
		st.RUnlock()
	}
	return s
}

// Health tells all that is wrong, nil when nothing is.
func (e *Engine) Health() error {
	errs := []error{e.down()}
	f := &e.flusher
	f.mu.Lock()
	failing, since := f.mu.failing, f.mu.since
	f.mu.Unlock()
	if failing != nil {
		errs = append(errs, shard.Errorf(shard.KindUnavailable, "nothing was flushed to the object store for %s: %w",
			e.opts.Now().Sub(since).Round(time.Second), failing))
	}
	if w := e.wal.Stats(); w.DiskFull {
		errs = append(errs, shard.Errorf(shard.KindUnavailable, "the disk of the write-ahead log is full"))
	} else if full := float64(w.LiveBytes) / float64(e.opts.WALMaxBytes); full >= walAlarm {
		errs = append(errs, shard.Errorf(shard.KindUnavailable, "the write-ahead log is %.0f %% full (%d of %d bytes): flushes do not keep up",
			100*full, w.LiveBytes, e.opts.WALMaxBytes))
	}
	for slot := range e.state.slots {
		sl := &e.state.slots[slot]
		sl.mu.RLock()
		errs = append(errs, sl.damaged)
		sl.mu.RUnlock()
	}
	return errors.Join(append(errs, e.cat.Health())...)
}

// Lost is closed when the engine acknowledges nothing any more and gives up its
// ownership: the catalog session has ended, or the write-ahead log failed.
func (e *Engine) Lost() <-chan struct{} { return e.lost }
