package engine

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/wal"
)

// recovery is a replay of the WAL under way. The state log comes first, since it
// knows where shards start and what of them was lost before.
type recovery struct {
	e       *Engine
	entries map[shard.ID]*replayedShard // of all other shards
	hurt    map[*shardLog]bool          // shards whose damage is not noted yet
	// slab is where state batches are kept, many in one piece, and kept their bytes.
	slab []byte
	kept int64
}

// Changes of state are read once the replay is through, slot after slot: up to
// so many bytes wait for that in memory, the rest is read from the WAL again.
const (
	stateKeptBytes = 256 << 20
	stateSlabBytes = 1 << 20
)

// replayed is what is kept of an entry; its bytes stay in the WAL.
type replayed struct {
	id         shard.ID
	base, last int64
	maxTime    int64
	size       int
	pos        wal.Pos
	batch      *shard.Batch // of the state log, while there is room
}

// recover replays the WAL into the tails and loads the state log.
func (e *Engine) recover(ctx context.Context) error {
	r := &recovery{e: e, entries: make(map[shard.ID]*replayedShard), hurt: make(map[*shardLog]bool)}
	if err := e.findSnapshots(); err != nil {
		return err
	}
	rec, err := e.wal.Replay(r.take)
	if err != nil {
		return fmt.Errorf("replay write-ahead log: %w", err)
	}
	if rec.Entries > 0 || rec.TornBytes > 0 {
		e.log.Info("write-ahead log replayed", "entries", rec.Entries, "bytes", rec.Bytes, "torn_bytes", rec.TornBytes)
	}
	e.each((*shardLog).skipLost)
	if err := r.damage(rec, true); err != nil {
		return err
	}
	if err := e.loadState(ctx); err != nil {
		return err
	}
	r.slab = nil
	e.tails.evict()
	e.loadShardState()
	for id, x := range r.entries {
		delete(r.entries, id)
		if err := r.applyAll(id, x); err != nil {
			return err
		}
	}
	if err := r.damage(rec, false); err != nil {
		return err
	}
	e.each(func(s *shardLog) { s.skipLost(); s.raise(e.kept.start(s.id)) })
	e.serving = true
	for s := range r.hurt { // before the first flush, which trims the evidence
		if err := e.saveLost(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// loadState loads the slots that this gateway owns.
func (e *Engine) loadState(ctx context.Context) error {
	if err := e.loadSnapshots(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for slot := range Slots {
		if e.epochs[slot] > 0 {
			g.Go(func() error { return e.state.load(gctx, slot) })
		}
	}
	return g.Wait()
}

// take is told of one entry of the WAL.
func (r *recovery) take(pos wal.Pos, entry wal.Entry) error {
	state := entry.Shard.Topic == stateTopicNum
	data := entry.Data
	if state {
		data = r.keep(data)
	}
	b, err := shard.ParseBatch(data)
	if err != nil {
		r.e.log.Error("write-ahead log entry does not hold a batch", "position", pos.String(), "shard", entry.Shard.String(), "error", err)
		return nil // the entry after it shows the gap
	}
	x := replayed{id: entry.Shard, base: b.BaseOffset(), last: b.LastOffset(), maxTime: b.MaxTimestamp(), size: b.Size(), pos: pos}
	if !state {
		r.keepFor(&x, b)
		return nil
	}
	if len(data) > 0 && &data[0] != &entry.Data[0] {
		x.batch = b
	}
	return r.apply(&x)
}

// replayedShard is what the WAL has of one shard, in order.
type replayedShard struct {
	tailRuns
	idempotent int64 // where the first batch of a producer is, plus one
}

func (r *recovery) keepFor(x *replayed, b *shard.Batch) {
	s := r.entries[x.id]
	if s == nil {
		s = &replayedShard{}
		r.entries[x.id] = s
	}
	if s.idempotent == 0 && idempotent(b, &shard.AppendOptions{}) {
		s.idempotent = x.base + 1
	}
	s.add(tailEntry{base: x.base, last: x.last, maxTime: x.maxTime, size: x.size, pos: x.pos, synced: true})
}

// applyAll puts a shard's entries into its tail.
func (r *recovery) applyAll(id shard.ID, x *replayedShard) error {
	err := x.each(func(t *tailEntry) error {
		return r.apply(&replayed{id: id, base: t.base, last: t.last, maxTime: t.maxTime, size: t.size, pos: t.pos})
	})
	if s, _, serr := r.e.shardFor(id); serr == nil {
		s.mu.Lock()
		s.producers.replayed = x.idempotent
		s.mu.Unlock()
	}
	return err
}

// keep copies a batch, or gives it back when there is no room.
func (r *recovery) keep(data []byte) []byte {
	n := len(data)
	if r.kept+int64(n) > stateKeptBytes {
		return data
	}
	r.kept += int64(n)
	if n > cap(r.slab)-len(r.slab) {
		r.slab = make([]byte, 0, max(n, stateSlabBytes))
	}
	r.slab = append(r.slab, data...)
	end := len(r.slab)
	return r.slab[end-n : end : end]
}

// apply puts one entry into its shard's tail, unless it is flushed.
func (r *recovery) apply(x *replayed) error {
	s, t, err := r.e.shardFor(x.id)
	if err != nil {
		return nil // its topic was deleted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.last < s.flushed {
		return nil
	}
	if x.base < s.next {
		return shard.At(shard.Errorf(shard.KindCorrupt, "the write-ahead log holds an offset twice"), "replay", s.id, x.base)
	}
	if from := max(s.next, r.e.kept.start(x.id)); x.base > from {
		r.lose(s, from, x.base, x.base-from)
	}
	s.tail = append(s.tail, tailEntry{base: x.base, last: x.last, maxTime: x.maxTime, size: x.size, pos: x.pos, batch: x.batch, synced: true})
	if x.batch != nil {
		r.e.tails.push(s, x.last, int64(x.size)+tailOverhead)
	} else {
		s.loosened()
	}
	s.next, s.synced, s.end = x.last+1, x.last+1, x.last+1
	r.e.flusher.note(s, x.pos, int64(x.size), r.e.durability(t) == shard.DurabilityObject)
	return nil
}

// lose notes offsets that the WAL should hold and does not; known is how many
// records that is at least. The shard is locked.
func (r *recovery) lose(s *shardLog, from, to, known int64) {
	if !s.lose(from, to) {
		return
	}
	r.hurt[s] = true
	r.e.counters.lostRecords.Add(known)
	r.e.log.Error("acknowledged records are lost: the write-ahead log is damaged", "shard", s.id.String(), "from", from, "to", to-1, "records_at_least", known)
}

// unknownSpan is how many offsets are given up for a batch whose end is not
// known: more than any batch may hold.
const unknownSpan = 1 << 25

// damage gives up the ends of shards whose last batches are damaged; damage
// further in shows as gaps. It is called for the state log and for the rest.
func (r *recovery) damage(rec wal.Recovery, state bool) error {
	for i := range rec.Damaged {
		d := &rec.Damaged[i]
		if !d.Lost() || d.Named && (d.Shard.Topic == stateTopicNum) != state {
			continue
		}
		if !d.Named {
			if state {
				r.e.log.Error("the write-ahead log is damaged: acknowledged records may be lost", "range", d.Error())
			}
			continue
		}
		s, _, err := r.e.shardFor(d.Shard)
		if errors.Is(err, shard.ErrTopicNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		if d.BaseOffset >= s.next {
			r.lose(s, s.next, d.BaseOffset+unknownSpan, d.BaseOffset-s.next+1)
			s.skipLost()
		}
		s.mu.Unlock()
	}
	return nil
}
