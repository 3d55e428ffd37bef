package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
)

// doubt is a commit whose outcome is not known. The same segment is committed
// again before anything else is flushed: another one would overlap it.
type doubt struct {
	seg  catalog.Segment
	runs []flushRun
}

// commit names an object in the catalog.
func (f *flusher) commit(ctx context.Context, d doubt) error {
	err := f.e.session.CommitSegment(ctx, d.seg)
	switch {
	case err == nil:
		f.doubt = nil
		publish(d.runs)
		f.e.tails.committed()
		f.e.counters.flushes.Add(1)
		f.e.counters.flushedBytes.Add(d.seg.Size)
	case errors.Is(err, catalog.ErrTooLarge), errors.Is(err, catalog.ErrOverlap), errors.Is(err, catalog.ErrInvalid), errors.Is(err, catalog.ErrConflict):
		f.doubt = nil // it has not happened
	default:
		f.doubt = &d
		f.setDoubtful(d.seg.Key)
	}
	return err
}

// settle finds out about a commit whose answer was lost.
func (f *flusher) settle(ctx context.Context) error {
	if f.doubt == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	return f.commit(ctx, *f.doubt)
}

func (f *flusher) setDoubtful(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.doubtful = key
}

const putTimeout = time.Minute

// put uploads an object under a key of its own. A retry below that met what an
// earlier try left is believed only when the object is the very same.
func (e *Engine) put(ctx context.Context, key string, object []byte) error {
	return e.send(ctx, key, bytes.NewReader(object), int64(len(object)), func() error { return e.store.Put(ctx, key, object) })
}

// putFrom is put of the size bytes of body, whose CRC-32C is sum.
func (e *Engine) putFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error {
	return e.send(ctx, key, body, size, func() error { return store.PutFrom(ctx, e.store, key, body, size, sum) })
}

func (e *Engine) send(ctx context.Context, key string, body io.ReaderAt, size int64, put func() error) error {
	if err := e.claim(ctx); err != nil {
		return err
	}
	err := put()
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	same, serr := store.Same(ctx, e.store, key, body, size)
	if serr != nil {
		return serr
	}
	if !same {
		return fmt.Errorf("a part of the object was stored: %w", err)
	}
	return nil
}

// publish notes that the catalog names what was in the runs.
func publish(runs []flushRun) {
	for i := range runs {
		r := &runs[i]
		r.s.committed(r.pieces[len(r.pieces)-1].last)
	}
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
	}
	s.advance(min(s.flushed, s.synced))
	dups = s.takeDups()
	s.cutFlushed()
	s.mu.Unlock()
	for _, p := range done {
		p.complete()
	}
	for _, d := range dups {
		d.done.Appended(d.result)
	}
}

var _ shard.Log = (*Engine)(nil)
