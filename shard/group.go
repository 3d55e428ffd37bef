package shard

import (
	"context"
	"time"
)

// Groups are cursors with individual acknowledgement that competing consumers
// share: AMQP queues, MQTT persistent sessions and shared subscriptions, later
// JetStream consumers and Kafka share groups. All methods may be called
// concurrently.
type Groups interface {
	// Create makes a group, or gives the one that has the same config.
	// Errors: KindExists when its config differs.
	Create(ctx context.Context, c GroupConfig) (Group, error)
	// Get gives a group of that name, ErrGroupNotFound if there is none.
	Get(name string) (Group, error)
	// List gives the groups whose name begins with prefix, by name.
	List(prefix string) []Group
	// Interest tells whether a group that has a consumer, other than by pulling, has a
	// binding whose filter matches the subject. What it costs does not grow with the
	// number of groups.
	Interest(subject string) bool
	// Delete ends a group: its consumers get Closed, its cursors are forgotten;
	// messages stay in their topics.
	Delete(ctx context.Context, name string) error
}

// GroupConfig says what a group is. Name is unique over all protocols:
// "amqp/<vhost>/<queue>", "mqtt/session/<client id>", "mqtt/share/<name>/<filter>".
type GroupConfig struct {
	Name string
	// Durable groups live in the state log and survive restarts; what they
	// have not acknowledged is kept past retention. Others live in memory.
	Durable bool
	// AckTimeout returns a delivery that was not acknowledged in time; 0: never.
	AckTimeout time.Duration
	// MaxDeliver drops a message (acknowledges it, counted) after so many
	// deliveries; 0: no bound.
	MaxDeliver int
	// ExpireAfter deletes the group once it had no consumer for so long, over
	// restarts too; 0: never.
	ExpireAfter time.Duration
	// Data is the gateway's own, kept with the group. It is not compared by Create.
	Data []byte
}

// Group is one group. All methods may be called concurrently.
type Group interface {
	Config() GroupConfig
	// Bindings is the group's set of bindings.
	Bindings() GroupBindings
	// Attach adds a consumer. Errors: ErrExclusive.
	Attach(c ConsumerConfig, r Receiver) (Consumer, error)
	// Stats counts.
	Stats() GroupStats
	// Purge drops what is ready, not what is delivered and unacknowledged, and
	// tells how many messages that were.
	Purge(ctx context.Context) (int64, error)
	// SetData replaces Config().Data and ExpireAfter, durably for durable groups. A
	// new ExpireAfter counts from the call on, never from idle time before it.
	SetData(ctx context.Context, data []byte, expireAfter time.Duration) error
}

// GroupBindings bind subjects to a group.
type GroupBindings interface {
	// Add binds; messages appended from then on (or from b.Start) that match
	// are the group's. An ID in use is replaced without a gap. When it returns
	// no later message can be missed, over restarts too for durable groups.
	// Several are waited for once; of them, those before one that fails stay.
	Add(ctx context.Context, bs ...Binding) error
	// Remove unbinds: what matched until now stays with the group. It is no error
	// where there is no such binding.
	Remove(ctx context.Context, ids ...string) error
	// List gives the bindings in order of ID.
	List() []*Binding
}

// Start says where a new cursor begins.
type Start uint8

// The starts.
const (
	StartNew      Start = iota // with what comes from now on
	StartEarliest              // with the oldest retained message
)

// Binding is one filter of a group. Values that are handed out are immutable.
type Binding struct {
	// ID is unique in the group.
	ID     string
	Filter Filter
	Start  Start
	// Headers further narrows what matches; nil: no condition.
	Headers *HeaderMatch
	// NotFrom leaves out messages whose HeaderOrigin is this; "": none.
	NotFrom string
	// Data is the gateway's own (QoS, subscription identifier), kept with it.
	Data []byte
}

// HeaderMatch is the condition of an AMQP headers exchange binding.
type HeaderMatch struct {
	Any   bool // any condition suffices; else all must hold
	Conds []HeaderCond
}

// HeaderCond asks for a header; with a nil Value its presence suffices.
type HeaderCond struct {
	Name  string
	Value []byte
}

// Match tells whether a record meets the condition. Of no conditions, all are met
// and none is. Of headers with one name any may be the one asked for: an AMQP
// message's property has the name that a header of its table may have too.
func (m *HeaderMatch) Match(r *Record) bool {
	if m == nil {
		return true
	}
	for i := range m.Conds {
		c := &m.Conds[i]
		if ok := c.met(r.Headers); ok == m.Any {
			return ok
		}
	}
	return !m.Any
}

func (c *HeaderCond) met(hs []Header) bool {
	for i := range hs {
		if hs[i].Name == c.Name && (c.Value == nil || string(hs[i].Value) == string(c.Value)) {
			return true
		}
	}
	return false
}

// Receiver is a connection's side of a consumer.
type Receiver interface {
	// Deliver hands over messages in order. It must not block and must not
	// call back into the group, but for Pause; the slice may not be kept, its
	// elements may.
	Deliver(ds []Delivery)
	// Closed says the group was deleted; nothing follows.
	Closed(err error)
}

// Roomy is a Receiver that takes only so much at once.
type Roomy interface {
	// Room is about how many bytes Deliver should bring next; it always may bring
	// one message. It must be quick, and is called with locks held.
	Room() int
}

// DeliveryTag names a delivery within its group, over restarts too.
type DeliveryTag struct {
	Shard  ID
	Offset int64
}

// Delivery is one message handed to one consumer.
type Delivery struct {
	Message
	Tag DeliveryTag
	// Count is 1 at the first delivery that is known.
	Count int
	// Redelivered: it was delivered before, or may have been by a process that was
	// killed before it could note it.
	Redelivered bool
	// Bindings are those that matched.
	Bindings []*Binding
}

// ConsumerConfig says how a consumer takes messages.
type ConsumerConfig struct {
	// NoAck acknowledges each message as it is delivered.
	NoAck bool
	// Exclusive refuses other consumers, and is refused where there is one.
	Exclusive bool
	// Pull consumers get nothing but by Get. They are not counted: they refuse no
	// exclusive consumer, none refuses them, and a group expires over them that
	// had no Get for its time.
	Pull bool
	// Windows bound what is delivered and not acknowledged, each on its own;
	// several consumers, of several groups too, may share one. NoAck consumers
	// ignore them.
	Windows []*Window
	// Priority: consumers of a higher one are served first.
	Priority int
	// Origin of the consumer's connection: with NoLocal, messages it published
	// itself are skipped (and count as acknowledged).
	Origin  Origin
	NoLocal bool
}

// Consumer takes messages of a group. All methods may be called concurrently;
// none waits for a disk: cursor changes are written behind, in order.
type Consumer interface {
	// Ack acknowledges deliveries and frees their windows. Tags that are not
	// this consumer's unacknowledged deliveries are ignored; n counts the others.
	Ack(tags ...DeliveryTag) (n int)
	// Nack gives deliveries up: back to their place in the group, or with Drop
	// out of it.
	Nack(opts NackOptions, tags ...DeliveryTag) (n int)
	// Get takes one message if there is one.
	Get() (Delivery, bool)
	// Pause stops or resumes deliveries; some may still come after Pause(true)
	// returned.
	Pause(bool)
	// Close detaches: what is unacknowledged goes back to its place, to be
	// delivered again with Count raised.
	Close()
}

// NackOptions says what becomes of a message that was given up.
type NackOptions struct {
	// Drop takes it out of the group, as an acknowledgement does.
	Drop bool
	// Delay keeps it back for so long.
	Delay time.Duration
	// Undelivered does not count the delivery (it never reached the client).
	Undelivered bool
}

// GroupStats are a group's counts as of now.
type GroupStats struct {
	// Ready counts messages not yet delivered (an estimate, never 0 when there
	// are some, while the group catches up over filtered shards).
	Ready int64
	// Unacked counts those delivered and not acknowledged.
	Unacked   int64
	Consumers int
	// Acked and Redelivered count since the process started.
	Acked       int64
	Redelivered int64
}
