package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// flipWAL damages the one place in the WAL's files where text is.
func (r *rig) flipWAL(text string) {
	r.t.Helper()
	// Until its sync mark is there the log may write its last page once more, and heal it.
	for end := time.Now().Add(30 * time.Second); !r.wal.Stats().Quiet && r.wal.Stats().Groups > 0 && r.wal.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatal("the log is not quiet")
		}
	}
	names, err := filepath.Glob(filepath.Join(r.dir, "*.wal"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		i := bytes.Index(b, []byte(text))
		if i < 0 {
			continue
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{b[i] ^ 1}, int64(i)); err != nil {
			r.t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			r.t.Fatal(err)
		}
		return
	}
	r.t.Fatalf("%q is not in the WAL", text)
}

// wantDamage reads a whole shard and wants exactly the offsets [from, to) to be
// reported, and the values around them to be there.
func (r *rig) wantDamage(id shard.ID, from, to int64, values ...string) {
	r.t.Helper()
	var got []string
	said := false
	for at := int64(0); ; {
		res, err := r.Read(context.Background(), id, at, shard.ReadOptions{})
		var e *shard.Error
		if err != nil {
			if !errors.As(err, &e) || e.Kind != shard.KindCorrupt || e.Shard == nil || *e.Shard != id || e.Offset != from || at != from || said || res.Resume != to {
				r.t.Fatalf("read at %d: resume at %d, %v; want damage from %d to %d", at, res.Resume, err, from, to)
			}
			said = true
			at = res.Resume
			continue
		}
		if len(res.Batches) == 0 {
			break
		}
		for _, b := range res.Batches {
			recs, err := b.Records()
			if err != nil {
				r.t.Fatal(err)
			}
			for _, rec := range recs {
				got = append(got, fmt.Sprintf("%d:%s", rec.Offset, rec.Value))
			}
			at = b.LastOffset() + 1
		}
	}
	if !said {
		r.t.Fatalf("the damage was passed over; read %v", got)
	}
	want(r.t, got, values...)
}

// TestDamagedWAL: a flipped bit loses its batch and no more; the range is
// reported by every read from then on, restarts and flushes notwithstanding.
func TestDamagedWAL(t *testing.T) {
	r := newRig(t, quiet())
	hurt, well := r.topic("hurt", shard.TopicConfig{}).Shard(0), r.topic("well", shard.TopicConfig{}).Shard(0)
	r.append(hurt, "a0", "a1")
	r.append(hurt, "victim-1", "victim-2", "victim-3")
	ok := r.fill(well, "w", 3)
	r.append(hurt, "a5")
	r.abandon()
	r.flipWAL("victim-2")
	r.open()
	check := func(values ...string) {
		t.Helper()
		r.wantDamage(hurt, 2, 5, values...)
		want(t, r.values(well, 0), ok...)
	}
	check("0:a0", "1:a1", "5:a5")
	if n := r.Stats().LostRecords; n != 3 {
		t.Fatalf("%d lost records counted", n)
	}
	r.crash() // before anything was flushed
	check("0:a0", "1:a1", "5:a5")
	if base := r.append(hurt, "a6"); base != 6 {
		t.Fatalf("next offset %d", base)
	}
	for range 2 {
		if err := r.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		check("0:a0", "1:a1", "5:a5", "6:a6")
		r.crash() // the WAL has no evidence any more
		check("0:a0", "1:a1", "5:a5", "6:a6")
	}
	if err := r.TrimBefore(context.Background(), hurt, 5); err != nil {
		t.Fatal(err)
	}
	want(t, r.values(hurt, 5), "5:a5", "6:a6")
}

// TestDamagedEndOfWAL: where nothing after it tells how much was lost, the
// offsets that it may have had are never given out again.
func TestDamagedEndOfWAL(t *testing.T) {
	r := newRig(t, quiet())
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	other := r.topic("b", shard.TopicConfig{}).Shard(0)
	r.append(id, "a0")
	r.append(id, "victim-1", "victim-2")
	r.append(other, "b0") // or it could be a torn write
	r.abandon()
	r.flipWAL("victim-1")
	r.open()
	next := int64(1 + unknownSpan)
	r.wantDamage(id, 1, next, "0:a0")
	if n := r.Stats().LostRecords; n != 1 {
		t.Errorf("%d records are counted as lost; one is all that is known", n)
	}
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.crash()
	r.wantDamage(id, 1, next, "0:a0")
	if base := r.append(id, "z"); base != next {
		t.Fatalf("offset %d after the damage", base)
	}
	r.crash()
	r.wantDamage(id, 1, next, "0:a0", fmt.Sprintf("%d:z", next))
	if base, err := r.produce(id, 1, 0, "idempotent"); err != nil || base != next+1 {
		t.Fatalf("idempotent append: %d, %v", base, err)
	}
}

// produce appends as an idempotent producer.
func (r *rig) produce(id shard.ID, producer int64, seq int32, value string) (int64, error) {
	var b shard.Builder
	b.Add(&shard.Record{Timestamp: 1, Value: []byte(value)})
	res, err := shard.AppendWait(context.Background(), r.Engine, id, b.BuildProducer(producer, 0, seq), shard.AppendOptions{})
	return res.Base, err
}

// TestWALRotsBeforeFlush: a batch that is in the WAL alone and can no longer be
// read is noted as lost; the flush goes on.
func TestWALRotsBeforeFlush(t *testing.T) {
	o := quiet()
	o.TailBytes = 1
	r := newRig(t, o)
	hurt, well := r.topic("hurt", shard.TopicConfig{}).Shard(0), r.topic("well", shard.TopicConfig{}).Shard(0)
	r.append(hurt, "a0")
	r.append(hurt, "victim")
	ok := r.fill(well, "w", 3)
	r.append(hurt, "a2")
	r.tails.evict()
	r.flipWAL("victim")
	r.wantDamage(hurt, 1, 2, "0:a0", "2:a2")
	if err := r.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.wantDamage(hurt, 1, 2, "0:a0", "2:a2")
	r.crash()
	r.wantDamage(hurt, 1, 2, "0:a0", "2:a2")
	want(t, r.values(well, 0), ok...)
}

// TestDamagedState: a slot of the state log that lost records is refused, also
// after the evidence is gone; all other slots serve. An operator can accept it.
func TestDamagedState(t *testing.T) {
	for _, where := range []string{"wal", "segment"} {
		t.Run(where, func(t *testing.T) {
			flips := &flipStore{Store: mem.New(nil)}
			r := newRigOn(t, quiet(), catalogtest.OpenEmbedded(t), flips)
			ctx := context.Background()
			owners := []string{"one", "two"} // of two slots
			put := func(owner, key, value string) error {
				return shard.ApplyWait(ctx, r.state, owner, shard.StateOp{Key: key, Value: []byte(value)})
			}
			for _, o := range owners {
				for _, v := range []string{"first-", "victim-", "last-"} {
					if err := put(o, v, v+o); err != nil {
						t.Fatal(err)
					}
				}
			}
			if where == "segment" {
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				r.abandon()
				flips.text = []byte("victim-one")
			} else {
				r.abandon()
				r.flipWAL("victim-one")
			}
			check := func() {
				t.Helper()
				if _, _, err := r.state.Get(ctx, "one", "first-"); shard.KindOf(err) != shard.KindCorrupt {
					t.Fatalf("damaged slot serves: %v", err)
				}
				wantKind(t, put("one", "x", "y"), shard.KindCorrupt)
				wantKind(t, r.state.Range(ctx, "one", "", nil), shard.KindCorrupt)
				if v, _, err := r.state.Get(ctx, "two", "victim-"); err != nil || string(v.Data) != "victim-two" {
					t.Fatalf("the other slot: %q %v", v.Data, err)
				}
				if err := put("two", "x", "y"); err != nil {
					t.Fatal(err)
				}
				if down, h := r.Health(); down != nil || h == nil || !strings.Contains(h.Error(), "slot") {
					t.Fatalf("health: down %v, degraded %v", down, h)
				}
			}
			r.open()
			check()
			for range 2 {
				if err := r.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				r.crash()
				check()
			}
			r.abandon()
			r.opts.AcceptDamage = true
			r.open()
			if v, _, err := r.state.Get(ctx, "one", "last-"); err != nil || string(v.Data) != "last-one" {
				t.Fatalf("accepted: %q %v", v.Data, err)
			}
		})
	}
}

// flipStore damages what is read wherever text is in it.
type flipStore struct {
	store.Store
	text []byte
}

// Get implements store.Store.
func (s *flipStore) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := s.Store.Get(ctx, key, off, n)
	if i := bytes.Index(b, s.text); len(s.text) > 0 && i >= 0 {
		b = bytes.Clone(b)
		b[i] ^= 1
	}
	return b, err
}

// TestDamagedSegment: the error names shard, offset and object; the records
// around it, and other shards, are served on, and merged on.
func TestDamagedSegment(t *testing.T) {
	ctx := context.Background()
	flips := &flipStore{Store: mem.New(nil)}
	o := quiet()
	o.MergeSegments, o.TailBytes = 2, 1
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), flips)
	hurt, well := r.topic("hurt", shard.TopicConfig{}).Shard(0), r.topic("well", shard.TopicConfig{}).Shard(0)
	var ok []string
	for i := range 6 {
		name := fmt.Sprintf("a%d", i)
		if i == 1 {
			name = "victim"
		}
		r.append(hurt, name)
		ok = append(ok, r.fill(well, fmt.Sprint("w", i), 2)...)
		if i%2 == 1 { // three segments
			if err := r.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.crash()
	flips.text = []byte("victim")
	around := []string{"0:a0", "2:a2", "3:a3", "4:a4", "5:a5"}
	r.wantDamage(hurt, 1, 2, around...)
	want(t, r.values(well, 0), ok...)
	_, err := r.Read(ctx, hurt, 1, shard.ReadOptions{})
	var c *tier.CorruptError
	seg, _, _ := r.cat.FindExtent(hurt, 1)
	if !errors.As(err, &c) || c.Key != seg.Key || c.Shard != hurt || !strings.Contains(err.Error(), seg.Key) {
		t.Fatalf("the error does not name the place: %v", err)
	}
	for range 5 {
		if _, err := r.Merge(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.Stats(); s.Merges != 1 || s.Unmergeable != 1 {
		t.Fatalf("%d merges, %d segments left out", s.Merges, s.Unmergeable)
	}
	r.wantDamage(hurt, 1, 2, around...)
	want(t, r.values(well, 0), ok...)
	orphans := 0
	objects, err := flips.List(ctx, "segments/", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for s := range r.cat.Segments() {
		named[s.Key] = true
	}
	for _, d := range r.cat.Deletions() {
		named[d.Key] = true
	}
	for _, o := range objects {
		if !named[o.Key] {
			orphans++
		}
	}
	if orphans > 0 {
		t.Fatalf("%d objects of the merge that failed are left", orphans)
	}
}

// TestGroupPassesDamage: a durable group gets what is before and after a range
// that is lost.
func TestGroupPassesDamage(t *testing.T) {
	r := newRig(t, quiet())
	ctx := context.Background()
	id := r.topic("a", shard.TopicConfig{}).Shard(0)
	r.append(id, "a0")
	g, err := r.groups.Create(ctx, shard.GroupConfig{Name: "g", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := shard.ParseSubjectFilter("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: f, Start: shard.StartEarliest}); err != nil {
		t.Fatal(err)
	}
	r.append(id, "victim")
	r.append(id, "a2")
	r.abandon()
	r.flipWAL("victim")
	r.open()
	if g, err = r.groups.Get("g"); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	if _, err := g.Attach(shard.ConsumerConfig{}, deliveries(func(d shard.Delivery) { got <- string(d.Record.Value) })); err != nil {
		t.Fatal(err)
	}
	for _, exp := range []string{"a0", "a2"} {
		select {
		case v := <-got:
			if v != exp {
				t.Fatalf("got %q, want %q", v, exp)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q does not come", exp)
		}
	}
}

// TestCountsAfterCrash: a group that takes few of its topic's messages says so after
// a crash, though nobody consumes.
func TestCountsAfterCrash(t *testing.T) {
	r := newRig(t, quiet())
	ctx := context.Background()
	x, err := r.topics.Create(ctx, shard.Topic{Name: "x", Shards: 1, Captures: []string{"x", "x.>"}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.groups.Create(ctx, shard.GroupConfig{Name: "g", Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Bindings().Add(ctx, shard.Binding{ID: "b", Filter: shard.LiteralFilter("x.few")}); err != nil {
		t.Fatal(err)
	}
	publish := func(subject string, n int) {
		recs := make([]shard.Record, n)
		for i := range recs {
			recs[i] = shard.Record{Value: []byte("v"), Headers: []shard.Header{{Name: shard.HeaderSubject, Value: []byte(subject)}}}
		}
		if _, err := shard.AppendWait(ctx, r.Engine, x.Shard(0), shard.BatchOf(recs...), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	publish("x.few", 3)
	publish("x.many", 500)
	r.crash()
	if g, err = r.groups.Get("g"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); g.Stats().Ready != 3; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d messages are ready, want 3", g.Stats().Ready)
		}
	}
}

// deliveries is a Receiver that hands on one message at a time.
type deliveries func(shard.Delivery)

// Deliver implements shard.Receiver.
func (f deliveries) Deliver(ds []shard.Delivery) {
	for _, d := range ds {
		f(d)
	}
}

// Closed implements shard.Receiver.
func (deliveries) Closed(error) {}
