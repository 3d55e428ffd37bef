package engine

import (
	"errors"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// walAlarm is the share of Options.WALMaxBytes from which on health is red.
const walAlarm = 0.8

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
