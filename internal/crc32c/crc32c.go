package crc32c

import "hash/crc32"

var table = crc32.MakeTable(crc32.Castagnoli)

// piece stays in the processor's nearer cache between the two: a batch of a
// megabyte is summed up and copied in three quarters of the time.
const piece = 32 << 10

// Copy copies src to dst, which is at least as long and does not overlap it, and
// returns the sum of src.
func Copy(dst, src []byte) uint32 {
	sum := uint32(0)
	for len(src) > 0 {
		n := min(len(src), piece)
		sum = crc32.Update(sum, table, src[:n])
		copy(dst[:n], src)
		dst, src = dst[n:], src[n:]
	}
	return sum
}
