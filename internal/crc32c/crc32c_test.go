package crc32c

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestCopy(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 9, piece - 1, piece, piece + 1, 3*piece + 7} {
		src := make([]byte, n)
		for i := range src {
			src[i] = byte(rng.Uint32())
		}
		dst := bytes.Repeat([]byte{0xaa}, n+3)
		if got, want := Copy(dst, src), crc32.Checksum(src, table); got != want {
			t.Errorf("%d bytes: sum %08x, want %08x", n, got, want)
		}
		if !bytes.Equal(dst[:n], src) || !bytes.Equal(dst[n:], []byte{0xaa, 0xaa, 0xaa}) {
			t.Errorf("%d bytes: other bytes are there", n)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	const n = 1 << 20
	src, dst := make([]byte, 64*n), make([]byte, 64*n)
	for i := range src {
		src[i], dst[i] = byte(i), 1
	}
	b.SetBytes(n)
	at := 0
	for b.Loop() {
		Copy(dst[at:at+n], src[at:at+n])
		at = (at + n) % len(src)
	}
}
