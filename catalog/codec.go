package catalog

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// Every value begins with one byte, the version of its format; it is compared
// on its own before anything else is read.
const (
	version1 = 1
	version2 = 2 // of segments
)

// Caps on what a value may hold, checked before memory is taken.
const (
	maxNameBytes  = 8 << 10
	maxBlobBytes  = 64 << 10
	maxListLength = 1 << 16
)

// encoder appends the fields of a value.
type encoder struct{ b []byte }

func (e *encoder) byte(v byte)      { e.b = append(e.b, v) }
func (e *encoder) uvarint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) varint(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) str(s string)     { e.uvarint(uint64(len(s))); e.b = append(e.b, s...) }

func (e *encoder) strs(ss []string) {
	e.uvarint(uint64(len(ss)))
	for _, s := range ss {
		e.str(s)
	}
}

// decoder reads fields; after the first failure it gives zero values and
// keeps the error. Only the shortest form of a varint is taken, so that what
// decodes encodes to the same bytes.
type decoder struct {
	b   []byte
	err error
}

// newDecoder checks the version byte of a value.
func newDecoder(b []byte, version byte) *decoder {
	switch {
	case len(b) == 0:
		return &decoder{err: fmt.Errorf("%w: empty value", ErrCorrupt)}
	case b[0] != version:
		return &decoder{err: fmt.Errorf("%w: %d", ErrFormat, b[0])}
	}
	return &decoder{b: b[1:]}
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("value ends early")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 {
		d.fail("flag is neither 0 nor 1")
	}
	return v == 1
}

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := uvarintAt(d.b, 0)
	if n > len(d.b) {
		d.fail("bad varint")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// uvarintAt reads the number at a place of b and gives the place behind it. If
// there is none, that is past the end of b, and so is what follows.
func uvarintAt(b []byte, at int) (v uint64, next int) {
	if at < len(b) && b[at] < 0x80 {
		return uint64(b[at]), at + 1
	}
	return longUvarintAt(b, at)
}

func longUvarintAt(b []byte, at int) (v uint64, next int) {
	if at < len(b) {
		v, n := binary.Uvarint(b[at:])
		if n > 0 && b[at+n-1] != 0 {
			return v, at + n
		}
	}
	return 0, len(b) + 1
}

func (d *decoder) varint() int64 { return unzigzag(d.uvarint()) }

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// offset reads a number that must be a non-negative int64.
func (d *decoder) offset() int64 {
	v := d.uvarint()
	if v > math.MaxInt64 {
		d.fail("number is over 63 bits")
		return 0
	}
	return int64(v)
}

func (d *decoder) u32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.fail("number is over 32 bits")
		return 0
	}
	return uint32(v)
}

// count reads a list's length; each element takes at least min bytes, so a
// length that cannot be is refused before memory is taken.
func (d *decoder) count(limit, min int) int {
	v := d.uvarint()
	if v > uint64(limit) || v*uint64(min) > uint64(len(d.b)) {
		d.fail("length is over its cap")
		return 0
	}
	return int(v)
}

func (d *decoder) bytes(limit int) []byte {
	n := d.count(limit, 1)
	if d.err != nil {
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) str(limit int) string { return string(d.bytes(limit)) }

func (d *decoder) strs(limit, each int) []string {
	n := d.count(limit, 1)
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for range n {
		out = append(out, d.str(each))
	}
	return out
}

// done gives the error of the whole decode; bytes left over are one.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("bytes after the value's end")
	}
	return d.err
}

// encodeJSON writes a value of a rare kind: the version byte, then JSON.
func encodeJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(b) > maxBlobBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(b))
	}
	return append([]byte{version1}, b...), nil
}

func decodeJSON[T any](b []byte) (T, error) {
	var v T
	d := newDecoder(b, version1)
	if d.err != nil {
		return v, d.err
	}
	if len(d.b) > maxBlobBytes {
		return v, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(d.b))
	}
	if err := json.Unmarshal(d.b, &v); err != nil {
		return v, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return v, nil
}
