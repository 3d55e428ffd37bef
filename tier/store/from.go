package store

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/robustmq/robustmq-go/internal/raw"
)

// FromPutter is what a Store may offer besides Put: an object that is read while
// it is sent, so that it need not be in memory.
type FromPutter interface {
	// PutFrom is Put of the size bytes of body, which is read more than once, at
	// any place, until PutFrom returns. What body's ReadAt fails with is the cause
	// of an ErrTemporary.
	PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64) error
}

// PutFrom is FromPutter.PutFrom of any Store: where it does not offer that, the
// object is in memory meanwhile.
func PutFrom(ctx context.Context, s Store, key string, body io.ReaderAt, size int64) error {
	if p, ok := s.(FromPutter); ok {
		return p.PutFrom(ctx, key, body, size)
	}
	if size > MaxObject {
		return Wrap("put", key, ErrTooLarge, nil)
	}
	data := raw.Bytes(int(size))
	if _, err := io.ReadFull(io.NewSectionReader(body, 0, size), data); err != nil {
		return Wrap("put", key, ErrTemporary, fmt.Errorf("read what is put: %w", err))
	}
	return s.Put(ctx, key, data)
}

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
