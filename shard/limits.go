package shard

import (
	"context"
	"time"
)

// LimitedGroup is what a Group is besides where it keeps limits of its own.
type LimitedGroup interface {
	// Limit sets the limits. They are not stored: who wants them sets them again
	// after a restart, before consumers come.
	Limit(l GroupLimits)
}

// GroupLimits are limits of one group; the zero value has none.
type GroupLimits struct {
	// TTL takes a message out when it has been there for so long, consumers or
	// not; with Dead, messages that expire by themselves go to it as well.
	TTL    time.Duration
	HasTTL bool
	// MaxMessages and MaxBytes (of values) bound what is ready: the oldest are
	// taken out. 0: no bound; NothingReady: none at all. What a group does not hold in
	// memory counts with the average size.
	MaxMessages, MaxBytes int64
	// Reject turns MaxMessages and MaxBytes round: while the group is that long,
	// what comes stays out. With RejectDead it goes to Dead. Rejected is told of
	// each as its batch becomes visible, before the batch's publisher is; it must
	// not block nor call the group.
	Reject, RejectDead bool
	Rejected           func(id ID, offset int64, origin Origin)
	// MaxPriority serves ready messages of a higher HeaderPriority first, up to this
	// one; 0: all are equal. What a group does not hold in memory waits its turn.
	MaxPriority uint8
	// NotUnder are prefixes of subjects whose messages are not the group's, whatever
	// its bindings say.
	NotUnder []string
	// SingleActive has one consumer take all messages, the others wait.
	SingleActive bool
	// Dead gets what is taken out; nil: it is dropped.
	Dead Undertaker
	// Expired is told, by a goroutine that it may block, that the group is gone
	// since nobody used it for its ExpireAfter.
	Expired func()
}

// NothingReady bounds a group to what its consumers take as it comes.
const NothingReady = -1

// DeadReason says why a group gave a message up.
type DeadReason string

// The reasons.
const (
	DeadRejected      DeadReason = "rejected"       // Nack with Drop
	DeadExpired       DeadReason = "expired"        // its time or the group's TTL is over
	DeadMaxLength     DeadReason = "maxlen"         // the group was too long
	DeadDeliveryLimit DeadReason = "delivery_limit" // MaxDeliver was reached
)

// Undertaker takes what a group gives up.
type Undertaker interface {
	// Bury is called with no lock held and must not block. The message stays the
	// group's, over restarts too, until done is called: nil when it is durable
	// elsewhere or need not be, else Bury is called again later.
	Bury(d Delivery, reason DeadReason, done func(error))
}

// SyncedGroup is what a Group is besides where acknowledgements can be waited for.
type SyncedGroup interface {
	// Sync returns when all that consumers acknowledged before it is durable, so
	// that no crash brings it back.
	Sync(ctx context.Context) error
}
