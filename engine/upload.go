package engine

import (
	"context"
	"errors"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/wal"
)

// upload is one segment object on its way to the store.
type upload struct {
	runs   []flushRun
	size   int64 // of the batches
	cancel context.CancelFunc
	done   chan struct{}
	// What follows is set before done is closed.
	seg    catalog.Segment
	object []byte // nil without an error: all of it is damaged, and noted
	stored bool   // the store is done with object's memory
	err    error
}

// start builds an object and stores it, in the background.
func (f *flusher) start(ctx context.Context, runs []flushRun, size int64) *upload {
	var memory []byte
	if n := len(f.spares); n > 0 {
		memory, f.spares = f.spares[n-1], f.spares[:n-1]
	}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	u := &upload{runs: runs, size: size, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = u.store(ctx, f, tier.NewBuilderIn(memory, int(size+size/16)))
	}()
	return u
}

func (u *upload) store(ctx context.Context, f *flusher, b *tier.Builder) error {
	as := make(arrivals, len(u.runs))
	if err := f.fill(ctx, b, u.runs, as); err != nil || b.Empty() {
		return err
	}
	var err error
	if u.seg, u.object, err = f.e.finish(b, 0, f.e.opts.Now().UnixMilli(), as); err != nil {
		return err
	}
	err = f.e.put(ctx, u.seg.Key, u.object)
	u.stored = err == nil
	return err
}

// land waits for an upload and commits it; as two or more where it is too large
// for the store or the catalog.
func (f *flusher) land(ctx context.Context, u *upload) error {
	<-u.done
	u.cancel()
	f.keepMemory(u)
	err := u.err
	switch {
	case err == nil && u.object == nil:
		publish(u.runs)
	case err == nil:
		ctx, cancel := context.WithTimeout(ctx, putTimeout)
		err = f.commit(ctx, doubt{u.seg, u.runs})
		cancel()
	}
	if len(u.runs) > 1 && (errors.Is(err, catalog.ErrTooLarge) || errors.Is(err, tier.ErrFull)) {
		half := len(u.runs) / 2
		if err := f.land(ctx, f.start(ctx, u.runs[:half], u.size/2)); err != nil {
			return err
		}
		return f.land(ctx, f.start(ctx, u.runs[half:], u.size/2))
	}
	return err
}

// keepMemory takes back the memory of an object that is stored.
func (f *flusher) keepMemory(u *upload) {
	if u.stored && cap(u.object) <= maxSpare && len(f.spares) < maxSpares {
		f.spares = append(f.spares, u.object)
	}
}

// window is the uploads of one flush that are under way, oldest first.
type window struct {
	f       *flusher
	behind  int64
	uploads []*upload
}

// add starts an upload, and lands the oldest while there are as many as may be.
func (w *window) add(ctx context.Context, runs []flushRun, size int64) error {
	w.uploads = append(w.uploads, w.f.start(ctx, runs, size))
	for len(w.uploads) >= w.f.width(w.behind) {
		if err := w.landOldest(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *window) landOldest(ctx context.Context) error {
	u := w.uploads[0]
	w.uploads = w.uploads[1:]
	return w.f.land(ctx, u)
}

// finish lands all.
func (w *window) finish(ctx context.Context) error {
	for len(w.uploads) > 0 {
		if err := w.landOldest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close gives up what did not land: after an error nothing later may be
// committed. Objects that were stored all the same are orphans, as after a crash.
func (w *window) close() {
	for _, u := range w.uploads {
		u.cancel()
	}
	for _, u := range w.uploads {
		<-u.done
		w.f.keepMemory(u)
	}
}

// finish makes the object of a builder, and its row in the catalog. The object is
// nil when the builder has written it out.
func (e *Engine) finish(b *tier.Builder, level int, created int64, as arrivals) (catalog.Segment, []byte, error) {
	size := b.Size()
	object, extents, err := b.Finish()
	id := ulid.Make()
	return catalog.Segment{ULID: id, Key: tier.Key(level, e.session.Incarnation(), id), Level: uint8(level),
		Size: int64(size), Created: created, Extents: catalogExtents(extents, as)}, object, err
}

// fill adds the runs to a segment. What the WAL can no longer bear out is noted
// as lost, durably, before the WAL may be trimmed; all else goes on. Several may
// run at once.
func (f *flusher) fill(ctx context.Context, b *tier.Builder, runs []flushRun, as arrivals) error {
	e := f.e
	for _, r := range runs {
		hurt := false
		for _, p := range r.pieces {
			batch := p.batch
			var err error
			if batch == nil {
				batch, err = e.loadOne(r.s.id, p)
			}
			if err == nil {
				if err = b.Add(r.s.id, batch.Raw()); err == nil {
					as.note(r.s.id, arrivedAt(p.arrived))
				}
			}
			if errors.Is(err, wal.ErrCorrupt) || errors.Is(err, tier.ErrBatch) {
				e.log.Error("acknowledged records are lost before they were flushed", "shard", r.s.id.String(), "from", p.base, "to", p.last, "error", err)
				e.counters.lostRecords.Add(p.last - p.base + 1)
				r.s.mu.Lock()
				r.s.lose(p.base, p.last+1)
				r.s.mu.Unlock()
				hurt, err = true, nil
			}
			if err != nil {
				return err
			}
		}
		if hurt {
			f.losing.Lock() // a shard may be in two objects: what is saved last has to know all
			err := e.saveLost(ctx, r.s)
			f.losing.Unlock()
			if err != nil {
				return err
			}
		}
	}
	return nil
}
