package amqp

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// streamInfix marks the groups of stream consumers: "amqp/<vhost>/<queue>/stream/<n>".
const streamInfix = "/stream/"

var streamSeq atomic.Uint64

// streamStart is where a consumer of a stream queue begins: such a consumer
// reads all messages by a cursor of its own, and takes none away from others.
type streamStart struct {
	start  shard.Start
	offset int64 // least one, in each shard
	time   int64 // least timestamp, milliseconds
}

func (s *streamStart) before(d *shard.Delivery) bool {
	return d.Record.Offset < s.offset || d.Since() < s.time
}

// headers tells a stream's consumer where the message lies, so that it can go on
// from there another time.
func (s *streamStart) headers(d *shard.Delivery) frame.Table {
	if s == nil {
		return nil
	}
	return frame.Table{{Name: "x-stream-offset", Value: frame.Int(d.Record.Offset)}}
}

// streamStartOf reads x-stream-offset: "first", "next" (the default), an offset, a
// timestamp or an interval before now.
func streamStartOf(args frame.Table, now time.Time) (*streamStart, error) {
	s := &streamStart{start: shard.StartNew}
	v, ok := args.Get("x-stream-offset")
	if !ok || v.Kind == frame.KindString && v.Str == "next" {
		return s, nil
	}
	s.start = shard.StartEarliest
	n, isInt := v.Int()
	switch {
	case v.Kind == frame.KindString && v.Str == "first":
	case v.Kind == frame.KindTimestamp && n >= 0 && n < 1<<40:
		s.time = n * 1000
	case isInt && n >= 0:
		s.offset = n
	default:
		ago, ok := interval(v)
		if !ok {
			text, _ := v.Text()
			return nil, refuse(codePreconditionFailed, "x-stream-offset %.64s is none of first, next, an offset, a timestamp, an interval", text)
		}
		s.time = now.Add(-ago).UnixMilli()
	}
	return s, nil
}

// interval reads a number and a unit, as in 7D.
func interval(v frame.Value) (time.Duration, bool) {
	if v.Kind != frame.KindString || v.Str == "" {
		return 0, false
	}
	const day = 24 * time.Hour
	units := map[byte]time.Duration{'Y': 365 * day, 'M': 30 * day, 'D': day, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	last := len(v.Str) - 1
	unit := units[v.Str[last]]
	n, err := strconv.ParseUint(v.Str[:last], 10, 31)
	if err != nil || unit == 0 || n > uint64(1<<62/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// openStream gives the consumer a group of its own with the queue's bindings.
func (ch *channel) openStream(k *consumer, m *frame.BasicConsume) error {
	c := ch.c
	if m.NoAck {
		return refuse(codeNotImplemented, "consumer '%s': stream queues do not support no_ack", k.tag)
	}
	if ch.prefetch == 0 {
		return refuse(codePreconditionFailed, "consumer prefetch count is not set for stream queue '%s' in vhost '%s'", k.q.name, c.vh.name)
	}
	from, err := streamStartOf(m.Arguments, time.Now())
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s%s%d-%d", c.vh.groupName(k.q.name), streamInfix, c.nc.Origin, streamSeq.Add(1))
	g, err := c.s.env.Broker.Groups.Create(c.ctx, shard.GroupConfig{Name: name})
	if err != nil {
		return err
	}
	if limited, ok := g.(shard.LimitedGroup); ok {
		limited.Limit(shard.GroupLimits{NotUnder: c.vh.walls})
	}
	k.group, k.from = g, from
	c.vh.mu.Lock()
	deleted := k.q.deleted
	if k.q.streams == nil {
		k.q.streams = make(map[string]struct{})
	}
	k.q.streams[name] = struct{}{}
	c.vh.mu.Unlock()
	if deleted {
		k.endStream()
		return c.vh.noQueue(k.q.name)
	}
	for _, b := range k.q.group.Bindings().List() {
		nb := *b
		nb.Start = from.start
		if err := g.Bindings().Add(c.ctx, nb); err != nil {
			k.endStream()
			return err
		}
	}
	return nil
}

// endStream deletes the consumer's own group.
func (k *consumer) endStream() {
	if k.from == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ch.c.ctx), 5*time.Second)
	defer cancel()
	name := k.group.Config().Name
	k.ch.c.vh.mu.Lock()
	delete(k.q.streams, name)
	k.ch.c.vh.mu.Unlock()
	if err := k.ch.c.s.env.Broker.Groups.Delete(ctx, name); err != nil && shard.KindOf(err) != shard.KindNotFound {
		k.ch.c.log.Warn("group of a stream consumer not deleted", "group", name, "error", err)
	}
}
