package amqp

import (
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// queueLimits are the x- arguments of a queue that are enforced.
type queueLimits struct {
	kind       string        // x-queue-type
	ttl        time.Duration // x-message-ttl; hasTTL tells 0 from none
	hasTTL     bool
	expires    time.Duration // x-expires
	maxDeliver int           // x-delivery-limit and the first delivery; 0: none
	maxAge     time.Duration // x-max-age of a stream; 0: none

	maxMessages, maxBytes int64   // x-max-length, x-max-length-bytes as in shard.GroupLimits
	overflow              string  // x-overflow
	maxPriority           uint8   // x-max-priority
	singleActive          bool    // x-single-active-consumer
	deadLetters           bool    // x-dead-letter-exchange is there
	deadExchange          string  // its name
	deadKey               *string // x-dead-letter-routing-key
}

// What happens to a queue that is too long: the oldest messages leave, or new ones
// stay out, for good or for the dead-letter exchange.
const (
	overflowDropHead  = "drop-head"
	overflowReject    = "reject-publish"
	overflowRejectDLX = "reject-publish-dlx"
)

// queueArgs are the arguments of a queue that are enforced, so that two declares
// have to agree on them. Others are ignored, as RabbitMQ does.
var queueArgs = []string{
	"x-queue-type", "x-message-ttl", "x-expires", "x-delivery-limit", "x-max-length", "x-max-length-bytes", "x-overflow",
	"x-max-age", "x-max-priority", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-single-active-consumer",
}

// limitsOf reads the arguments of a queue.
func limitsOf(args frame.Table) (l queueLimits, err error) {
	l.kind, l.overflow = "classic", overflowDropHead
	for _, f := range args {
		switch f.Name {
		case "x-queue-type":
			switch l.kind = f.Value.Str; l.kind {
			case "classic", "quorum", "stream":
			default:
				return l, refuse(codePreconditionFailed, "invalid arg 'x-queue-type': unsupported queue type '%s'", l.kind)
			}
		case "x-message-ttl":
			if l.ttl, err = millis(f, 0); err != nil {
				return l, err
			}
			l.hasTTL = true
		case "x-expires":
			if l.expires, err = millis(f, 1); err != nil {
				return l, err
			}
		case "x-delivery-limit":
			n, ok := f.Value.Int()
			if !ok || n < -1 || n > 1<<30 { // -1: none, as RabbitMQ 4 has it
				return l, refuse(codePreconditionFailed, "invalid arg '%s'", f.Name)
			}
			l.maxDeliver = int(n) + 1
		case "x-max-age":
			l.maxAge, _ = interval(f.Value) // checked when it is declared
		default:
			if err = l.bound(f); err != nil {
				return l, err
			}
		}
	}
	if l.maxPriority > 0 && l.kind != "classic" {
		return l, refuse(codePreconditionFailed, "invalid arg 'x-max-priority': queues of type '%s' have none", l.kind)
	}
	if l.deadKey != nil && !l.deadLetters {
		return l, refuse(codePreconditionFailed, "invalid arg 'x-dead-letter-routing-key': routing_key_but_no_dlx_defined")
	}
	return l, nil
}

// bound reads the arguments that say what a queue gives up, and to whom.
func (l *queueLimits) bound(f frame.Field) error {
	invalid := refuse(codePreconditionFailed, "invalid arg '%s'", f.Name)
	isText := f.Value.Kind == frame.KindString
	switch f.Name {
	case "x-max-length", "x-max-length-bytes":
		n, ok := f.Value.Int()
		if !ok || n < 0 {
			return invalid
		}
		if n == 0 {
			n = shard.NothingReady
		}
		if f.Name == "x-max-length" {
			l.maxMessages = n
		} else {
			l.maxBytes = n
		}
	case "x-overflow":
		switch l.overflow = f.Value.Str; l.overflow {
		case overflowDropHead, overflowReject, overflowRejectDLX:
		default:
			return invalid
		}
	case "x-max-priority":
		n, ok := f.Value.Int()
		if !ok || n < 0 || n > 255 {
			return invalid
		}
		l.maxPriority = uint8(n)
	case "x-single-active-consumer":
		if f.Value.Kind != frame.KindBool {
			return invalid
		}
		l.singleActive = f.Value.Bool()
	case "x-dead-letter-exchange":
		if !isText {
			return invalid
		}
		l.deadLetters, l.deadExchange = true, f.Value.Str
	case "x-dead-letter-routing-key":
		if !isText {
			return invalid
		}
		key := f.Value.Str
		l.deadKey = &key
	}
	return nil
}

func millis(f frame.Field, least int64) (time.Duration, error) {
	n, ok := f.Value.Int()
	if !ok || n < least || n > 315_360_000_000 {
		return 0, refuse(codePreconditionFailed, "invalid arg '%s': not a number of milliseconds from %d on", f.Name, least)
	}
	return time.Duration(n) * time.Millisecond, nil
}

// in adds where it happened.
func (f *fault) in(queue, vhost string) *fault {
	f.text += " for queue '" + queue + "' in vhost '" + vhost + "'"
	return f
}

// allow refuses properties that a queue type does not have.
func (l *queueLimits) allow(m *frame.QueueDeclare, queue, vhost string) error {
	if l.kind == "classic" {
		return nil
	}
	var what string
	switch {
	case !m.Durable:
		what = "non-durable"
	case m.Exclusive:
		what = "exclusive"
	case m.AutoDelete:
		what = "auto-delete"
	default:
		return nil
	}
	return refuse(codePreconditionFailed, "invalid property '%s' for queue '%s' in vhost '%s'", what, queue, vhost)
}
