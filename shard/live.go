package shard

import "time"

// Message is one record as subscribers get it. It is immutable and may be kept.
type Message struct {
	// Topic is nil for a relayed message.
	Topic   *Topic
	Shard   uint32
	Subject string
	Record  *Record
	// Origin is the connection that published it, when it came from this
	// process a moment ago; else 0.
	Origin Origin
	// Arrived is when the record came to its log, in milliseconds since the epoch,
	// whatever time its writer gave it; 0: as its timestamp says.
	Arrived int64
}

// Since is when the message's time begins: its arrival.
func (m *Message) Since() int64 {
	if m.Arrived == 0 {
		return m.Record.Timestamp
	}
	return m.Arrived
}

// Expires tells when the message's own expiry (HeaderExpiration) passes, in
// milliseconds since the epoch; ok is false when it has none.
func (m *Message) Expires() (at int64, ok bool) {
	ms, ok := m.Record.expiration()
	return m.Since() + ms, ok
}

// Expired tells whether the message's own expiry has passed at now.
func (m *Message) Expired(now time.Time) bool {
	at, ok := m.Expires()
	return ok && now.UnixMilli() >= at
}

// ID is the shard the message lies in.
func (m *Message) ID() ID {
	if m.Topic == nil {
		return ID{}
	}
	return ID{Topic: m.Topic.Num, Index: m.Shard}
}

// Live hands new messages to subscribers: from now on, in memory, at most once.
// All methods may be called concurrently.
type Live interface {
	// Subscribe registers a subscriber, with no filter yet. Close the
	// subscription when its connection ends.
	Subscribe(s Subscriber) Subscription
	// Relay hands messages that are never stored (Relayed) to live
	// subscribers and tells how many deliveries there were. The messages must
	// stay unchanged.
	Relay(ms []Message) int
	// Interest tells whether any filter in SpaceSubject or SpaceMQTT matches
	// the subject now.
	Interest(subject string) bool
	// InterestIn is Interest in what from publishes: filters that leave it out
	// (LiveOptions.NotFrom) do not count.
	InterestIn(subject string, from Origin) bool
}

// SubID is a subscriber's own number for one of its filters.
type SubID uint32

// Subscriber is a connection that takes live messages.
type Subscriber interface {
	// Deliver hands over messages of one shard in offset order, each matched by
	// exactly the filters in matched. It must not block and must bound what it
	// queues: dropping or disconnecting is the protocol's choice. Neither slice
	// may be kept or changed; the messages may be kept. Calls for one shard
	// never overlap; those for several may.
	Deliver(ms []Message, matched []SubID)
}

// QueueSubscriber is a Subscriber whose filters may end by themselves: it need
// not take all that its turn in a queue brings.
type QueueSubscriber interface {
	Subscriber
	// DeliverQueued is Deliver for a filter with a queue. It tells how many of
	// the messages it took, from the first on; others of the queue get the rest.
	DeliverQueued(ms []Message, id SubID) int
}

// Subscription holds the filters of one subscriber.
type Subscription interface {
	// Add starts a filter; an id in use is replaced.
	Add(id SubID, f Filter, opts LiveOptions) error
	// Remove ends a filter. No delivery for it begins after Remove returns.
	Remove(id SubID)
	// Close ends all of them.
	Close()
}

// LiveOptions choose how a filter is fed.
type LiveOptions struct {
	// Queue, when not "", shares the filter: of all filters with that queue
	// that match a message, whatever their patterns, one takes it (NATS queue
	// groups, MQTT shared subscriptions of what is never stored).
	Queue string
	// Durable asks for messages only once they are durable; otherwise they may
	// come as soon as their offset is assigned.
	Durable bool
	// NotFrom, when not 0, leaves out messages of this origin (MQTT no-local,
	// NATS echo off, AMQP no-local).
	NotFrom Origin
}
