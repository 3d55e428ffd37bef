package amqp

import (
	"context"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// gets are the basic.gets of a channel that are not answered. They are answered in
// order and off the reader: what a queue has may have to come from the store, and
// other channels, heartbeats and acknowledgements do not wait for that.
type gets struct {
	mu    sync.Mutex
	queue []*consumer   // by what each takes
	idle  chan struct{} // closed when all are answered; nil when none is under way
}

// getTimeout is how long a get waits for messages that its queue has and that
// cannot be read.
const getTimeout = 30 * time.Second

func (g *gets) push(ch *channel, k *consumer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = append(g.queue, k)
	if g.idle == nil {
		g.idle = make(chan struct{})
		go g.run(ch)
	}
}

func (g *gets) run(ch *channel) {
	for {
		g.mu.Lock()
		if len(g.queue) == 0 {
			close(g.idle)
			g.queue, g.idle = nil, nil
			g.mu.Unlock()
			return
		}
		k := g.queue[0]
		g.queue = g.queue[1:]
		g.mu.Unlock()
		ch.answerGet(k)
	}
}

// wait waits until all are answered, or ctx ends.
func (g *gets) wait(ctx context.Context) {
	g.mu.Lock()
	idle := g.idle
	g.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// answerGet takes one message and sends it, or says that there is none. Where there
// are some that cannot be read it closes the channel: none would be a lie.
func (ch *channel) answerGet(k *consumer) {
	d, ok, err := k.take(ch.c.ctx)
	if err != nil {
		ch.lose(err)
		return
	}
	if !ok {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		if !ch.mu.gone {
			ch.send(&frame.BasicGetEmpty{})
		}
		return
	}
	m := frame.BasicGetOk{Redelivered: d.Redelivered, MessageCount: clamp(k.group.Stats().Ready)}
	m.Exchange, m.RoutingKey = ch.c.vh.addressee(&d)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.mu.gone || k.cancelled {
		if !k.noAck {
			go k.sc.Nack(shard.NackOptions{Undelivered: true}, d.Tag)
		}
		return
	}
	m.DeliveryTag = k.track(d.Tag)
	ch.c.out.append(func(b []byte) []byte {
		b = frame.AppendMethod(b, ch.id, &m)
		return appendRecord(b, ch.id, d.Record, ch.c.frameMax, k.told(&d, m.RoutingKey)...)
	})
	ch.c.s.env.Stats.MessagesOut.Add(1)
}

// take gets the next message that has not expired. ok is false when there is none,
// or the channel is gone.
func (k *consumer) take(ctx context.Context) (d shard.Delivery, ok bool, err error) {
	end := time.Now().Add(getTimeout)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		d, ok := k.sc.Get()
		switch {
		case ok && !k.unwanted(&d):
			return d, true, nil
		case ok:
			if !k.noAck {
				k.sc.Ack(d.Tag)
			}
			wait = time.Millisecond
			continue
		case k.group.Stats().Ready == 0 || k.over():
			return d, false, nil
		case time.Now().After(end):
			return d, false, refuse(codeResourceLocked, "queue '%s' in vhost '%s' has messages that cannot be read from storage now", k.q.name, k.ch.c.vh.name)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return d, false, nil
		}
	}
}

// over tells whether nothing is sent to the consumer any more.
func (k *consumer) over() bool {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	return k.cancelled || k.ch.mu.gone
}

// lose closes the channel from outside the reader, which does the rest when the
// client's next frame comes.
func (ch *channel) lose(err error) {
	f := faultOf(err)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !ch.mu.gone && ch.lost.CompareAndSwap(false, true) {
		ch.send(&frame.ChannelClose{ReplyCode: f.code, ReplyText: f.text, ClassID: frame.IDBasicGet.Class(), MethodID: frame.IDBasicGet.Index()})
	}
}
