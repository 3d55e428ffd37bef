package tier

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// sweepSpecs are shards of many sizes, of batches from nothing to 40 kB.
func sweepSpecs() []shardSpec {
	rng := rand.New(rand.NewPCG(5, 6))
	var out []shardSpec
	for i := range uint32(30) {
		out = append(out, shardSpec{id(shard.TopicNum(1+i/10), i%10), run(rng, int64(i)*1000, 1+rng.IntN(40), 1+rng.IntN(40_000))})
	}
	return out
}

func bytesOf(specs []batchSpec) []byte {
	var out []byte
	for _, b := range specs {
		out = append(out, b.make()...)
	}
	return out
}

// TestSweep: the right batches with windows smaller and larger than these, each
// byte read once, with extents left out too; and what is made of them, written out
// while it is made, is the object again.
func TestSweep(t *testing.T) {
	specs := sweepSpecs()
	object, extents := build(t, specs)
	st := mem.New(nil)
	put(t, st, "o", object)
	for _, window := range []int64{1, 100, 10_000, 64 << 10, 1 << 30} {
		for _, every := range []int{1, 3} {
			c := &counting{Store: st}
			s := NewSweep(c, "o", int64(len(object)), window)
			var out bytes.Buffer
			b := NewBuilderTo(&out)
			for i := 0; i < len(extents); i += every {
				var got []byte
				for batch, err := range s.Batches(context.Background(), extents[i]) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, batch...)
					if err := b.Add(extents[i].Shard, batch); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(got, bytesOf(specs[i].batches)) {
					t.Fatalf("window %d, shard %s: %d bytes, want %d", window, extents[i].Shard, len(got), len(bytesOf(specs[i].batches)))
				}
			}
			if least := int64(len(object))/max(window, 1) + 1; window >= 64<<10 && c.gets.Load() > least+1 {
				t.Fatalf("window %d: %d GETs for %d bytes", window, c.gets.Load(), len(object))
			}
			size := b.Size()
			whole, again, err := b.Finish()
			if err != nil || whole != nil || size != out.Len() {
				t.Fatalf("finish: %d bytes returned, %d written, said %d, error %v", len(whole), out.Len(), size, err)
			}
			if every == 1 && (!bytes.Equal(out.Bytes(), object) || len(again) != len(extents)) {
				t.Fatalf("window %d: the object written out is not the one made in memory", window)
			}
			put(t, st, "again", out.Bytes())
			if rep, err := Verify(context.Background(), st, "again"); err != nil || rep.Err() != nil {
				t.Fatalf("%+v, error %v", rep, err)
			}
			if err := st.Delete(context.Background(), "again"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// full is a disk that takes so many bytes.
type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n := f.left
		f.left = 0
		return n, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

// TestBuilderToFull: what cannot be written out ends the object.
func TestBuilderToFull(t *testing.T) {
	specs := sweepSpecs()
	object, _ := build(t, specs)
	for _, room := range []int{0, spoolBytes, len(object) - 1} {
		b := NewBuilderTo(&full{room})
		var err error
		for _, s := range specs {
			for _, batch := range s.batches {
				if err == nil {
					err = b.Add(s.id, batch.make())
				}
			}
		}
		if err == nil {
			_, _, err = b.Finish()
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("%d bytes written of %d: error %v", room, len(object), err)
		}
	}
}

// TestSweepDamaged: damage that is gone the second time is none; other damage ends
// the batches, as does what the store fails with.
func TestSweepDamaged(t *testing.T) {
	f := newFleet(t, 1, 50, 2000)
	seg := f.segs[0]
	sweep := func(ctx context.Context, st store.Store) (n int, err error) {
		for _, e := range NewSweep(st, seg.Key, seg.Size, 10_000).Batches(ctx, seg.Extent) {
			if err != nil {
				t.Fatalf("a batch after error %v", err)
			}
			if err = e; err == nil {
				n++
			}
		}
		return n, err
	}
	for _, at := range []int64{16 + 2, 16 + 30, seg.Extent.Len / 2} { // head, body, somewhere
		once := &damaging{Store: f.st, at: at, times: 1}
		if n, err := sweep(context.Background(), once); n != 50 || err != nil || once.times != 0 {
			t.Fatalf("damage at %d once: %d batches, error %v", at, n, err)
		}
		n, err := sweep(context.Background(), &damaging{Store: f.st, at: at, times: 1 << 30})
		var bad *CorruptError
		if !errors.As(err, &bad) || n >= 50 || bad.Key != seg.Key || bad.Shard != seg.Extent.Shard {
			t.Fatalf("damage at %d: %d batches, error %v", at, n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := sweep(ctx, f.st); !errors.Is(err, context.Canceled) {
		t.Fatalf("sweep after its context ended: %v", err)
	}
	short := f.data[0][:len(f.data[0])*2/3]
	replace(t, f.st, seg.Key, short)
	var bad *CorruptError
	if n, err := sweep(context.Background(), f.st); !errors.As(err, &bad) || n == 0 {
		t.Fatalf("object that is too short: %d batches, error %v", n, err)
	}
	if err := f.st.Delete(context.Background(), seg.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := sweep(context.Background(), f.st); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("sweep of a missing object: %v", err)
	}
}

// damaging changes the byte at a place, for so many Gets that read it.
type damaging struct {
	store.Store
	at    int64
	times int
}

func (d *damaging) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := d.Store.Get(ctx, key, off, n)
	if k := d.at - off; err == nil && k >= 0 && k < int64(len(b)) && d.times > 0 {
		d.times--
		b = bytes.Clone(b)
		b[k] ^= 1
	}
	return b, err
}
