package amqp

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// replyQueue is RabbitMQ's name for direct reply-to. Replies are relayed under
// "_INBOX.amqp.<token>" and never stored; so are those that who knows no other name
// (a Kafka producer) sends to the name that requests show, shard.DirectReply<token>.
const replyQueue = "amq.rabbitmq.reply-to"

func replySubject(token string) string { return "_INBOX.amqp." + token }

// subjectOfReply gives the subject by which others answer to a request's reply-to,
// "" where there is none.
func (vh *vhost) subjectOfReply(replyTo string) string {
	if token, ok := strings.CutPrefix(replyTo, shard.DirectReply); ok {
		return replySubject(token) // a request that is passed on
	}
	if replyTo == "" {
		return ""
	}
	subject := vh.subjectOfQueue(replyTo)
	if vh.checkSubject(subject) != nil {
		return ""
	}
	return subject
}

// replies are a connection's consumers of replies, one a channel at most.
type replies struct {
	c   *conn
	sub shard.Subscription
	mu  struct {
		sync.Mutex
		next shard.SubID
		by   map[shard.SubID]*replyConsumer
	}
}

type replyConsumer struct {
	ch    *channel
	id    shard.SubID // and the next one
	tag   string
	token string
}

// consumeReplies starts to take replies on a channel.
func (ch *channel) consumeReplies(m *frame.BasicConsume, tag string) error {
	c := ch.c
	if !m.NoAck {
		return refuse(codePreconditionFailed, "reply consumer cannot acknowledge")
	}
	if c.reply == nil {
		c.reply = &replies{c: c}
		c.reply.mu.by = make(map[shard.SubID]*replyConsumer)
		c.reply.sub = c.s.env.Broker.Live.Subscribe(c.reply)
	}
	if c.reply.of(ch) != nil {
		return refuse(codePreconditionFailed, "reply consumer already set")
	}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return shard.Errorf(shard.KindInternal, "read random token: %w", err)
	}
	k := &replyConsumer{ch: ch, tag: tag, token: base64.RawURLEncoding.EncodeToString(b[:])}
	c.reply.mu.Lock()
	k.id, c.reply.mu.next = c.reply.mu.next+1, c.reply.mu.next+2
	c.reply.mu.by[k.id], c.reply.mu.by[k.id+1] = k, k
	c.reply.mu.Unlock()
	if !m.NoWait {
		ch.send(&frame.BasicConsumeOk{ConsumerTag: tag})
	}
	if err := c.reply.sub.Add(k.id+1, shard.LiteralFilter(shard.DirectReply+k.token), shard.LiveOptions{}); err != nil {
		return err
	}
	return c.reply.sub.Add(k.id, shard.LiteralFilter(replySubject(k.token)), shard.LiveOptions{})
}

// declareReply answers a passive declare: is somebody waiting for that reply?
func (ch *channel) declareReply(m *frame.QueueDeclare) error {
	token, ok := strings.CutPrefix(m.Queue, replyQueue+".")
	if m.Queue != replyQueue && (!ok || !ch.c.s.env.Broker.Live.Interest(replySubject(token))) {
		return ch.c.vh.noQueue(m.Queue)
	}
	if !m.NoWait {
		ch.send(&frame.QueueDeclareOk{Queue: m.Queue, ConsumerCount: 1})
	}
	return nil
}

func (r *replies) of(ch *channel) *replyConsumer {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.mu.by {
		if k.ch == ch {
			return k
		}
	}
	return nil
}

func (r *replies) tagged(ch *channel, tag string) bool {
	k := r.of(ch)
	return k != nil && k.tag == tag
}

// address gives what stands for the reply queue in a request: the name that
// AMQP responders publish to, and the subject for others.
func (r *replies) address(ch *channel) (queue, subject string) {
	k := r.of(ch)
	return replyQueue + "." + k.token, replySubject(k.token)
}

// Deliver hands replies to their channels.
func (r *replies) Deliver(ms []shard.Message, matched []shard.SubID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range matched {
		k := r.mu.by[id]
		if k == nil {
			continue
		}
		for i := range ms {
			k.send(&ms[i])
		}
	}
}

func (k *replyConsumer) send(m *shard.Message) {
	ch := k.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.mu.gone {
		return
	}
	if ch.c.out.excess() { // at most once, as replies are
		ch.c.s.env.Stats.Dropped.Add(1)
		return
	}
	d := frame.BasicDeliver{ConsumerTag: k.tag, DeliveryTag: ch.mu.unacked.skip(), RoutingKey: replyQueue + "." + k.token}
	ch.c.out.append(func(b []byte) []byte {
		b = frame.AppendMethod(b, ch.id, &d)
		return appendRecord(b, ch.id, m.Record, ch.c.frameMax)
	})
	ch.c.s.env.Stats.MessagesOut.Add(1)
}

// cancel ends the channel's consumer of that tag.
func (r *replies) cancel(ch *channel, tag string) {
	if r.tagged(ch, tag) {
		r.drop(ch)
	}
}

// drop ends the channel's consumer.
func (r *replies) drop(ch *channel) {
	k := r.of(ch)
	if k == nil {
		return
	}
	r.sub.Remove(k.id)
	r.sub.Remove(k.id + 1)
	r.mu.Lock()
	delete(r.mu.by, k.id)
	delete(r.mu.by, k.id+1)
	r.mu.Unlock()
}

func (r *replies) close() { r.sub.Close() }
