package shard

import "context"

// SeekTo chooses where a group begins again in a shard: an offset within its
// bounds; ok is false where it is to stay.
type SeekTo func(ctx context.Context, t *Topic, id ID, b Bounds) (offset int64, ok bool, err error)

// GroupSeeker is what a Group may offer besides: to be moved.
type GroupSeeker interface {
	// Seek moves the group in each shard that its bindings can match, durably for
	// a durable group: what lies from the offset on is to be delivered, what is
	// before is done with. Its bindings hold for what was there before they were,
	// from then on. Errors: KindInvalid while it has consumers, or messages that
	// are not acknowledged; KindNotFound when it ended.
	Seek(ctx context.Context, to SeekTo) error
	// Holds tells, of each shard in which the group keeps messages from being
	// freed, the lowest offset that it needs.
	Holds(id ID) (offset int64, ok bool)
}
