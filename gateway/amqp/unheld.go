package amqp

import (
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Arguments that a new queue is refused for: who asks for a bound that is not held has
// to know it. Queues that earlier versions took with them stay.

// noneOfStreams are arguments that a stream does not have, as in RabbitMQ.
var noneOfStreams = map[string]bool{
	"x-message-ttl": true, "x-expires": true, "x-delivery-limit": true, "x-max-length": true, "x-overflow": true,
	"x-dead-letter-exchange": true, "x-dead-letter-routing-key": true, "x-single-active-consumer": true,
}

// unheld gives what is asked of a queue and not held, nil for nothing.
func (l *queueLimits) unheld(args frame.Table) *fault {
	stream := l.kind == "stream"
	for _, f := range args {
		switch {
		case f.Name == "x-consumer-timeout":
			return refuse(codePreconditionFailed, "invalid arg '%s': consumers have no bound of time here,", f.Name)
		case stream && f.Name == "x-max-length-bytes":
			return refuse(codePreconditionFailed, "invalid arg '%s': set retention_bytes of the topic instead,", f.Name)
		case stream && noneOfStreams[f.Name], !stream && (f.Name == "x-max-age" || f.Name == "x-stream-max-segment-size-bytes"):
			return refuse(codePreconditionFailed, "invalid arg '%s': queues of type '%s' have none,", f.Name, l.kind)
		case f.Name == "x-max-age":
			if _, ok := interval(f.Value); !ok {
				return refuse(codePreconditionFailed, "invalid arg '%s': not a number with one of the units Y M D h m s,", f.Name)
			}
		}
	}
	return nil
}

// tooOld tells whether a message of a stream is past its x-max-age.
func (l *queueLimits) tooOld(d *shard.Delivery) bool {
	return l.maxAge > 0 && time.Now().UnixMilli() > d.Since()+l.maxAge.Milliseconds()
}
