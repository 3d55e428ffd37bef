package shard

import "context"

// Log appends to and reads shards. All methods may be called concurrently.
type Log interface {
	// Append queues a batch and returns; done is called exactly once, with the
	// error too, when it is as durable as opts and the topic demand. Batches
	// that one goroutine appends to one shard get rising offsets in call order
	// and complete in that order. The log owns b from the call on. Append
	// blocks only while the append budget is spent, until ctx ends. With
	// DurabilityMemory done is called before Append returns. After an error the
	// batch is the caller's again.
	Append(ctx context.Context, id ID, b *Batch, opts AppendOptions, done Completion)
	// Read gives whole batches from the one that holds from on, up to
	// opts.MaxBytes but at least one if there is one; none at the end. Errors:
	// ErrOffsetOutOfRange (bounds are in the result), KindCorrupt,
	// KindUnavailable, KindMoved, KindNotFound.
	Read(ctx context.Context, id ID, from int64, opts ReadOptions) (ReadResult, error)
	// Bounds gives the shard's offsets as of now.
	Bounds(ctx context.Context, id ID) (Bounds, error)
	// Wait gives a channel that is closed when offset end is no longer the
	// end (Bounds.End > end), at once if it already is not.
	Wait(id ID, end int64) (<-chan struct{}, error)
	// OffsetOf gives the first record whose timestamp is at or past ts
	// (milliseconds): its offset and timestamp; ok is false when there is none.
	OffsetOf(ctx context.Context, id ID, ts int64) (offset, timestamp int64, ok bool, err error)
	// TrimBefore raises the shard's start offset, durably; what lies before it
	// is gone for every reader.
	TrimBefore(ctx context.Context, id ID, offset int64) error
}

// Completion is told the outcome of an append. Appended must not block; the
// calls for one shard come in offset order.
type Completion interface{ Appended(AppendResult) }

// CompletionFunc makes a Completion of a function.
type CompletionFunc func(AppendResult)

// Appended calls f.
func (f CompletionFunc) Appended(r AppendResult) { f(r) }

// AppendOptions are an append's demands. The zero value: the topic's
// durability, no precondition.
type AppendOptions struct {
	// Durability weaker than the topic's for publishers that are promised
	// nothing (MQTT QoS 0, NATS core, Kafka acks=0): DurabilityMemory.
	Durability Durability
	// ExpectNext, when CheckNext is set, must be the offset the batch gets:
	// else ErrPrecondition.
	ExpectNext int64
	CheckNext  bool
	// DedupeID, when not "", makes the append happen once within the dedupe
	// window (2 minutes): the second completes with the first's offsets and
	// Duplicate. A crash forgets an id given a few seconds before, unless the
	// batch holds one record that has it as HeaderDedupeID; the window of that
	// is counted from the record's timestamp.
	DedupeID string
	// Origin is carried on live messages (Message.Origin).
	Origin Origin
}

// Origin names the connection that published a message, within this process;
// 0 is none.
type Origin uint64

// AppendResult is the outcome of an append.
type AppendResult struct {
	Err error
	// Base is the first record's offset.
	Base int64
	// AppendTime is the timestamp given to all records in milliseconds, -1
	// where they keep their own.
	AppendTime int64
	// Start is the shard's start offset.
	Start int64
	// Duplicate: nothing was written, an earlier append of the same producer
	// sequence or dedupe id holds.
	Duplicate bool
}

// ReadOptions bound a read.
type ReadOptions struct {
	// MaxBytes of batches in all; 0 means 1 MiB.
	MaxBytes int
	// Until, when over 0, ends the read before the batch that begins there.
	Until int64
	// OneSegment ends a read from a segment with it; what is read ahead is of this
	// segment.
	OneSegment bool
}

// Ager is what a Log may offer a reader of many shards: each of them has a little
// in every segment, and read from the oldest segment to the youngest, with
// OneSegment, all of them take each segment from the store once.
type Ager interface {
	// Age orders segments by when they were made: that of the one that has the
	// shard's first record at or past offset, the largest number when none has. A
	// look-up in memory.
	Age(id ID, offset int64) int64
}

// Arrivals is what a Log may offer who counts from when a record came to the log,
// and not from the time that its writer gave it.
type Arrivals interface {
	// Arrived bounds when the record at an offset came, in milliseconds by the clock
	// of the shard's owner. The bounds are the same while the record is in memory, and
	// apart by the time that its extent covers later. ok is false where it is not
	// known: of what versions before this one stored. A look-up in memory.
	Arrived(id ID, offset int64) (first, last int64, ok bool)
}

// ReadResult is what a read found.
type ReadResult struct {
	Batches []*Batch
	Bounds  Bounds
	// Resume, with an error of KindCorrupt, is the offset after the damaged
	// range, where reading may go on; 0 when that is not known.
	Resume int64
}

// Bounds are a shard's offsets: Start <= Stable <= End.
type Bounds struct {
	// Start is the first offset that can be read.
	Start int64
	// End is the offset after the last visible record: Kafka's high watermark.
	End int64
	// Stable is the last stable offset: before it no transaction is open.
	Stable int64
	// Epoch is the owner's epoch.
	Epoch int32
}

// AppendWait appends and waits for the completion, or for ctx to end (the
// append may still happen then).
func AppendWait(ctx context.Context, l Log, id ID, b *Batch, opts AppendOptions) (AppendResult, error) {
	ch := make(chan AppendResult, 1)
	l.Append(ctx, id, b, opts, CompletionFunc(func(r AppendResult) { ch <- r }))
	select {
	case r := <-ch:
		return r, r.Err
	case <-ctx.Done():
		return AppendResult{}, context.Cause(ctx)
	}
}
