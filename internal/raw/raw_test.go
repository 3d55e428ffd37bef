package raw

import (
	"bytes"
	"runtime"
	"testing"
)

// Every byte is the caller's own: writing one buffer leaves the others as they are, also while
// memory is collected and given out again.
func TestBytes(t *testing.T) {
	var all [][]byte
	for i := range 200 {
		n := []int{0, 1, small - 1, small, small + 1, 100_000, 1 << 20}[i%7]
		b := Bytes(n)
		if len(b) != n || cap(b) != n {
			t.Fatalf("asked for %d bytes, got %d of %d", n, len(b), cap(b))
		}
		for j := range b {
			b[j] = byte(i)
		}
		if i%3 == 0 {
			all = append(all, b)
		}
		if i%50 == 0 {
			runtime.GC()
		}
	}
	for i, b := range all {
		if want := bytes.Repeat([]byte{byte(3 * i)}, len(b)); !bytes.Equal(b, want) {
			t.Fatalf("buffer %d was written by another", i)
		}
	}
}

func BenchmarkBytes(b *testing.B) {
	for _, kind := range []struct {
		name string
		make func(int) []byte
	}{{"cleared", func(n int) []byte { return make([]byte, n) }}, {"raw", Bytes}} {
		b.Run(kind.name, func(b *testing.B) {
			b.SetBytes(1 << 20)
			b.ReportAllocs()
			for b.Loop() {
				sink = kind.make(1 << 20)
			}
		})
	}
}

var sink []byte
