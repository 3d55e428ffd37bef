package s3code

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/robustmq/robustmq-go/tier/store"
)

// putTries is how often a Put is sent that meets another of the same key.
const putTries = 6

// Send sends one PUT with If-None-Match: * and the CRC of its body. err is the
// store's error and code what the server calls it.
type Send func(body io.Reader, size int64, crc string) (code string, err error)

// Put is a driver's Put.
func Put(ctx context.Context, key string, data []byte, send Send) error {
	if err := check(ctx, key, int64(len(data))); err != nil {
		return err
	}
	return put(ctx, key, func() (string, error) { return send(bytes.NewReader(data), int64(len(data)), store.CRC(data)) })
}

// PutFrom is a driver's PutFrom. The sum is looked at before anything is sent, and
// goes with it, so that the server looks at it too.
func PutFrom(ctx context.Context, key string, body io.ReaderAt, size int64, sum uint32, send Send) error {
	if err := check(ctx, key, size); err != nil {
		return err
	}
	crc, err := store.CRCFrom(body, size, sum)
	if err != nil {
		return store.Wrap("put", key, store.ErrTemporary, err)
	}
	return put(ctx, key, func() (string, error) { return send(io.NewSectionReader(body, 0, size), size, crc) })
}

func check(ctx context.Context, key string, size int64) error {
	if err := store.Check(ctx, "put", key); err != nil {
		return err
	}
	if size > store.MaxObject {
		return store.Wrap("put", key, store.ErrTooLarge, nil)
	}
	return nil
}

func put(ctx context.Context, key string, send func() (string, error)) error {
	for try := 1; ; try++ {
		code, err := send()
		if err == nil || try == putTries || code != Conflict {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond << try):
		case <-ctx.Done():
			return store.ContextError(ctx, "put", key)
		}
	}
}
