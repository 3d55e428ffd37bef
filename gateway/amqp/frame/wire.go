package frame

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// reader takes arguments off a payload; once bad it stays bad and gives zeros.
type reader struct {
	b       []byte
	bad     bool
	why     string
	entries int
}

func (r *reader) fail(why string) {
	if !r.bad {
		r.bad, r.why = true, why
	}
	r.b = nil
}

// finish tells whether all was well and nothing is left.
func (r *reader) finish() error {
	if len(r.b) > 0 {
		r.fail("bytes after the last argument")
	}
	if r.bad {
		return fmt.Errorf("%w: %s", ErrSyntax, r.why)
	}
	return nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("ends early")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) octet() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) short() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) long() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) longlong() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) shortstr() string { return string(r.take(int(r.octet()))) }

// shortstrOr is shortstr, in the memory of old where it is the same.
func (r *reader) shortstrOr(old string) string {
	if b := r.take(int(r.octet())); string(b) != old {
		return string(b)
	}
	return old
}

func (r *reader) longstr() []byte {
	n := r.long()
	if uint64(n) > uint64(len(r.b)) {
		r.fail("string ends early")
		return nil
	}
	return r.take(int(n))
}

func appendBits(b []byte, bits ...bool) []byte {
	var v byte
	for i, on := range bits {
		if on {
			v |= 1 << i
		}
	}
	return append(b, v)
}

func appendOctet(b []byte, v uint8) []byte     { return append(b, v) }
func appendShort(b []byte, v uint16) []byte    { return binary.BigEndian.AppendUint16(b, v) }
func appendLong(b []byte, v uint32) []byte     { return binary.BigEndian.AppendUint32(b, v) }
func appendLonglong(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// MaxShortstr is the longest short string, in bytes; longer ones are cut.
const MaxShortstr = 255

// cut gives what of a string is a short string: whole characters, or clients that
// decode it fail on it.
func cut(s string) string {
	if len(s) <= MaxShortstr {
		return s
	}
	for i := MaxShortstr; i > MaxShortstr-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:MaxShortstr] // it is no UTF-8
}

func appendShortstr(b []byte, s string) []byte {
	s = cut(s)
	return append(append(b, byte(len(s))), s...)
}

func appendLongstr(b, s []byte) []byte {
	return append(appendLong(b, uint32(len(s))), s...)
}
