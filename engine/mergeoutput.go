package engine

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
)

// mergeOutputs are the objects of one merge, by class.
type mergeOutputs struct {
	e   *Engine
	job *mergeJob
	by  map[mergeClass]*mergeOutput
}

// newOutputs prepares the outputs of a merge. Objects of one class are of about equal
// size: a small rest would be merged again and again.
func (e *Engine) newOutputs(job *mergeJob, byShard map[shard.ID][]mergeSource) *mergeOutputs {
	m := &mergeOutputs{e: e, job: job, by: make(map[mergeClass]*mergeOutput)}
	bytes := make(map[mergeClass]int64)
	for id, srcs := range byShard {
		for i := range srcs {
			bytes[job.classes(id)] += srcs[i].ext.Len
		}
	}
	for class, n := range bytes {
		parts := (n + e.opts.SegmentBytes - 1) / e.opts.SegmentBytes
		limit := min(n/parts+n/parts/16+64<<10, e.opts.SegmentBytes)
		m.by[class] = &mergeOutput{e: e, level: job.level, created: job.segs[0].Created, class: class, limit: limit}
	}
	return m
}

// of gives where a shard goes.
func (m *mergeOutputs) of(id shard.ID) *mergeOutput { return m.by[m.job.classes(id)] }

// finish stores what is left, and gives all that was made.
func (m *mergeOutputs) finish(ctx context.Context) (done []catalog.Segment, err error) {
	for _, class := range slices.Sorted(maps.Keys(m.by)) {
		if err := m.by[class].emit(ctx); err != nil {
			return nil, err
		}
		done = append(done, m.by[class].done...)
	}
	return done, nil
}

func (m *mergeOutputs) close() {
	for _, o := range m.by {
		o.close()
	}
}

func (m *mergeOutputs) discard() {
	for _, o := range m.by {
		o.discard()
	}
}

// mergeOutput collects merged objects of one class until they are swapped in. Each is
// made in a file of the log's directory, which has no name, and is stored from there: in
// memory it would be the largest thing that a gateway holds. Its sum is taken as it
// is written: what the disk gives back otherwise is not stored, for the swap has the
// segments deleted that it was made of.
type mergeOutput struct {
	e       *Engine
	level   int
	created int64
	class   mergeClass
	limit   int64    // of an object
	spool   vfs.File // nil: none is being made
	sum     hash.Hash32
	b       *tier.Builder
	arrived arrivals
	// sections of the row, beside the class.
	sections []catalog.Section
	done     []catalog.Segment
}

// spoolName is the file's name, as long as it has one.
const spoolName = "merge.tmp"

func (m *mergeOutput) add(ctx context.Context, id shard.ID, batch []byte, at arrival) error {
	if m.spool != nil && int64(m.b.Size()+len(batch)) > m.limit {
		if err := m.emit(ctx); err != nil {
			return err
		}
	}
	if m.spool == nil {
		if err := m.begin(); err != nil {
			return fmt.Errorf("begin merged segment: %w", err)
		}
	}
	if err := m.b.Add(id, batch); err != nil {
		return err
	}
	m.arrived.note(id, at)
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// begin begins an object.
func (m *mergeOutput) begin() error {
	name := filepath.Join(m.e.opts.WALDir, spoolName)
	if m.class != classPlain {
		name = filepath.Join(m.e.opts.WALDir, fmt.Sprintf("class%d-%s", m.class, spoolName))
	}
	if err := m.e.opts.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash left it
		return err
	}
	f, err := m.e.opts.FS.Open(name, vfs.ReadWrite|vfs.Create|vfs.Exclusive)
	if err != nil {
		return err
	}
	_ = m.e.opts.FS.Remove(name) // where an open file keeps its name the next merge removes it
	m.arrived = make(arrivals)
	m.spool, m.sum = f, crc32.New(castagnoli)
	m.b = tier.NewBuilderTo(io.MultiWriter(io.NewOffsetWriter(f, 0), m.sum))
	return nil
}

// emit uploads what was collected; it is committed by the swap.
func (m *mergeOutput) emit(ctx context.Context) error {
	if m.spool == nil {
		return nil
	}
	seg, _, err := m.e.finish(m.b, m.level, m.created, m.arrived)
	if err != nil {
		return err
	}
	seg.Sections = m.sections
	if m.class != classMixed && m.class != classSnapshot {
		seg.Sections = append(seg.Sections, catalog.Section{Kind: catalog.SectionClass, Data: []byte{byte(m.class)}})
	}
	pctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	m.done = append(m.done, seg)
	if err := m.e.putFrom(pctx, seg.Key, m.spool, seg.Size, m.sum.Sum32()); err != nil {
		return fmt.Errorf("put merged segment: %w", err)
	}
	m.e.counters.mergedBytes.Add(seg.Size)
	m.close()
	return nil
}

// close gives up the file.
func (m *mergeOutput) close() {
	if m.spool != nil {
		_ = m.spool.Close() // nothing in it is wanted any more
	}
	m.spool, m.b = nil, nil
}

// discard deletes the objects of a merge that comes to nothing.
func (m *mergeOutput) discard() {
	if len(m.done) == 0 {
		return
	}
	keys := make([]string, len(m.done))
	for i := range m.done {
		keys[i] = m.done[i].Key
	}
	ctx, cancel := context.WithTimeout(m.e.ctx, discardTime)
	defer cancel()
	if err := m.e.store.Delete(ctx, keys...); err != nil && m.e.ctx.Err() == nil {
		m.e.log.Warn("objects of a merge that failed are left as orphans", "objects", len(keys), "error", err)
	}
}

// discardTime bounds the clearing up after a merge.
const discardTime = 30 * time.Second
