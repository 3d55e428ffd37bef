package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/test/harness"
)

// The protocols.
const (
	MQTT  = "mqtt"
	Kafka = "kafka"
	NATS  = "nats"
	AMQP  = "amqp"
)

// Protocols in the order of every table.
var Protocols = []string{MQTT, Kafka, NATS, AMQP}

// Common properties, by the name that a protocol without a field for one spells it with.
const (
	ContentType     = "content-type"
	ContentEncoding = "content-encoding"
	CorrelationID   = "correlation-id"
	ReplyTo         = "reply-to"
	MessageID       = "message-id"
	Type            = "type"
	AppID           = "app-id"
	UserID          = "user-id"
	Priority        = "priority"
	Expiration      = "expiration" // milliseconds
)

// amqpFields in the order of the specification.
var amqpFields = []string{ContentType, ContentEncoding, Priority, CorrelationID, ReplyTo, Expiration, MessageID, Type, UserID, AppID}

// Fields are the common properties that each protocol has a field of its own for; the others
// travel as headers there. (A NATS reply subject is a field too: [Message].Reply.)
var Fields = map[string][]string{
	MQTT: {ContentType, CorrelationID, ReplyTo, Expiration},
	AMQP: amqpFields,
}

// Header is one header or user property.
type Header struct {
	Name  string
	Value []byte
	// Typed is set instead of Value for AMQP values that are not text.
	Typed any
}

// Message is one message, to be written or as it was read.
type Message struct {
	Name    string // MQTT topic, Kafka topic, NATS subject, AMQP routing key
	Key     []byte // Kafka alone; nil is null
	Value   []byte // nil is null for Kafka, empty elsewhere
	Fields  map[string]string
	Reply   string // NATS alone: the reply subject
	Headers []Header
	Time    time.Time // Kafka's record time, AMQP's timestamp; zero: none

	// Exchange to publish to, or published to, by AMQP.
	Exchange string
}

// Clone copies what a writer may change.
func (m Message) Clone() Message {
	m.Headers = slices.Clone(m.Headers)
	return m
}

// Writer writes messages with one library.
type Writer interface {
	// Write returns once the message is acknowledged, as far as the protocol has that.
	Write(ctx context.Context, m Message) error
	Close()
}

// Reader is a subscription of one library.
type Reader interface {
	// Messages gives what was received so far.
	Messages() []Message
	// Wait waits until at least n messages were received.
	Wait(ctx context.Context, n int) ([]Message, error)
	Close()
}

// NewWriter connects a writer.
func NewWriter(ctx context.Context, protocol string, p harness.Ports) (Writer, error) {
	switch protocol {
	case MQTT:
		return newMQTTWriter(ctx, p.MQTT)
	case Kafka:
		return newKafkaWriter(p.Kafka)
	case NATS:
		return newNATSWriter(p.NATS)
	case AMQP:
		return newAMQPWriter(p.AMQP)
	}
	return nil, fmt.Errorf("no protocol is called %q", protocol)
}

// NewReader subscribes. The filter is in the protocol's own words: an MQTT filter (QoS 1), a Kafka
// topic, or a regular expression when it begins with '^' (from the beginning, without a group), a
// NATS subject with wildcards, an AMQP queue that nobody declared, or a binding pattern of
// amq.topic when it holds a wildcard. It returns once the subscription stands.
func NewReader(ctx context.Context, protocol string, p harness.Ports, filter string) (Reader, error) {
	switch protocol {
	case MQTT:
		return newMQTTReader(ctx, p.MQTT, filter)
	case Kafka:
		return newKafkaReader(p.Kafka, filter)
	case NATS:
		return newNATSReader(p.NATS, filter)
	case AMQP:
		return newAMQPReader(p.AMQP, filter)
	}
	return nil, fmt.Errorf("no protocol is called %q", protocol)
}

// Live tells whether a reader of this protocol sees only what is written after it subscribed; a
// pattern makes an AMQP reader such a one.
func Live(protocol, filter string) bool {
	return protocol == MQTT || protocol == NATS || protocol == AMQP && strings.ContainsAny(filter, "*#")
}

// inbox collects messages for a Reader.
type inbox struct {
	in   chan Message
	read chan chan []Message
	stop chan struct{}
	gone chan struct{}
	err  func() error
}

func newInbox() *inbox {
	b := &inbox{in: make(chan Message), read: make(chan chan []Message), stop: make(chan struct{}), gone: make(chan struct{})}
	go b.run()
	return b
}

func (b *inbox) run() {
	defer close(b.gone)
	var all []Message
	for {
		select {
		case m := <-b.in:
			all = append(all, m)
		case r := <-b.read:
			r <- slices.Clone(all)
		case <-b.stop:
			return
		}
	}
}

func (b *inbox) put(m Message) {
	select {
	case b.in <- m:
	case <-b.gone:
	}
}

// Messages implements Reader.
func (b *inbox) Messages() []Message {
	r := make(chan []Message, 1)
	select {
	case b.read <- r:
		return <-r
	case <-b.gone:
		return nil
	}
}

// Wait implements Reader.
func (b *inbox) Wait(ctx context.Context, n int) ([]Message, error) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		all := b.Messages()
		if len(all) >= n {
			return all, nil
		}
		if b.err != nil {
			if err := b.err(); err != nil {
				return all, fmt.Errorf("wait for %d messages, have %d: %w", n, len(all), err)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return all, fmt.Errorf("wait for %d messages, have %d: %w", n, len(all), ctx.Err())
		}
	}
}

func (b *inbox) end() {
	close(b.stop)
	<-b.gone
}

// headersAndFields gives the headers of a protocol that has none of the common fields.
func headersAndFields(m Message) []Header {
	var out []Header
	for _, name := range amqpFields {
		if v, ok := m.Fields[name]; ok {
			out = append(out, Header{Name: name, Value: []byte(v)})
		}
	}
	return append(out, m.Headers...)
}

var errTyped = errors.New("only AMQP has typed header values")

func millis(d string) (uint64, error) {
	n, err := strconv.ParseUint(d, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("expiration: %w", err)
	}
	return n, nil
}
