package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/robustmq/robustmq-go/tier/store"
)

// chunkBytes is the size of a GET of Verify and Dump. One is read while
// another is worked on.
const chunkBytes = 4 << 20

// chunks reads an extent's bytes from the store in order, bypassing all caches,
// one GET ahead.
type chunks struct {
	ctx  context.Context
	buf  []byte // bytes not taken yet
	next chan chunk
	stop context.CancelFunc
}

type chunk struct {
	data []byte
	err  error
}

// openChunks begins to read the bytes lo to hi of an object.
func openChunks(ctx context.Context, st store.Store, key string, lo, hi int64) *chunks {
	ctx, stop := context.WithCancel(ctx)
	c := &chunks{ctx: ctx, next: make(chan chunk), stop: stop}
	go func() {
		defer close(c.next)
		for lo < hi {
			n := min(hi-lo, chunkBytes)
			data, err := st.Get(ctx, key, lo, n)
			if err == nil && int64(len(data)) < n || errors.Is(err, store.ErrRange) {
				err = corrupt(key, lo+int64(len(data)), "object ends at byte %d, not after %d", lo+int64(len(data)), hi)
			}
			select {
			case c.next <- chunk{data, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			lo += n
		}
	}()
	return c
}

// close ends reading and waits for the goroutine.
func (c *chunks) close() {
	c.stop()
	for range c.next { // until closed
	}
}

// peek implements peeker.
func (c *chunks) peek(n int) ([]byte, error) {
	for len(c.buf) < n {
		ch, ok := <-c.next
		if !ok {
			if err := c.ctx.Err(); err != nil {
				return c.buf, fmt.Errorf("read segment: %w", err)
			}
			return c.buf, io.ErrUnexpectedEOF
		}
		if len(c.buf) == 0 {
			c.buf = ch.data
		} else {
			c.buf = append(append(make([]byte, 0, max(n, len(c.buf)+len(ch.data))), c.buf...), ch.data...)
		}
		if ch.err != nil {
			return c.buf, ch.err
		}
	}
	return c.buf[:n], nil
}

func (c *chunks) skip(n int) { c.buf = c.buf[n:] }

// streamed is one batch of a stream, and the place of its frame.
type streamed struct {
	pos   int64
	head  batchHead
	batch []byte // valid until the next one
}

// peeker gives the bytes of an object in order.
type peeker interface {
	// peek returns the next n bytes, fewer with an error. They stay valid until the
	// next peek.
	peek(n int) ([]byte, error)
	skip(n int)
}

// batchesOf streams the batches of seg from the frame at start on. The first
// error ends it; a *CorruptError has To at the extent's end unless the head of
// the damaged batch is sound, in which case the stream goes on after it.
func batchesOf(ctx context.Context, st store.Store, seg Segment, start place) iter.Seq2[streamed, error] {
	return func(yield func(streamed, error) bool) {
		c := openChunks(ctx, st, seg.Key, start.pos, seg.Extent.Pos+seg.Extent.Len)
		defer c.close()
		stream(c, seg, start, yield)
	}
}

// stream yields the batches of seg from start on, which is where c is.
func stream(c peeker, seg Segment, start place, yield func(streamed, error) bool) {
	ext := seg.Extent
	pos, end := start.pos, ext.Pos+ext.Len
	after := start.offset
	for pos < end {
		f, err := streamFrame(c, seg, pos, after)
		if err != nil {
			yield(streamed{pos: pos}, err)
			return
		}
		b, err := c.peek(v1FrameHead + f.head.length)
		if err != nil {
			yield(streamed{pos: pos}, streamError(err, seg, pos, after))
			return
		}
		s := streamed{pos: pos, batch: b[v1FrameHead:]}
		if s.head, err = parseBatch(s.batch); err == nil && s.head.last > ext.Last {
			err = fmt.Errorf("batch ends at offset %d after its extent's %d", s.head.last, ext.Last)
		}
		after = f.head.base + 1
		if err != nil {
			bad := streamCorrupt(seg, pos, f.head.base, err.Error())
			if f.next < end {
				c.skip(len(b))
				if g, err := streamFrame(c, seg, f.next, after); err == nil {
					bad.To = g.head.base - 1
				}
				if pos = f.next; !yield(streamed{pos: f.pos}, bad) {
					return
				}
				continue
			}
			yield(streamed{pos: pos}, bad)
			return
		}
		after = s.head.last + 1
		c.skip(len(b))
		if pos = f.next; !yield(s, nil) {
			return
		}
	}
}

func streamCorrupt(seg Segment, pos, from int64, reason string) *CorruptError {
	return &CorruptError{Key: seg.Key, Shard: seg.Extent.Shard, From: from, To: seg.Extent.Last, Pos: pos, Reason: reason}
}

// streamError gives an error of chunks the coordinates of a batch.
func streamError(err error, seg Segment, pos, after int64) error {
	var bad *CorruptError
	if errors.As(err, &bad) {
		return streamCorrupt(seg, pos, after, bad.Reason)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return streamCorrupt(seg, pos, after, "extent ends within a frame")
	}
	return err
}

// streamFrame verifies the head of the next frame of c, which is at pos.
func streamFrame(c peeker, seg Segment, pos, after int64) (frame, error) {
	b, err := c.peek(v1FrameHead + batchPrefixLen)
	if err != nil {
		return frame{}, streamError(err, seg, pos, after)
	}
	f, err := checkFrame(b, seg.Extent, pos, after)
	if err != nil {
		return frame{}, streamCorrupt(seg, pos, after, err.Error())
	}
	return f, nil
}

// ReadIndex reads and verifies header, trailer and index of an object of size
// bytes, past the caches.
func ReadIndex(ctx context.Context, st store.Store, key string, size int64) (*Index, error) {
	if size < v1MinObject || size > store.MaxObject {
		return nil, corrupt(key, 0, "object of %d bytes is too short", size)
	}
	head, err := getAll(ctx, st, key, 0, v1HeaderLen)
	if err != nil {
		return nil, err
	}
	if err := v1CheckHeader(key, head); err != nil {
		return nil, err
	}
	guess := min(size, 64<<10)
	tail, err := getAll(ctx, st, key, size-guess, guess)
	if err != nil {
		return nil, err
	}
	t, err := v1DecodeTrailer(key, tail[guess-v1TrailerLen:], size)
	if err != nil {
		return nil, err
	}
	at := t.indexAt - (size - guess)
	if at < 0 {
		if tail, err = getAll(ctx, st, key, t.indexAt, int64(t.indexLen)); err != nil {
			return nil, err
		}
		at = 0
	}
	return v1DecodeIndex(key, tail[at:at+int64(t.indexLen)], t)
}

func getAll(ctx context.Context, st store.Store, key string, off, n int64) ([]byte, error) {
	b, err := st.Get(ctx, key, off, n)
	if err == nil && int64(len(b)) < n || errors.Is(err, store.ErrRange) {
		return nil, corrupt(key, off+int64(len(b)), "object ends at byte %d, not after %d", off+int64(len(b)), off+n)
	}
	return b, err
}
