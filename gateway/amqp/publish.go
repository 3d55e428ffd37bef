package amqp

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// maxKeptHeaders bounds the memory that a channel keeps for headers.
const maxKeptHeaders = 64

// incoming is a publish whose content header and body are on their way.
type incoming struct {
	on, header bool
	method     frame.BasicPublish
	refused    *fault // told when the whole body was read and thrown away
	props      frame.Properties
	size       uint64
	body       []byte
	hold       gateway.Hold // of body
}

func (ch *channel) beginContent(m *frame.BasicPublish) {
	ch.incoming = incoming{on: true, method: *m}
}

func (ch *channel) dropContent() {
	ch.c.partial -= len(ch.incoming.body)
	ch.incoming.hold.Free()
	ch.incoming = incoming{}
}

// content takes a content header or body frame (AMQP 2.3.5).
func (ch *channel) content(f frame.Frame) error {
	in := &ch.incoming
	switch {
	case !in.on:
		return refuse(codeUnexpectedFrame, "expected method frame, got frame of type %d instead", f.Type)
	case f.Type == frame.TypeHeader && !in.header:
		h, err := frame.DecodeHeader(f.Payload)
		if err != nil {
			return err
		}
		if h.Class != frame.ClassBasic {
			return refuse(codeUnexpectedFrame, "expected content header for class 60, got one for class %d instead", h.Class)
		}
		if limit := ch.c.s.env.Limits.MaxMessageBytes; h.BodySize > uint64(limit) || len(f.Payload) > limit {
			in.refused = refuse(codeContentTooLarge, "message size %d is larger than configured max size %d", h.BodySize, limit)
			in.refused.method = frame.IDBasicPublish
			h.Properties = frame.Properties{}
		}
		in.header, in.props, in.size = true, h.Properties, h.BodySize
		switch {
		case in.size > 0:
			return nil
		case in.refused != nil:
			return ch.throwAway(0)
		}
		return ch.complete(nil)
	case f.Type == frame.TypeBody && in.header:
		return ch.bodyFrame(f.Payload)
	}
	return refuse(codeUnexpectedFrame, "frame of type %d is not expected now", f.Type)
}

func (ch *channel) bodyFrame(p []byte) error {
	in := &ch.incoming
	if in.refused != nil {
		return ch.throwAway(len(p))
	}
	if uint64(len(in.body)+len(p)) > in.size {
		return refuse(codeFrameError, "body of %d bytes is longer than the %d announced", len(in.body)+len(p), in.size)
	}
	if len(in.body) == 0 && uint64(len(p)) == in.size {
		return ch.complete(p)
	}
	if ch.c.partial += len(p); ch.c.partial > ch.c.s.env.Limits.MaxInflightBytes {
		return refuse(codeResourceError, "bodies under way on all channels are over %d bytes", ch.c.s.env.Limits.MaxInflightBytes)
	}
	if in.body == nil {
		in.hold = ch.c.nc.Hold()
		if err := in.hold.Need(ch.c.ctx, int(in.size)); err != nil {
			return refuse(codeResourceError, "body of %d bytes: %v", in.size, err)
		}
		in.body = make([]byte, 0, min(in.size, 256<<10)) // the rest as it comes
	}
	if in.body = append(in.body, p...); uint64(len(in.body)) < in.size {
		return nil
	}
	return ch.complete(in.body)
}

// throwAway takes n bytes of a body that is refused. The channel is closed after
// the last of them, as RabbitMQ does: amqplib sends close-ok ahead of what it
// has queued for a channel, or a channel.open of the same number ahead of both.
func (ch *channel) throwAway(n int) error {
	in := &ch.incoming
	if uint64(n) > in.size {
		return refuse(codeFrameError, "body is %d bytes longer than announced", uint64(n)-in.size)
	}
	if in.size -= uint64(n); in.size > 0 {
		return nil
	}
	refused := in.refused
	ch.dropContent()
	return refused
}

// complete publishes what has arrived, or keeps it for the transaction. The body
// may be part of the read buffer.
func (ch *channel) complete(body []byte) error {
	ch.current = publish{method: ch.incoming.method, props: ch.incoming.props, body: body}
	p := &ch.current
	ch.dropContent()
	if ch.confirm {
		ch.published++
		p.seq = ch.published
	}
	ch.c.s.env.Stats.MessagesIn.Add(1)
	if err := ch.admit(p); err != nil {
		f := faultOf(err)
		f.method = frame.IDBasicPublish
		return f
	}
	if ch.tx != nil {
		if ch.c.vh.exchange(p.method.Exchange) == nil {
			f := refuse(codeNotFound, "no exchange '%s' in vhost '%s'", p.method.Exchange, ch.c.vh.name)
			f.method = frame.IDBasicPublish
			return f
		}
		p.body = bytes.Clone(p.body)
		return ch.tx.add(ch.c, p)
	}
	if err := ch.publish(p); err != nil {
		f := faultOf(err)
		f.method = frame.IDBasicPublish
		return f
	}
	return nil
}

// publish is one message on its way in.
type publish struct {
	method frame.BasicPublish
	props  frame.Properties
	body   []byte
	seq    uint64 // of the confirm; 0: none is due
}

// admit checks what needs no look at the topology.
func (ch *channel) admit(p *publish) error {
	if p.props.Flags&frame.HasUserID != 0 && p.props.UserID != ch.c.who.Name {
		return refuse(codePreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", p.props.UserID, ch.c.who.Name)
	}
	if p.props.Flags&frame.HasExpiration != 0 {
		if n, err := strconv.ParseUint(p.props.Expiration, 10, 63); err != nil {
			return refuse(codePreconditionFailed, "invalid expiration '%s': not a number of milliseconds", p.props.Expiration)
		} else if n > 315_360_000_000 {
			return refuse(codePreconditionFailed, "invalid expiration '%s': value too large", p.props.Expiration)
		}
	}
	if p.method.Immediate {
		return refuse(codeNotImplemented, "immediate=true")
	}
	return nil
}

// publish routes a message and puts it into the batch of its shard.
func (ch *channel) publish(p *publish) error {
	c := ch.c
	ch.record = shard.Record{Timestamp: c.now, Value: p.body}
	r := &ch.record
	if r.Value == nil {
		r.Value = []byte{}
	}
	replySubject := ""
	if p.props.Flags&frame.HasReplyTo != 0 && p.props.ReplyTo == replyQueue {
		if c.reply == nil || c.reply.of(ch) == nil {
			return refuse(codePreconditionFailed, "fast reply consumer does not exist")
		}
		p.props.ReplyTo, replySubject = c.reply.address(ch)
	} else if p.props.Flags&frame.HasReplyTo != 0 {
		replySubject = c.vh.subjectOfReply(p.props.ReplyTo)
	}
	further, err := selected(&p.props)
	if err != nil {
		return err
	}
	if cap(ch.headers) > maxKeptHeaders {
		ch.headers = nil
	}
	ch.headers = appendHeaders(ch.headers[:0], &p.props) // the batch copies them
	r.Headers = ch.headers                               // conditions of headers exchanges look at them
	if ch.targets, err = c.vh.route(c, further, p, r, ch.targets[:0]); err != nil {
		return err
	}
	if replySubject != "" {
		r.Headers = append(r.Headers, shard.Header{Name: shard.HeaderReplySubject, Value: []byte(replySubject)})
	}
	if len(ch.targets) > 1 {
		return ch.publishParts(p, ch.targets, r)
	}
	target := ch.targets[0]
	if target.subject != "" && shard.Relayed(target.subject) {
		if err := c.mayRelay(target.subject); err != nil {
			return err
		}
		ch.relay(p, target.subject, r)
		return nil
	}
	// Before a return: who may not publish is not told what is bound.
	if target.subject != "" && !c.allowed(shard.OpPublish, gateway.ResourceSubject, target.subject) {
		return c.may(shard.OpPublish, gateway.ResourceSubject, target.subject, "exchange '"+target.exchange+"' with routing key '"+target.key+"'")
	}
	if p.method.Mandatory && !target.bound {
		ch.giveBack(p)
	}
	if target.subject == "" { // the default exchange with an empty routing key
		ch.settle(p.seq, confirmed)
		return nil
	}
	return c.store(ch, p, target, r, nil)
}

// relay hands a message to live subscribers and forgets it.
func (ch *channel) relay(p *publish, subject string, r *shard.Record) {
	own := *r
	own.Value, own.Headers = bytes.Clone(r.Value), slices.Clone(r.Headers)
	n := ch.c.s.env.Broker.Live.Relay([]shard.Message{{Subject: subject, Record: &own, Origin: ch.c.nc.Origin}})
	if n == 0 && p.method.Mandatory {
		ch.giveBack(p)
	}
	ch.settle(p.seq, confirmed)
}

// giveBack returns a mandatory message that no queue is bound for.
func (ch *channel) giveBack(p *publish) {
	ch.c.out.append(func(b []byte) []byte {
		b = frame.AppendMethod(b, ch.id, &frame.BasicReturn{
			ReplyCode: codeNoRoute, ReplyText: "NO_ROUTE", Exchange: p.method.Exchange, RoutingKey: p.method.RoutingKey,
		})
		return frame.AppendContent(b, ch.id, &p.props, p.body, ch.c.frameMax)
	})
}

// settle notes the outcome of publishes and sends the confirms that are due.
func (ch *channel) settle(seq uint64, o outcome) {
	if seq == 0 {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.mu.confirms.set(seq, o)
	ch.sendConfirms()
}

// sendConfirms sends what is complete at the front; mu is held.
func (ch *channel) sendConfirms() {
	if ch.mu.gone {
		return
	}
	ch.mu.confirms.emit(func(seq uint64, multiple, ok bool) {
		if ok {
			ch.send(&frame.BasicAck{DeliveryTag: seq, Multiple: multiple})
		} else {
			ch.send(&frame.BasicNack{DeliveryTag: seq, Multiple: multiple})
		}
	})
}

// store puts a record into the batch of its shard; ps are the message's other ones.
func (c *conn) store(ch *channel, p *publish, target target, r *shard.Record, ps *parts) error {
	if size := r.Size(); size > c.s.env.Limits.MaxMessageBytes {
		return refuse(codeContentTooLarge, "message size %d is larger than configured max size %d", size, c.s.env.Limits.MaxMessageBytes)
	}
	t, err := c.s.env.Broker.Topics.Resolve(c.ctx, target.subject, false)
	if err != nil && shard.KindOf(err) == shard.KindNotFound {
		c.makeTopics(target.subject)
		t, err = c.s.env.Broker.Topics.Resolve(c.ctx, target.subject, true)
	}
	for wait := 50 * time.Millisecond; err != nil && retriable(err); wait = min(2*wait, time.Second) {
		// Only the first use of a subject can meet this: its topic cannot be made now.
		if !c.blockedWait(wait) {
			return err
		}
		t, err = c.s.env.Broker.Topics.Resolve(c.ctx, target.subject, true)
	}
	c.unblocked()
	if err != nil {
		return err
	}
	c.vh.place(r, t, target)
	if ch.tx != nil {
		ch.txRefs++
	}
	c.batches.add(c, t, t.ShardOf(r.Key, target.subject), r, ref{ch, p.seq, ch.tx, ps})
	return nil
}

// place gives a record what its topic needs to tell its subject and address.
func (vh *vhost) place(r *shard.Record, t *shard.Topic, to target) {
	r.Headers = vh.address(r.Headers, t, to)
	if len(to.except) > 0 {
		r.Headers = append(r.Headers, vh.notFor(to.except))
	}
	if t.Name != to.subject {
		r.Headers = append(r.Headers, shard.Header{Name: shard.HeaderSubject, Value: []byte(to.subject)})
	}
	if t.CapturesMany() {
		r.Key = []byte(to.subject)
	}
}

// address adds the exchange and routing key where they do not follow from the
// subject, or where another address has the same one.
func (vh *vhost) address(hs []shard.Header, t *shard.Topic, to target) []shard.Header {
	exchange, key := vh.addressOf(t, to.subject)
	if to.exchange == "amq.topic" && exchange == "" && key == to.key && vh.queue(key) == nil {
		return hs // a queue that it reaches by a binding shows amq.topic
	}
	named := exchange != "" && vh.queue(strings.TrimPrefix(to.subject, vh.prefix)) != nil // it is not for the queue whose name the subject is
	if named || exchange != to.exchange {
		hs = append(hs, shard.Header{Name: shard.HeaderExchange, Value: []byte(to.exchange)})
	}
	if key != to.key {
		hs = append(hs, shard.Header{Name: shard.HeaderRoutingKey, Value: []byte(to.key)})
	}
	return hs
}

// addressOf gives the exchange and routing key that follow from a subject.
func (vh *vhost) addressOf(t *shard.Topic, subject string) (exchange, key string) {
	if t != nil && t.Labels[labelVHost] == vh.name && t.Labels[labelExchange] != "" {
		name := t.Labels[labelExchange]
		if rest, ok := strings.CutPrefix(subject, vh.prefix+name); ok && (rest == "" || rest[0] == '.') {
			return name, strings.TrimPrefix(rest, ".")
		}
	}
	return "", strings.TrimPrefix(subject, vh.prefix)
}

// isTooLarge tells whether a batch was refused for its size.
func isTooLarge(err error) bool {
	return errors.Is(err, shard.ErrBatchTooLarge) || shard.KindOf(err) == shard.KindTooLarge
}
