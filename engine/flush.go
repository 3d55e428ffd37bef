package engine

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

// flusher decides when to flush and does it, on one goroutine.
type flusher struct {
	e    *Engine
	kick chan struct{}
	// ask carries requests to flush now; each is answered when everything that
	// was in the WAL when it was made is committed.
	ask chan chan error

	mu struct { // also guards shardLog.dirty
		sync.Mutex
		bytes    int64
		oldest   time.Time // of the oldest entry not flushed; zero: none
		object   bool      // somebody waits for object durability
		dirty    []*shardLog
		lastPos  wal.Pos   // of the newest entry the WAL has
		failing  error     // of the last flush, for health
		since    time.Time // when it began to fail
		doubtful string    // the object whose commit is in doubt
		began    time.Time // of the flush under way; zero: none
	}
	waiting atomic.Int32 // callers of Engine.Flush
	losing  sync.Mutex   // held while a shard's damage is saved
	busy    sync.Mutex   // guards what follows
	trimmed wal.Pos
	doubt   *doubt
	spares  [][]byte // memory of objects that were stored, for the next ones
}

const (
	// maxFlushed bounds the object of a flush that is behind: it is made in
	// memory, beside others, and merged later.
	maxFlushed = 16 << 20
	// maxSpare bounds the memory of one object that is kept for the next.
	maxSpare = maxFlushed + maxFlushed/8
	// maxSpares is how many are kept between flushes.
	maxSpares = 2
	// widenEvery is how much a flush has to write for each further upload at a
	// time: the log has room for a burst, and clients need the processors more.
	widenEvery = 512 << 20
)

// note counts an entry that the WAL has.
func (f *flusher) note(s *shardLog, pos wal.Pos, size int64, object bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wake := f.mu.bytes == 0 || object && !f.mu.object
	before := f.mu.bytes
	f.mu.bytes += size
	if f.mu.lastPos.Less(pos) { // a replay takes the state log first
		f.mu.lastPos = pos
	}
	f.mu.object = f.mu.object || object
	if f.mu.oldest.IsZero() {
		f.mu.oldest = f.e.opts.Now()
	}
	if !s.dirty {
		s.dirty = true
		f.mu.dirty = append(f.mu.dirty, s)
	}
	if limit := f.e.opts.FlushBytes * f.e.braked(); wake || before < limit && f.mu.bytes >= limit {
		select {
		case f.kick <- struct{}{}:
		default:
		}
	}
}

// due tells how long until the next flush; ok is false when nothing waits.
func (f *flusher) due() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.bytes == 0 {
		return 0, false
	}
	brake := f.e.braked()
	if f.mu.bytes >= f.e.opts.FlushBytes*brake {
		return 0, true
	}
	interval := f.e.opts.FlushInterval
	if f.mu.object {
		interval = min(interval, f.e.opts.ObjectFlushInterval)
	}
	return interval*time.Duration(brake) - f.e.opts.Now().Sub(f.mu.oldest), true
}

const maxFlushBackoff = 5 * time.Second

func (f *flusher) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	backoff := time.Duration(0)
	for {
		wait, some := f.due()
		if !some {
			wait = time.Hour
		}
		timer.Reset(max(wait, backoff))
		var answer chan error
		select {
		case <-ctx.Done():
			return
		case <-f.kick:
			if backoff > 0 {
				continue
			}
			if w, _ := f.due(); w > 0 {
				continue
			}
		case answer = <-f.ask:
		case <-timer.C:
		}
		f.begin()
		err := f.flush(ctx)
		f.report(err)
		if answer != nil {
			answer <- err
		}
		if err != nil {
			backoff = min(max(2*backoff, 100*time.Millisecond), maxFlushBackoff)
		} else {
			backoff = 0
		}
	}
}

func (f *flusher) report(err error) {
	f.mu.Lock()
	f.mu.began = time.Time{}
	was := f.mu.failing
	f.mu.failing = err
	if was == nil {
		f.mu.since = f.e.opts.Now()
	}
	f.mu.Unlock()
	if err != nil {
		f.e.counters.flushFailures.Add(1)
	}
	switch {
	case err != nil && was == nil && !errors.Is(err, context.Canceled):
		f.e.log.Warn("flush failed; the write-ahead log keeps everything", "error", err)
	case err == nil && was != nil:
		f.e.log.Info("flush works again")
	}
}

// Flush writes everything the WAL holds to the object store and commits it.
func (e *Engine) Flush(ctx context.Context) error {
	e.flusher.waiting.Add(1)
	defer e.flusher.waiting.Add(-1)
	answer := make(chan error, 1)
	select {
	case e.flusher.ask <- answer:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return shard.ErrClosed
	}
	select {
	case err := <-answer: // the flusher answers what it took
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run of one shard that goes into a segment.
type flushRun struct {
	s      *shardLog
	pieces []piece
}

// flush writes what was in the WAL when it began.
func (f *flusher) flush(ctx context.Context) error {
	e := f.e
	f.busy.Lock() // tests flush by themselves
	defer f.busy.Unlock()
	if err := f.settle(ctx); err != nil {
		return err
	}
	// Every entry before trim has been noted: it is in dirty, or flushed.
	trim := e.wal.Position()
	if e.failed.Load() != nil {
		trim = wal.Pos{} // entries that were refused have not been noted
	}
	f.mu.Lock()
	dirty, bytes, oldest, object := f.mu.dirty, f.mu.bytes, f.mu.oldest, f.mu.object
	cut := f.mu.lastPos
	f.mu.dirty, f.mu.bytes, f.mu.oldest, f.mu.object = nil, 0, time.Time{}, false
	for _, s := range dirty {
		s.dirty = false
	}
	f.mu.Unlock()
	if e.hooks.trimFirst != nil {
		e.hooks.trimFirst(trim)
	}
	if !cut.IsZero() {
		e.session.NoteFlushed(catalog.WALPos{File: cut.File, Off: cut.Off})
	}
	slices.SortFunc(dirty, func(a, b *shardLog) int { return a.id.Compare(b.id) })
	if err := f.write(ctx, dirty, cut, bytes); err != nil {
		f.restore(dirty, bytes, oldest, object)
		return err
	}
	if !f.trimmed.Less(trim) {
		return nil
	}
	if err := e.wal.Trim(trim); err != nil {
		if errors.Is(err, wal.ErrFailed) {
			e.fail(err)
		}
		return err
	}
	f.trimmed = trim
	e.saveProducersOf(dirty)
	return nil
}

// pending tells whether the WAL has what no object has.
func (f *flusher) pending() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.dirty) > 0
}

// restore puts back what a failed flush took.
func (f *flusher) restore(dirty []*shardLog, bytes int64, oldest time.Time, object bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range dirty {
		if !s.dirty {
			s.dirty = true
			f.mu.dirty = append(f.mu.dirty, s)
		}
	}
	f.mu.bytes += bytes
	f.mu.oldest = oldest
	f.mu.object = f.mu.object || object
}

// width is how many uploads a flush of so many bytes has under way at once: more
// the further it is behind, up to FlushParallel, which it is when somebody waits.
func (f *flusher) width(bytes int64) int {
	if f.waiting.Load() > 0 {
		return f.e.opts.FlushParallel
	}
	return int(min(1+bytes/widenEvery, int64(f.e.opts.FlushParallel)))
}

// objectBytes bounds the object of a flush that is behind: a quarter of a segment, which
// merges take up, or what a flush has when it is not.
func (f *flusher) objectBytes() int64 {
	o := &f.e.opts
	return min(max(o.SegmentBytes/4, o.FlushBytes), o.SegmentBytes, maxFlushed)
}

// maxSegmentShards bounds a segment's row in the catalog.
const maxSegmentShards = 20_000

// write makes segments of all entries up to cut, each of objectBytes at most; behind is
// their size. As many as width says are on
// their way at once; they are committed one after the other, in order.
func (f *flusher) write(ctx context.Context, dirty []*shardLog, cut wal.Pos, behind int64) error {
	var runs []flushRun
	var size int64
	limit := f.objectBytes()
	w := window{f: f, behind: behind}
	defer w.close()
	emit := func() error {
		if len(runs) == 0 {
			return nil
		}
		err := w.add(ctx, runs, size)
		runs, size = nil, 0
		return err
	}
	for _, s := range dirty {
		r := flushRun{s: s}
		for p := range s.unflushed(cut, f.e.opened) {
			if size > 0 && (size+int64(p.size) > limit || len(runs) >= maxSegmentShards) {
				if len(r.pieces) > 0 {
					runs = append(runs, r)
				}
				if err := emit(); err != nil {
					return err
				}
				r = flushRun{s: s}
			}
			r.pieces = append(r.pieces, p.piece)
			size += int64(p.size)
		}
		if len(r.pieces) > 0 {
			runs = append(runs, r)
		}
	}
	if err := emit(); err != nil {
		return err
	}
	return w.finish(ctx)
}

type sizedPiece struct {
	piece
	size int
}

// unflushed gives the entries up to cut that no segment holds. Not all at a time are
// looked up: there may be very many. opened is when the engine was.
func (s *shardLog) unflushed(cut wal.Pos, opened int64) iter.Seq[sizedPiece] {
	return func(yield func(sizedPiece) bool) {
		page := make([]sizedPiece, 0, packLen)
		for from, more := int64(0), true; more; {
			page, more = s.unflushedFrom(from, cut, opened, page[:0])
			for i := range page {
				from = page[i].last + 1
				if !yield(page[i]) {
					return
				}
			}
		}
	}
}

// unflushedFrom adds some to page, and tells whether there may be more.
func (s *shardLog) unflushedFrom(from int64, cut wal.Pos, opened int64, page []sizedPiece) ([]sizedPiece, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return page, false
	}
	from = max(from, s.flushed)
	for i := s.find(from); i < len(s.tail) && len(page) < packLen; i++ {
		more := s.tail[i].each(func(t *tailEntry) bool {
			if !t.synced || cut.Less(t.pos) {
				return false
			}
			if t.last >= from {
				page = append(page, sizedPiece{piece{t.batch, t.pos, t.base, t.last, t.arrivedOr(opened)}, t.size})
			}
			return true
		})
		if !more {
			return page, false
		}
	}
	return page, len(page) >= packLen
}
