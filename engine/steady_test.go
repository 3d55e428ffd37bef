package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// steady is a store under a steady load, in steps of a second by the clock that the
// engine is given: plain topics that idempotent producers write to, a compacted one,
// commits; with the default sizes divided by 64.
type steady struct {
	*rig
	st      *countStore
	clock   *testClock
	plain   []shard.ID
	compact shard.ID
	n       int
	live    int64            // bytes of what the keys hold now
	seqs    map[shard.ID]int // of the producer
}

const (
	steadyKeys      = 10_000
	steadyRetention = 4 * time.Minute
	steadyPerSecond = 140 << 10 // just over flush.bytes
)

func newSteady(t *testing.T) *steady {
	s := &steady{st: &countStore{Store: mem.New(nil)}, clock: newTestClock(), seqs: make(map[shard.ID]int)}
	o := scaled(64)
	o.FlushBytes = o.SegmentBytes // each step flushes by itself, once: else how often is chance
	o.Now = s.clock.now
	o.CacheBytes, o.TailBytes = 4<<20, 4<<20
	cat := catalogtest.Open(t, catalog.Config{Embedded: t.TempDir(), LeaseTTL: time.Minute, Now: o.Now})
	s.rig = newRigOn(t, o, cat, s.st)
	for i := range 8 {
		s.plain = append(s.plain, s.topic(fmt.Sprint("plain", i), shard.TopicConfig{RetentionMs: steadyRetention.Milliseconds()}).Shard(0))
	}
	s.compact = s.topic("compact", shard.TopicConfig{Compact: true}).Shard(0)
	return s
}

// step is a second: a flush of what came in it, and each ten seconds the background
// work that is due.
func (s *steady) step() {
	ctx := context.Background()
	for _, id := range s.plain {
		b := shard.NewBuilder(steadyPerSecond)
		for range 8 {
			b.Add(&shard.Record{Timestamp: s.clock.now().UnixMilli(), Value: make([]byte, steadyPerSecond/8/9)})
		}
		batch := b.BuildProducer(7, 0, int32(s.seqs[id]))
		s.seqs[id] += 8
		if _, err := shard.AppendWait(ctx, s.Engine, id, batch, shard.AppendOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
	recs := make([]shard.Record, steadyPerSecond/9/120)
	for i := range recs {
		recs[i] = shard.Record{Timestamp: s.clock.now().UnixMilli(), Key: fmt.Appendf(nil, "%010d", s.n*7919%steadyKeys), Value: fmt.Appendf(nil, "%0100d", s.n)}
		s.n++
	}
	b := shard.BatchOf(recs...)
	s.live = int64(min(s.n, steadyKeys)) * int64(b.Size()) / int64(len(recs))
	if _, err := shard.AppendWait(ctx, s.Engine, s.compact, b, shard.AppendOptions{}); err != nil {
		s.t.Fatal(err)
	}
	for i := range 4 {
		s.put(fmt.Sprint("group", i), "commit", fmt.Append(nil, s.n))
	}
	if err := s.Flush(ctx); err != nil {
		s.t.Fatal(err)
	}
	s.clock.move(time.Second)
	if s.clock.now().Unix()%10 != 0 {
		return
	}
	if _, err := s.Snapshot(ctx); err != nil {
		s.t.Fatal(err)
	}
	for range 2 { // what was taken out of the catalog is deleted by the next pass
		if err := s.Retain(ctx); err != nil {
			s.t.Fatal(err)
		}
		s.mergeAll()
	}
}

// figures are what must not grow with time.
type figures struct {
	stored, compacted, rows int64
	segments                int
}

func (s *steady) figures() (f figures) {
	for after := ""; ; {
		page, err := s.st.List(context.Background(), "segments/", after, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range page {
			f.stored += o.Size
			after = o.Key
		}
		if len(page) == 0 {
			break
		}
	}
	for _, x := range s.cat.Extents(s.compact) {
		f.compacted += x.Extent.Len
	}
	u, err := s.cat.Usage(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	f.rows, f.segments = u.Rows, s.Stats().Segments
	return f
}

func (f figures) worst(g figures) figures {
	return figures{max(f.stored, g.stored), max(f.compacted, g.compacted), max(f.rows, g.rows), max(f.segments, g.segments)}
}

// TestSteadyLoad: under a steady load nothing grows once retention frees as much as
// comes: the bytes in the store against those that retention allows, compacted topics
// against what is live, segments and their rows, and what a start reads.
func TestSteadyLoad(t *testing.T) {
	s := newSteady(t)
	fill := int(steadyRetention/time.Second) * 3 / 2
	for range fill {
		s.step()
	}
	var spans [3]figures
	for i := range spans {
		for k := range 240 {
			s.step()
			if k%10 == 5 { // not right after the background work
				spans[i] = spans[i].worst(s.figures())
			}
		}
		f := spans[i]
		allowed := int64(steadyRetention/time.Second)*steadyPerSecond*8/9 + s.live
		t.Logf("stored %.2f of what retention allows, compacted %.2f of what is live, %d segments, rows %d KiB",
			float64(f.stored)/float64(allowed), float64(f.compacted)/float64(s.live), f.segments, f.rows>>10)
		if f.stored > allowed*13/10+s.opts.SegmentBytes {
			t.Errorf("the store holds %d bytes, retention allows %d", f.stored, allowed)
		}
		if f.compacted > s.live*5/2+s.opts.SegmentBytes/4 {
			t.Errorf("the compacted topic takes %d bytes for %d that are live", f.compacted, s.live)
		}
	}
	first, last := spans[0], spans[len(spans)-1]
	if last.segments > first.segments*11/10+2 || last.rows > first.rows*11/10 || last.stored > first.stored*11/10 {
		t.Errorf("it grows: %+v, then %+v", first, last)
	}
	reads := func() int64 {
		s.st.gets.Store(0)
		s.crash()
		return s.st.gets.Load()
	}
	if n := reads(); n > 80 {
		t.Errorf("a start reads %d times from the store for %d segments", n, last.segments)
	} else {
		t.Logf("a start reads %d times", n)
	}
	if v, ok, err := s.state.Get(context.Background(), "group1", "commit"); err != nil || !ok || string(v.Data) != fmt.Sprint(s.n) {
		t.Errorf("after the start: %q %t %v, want %d", v.Data, ok, err, s.n)
	}
}
