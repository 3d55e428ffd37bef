package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
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
		bytes   int64
		oldest  time.Time // of the oldest entry not flushed; zero: none
		object  bool      // somebody waits for object durability
		dirty   []*shardLog
		lastPos wal.Pos // of the newest entry the WAL has
		failing error   // of the last flush, for health
	}
}

// note counts an entry that the WAL has.
func (f *flusher) note(s *shardLog, pos wal.Pos, size int64, object bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wake := f.mu.bytes == 0 || object && !f.mu.object
	before := f.mu.bytes
	f.mu.bytes += size
	f.mu.lastPos = pos
	f.mu.object = f.mu.object || object
	if f.mu.oldest.IsZero() {
		f.mu.oldest = f.e.opts.Now()
	}
	if !s.dirty {
		s.dirty = true
		f.mu.dirty = append(f.mu.dirty, s)
	}
	if wake || before < f.e.opts.FlushBytes && f.mu.bytes >= f.e.opts.FlushBytes {
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
	if f.mu.bytes >= f.e.opts.FlushBytes {
		return 0, true
	}
	interval := f.e.opts.FlushInterval
	if f.mu.object {
		interval = min(interval, f.e.opts.ObjectFlushInterval)
	}
	return interval - f.e.opts.Now().Sub(f.mu.oldest), true
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
		err := f.flush(ctx)
		if answer != nil {
			answer <- err
		}
		f.report(err)
		if err != nil {
			backoff = min(max(2*backoff, 100*time.Millisecond), maxFlushBackoff)
		} else {
			backoff = 0
		}
	}
}

func (f *flusher) report(err error) {
	f.mu.Lock()
	was := f.mu.failing
	f.mu.failing = err
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
	answer := make(chan error, 1)
	select {
	case e.flusher.ask <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run of one shard that goes into a segment.
type flushRun struct {
	s      *shardLog
	pieces []piece
	sizes  []int
}

// flush writes what was in the WAL when it began.
func (f *flusher) flush(ctx context.Context) error {
	e := f.e
	f.mu.Lock()
	dirty, bytes, oldest, object := f.mu.dirty, f.mu.bytes, f.mu.oldest, f.mu.object
	cut := f.mu.lastPos
	f.mu.dirty, f.mu.bytes, f.mu.oldest, f.mu.object = nil, 0, time.Time{}, false
	for _, s := range dirty {
		s.dirty = false
	}
	f.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	e.saveProducers(dirty)
	slices.SortFunc(dirty, func(a, b *shardLog) int { return a.id.Compare(b.id) })
	if err := f.write(ctx, dirty, cut); err != nil {
		f.restore(dirty, bytes, oldest, object)
		return err
	}
	return e.wal.Trim(cut)
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

// maxSegmentShards bounds a segment's row in the catalog.
const maxSegmentShards = 20_000

// write makes segments of all entries up to cut, each at most SegmentBytes.
func (f *flusher) write(ctx context.Context, dirty []*shardLog, cut wal.Pos) error {
	var runs []flushRun
	var size int64
	emit := func() error {
		if len(runs) == 0 {
			return nil
		}
		err := f.segment(ctx, runs, size)
		runs, size = nil, 0
		return err
	}
	for _, s := range dirty {
		r := flushRun{s: s}
		for _, p := range s.unflushed(cut) {
			if size > 0 && (size+int64(p.size) > f.e.opts.SegmentBytes || len(runs) >= maxSegmentShards) {
				if len(r.pieces) > 0 {
					runs = append(runs, r)
				}
				if err := emit(); err != nil {
					return err
				}
				r = flushRun{s: s}
			}
			r.pieces = append(r.pieces, p.piece)
			r.sizes = append(r.sizes, p.size)
			size += int64(p.size)
		}
		if len(r.pieces) > 0 {
			runs = append(runs, r)
		}
	}
	return emit()
}

type sizedPiece struct {
	piece
	size int
}

// unflushed gives the entries up to cut that no segment holds.
func (s *shardLog) unflushed(cut wal.Pos) []sizedPiece {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	var out []sizedPiece
	for i := s.find(s.flushed); i < len(s.tail); i++ {
		t := &s.tail[i]
		if !t.synced || cut.Less(t.pos) {
			break
		}
		out = append(out, sizedPiece{piece{t.batch, t.pos, t.base}, t.size})
	}
	return out
}

// segment writes, commits and publishes one segment object.
func (f *flusher) segment(ctx context.Context, runs []flushRun, size int64) error {
	e := f.e
	b := tier.NewBuilder(int(size))
	for _, r := range runs {
		batches, err := e.load(r.s.id, r.pieces)
		if err != nil {
			return err
		}
		for _, batch := range batches {
			if err := b.Add(r.s.id, batch.Raw()); err != nil {
				return err
			}
		}
	}
	object, extents, err := b.Finish()
	if err != nil {
		return err
	}
	id := ulid.Make()
	seg := catalog.Segment{ULID: id, Key: tier.Key(0, e.session.Incarnation(), id), Size: int64(len(object)),
		Created: e.opts.Now().UnixMilli(), Extents: catalogExtents(extents)}
	if err := e.putCommit(ctx, seg, object); err != nil {
		return err
	}
	for i := range runs {
		runs[i].s.committed(extents[i].Last)
	}
	e.counters.flushes.Add(1)
	e.counters.flushedBytes.Add(int64(len(object)))
	return nil
}

// putCommit uploads an object and commits it. A PUT whose answer was lost is
// resolved by the store's put-if-absent under a unique key.
func (e *Engine) putCommit(ctx context.Context, seg catalog.Segment, object []byte) error {
	pctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := e.store.Put(pctx, seg.Key, object); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	return e.session.CommitSegment(pctx, seg)
}

// committed notes that the catalog names everything up to last, and completes
// the appends that waited for it.
func (s *shardLog) committed(last int64) {
	s.mu.Lock()
	s.flushed = max(s.flushed, last+1)
	var dups []dupWait
	n := 0
	for n < len(s.object) && s.object[n].last < s.flushed {
		n++
	}
	done := s.object[:n:n]
	s.object = s.object[n:]
	for _, p := range done {
		p.result.Start = s.start
		s.advance(p.last + 1)
	}
	dups = s.takeDups()
	i := 0
	for i < len(s.tail) && s.tail[i].batch == nil && s.tail[i].last < s.flushed {
		i++
	}
	s.tail = s.tail[i:]
	s.mu.Unlock()
	for _, p := range done {
		p.complete()
	}
	for _, d := range dups {
		d.done.Appended(d.result)
	}
}

func catalogExtents(es []tier.Extent) []catalog.Extent {
	out := make([]catalog.Extent, len(es))
	for i, x := range es {
		out[i] = catalog.Extent(x)
	}
	return out
}

func tierExtent(x catalog.Extent) tier.Extent { return tier.Extent(x) }

var _ shard.Log = (*Engine)(nil)
