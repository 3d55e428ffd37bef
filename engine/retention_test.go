package engine

import (
	"context"
	"fmt"
	"github.com/robustmq/robustmq-go/catalog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store/mem"
	"github.com/robustmq/robustmq-go/wal"
)

// at appends one record with a key and a time, and flushes it into a segment of its own.
func (r *rig) segmentOf(id shard.ID, ts int64, key string, value []byte) {
	r.t.Helper()
	rec := shard.Record{Timestamp: ts, Value: value}
	if key != "" {
		rec.Key = []byte(key)
	}
	ctx := context.Background()
	if _, err := shard.AppendWait(ctx, r.Engine, id, shard.BatchOf(rec), shard.AppendOptions{}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Flush(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wantStart(id shard.ID, start int64) {
	r.t.Helper()
	if err := r.Retain(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	b, err := r.Bounds(context.Background(), id)
	if err != nil || b.Start != start {
		r.t.Fatalf("start is %d, want %d: %v", b.Start, start, err)
	}
}

// TestPinnedBytes: what retention would free, were it not for a group, is told by
// group, and no more once the group is gone.
func TestPinnedBytes(t *testing.T) {
	h := newHands()
	r := newRigOn(t, h.options(), catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	g, err := r.groups.Create(ctx, shard.GroupConfig{Name: "amqp///forgotten", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := shard.ParseSubjectFilter("t")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: f}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.segmentOf(id, h.wall().UnixMilli(), "", make([]byte, 1000))
	}
	r.wantStart(id, 0)
	if p := r.Pinned(); len(p) != 0 {
		t.Errorf("pinned within the retention: %v", p)
	}
	h.run(8 * 24 * time.Hour)
	r.wantStart(id, 0)
	if n := r.Pinned()["amqp///forgotten"]; n < 3000 || n > 6000 {
		t.Errorf("pinned %d bytes", n)
	}
	if err := r.groups.Delete(ctx, "amqp///forgotten"); err != nil {
		t.Fatal(err)
	}
	r.wantStart(id, 3)
	if p := r.Pinned(); len(p) != 0 {
		t.Errorf("pinned by a group that is gone: %v", p)
	}
}

// TestRetention: by time, by bytes as Kafka counts them, not past what a durable
// group needs, past it when the limit is hard; and it all survives a crash.
func TestRetention(t *testing.T) {
	var ahead atomic.Int64 // of the wall clock, in nanoseconds
	begun := time.Now()
	now := func() time.Time { return begun.Add(time.Duration(ahead.Load())) }
	day := 24 * time.Hour
	o := quiet()
	o.Now = now
	o.RetentionMs = int64(7 * day / time.Millisecond)
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	size := func(n int) []byte { return make([]byte, n) }
	ids := map[string]shard.ID{}
	for name, cfg := range map[string]shard.TopicConfig{
		"time": {}, "never": {RetentionMs: -1}, "bytes": {RetentionMs: -1, RetentionBytes: 5000}, "pinned": {},
		"hard": {RetentionHard: true}, "compact": {Compact: true}, "both": {Compact: true, Delete: true}} {
		ids[name] = r.topic(name, cfg).Shard(0)
	}
	for _, name := range []string{"pinned", "hard"} {
		g, err := r.groups.Create(ctx, shard.GroupConfig{Name: "g-" + name, Durable: true})
		if err != nil {
			t.Fatal(err)
		}
		f, err := shard.ParseSubjectFilter(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: f}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		for name, id := range ids {
			r.segmentOf(id, now().Add(-time.Duration(10-2*i)*day).UnixMilli(), "k", append(size(2000), name...))
		}
	}
	check := func() {
		t.Helper()
		r.wantStart(ids["time"], 2)
		r.wantStart(ids["never"], 0)
		r.wantStart(ids["bytes"], 1) // 3 of over 2000 bytes stay: 2 would be less than 5000
		r.wantStart(ids["pinned"], 0)
		r.wantStart(ids["hard"], 2)
		r.wantStart(ids["compact"], 0)
		r.wantStart(ids["both"], 2)
	}
	check()
	r.crash()
	check()
	_, err := r.Read(ctx, ids["time"], 1, shard.ReadOptions{})
	wantKind(t, err, shard.KindOutOfRange)
	ahead.Add(int64(30 * day)) // all of it is old: offsets go on
	r.wantStart(ids["time"], 4)
	for range 2 {
		if err := r.Retain(ctx); err != nil { // deletes what the first unreferenced
			t.Fatal(err)
		}
		ahead.Add(int64(time.Second))
	}
	for _, x := range r.cat.Extents(ids["time"]) { // left only beside what lives, such as state of a group
		seg, _ := r.cat.Segment(x.Segment.ULID)
		if !slices.ContainsFunc(seg.Extents, func(y catalog.Extent) bool { return !r.dead(&y) }) {
			t.Fatalf("extent %+v is left, and its segment with it", x.Extent)
		}
	}
	objects, err := r.store.List(ctx, tier.KeyPrefix, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for range r.cat.Segments() {
		named++
	}
	if len(objects) != named || len(r.cat.Deletions()) != 0 {
		t.Fatalf("%d objects, %d segments, %d to be deleted", len(objects), named, len(r.cat.Deletions()))
	}
	r.crash()
	if base := r.append(ids["time"], "x"); base != 4 {
		t.Fatalf("offset %d is given out again", base)
	}
	r.crash() // the WAL now begins past 0
	if n := r.Stats().LostRecords; n != 0 {
		t.Fatalf("%d records that retention freed count as lost", n)
	}
	r.wantStart(ids["time"], 4)
}

// TestCompaction: the newest record of each key survives, tombstones hide until
// they are old, and the shard's end is never lost.
func TestCompaction(t *testing.T) {
	now := time.Now()
	o := quiet()
	o.Now = func() time.Time { return now }
	o.MergeSegments = 4
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("c", shard.TopicConfig{Compact: true}).Shard(0)
	old := now.Add(-48 * time.Hour).UnixMilli()
	latest := map[string]string{}
	put := func(key, value string) {
		var v []byte
		if value != "" {
			v = []byte(value)
			latest[key] = value
		} else {
			delete(latest, key)
		}
		r.segmentOf(id, old, key, v)
	}
	for i := range 30 {
		put(fmt.Sprint("k", i%5), fmt.Sprint("v", i))
	}
	put("k1", "")
	for did := true; did; {
		var err error
		if did, err = r.Merge(ctx); err != nil {
			t.Fatal(err)
		}
	}
	put("k2", "")
	for range 3 {
		put("k0", "new")
	}
	put("k3", "") // the very last record is a tombstone that is old
	check := func() {
		t.Helper()
		for did := true; did; {
			var err error
			if did, err = r.Merge(ctx); err != nil {
				t.Fatal(err)
			}
		}
		r.crash() // what is in memory is not compacted
		got, n := map[string]string{}, 0
		for at := int64(0); at < 36; {
			res, err := r.Read(ctx, id, at, shard.ReadOptions{})
			if err != nil || len(res.Batches) == 0 {
				t.Fatalf("read at %d: %d batches, %v", at, len(res.Batches), err)
			}
			for _, b := range res.Batches {
				recs, err := b.Records()
				if err != nil {
					t.Fatal(err)
				}
				for _, rec := range recs {
					if n++; rec.Value == nil {
						delete(got, string(rec.Key))
					} else {
						got[string(rec.Key)] = string(rec.Value)
					}
				}
				at = b.LastOffset() + 1
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(latest) {
			t.Fatalf("got %v, want %v", got, latest)
		}
		if n > 20 {
			t.Fatalf("%d records of 36 are left", n)
		}
		if b, err := r.Bounds(ctx, id); err != nil || b.End != 36 {
			t.Fatalf("end %d: %v", b.End, err)
		}
	}
	check()
	for range 12 { // segments of other shards: all of this one's is merged up to the end
		r.segmentOf(r.topic(ulid.Make().String(), shard.TopicConfig{}).Shard(0), old, "", []byte("x"))
	}
	check()
	if base := r.append(id, "next"); base != 36 {
		t.Fatalf("offset %d is given out again", base)
	}
}

// TestDeletedTopic: its objects go, and a topic of that name has nothing of it.
func TestDeletedTopic(t *testing.T) {
	r := newRig(t, quiet())
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	for i := range 3 {
		r.segmentOf(id, 1, "", fmt.Append(nil, i))
	}
	if _, err := r.produce(id, 3, 0, "x"); err != nil {
		t.Fatal(err)
	}
	if err := r.TrimBefore(ctx, id, 1); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	r.append(id, "in the WAL")
	if err := r.topics.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Retain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	// The last of its segments holds state, too, and goes when it is merged.
	if n := len(r.cat.Extents(id)); n != 1 {
		t.Fatalf("%d extents", n)
	}
	for slot := range Slots {
		r.state.slots[slot].walk(fmt.Sprintf("engine/%03d", slot), "", func(key string, _ shard.StateValue) bool {
			t.Errorf("state of a deleted topic: %s", key)
			return true
		})
	}
	again := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.crash()
	if base := r.append(again, "new"); base != 0 || again == id {
		t.Fatalf("offset %d of shard %s", base, again)
	}
}

// TestOrphans: what is not named and old is found, and deleted unless it is too much.
func TestOrphans(t *testing.T) {
	now := time.Now()
	o := quiet()
	o.Now = func() time.Time { return now }
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	for i := range 8 {
		r.segmentOf(id, 1, "", fmt.Append(nil, i))
	}
	orphan := func(n int, age time.Duration) {
		for range n {
			key := tier.Key(0, 1, ulid.MustNew(ulid.Timestamp(now.Add(-age)), ulid.DefaultEntropy()))
			if err := r.store.Put(ctx, key, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	find := func(remove bool, n int, refused bool) {
		t.Helper()
		found, err := r.Orphans(ctx, remove)
		if len(found) != n || (err != nil) != refused {
			t.Fatalf("%d orphans, want %d: %v", len(found), n, err)
		}
	}
	find(true, 0, false)
	orphan(3, 2*time.Hour)
	orphan(2, time.Minute)
	find(false, 3, false)
	find(false, 3, false) // it was a dry run
	find(true, 3, false)
	find(true, 0, false)
	orphan(20, 2*time.Hour)
	find(true, 20, true)
	find(false, 20, false) // none was deleted
	if n := len(r.values(id, 0)); n != 8 {
		t.Fatalf("%d of 8 records", n)
	}
}

// TestIdleWritesNothing: after the last append everything settles, and from then
// on neither the WAL nor the store is written to.
func TestIdleWritesNothing(t *testing.T) {
	o := quiet()
	o.FlushInterval, o.MergeInterval, o.RetentionInterval = 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
	o.MergeSegments = 4
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	for i := range 20 {
		if _, err := r.produce(id, 9, int32(i), "x"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	type figures struct{ entries, flushes, merges, segments int64 }
	read := func() figures {
		s := r.Stats()
		return figures{s.WAL.Entries, s.Flushes, s.Merges, int64(s.Segments)}
	}
	before := read()
	for settled := 0; settled < 5; {
		time.Sleep(60 * time.Millisecond)
		now := read()
		if settled++; now != before {
			settled = 0
		}
		before = now
		if before.flushes > 200 {
			t.Fatalf("it does not settle: %+v", before)
		}
	}
	if n := r.Stats().UnflushedBytes; n != 0 {
		t.Fatalf("%d bytes are not flushed", n)
	}
}

// TestCleanShutdown: the WAL is left empty and nothing is lost, the engine's own
// last notes included.
func TestCleanShutdown(t *testing.T) {
	r := newRig(t, quiet())
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	for i := range 10 {
		if _, err := r.produce(id, 5, int32(i), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	g, err := r.groups.Create(ctx, shard.GroupConfig{Name: "g", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	f, _ := shard.ParseSubjectFilter("a")
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: f, Start: shard.StartEarliest}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(ctx); err != nil {
		t.Fatal(err)
	}
	w, err := wal.Open(wal.Options{Dir: r.dir, FileBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := w.Replay(func(wal.Pos, wal.Entry) error { return nil })
	if err != nil || rec.Entries != 0 {
		t.Fatalf("%d entries are left: %v", rec.Entries, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.open()
	if n := len(r.values(id, 0)); n != 10 {
		t.Fatalf("%d of 10", n)
	}
	if _, err := r.groups.Get("g"); err != nil {
		t.Fatal(err)
	}
	if base, err := r.produce(id, 5, 9, "9"); err != nil || base != 9 {
		t.Fatalf("the producer is forgotten: %d, %v", base, err)
	}
	if !slices.Equal(r.values(id, 9), []string{"9:9"}) {
		t.Fatal(r.values(id, 9))
	}
}

// TestShardBytes: what is not flushed counts, what is flushed counts once, and what
// retention freed does not.
func TestShardBytes(t *testing.T) {
	o := quiet()
	o.RetentionBytes = 3000
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	ctx := context.Background()
	id := r.topic("t", shard.TopicConfig{}).Shard(0)
	between := func(what string, least, most int64) {
		t.Helper()
		if n, err := r.ShardBytes(ctx, id); err != nil || n < least || n > most {
			t.Errorf("%s: %d bytes, %v; want %d to %d", what, n, err, least, most)
		}
	}
	between("empty", 0, 0)
	if _, err := shard.AppendWait(ctx, r.Engine, id, shard.BatchOf(shard.Record{Value: make([]byte, 2000)}), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	between("in the WAL", 2000, 2200)
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	between("flushed", 2000, 2200)
	r.segmentOf(id, time.Now().UnixMilli(), "", make([]byte, 2500))
	r.segmentOf(id, time.Now().UnixMilli(), "", make([]byte, 2500))
	between("three segments", 7000, 7600)
	r.wantStart(id, 1)
	between("after retention", 5000, 5400)
	if _, err := r.ShardBytes(ctx, shard.ID{Topic: 999}); shard.KindOf(err) != shard.KindNotFound {
		t.Errorf("a topic that does not exist: %v", err)
	}
}
