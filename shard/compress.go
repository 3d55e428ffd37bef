package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is the compression of a batch's records, as Kafka numbers it.
type Codec uint8

// The codecs.
const (
	CodecNone Codec = iota
	CodecGzip
	CodecSnappy
	CodecLZ4
	CodecZstd
)

// MaxDecompressedBytes bounds what one batch may decompress to.
const MaxDecompressedBytes = 128 << 20

var errTooMuch = &Error{Kind: KindTooLarge, Op: "decompress records", Msg: "more than the bound"}

// Decompress gives at most limit bytes; it returns src itself for CodecNone.
// Errors: KindCorrupt, KindTooLarge, KindInvalid for an unknown codec.
func Decompress(c Codec, src []byte, limit int) ([]byte, error) {
	var out []byte
	var err error
	switch c {
	case CodecNone:
		return src, nil
	case CodecGzip:
		out, err = gunzip(src, limit)
	case CodecSnappy:
		out, err = unsnappy(src, limit)
	case CodecLZ4:
		out, err = readBounded(func() (io.Reader, error) { return lz4.NewReader(bytes.NewReader(src)), nil }, limit)
	case CodecZstd:
		out, err = unzstd(src, limit)
	default:
		return nil, Errorf(KindInvalid, "decompress records: unknown codec %d", c)
	}
	if err != nil && KindOf(err) != KindTooLarge {
		return nil, &Error{Kind: KindCorrupt, Op: "decompress records", Msg: err.Error(), Err: ErrBatchCorrupt}
	}
	return out, err
}

// probeBytes is how much is kept before it is known that all of it is within
// the bound, in bytes.
const probeBytes = 4 << 20

// readBounded reads a stream to its end. A long one is read twice, first without
// keeping it: a bomb takes time, and no memory.
func readBounded(open func() (io.Reader, error), limit int) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	probe := min(limit, probeBytes)
	out, err := io.ReadAll(io.LimitReader(r, int64(probe)+1))
	if err != nil || len(out) <= probe {
		return out, err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r, int64(limit-len(out))+1))
	if err != nil {
		return nil, err
	}
	size := len(out) + int(rest)
	if size > limit {
		return nil, errTooMuch
	}
	if r, err = open(); err != nil {
		return nil, err
	}
	out = make([]byte, size)
	_, err = io.ReadFull(r, out)
	return out, err
}

func gunzip(src []byte, limit int) ([]byte, error) {
	return readBounded(func() (io.Reader, error) { return gzip.NewReader(bytes.NewReader(src)) }, limit)
}

var zstdPool = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxDecompressedBytes))
	if err != nil {
		return err
	}
	return d
}}

func unzstd(src []byte, limit int) ([]byte, error) {
	d, ok := zstdPool.Get().(*zstd.Decoder)
	if !ok {
		return nil, errors.New("zstd decoder cannot be made")
	}
	defer zstdPool.Put(d)
	out, err := readBounded(func() (io.Reader, error) { return d, d.Reset(bytes.NewReader(src)) }, limit)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, errTooMuch
	}
	return out, err
}

// xerialMagic begins the framing that Java's snappy streams use.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func unsnappy(src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) || len(src) < 16 {
		return snappyBlock(nil, src, limit)
	}
	var out []byte
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(src))
		if src = src[4:]; n > int64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = snappyBlock(out, src[:n], limit); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

func snappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > limit-len(dst) {
		return nil, errTooMuch
	}
	block, err := s2.Decode(nil, src)
	if err != nil {
		return nil, err
	}
	if dst == nil {
		return block, nil
	}
	return append(dst, block...), nil
}
