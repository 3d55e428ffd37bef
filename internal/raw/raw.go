package raw

import (
	"strings"
	"unsafe"
)

// small is the size below which clearing costs less than avoiding it.
const small = 4 << 10

// Bytes returns n bytes, n of them in capacity too, whose content is undefined: what a former owner
// of the memory left there. The caller overwrites all of them, or drops them, before anybody else
// may see them. It panics as make does when n is negative.
func Bytes(n int) []byte {
	if n < small {
		return make([]byte, n)
	}
	// A strings.Builder is the one thing in the standard library that asks for memory without having it
	// cleared. It is given up here, so that nobody else holds the bytes.
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), n)[:n:n]
}
