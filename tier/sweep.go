package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/robustmq/robustmq-go/internal/raw"
	"github.com/robustmq/robustmq-go/tier/store"
)

// Sweep reads extents of one object in the order in which they lie there: the
// input of merging, where many objects are read side by side, each once. It goes
// past the caches, in GETs of a window's size, and holds one window. A Sweep is
// used by one goroutine at a time.
type Sweep struct {
	st     store.Store
	key    string
	size   int64
	window int64
	ctx    context.Context // of the Batches under way
	at     int64           // where held begins in the object
	held   []byte          // bytes not taken yet
}

// NewSweep returns a Sweep of the object of size bytes under key, which reads
// window bytes at a time, more where a batch is larger.
func NewSweep(st store.Store, key string, size, window int64) *Sweep {
	return &Sweep{st: st, key: key, size: size, window: max(window, v1MinFrame)}
}

// Batches are the batches of an extent, each verified and valid until the next.
// An error ends them: *CorruptError when one cannot be had (what failed its
// checksum is read from the store once more before it is called corrupt),
// ErrExtent, those of store.Store.Get.
func (s *Sweep) Batches(ctx context.Context, ext Extent) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := checkExtent(s.key, s.size, ext); err != nil {
			yield(nil, err)
			return
		}
		s.ctx = ctx
		start, again := place{ext.Pos, ext.Base}, int64(-1)
		for more := true; more; {
			more = false
			s.seek(start.pos)
			stream(s, Segment{s.key, s.size, ext}, start, func(b streamed, err error) bool {
				var bad *CorruptError
				if errors.As(err, &bad) && b.pos != again {
					start, again, more = place{b.pos, bad.From}, b.pos, true
					s.held = nil
					return false
				}
				return yield(b.batch, err) && err == nil
			})
		}
	}
}

// seek makes pos the next byte.
func (s *Sweep) seek(pos int64) {
	if n := pos - s.at; n >= 0 && n <= int64(len(s.held)) {
		s.skip(int(n))
		return
	}
	s.at, s.held = pos, nil
}

// peek implements peeker.
func (s *Sweep) peek(n int) ([]byte, error) {
	if len(s.held) >= n {
		return s.held[:n], nil
	}
	from := s.at + int64(len(s.held))
	more := min(max(int64(n-len(s.held)), s.window), s.size-from)
	if more <= 0 {
		return s.held, io.ErrUnexpectedEOF
	}
	got, err := getAll(s.ctx, s.st, s.key, from, more)
	if err != nil {
		return s.held, fmt.Errorf("read segment: %w", err)
	}
	if len(s.held) > 0 {
		got = append(append(raw.Bytes(len(s.held) + len(got))[:0], s.held...), got...)
	}
	s.held = got
	if len(got) < n {
		return got, io.ErrUnexpectedEOF
	}
	return got[:n], nil
}

// skip implements peeker.
func (s *Sweep) skip(n int) {
	s.at += int64(n)
	s.held = s.held[n:]
}
