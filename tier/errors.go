package tier

import (
	"errors"
	"fmt"

	"github.com/robustmq/robustmq-go/shard"
)

var (
	// ErrOffset: the offset asked for is after the extent's last. The caller
	// looked into the wrong extent.
	ErrOffset = errors.New("offset is after the extent")
	// ErrExtent: an extent that cannot be in an object of the size given: the
	// catalog and the object do not belong together.
	ErrExtent = errors.New("extent does not fit the object")
	// ErrOrder: batches were added or merged out of (shard, offset) order, or
	// overlap.
	ErrOrder = errors.New("batches out of order")
	// ErrBatch: Builder was given bytes that are not one whole, sound batch.
	ErrBatch = errors.New("invalid batch")
	// ErrFull: the object would grow past what a store takes.
	ErrFull = errors.New("segment object is full")
	// ErrClosed: the Reader was closed.
	ErrClosed = errors.New("segment reader is closed")
)

// CorruptError says which part of an object cannot be had because its bytes are
// not those that were written. Offsets From to To (both included) of Shard are
// affected; offsets outside of that range are not. Where the damage is in what
// belongs to no shard (header, index, trailer), Shard is zero and From is
// greater than To.
type CorruptError struct {
	Key      string
	Shard    shard.ID
	From, To int64
	Pos      int64 // byte in the object at which the damaged part begins
	Reason   string
}

// Error gives all coordinates.
func (e *CorruptError) Error() string {
	if e.From > e.To {
		return fmt.Sprintf("read segment %q: corrupt at byte %d: %s", e.Key, e.Pos, e.Reason)
	}
	return fmt.Sprintf("read segment %q: corrupt at byte %d: shard %s, offsets %d to %d: %s", e.Key, e.Pos, e.Shard, e.From, e.To, e.Reason)
}

// VersionError: the object is a segment of a format version that this program
// does not know: a newer RobustMQ wrote it.
type VersionError struct {
	Key     string
	Version uint32
}

// Error names the version found and the one known.
func (e *VersionError) Error() string {
	return fmt.Sprintf("read segment %q: format version %d, this program reads version %d", e.Key, e.Version, Version1)
}

func corrupt(key string, pos int64, format string, args ...any) *CorruptError {
	return &CorruptError{Key: key, From: 0, To: -1, Pos: pos, Reason: fmt.Sprintf(format, args...)}
}
