package engine

import (
	"errors"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

const (
	// walAlarm is the share of Options.WALMaxBytes from which on the engine is
	// degraded.
	walAlarm = 0.8
	// slowFlush is how long a flush may be under way before the store, or the
	// catalog, is called slow.
	slowFlush = 20 * time.Second
)

// Health tells what is wrong. With down, appends are refused: the write-ahead
// log failed or takes no more, etcd is all but full, ownership or the catalog session
// is lost, the engine is closed. With degraded alone, everything is served and acknowledged,
// and something needs looking after: flushes fail or are slow, the log fills up,
// a part of what is stored is damaged and refused. Both are nil when all is well.
func (e *Engine) Health() (down, degraded error) {
	w := e.wal.Stats()
	hurt := append(e.flusher.health(), e.walPressure(&w), e.catalogPressure(), e.clock.health(), e.claimed.health(), e.damaged.health(e.opts.Now()))
	for slot := range e.state.slots {
		sl := &e.state.slots[slot]
		sl.mu.RLock()
		hurt = append(hurt, sl.damaged)
		sl.mu.RUnlock()
	}
	return errors.Join(e.down(), e.walRefuses(&w), e.refusal()), errors.Join(append(hurt, e.cat.Health())...)
}

// walRefuses tells why the write-ahead log takes no appends, nil while it does.
func (e *Engine) walRefuses(w *wal.Stats) error {
	switch {
	case w.Failed != nil && e.failed.Load() == nil: // nobody has met it yet
		return shard.Errorf(shard.KindUnavailable, "the write-ahead log failed: %w", w.Failed)
	case w.Full && w.DiskFull:
		return shard.Errorf(shard.KindUnavailable, "appends are refused: the disk of the write-ahead log is full")
	case w.Full:
		return shard.Errorf(shard.KindUnavailable, "appends are refused: the write-ahead log is full (%d of %d bytes)",
			w.LiveBytes, e.opts.WALMaxBytes)
	}
	return nil
}

// walPressure tells that the write-ahead log will soon take no more.
func (e *Engine) walPressure(w *wal.Stats) error {
	if w.Full {
		return nil
	}
	if w.DiskFull {
		return shard.Errorf(shard.KindUnavailable, "the disk of the write-ahead log is full: only the current file takes appends")
	}
	if full := float64(w.LiveBytes) / float64(e.opts.WALMaxBytes); full >= walAlarm {
		return shard.Errorf(shard.KindUnavailable, "the write-ahead log is %.0f %% full (%d of %d bytes): flushes do not keep up",
			100*full, w.LiveBytes, e.opts.WALMaxBytes)
	}
	return nil
}

// begin notes that a flush is under way, until it is reported.
func (f *flusher) begin() {
	f.mu.Lock()
	f.mu.began = f.e.opts.Now()
	f.mu.Unlock()
}

// health tells what keeps the write-ahead log from being flushed.
func (f *flusher) health() []error {
	f.mu.Lock()
	failing, since, began := f.mu.failing, f.mu.since, f.mu.began
	f.mu.Unlock()
	now := f.e.opts.Now()
	var out []error
	if failing != nil {
		out = append(out, shard.Errorf(shard.KindUnavailable, "nothing was flushed to the object store for %s: %w",
			now.Sub(since).Round(time.Second), failing))
	}
	if took := now.Sub(began); !began.IsZero() && took >= slowFlush && failing == nil {
		out = append(out, shard.Errorf(shard.KindUnavailable, "a flush has been under way for %s: the object store or the catalog is slow",
			took.Round(time.Second)))
	}
	return out
}

// Lost is closed when the engine acknowledges nothing any more and gives up its
// ownership: the catalog session has ended, or the write-ahead log failed.
func (e *Engine) Lost() <-chan struct{} { return e.lost }
