package shard

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
)

// What decompresses to more than the bound is refused without memory for it;
// what does not comes back whole, short or long.
func TestDecompressBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	long := make([]byte, 6<<20)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(long[:1<<20])
	for _, c := range []Codec{CodecGzip, CodecSnappy, CodecLZ4, CodecZstd} {
		for _, want := range [][]byte{long, long[:probeBytes], long[:probeBytes+1], long[:100], {}} {
			got, err := Decompress(c, compress(t, c, want), len(long))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("codec %d, %d bytes: got %d, %v", c, len(want), len(got), err)
			}
			if len(want) > 0 {
				if _, err := Decompress(c, compress(t, c, want), len(want)-1); KindOf(err) != KindTooLarge {
					t.Errorf("codec %d, %d bytes, one over the bound: %v", c, len(want), err)
				}
			}
		}
		bomb := compress(t, c, zeros)
		if _, err := Decompress(c, bomb, 32<<20); KindOf(err) != KindTooLarge { // warm up pools
			t.Errorf("codec %d, bomb: %v", c, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Decompress(c, bomb, 32<<20)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 48<<20 { // kept, it would be more than twice the 32 MiB
			t.Errorf("codec %d: a bomb takes %d MiB", c, n>>20)
		}
	}
}
