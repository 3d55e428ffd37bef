package shard

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Recode gives b with its records, which the caller has decompressed, in another
// codec; all else stays as it is. b is unchanged. Errors: KindInvalid for an
// unknown codec, KindTooLarge for a batch over MaxBatchBytes.
func (b *Batch) Recode(c Codec, records []byte) (*Batch, error) {
	p, err := appendCompressed(append(make([]byte, 0, BatchHeaderBytes+len(records)/2), b.raw[:BatchHeaderBytes]...), c, records)
	if err != nil {
		return nil, err
	}
	if len(p) > MaxBatchBytes {
		return nil, &Error{Kind: KindTooLarge, Op: "recode batch", Err: ErrBatchTooLarge}
	}
	binary.BigEndian.PutUint32(p[posLength:], uint32(len(p)-posLength-4))
	binary.BigEndian.PutUint16(p[posAttrs:], b.attrs()&^attrCodec|uint16(c))
	binary.BigEndian.PutUint32(p[posCRC:], crc32.Checksum(p[posAttrs:], castagnoli))
	return &Batch{raw: p}, nil
}

var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}
	lz4Writers  = sync.Pool{New: func() any { return lz4.NewWriter(io.Discard) }}
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil) })
)

// appendCompressed appends src in codec c to dst.
func appendCompressed(dst []byte, c Codec, src []byte) ([]byte, error) {
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		return appendStream(dst, &gzipWriters, src)
	case CodecSnappy:
		return append(dst, s2.EncodeSnappy(nil, src)...), nil
	case CodecLZ4:
		return appendStream(dst, &lz4Writers, src)
	case CodecZstd:
		enc, err := zstdEncoder()
		if err != nil {
			return nil, Errorf(KindInternal, "compress records: %w", err)
		}
		return enc.EncodeAll(src, dst), nil
	}
	return nil, Errorf(KindInvalid, "compress records: unknown codec %d", c)
}

// appendStream compresses by a writer of the pool.
func appendStream(dst []byte, pool *sync.Pool, src []byte) ([]byte, error) {
	w, ok := pool.Get().(interface {
		io.WriteCloser
		Reset(w io.Writer)
	})
	if !ok {
		return nil, Errorf(KindInternal, "compress records: no writer")
	}
	defer pool.Put(w)
	out := bytes.NewBuffer(dst)
	w.Reset(out)
	if _, err := w.Write(src); err != nil {
		return nil, Errorf(KindInternal, "compress records: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, Errorf(KindInternal, "compress records: %w", err)
	}
	return out.Bytes(), nil
}
