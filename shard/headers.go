package shard

import "strings"

// Common properties. A message carries them under exactly these header names
// whichever protocol it came by; each gateway maps them to its own fields (MQTT
// 5 properties, AMQP basic properties) and back. Values are text.
const (
	HeaderContentType     = "content-type"
	HeaderContentEncoding = "content-encoding"
	HeaderCorrelationID   = "correlation-id"
	HeaderReplyTo         = "reply-to"
	HeaderMessageID       = "message-id"
	HeaderType            = "type"
	HeaderAppID           = "app-id"
	HeaderUserID          = "user-id"
	HeaderPriority        = "priority"
	// HeaderExpiration is the message's life in milliseconds from its
	// timestamp on, in decimal digits (the AMQP form; MQTT counts seconds).
	HeaderExpiration = "expiration"
)

// ReservedPrefix begins the names of headers that carry what has no common
// name. No gateway shows them to its clients as headers of theirs, and none
// accepts them from a client.
const ReservedPrefix = "robustmq-"

// Reserved headers.
const (
	// HeaderSubject is the record's subject, kept only where it differs from
	// the topic's name.
	HeaderSubject = ReservedPrefix + "subject"
	// HeaderMQTT marks a message that came by MQTT: the QoS digit it was
	// published with, followed by "r" when its retain flag was set.
	HeaderMQTT = ReservedPrefix + "mqtt"
	// HeaderMQTTTopic is the exact MQTT topic, kept only where the subject
	// does not map back to it (a level holds a dot).
	HeaderMQTTTopic = ReservedPrefix + "mqtt-topic"
	// HeaderReplySubject is the reply subject of a NATS request.
	HeaderReplySubject = ReservedPrefix + "reply-subject"
	// HeaderExchange and HeaderRoutingKey are the AMQP exchange and routing
	// key that a message was published with, kept only where they do not
	// follow from the subject.
	HeaderExchange   = ReservedPrefix + "exchange"
	HeaderRoutingKey = ReservedPrefix + "routing-key"
	// HeaderOrigin names the publishing client where a subscriber asked not
	// to get its own messages (MQTT no-local).
	HeaderOrigin = ReservedPrefix + "origin"
	// HeaderDedupeID is AppendOptions.DedupeID of a batch that holds this record
	// alone: by it the id is known again after a crash. MQTT had it first.
	HeaderDedupeID = ReservedPrefix + "mqtt-id"
)

// Reserved tells whether a header name is RobustMQ's own.
func Reserved(name string) bool { return strings.HasPrefix(name, ReservedPrefix) }
