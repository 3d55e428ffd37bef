package tier

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestPass: whoever reads many shards' extents as they lie in an object takes each
// block once, most of them ahead; who jumps about takes no more than is asked for.
func TestPass(t *testing.T) {
	specs := sweepSpecs()
	object, extents := build(t, specs)
	st := mem.New(nil)
	put(t, st, "o", object)
	const block = 64 << 10
	blocks := int64(len(object)/block + 1)
	r := newReader(t, st, ReaderOptions{CacheBytes: 4 << 20, BlockBytes: block, FetchBytes: 8 * block, Concurrency: 32})
	size := int64(len(object))
	through := func(order []int) {
		t.Helper()
		for _, i := range order {
			e := extents[i]
			var got []byte
			for from := e.Base; from <= e.Last; {
				parts, err := r.Pass(context.Background(), Segment{"o", size, e}, from, 20_000)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range parts {
					b := p.appendTo(nil)
					h, err := parseBatch(b)
					if err != nil {
						t.Fatal(err)
					}
					got, from = append(got, b...), h.last+1
				}
			}
			if !bytes.Equal(got, bytesOf(specs[i].batches)) {
				t.Fatalf("shard %s: %d bytes, want %d", e.Shard, len(got), len(bytesOf(specs[i].batches)))
			}
		}
	}
	order := make([]int, len(extents))
	for i := range order {
		order[i] = i
	}
	through(order)
	s := r.Stats()
	if s.Bytes > size+block || s.Misses+s.Ahead > blocks || s.Ahead < blocks/2 || s.Gets > blocks/3 {
		t.Fatalf("in order, %d blocks: %+v", blocks, s)
	}
	r.Forget("o", size)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	through(order[:5])
	var asked int64
	for _, i := range order[:5] {
		asked += extents[i].Len/block + 2
	}
	if got := r.Stats().Bytes - s.Bytes; got > (asked+5*8)*block {
		t.Fatalf("%d blocks read of 5 extents that have %d", got/block, asked)
	}
}
