package mqtt

import (
	"cmp"
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// target is where a topic's messages go.
type target struct {
	subject string
	exact   bool         // the MQTT topic follows from the subject
	topic   *shard.Topic // nil when the subject is relayed
}

// resolve finds the target of an MQTT topic, which is made where there is none;
// before that first is called, unless it is nil.
func (s *Server) resolve(ctx context.Context, topic string, first func()) (t target, err error) {
	t.subject, t.exact = shard.SubjectOfMQTT(topic)
	if err := s.refusedTopic(topic, &t); err != nil {
		return t, err
	}
	if shard.Relayed(t.subject) {
		return t, nil
	}
	t.topic, err = s.broker.Topics.Resolve(ctx, t.subject, false)
	if err == nil || shard.KindOf(err) != shard.KindNotFound {
		return t, err
	}
	if first != nil {
		first()
	}
	t.topic, err = s.broker.Topics.Resolve(ctx, t.subject, true)
	return t, err
}

// refusedTopic tells why nobody may publish to a topic.
func (s *Server) refusedTopic(topic string, t *target) error {
	if strings.Count(topic, "/") >= s.cfg.MaxTopicLevels {
		return protocolError(packet.TopicNameInvalid, "topic is too deep")
	}
	if err := shard.CheckSubject(t.subject); err != nil {
		return protocolError(packet.TopicNameInvalid, err.Error())
	}
	if shard.ServerOwn(t.subject) { // 4.7.2
		return protocolError(packet.NotAuthorized, "topics under $SYS are the server's")
	}
	return nil
}

// shard gives the shard of the target: messages have no key but the subject.
func (t *target) shard() shard.ID { return t.topic.ShardOf(nil, t.subject) }

// record makes the record of a PUBLISH; it shares memory with p and hdrs.
func (t *target) record(p *packet.Publish, hdrs []shard.Header, origin, id string, now time.Time) shard.Record {
	r := shard.Record{Timestamp: now.UnixMilli(), Value: p.Payload, Headers: t.headers(hdrs, p, origin, id)}
	if r.Value == nil {
		r.Value = []byte{}
	}
	if t.topic != nil && t.topic.CapturesMany() {
		r.Key = []byte(t.subject)
	}
	return r
}

// publisher packs the PUBLISHes of one socket read into a batch per shard.
type publisher struct {
	c       *client
	batches []*pubBatch
	topic   string // of last; "" when there is none
	last    target
	hdrs    []shard.Header
	now     time.Time
	size    int // of the last batch: the next is likely to be like it
}

// pubBatch is one batch in the making, and the completion of its append.
type pubBatch struct {
	c       *client
	topic   *shard.Topic
	id      shard.ID
	b       *shard.Builder
	slots   []uint64
	size    int
	durable bool
	retain  []toRetain
	refused atomic.Pointer[error] // why the append failed
	// in and incoming belong to a QoS 2 message that has the batch to itself.
	in       *incoming
	incoming uint16
}

// maxPubBatch bounds a batch made of several messages, in bytes.
const maxPubBatch = 512 << 10

// handlePublish takes one PUBLISH.
func (c *client) handlePublish(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := p.Decode(h.Flags, body, c.v); err != nil {
		return err
	}
	c.srv.env.Stats.MessagesIn.Add(1)
	if c.v >= packet.V5 {
		if err := c.checkProps(&p); err != nil {
			return err
		}
	}
	dup, in, err := c.admitPublish(&p)
	if dup || err != nil {
		return err
	}
	t, err := c.publish.target(text(p.Topic))
	if err != nil {
		return c.failPublish(&p, in, err)
	}
	if t.topic == nil {
		return c.relay(&p, t, in)
	}
	return c.publish.add(&p, t, in)
}

// checkProps applies topic alias and the rules on a client's properties.
func (c *client) checkProps(p *packet.Publish) error {
	if _, ok := p.Props.Find(packet.PropSubscriptionID); ok { // [MQTT-3.3.4-6]
		return protocolError(packet.ProtocolError, "subscription identifier came from a client")
	}
	if v, ok := p.Props.Find(packet.PropResponseTopic); ok && !responseTopic(v.Data) { // [MQTT-3.3.2-14]
		return protocolError(packet.ProtocolError, "response topic is not a topic name")
	}
	v, ok := p.Props.Find(packet.PropTopicAlias)
	if !ok {
		return nil
	}
	alias := uint16(v.Num)
	if alias == 0 || int(alias) > c.srv.cfg.TopicAliasMaximum { // [MQTT-3.3.2-8] [MQTT-3.3.2-9]
		return protocolError(packet.TopicAliasInvalid, "topic alias is 0 or over the maximum")
	}
	if len(p.Topic) > 0 {
		if c.aliasesIn == nil {
			c.aliasesIn = make(map[uint16]string)
		}
		c.aliasesIn[alias] = string(p.Topic)
		return nil
	}
	topic, ok := c.aliasesIn[alias]
	if !ok {
		return protocolError(packet.ProtocolError, "topic alias is not set")
	}
	p.Topic = []byte(topic)
	return nil
}

// admitPublish counts a PUBLISH against the receive maximum and tells a
// duplicate of a QoS 2 message from a new one.
func (c *client) admitPublish(p *packet.Publish) (dup bool, in *incoming, err error) {
	if p.QoS == 0 {
		return false, nil, nil
	}
	f := &c.acks
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.QoS == 2 {
		old := f.incoming[p.ID]
		if old != nil && !old.resumed { // [MQTT-4.3.3-10]
			if old.answered {
				c.acknowledge(packet.PUBREC, p.ID, packet.Success, "")
			}
			return true, nil, nil
		}
		if old != nil { // counted when the session was loaded; some clients forget DUP
			in = old
			f.unfinished--
			old.resumed, old.check = false, true
		}
	}
	f.unfinished++
	if c.v >= packet.V5 && f.unfinished > c.srv.cfg.ReceiveMaximum { // [MQTT-3.3.4-7]
		return false, nil, protocolError(packet.ReceiveMaximumExceeded, "more PUBLISHes than the receive maximum")
	}
	if p.QoS == 2 && in == nil {
		in = &incoming{}
		if c.durable {
			in.dedupe = rand.Text()
		}
		if f.incoming == nil {
			f.incoming = make(map[uint16]*incoming)
		}
		f.incoming[p.ID] = in
	}
	return false, in, nil
}

// failPublish answers a PUBLISH that cannot be accepted.
func (c *client) failPublish(p *packet.Publish, in *incoming, err error) error {
	if p.QoS == 0 {
		c.srv.env.Stats.Dropped.Add(1)
		return nil
	}
	c.publish.flush()
	slot := c.acks.reserve(p.ID, p.QoS, 1, in != nil && in.restored)
	c.completedSlots([]uint64{slot}, 0, err)
	return nil
}

// target resolves a topic, at most once in a row for one read.
func (b *publisher) target(topic string) (*target, error) {
	if b.topic != "" && b.topic == topic {
		return &b.last, nil
	}
	topic = strings.Clone(topic)                                                          // it lies in the read buffer
	if subject, _ := shard.SubjectOfMQTT(topic); !b.c.allowed(shard.OpPublish, subject) { // before a topic is made
		return nil, protocolError(packet.NotAuthorized, "not allowed to publish to this topic")
	}
	t, err := b.c.srv.resolve(b.c.ctx, topic, b.c.makeTopics)
	if err != nil {
		return nil, err
	}
	b.topic, b.last = topic, t
	return &b.last, nil
}

// add puts a message into the batch of its shard.
func (b *publisher) add(p *packet.Publish, t *target, in *incoming) error {
	if b.now.IsZero() {
		b.now = time.Now()
	}
	c := b.c
	origin := ""
	if c.session.noLocal {
		origin = c.id
	}
	if in != nil && in.dedupe != "" {
		if known, err := c.locate(in, t, p.Payload, b.now); err != nil {
			return c.failPublish(p, in, err)
		} else if known != nil { // [MQTT-4.3.3-10]
			return c.answerKnown(p, in, known)
		}
	}
	name := ""
	if in != nil {
		name = in.dedupe
	}
	r := t.record(p, b.hdrs[:0], origin, name, b.now)
	b.hdrs = r.Headers
	limit := c.srv.env.Limits.MaxMessageBytes
	if m := int(t.topic.Config.MaxMessageBytes); m > 0 { // it would be refused, and kept as retained
		limit = min(limit, m)
	}
	if r.Size() > limit {
		return c.failPublish(p, in, shard.Errorf(shard.KindTooLarge, "message of %d bytes is over %d", r.Size(), limit))
	}
	waits := uint8(1)
	if p.Retain {
		waits++
	}
	alone := in != nil && in.dedupe != ""
	if alone {
		waits++
	}
	var slot uint64
	if p.QoS > 0 {
		slot = c.acks.reserve(p.ID, p.QoS, waits, alone)
	}
	if alone {
		c.keepIncoming(p.ID, in, false, func(err error) { c.completedSlots([]uint64{slot}, 0, err) })
	}
	pb := b.batch(t, &r, alone)
	pb.b.Add(&r)
	if p.Retain {
		pb.retain = append(pb.retain, toRetain{op: keepOf(string(p.Topic), &r), qos: p.QoS, slot: slot})
	}
	if p.QoS > 0 {
		pb.durable = true
		pb.slots = append(pb.slots, slot)
	}
	if alone {
		pb.in, pb.incoming = in, p.ID
		b.send(pb)
		b.batches = b.batches[:len(b.batches)-1]
	}
	return nil
}

// batch gives the batch that r goes into. One that is full is sent first.
func (b *publisher) batch(t *target, r *shard.Record, alone bool) *pubBatch {
	id := t.shard()
	limit := maxPubBatch
	if m := int(t.topic.Config.MaxMessageBytes); m > 0 && m < limit {
		limit = m
	}
	for i, pb := range b.batches {
		if pb.id != id {
			continue
		}
		if !alone && pb.b.Size()+r.Size()+64+16*len(r.Headers) <= limit {
			return pb
		}
		b.send(pb)
		b.batches = append(b.batches[:i], b.batches[i+1:]...)
		break
	}
	pb := &pubBatch{c: b.c, topic: t.topic, id: id, b: shard.NewBuilder(max(b.size, r.Size()+128))}
	b.batches = append(b.batches, pb)
	return pb
}

// flush appends what the last read brought.
func (b *publisher) flush() {
	for i, pb := range b.batches {
		b.send(pb)
		b.batches[i] = nil
	}
	b.batches = b.batches[:0]
	b.topic, b.last, b.now = "", target{}, time.Time{}
	if cap(b.hdrs) > 64 {
		b.hdrs = nil
	}
	clear(b.hdrs[:cap(b.hdrs)])
}

func (b *publisher) send(pb *pubBatch) {
	c := b.c
	opts := shard.AppendOptions{Origin: c.nc.Origin}
	if pb.in != nil {
		opts.DedupeID = pb.in.dedupe
	}
	if !pb.durable {
		opts.Durability = shard.DurabilityMemory
	}
	batch := pb.b.Build()
	pb.b, pb.size = nil, batch.Size()
	b.size = pb.size
	c.applying.Add(1)
	c.acks.mu.Lock()
	c.acks.bytes += pb.size
	c.acks.mu.Unlock()
	if len(pb.retain) == 0 {
		c.srv.broker.Log.Append(c.ctx, pb.id, batch, opts, pb)
		return
	}
	c.applying.Add(len(pb.retain))
	c.srv.retained.appendRetained(c.ctx, pb.id, pb.retain, func() error {
		c.srv.broker.Log.Append(c.ctx, pb.id, batch, opts, pb)
		if err := pb.refused.Load(); err != nil { // a refusal is known by now
			return *err
		}
		return nil
	}, c.retained)
}

// Appended is the outcome of a batch.
func (pb *pubBatch) Appended(r shard.AppendResult) {
	c := pb.c
	if r.Err != nil {
		err := r.Err
		pb.refused.Store(&err)
		c.srv.env.Log.Debug("append failed", "topic", pb.topic.Name, "error", r.Err)
		if len(pb.slots) == 0 {
			c.srv.env.Stats.Dropped.Add(1)
		}
	} else if pb.in != nil {
		c.keepIncoming(pb.incoming, pb.in, true, func(error) {})
	}
	c.completedSlots(pb.slots, pb.size, r.Err)
	c.applying.Done()
}

// relay hands a message that is never stored to live subscribers. Nothing is
// acknowledged as kept that is not: not a retained message, nor, where the version
// can say so, one that nobody took.
func (c *client) relay(p *packet.Publish, t *target, in *incoming) error {
	if p.Retain && p.QoS > 0 {
		return c.failPublish(p, in, errRelayedRetain)
	}
	r := t.record(p, nil, "", "", time.Now())
	kept, _, err := frozen(&r)
	if err != nil {
		return c.failPublish(p, in, err)
	}
	n := c.srv.broker.Live.Relay([]shard.Message{{Subject: t.subject, Record: kept, Origin: c.nc.Origin}})
	if p.QoS > 0 {
		var outcome error
		if n == 0 && c.v >= packet.V5 {
			outcome = protocolError(packet.NoMatchingSubscribers, "nobody is subscribed, and messages of this topic are not kept")
		}
		slot := c.acks.reserve(p.ID, p.QoS, 1, false)
		c.completedSlots([]uint64{slot}, 0, outcome)
	}
	return nil
}

// errRelayedRetain refuses to keep what is never stored.
var errRelayedRetain = protocolError(packet.ImplementationSpecific, "messages of this topic are relayed and not kept: it has no retained message")

// publishDetached publishes a message of the server's own or a will.
func (s *Server) publishDetached(ctx context.Context, p *packet.Publish) error {
	topic := string(p.Topic)
	t, err := s.resolve(ctx, topic, nil)
	if err != nil {
		return err
	}
	r := t.record(p, nil, "", "", time.Now())
	if t.topic == nil {
		kept, _, err := frozen(&r)
		if err == nil {
			s.broker.Live.Relay([]shard.Message{{Subject: t.subject, Record: kept}})
		}
		return err
	}
	if !p.Retain {
		_, err = shard.AppendWait(ctx, s.broker.Log, t.shard(), shard.BatchOf(r), shard.AppendOptions{})
		return err
	}
	return s.publishRetained(ctx, t.shard(), topic, &r)
}

// publishRetained appends a retained message and keeps it, and waits for both.
func (s *Server) publishRetained(ctx context.Context, id shard.ID, topic string, r *shard.Record) error {
	outcome := make(chan error, 2)
	var refused atomic.Pointer[error]
	s.retained.appendRetained(ctx, id, []toRetain{{op: keepOf(topic, r)}}, func() error {
		s.broker.Log.Append(ctx, id, shard.BatchOf(*r), shard.AppendOptions{}, shard.CompletionFunc(func(res shard.AppendResult) {
			if res.Err != nil {
				refused.Store(&res.Err)
			}
			outcome <- res.Err
		}))
		if err := refused.Load(); err != nil {
			return *err
		}
		return nil
	}, func(_ *toRetain, err error) { outcome <- err })
	var first error
	for range 2 {
		select {
		case err := <-outcome:
			first = cmp.Or(first, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return first
}
