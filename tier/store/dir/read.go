package dir

import (
	"context"
	"errors"
	"io"

	"github.com/robustmq/robustmq-go/internal/raw"
	"github.com/robustmq/robustmq-go/internal/vfs"
	"github.com/robustmq/robustmq-go/tier/store"
)

var _ store.PartGetter = (*Store)(nil)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (data []byte, err error) {
	err = s.read(ctx, key, off, n, func(f vfs.File, n int64) error {
		data = raw.Bytes(int(n))
		return readFull(f, data, off)
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// GetParts implements store.PartGetter.
func (s *Store) GetParts(ctx context.Context, key string, off, n, part int64) (parts [][]byte, err error) {
	err = s.read(ctx, key, off, n, func(f vfs.File, n int64) error {
		parts = make([][]byte, 0, (n+part-1)/part)
		for at := int64(0); at < n; at += part {
			b := raw.Bytes(int(min(part, n-at)))
			if err := readFull(f, b, off+at); err != nil {
				return err
			}
			parts = append(parts, b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return parts, nil
}

// read opens an object and has fn read the n bytes that there are of a range.
func (s *Store) read(ctx context.Context, key string, off, n int64, fn func(f vfs.File, n int64) error) error {
	if err := store.CheckRange(off, n); err != nil {
		return store.Wrap("get", key, err, nil)
	}
	f, err := s.open(ctx, "get", key)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	size, err := f.Size()
	if err != nil {
		return readError("get", key, err)
	}
	if off == 0 || off >= size { // is it a file? What is below answers for a folder wrongly.
		if _, err := f.ReadAt(make([]byte, 1), 0); err != nil && !errors.Is(err, io.EOF) {
			return readError("get", key, err)
		}
	}
	if off >= size && (off > 0 || n > 0) {
		return store.Wrap("get", key, store.ErrRange, nil)
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	if n > store.MaxObject {
		return store.Wrap("get", key, store.ErrTooLarge, nil)
	}
	if err := fn(f, n); err != nil {
		return readError("get", key, err)
	}
	return nil
}

func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
