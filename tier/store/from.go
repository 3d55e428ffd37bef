package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/robustmq/robustmq-go/internal/raw"
)

// FromPutter is what a Store may offer besides Put: an object that is read while
// it is sent, so that it need not be in memory.
type FromPutter interface {
	// PutFrom is Put of the size bytes of body, whose CRC-32C is sum: nothing is
	// stored where it is not. body is read more than once, at any place; an HTTP
	// client that was given up may read on for a moment. What body's ReadAt fails
	// with, and another sum, are causes of an ErrTemporary.
	PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32) error
}

// PutFrom is FromPutter.PutFrom of any Store: where it does not offer that, the
// object is in memory meanwhile.
func PutFrom(ctx context.Context, s Store, key string, body io.ReaderAt, size int64, sum uint32) error {
	if p, ok := s.(FromPutter); ok {
		return p.PutFrom(ctx, key, body, size, sum)
	}
	if size > MaxObject {
		return Wrap("put", key, ErrTooLarge, nil)
	}
	data := raw.Bytes(int(size))
	if _, err := io.ReadFull(io.NewSectionReader(body, 0, size), data); err != nil {
		return Wrap("put", key, ErrTemporary, fmt.Errorf("read what is put: %w", err))
	}
	if crc32.Checksum(data, castagnoli) != sum {
		return Wrap("put", key, ErrTemporary, ErrBodySum)
	}
	return s.Put(ctx, key, data)
}

// ErrBodySum is the cause of an ErrTemporary of PutFrom whose body is not what it
// was when its sum was taken.
var ErrBodySum = errors.New("what is put has another checksum than when it was made")

// sameBytes is how much of an object Same compares at a time.
const sameBytes = 4 << 20

// Same tells whether the object under key has the size bytes of body. The errors
// are those of Head and Get, and ErrTemporary when body cannot be read.
func Same(ctx context.Context, s Store, key string, body io.ReaderAt, size int64) (bool, error) {
	info, err := s.Head(ctx, key)
	if err != nil || info.Size != size {
		return false, err
	}
	want := raw.Bytes(int(min(size, sameBytes)))
	for at := int64(0); at < size; at += int64(len(want)) {
		want = want[:min(size-at, sameBytes)]
		if n, err := body.ReadAt(want, at); n < len(want) {
			return false, Wrap("put", key, ErrTemporary, fmt.Errorf("read what is put: %w", err))
		}
		got, err := s.Get(ctx, key, at, int64(len(want)))
		if err != nil || !bytes.Equal(got, want) {
			return false, err
		}
	}
	return true, nil
}
