package mqtt

import (
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// localQueue holds messages that come from no group, in order: retained messages
// and those of an earlier connection. They are read and sent as the connection
// and the receive maximum allow. It is guarded by session.mu.
type localQueue struct {
	items   []localItem
	pumping bool
	again   bool
}

// localItem is one message; where it has no record yet, its topic's retained
// message is read when its turn comes.
type localItem struct{ item outItem }

// localRoom is the number of queued bytes over which retained messages wait.
const localRoom = 256 << 10

// pump sends from the local queue until it, the window or the room is used up.
func (c *client) pump() {
	q := &c.session.local
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	if q.pumping {
		q.again = true
		return
	}
	q.pumping = true
	for q.again = true; q.again; {
		q.again = false
		for len(q.items) > 0 && c.pumpOne(q) {
		}
	}
	q.pumping = false
	if len(q.items) == 0 {
		q.items = nil
	}
}

// pumpOne sends or drops the first item; false when it has to wait. session.mu
// is held, but let go while the store is read.
func (c *client) pumpOne(q *localQueue) bool {
	c.out.mu.Lock()
	full := c.out.bytes > localRoom && !c.out.closing
	c.out.mu.Unlock()
	if full || q.items[0].item.qos > 0 && q.items[0].item.id == 0 && c.session.out.full() {
		return false
	}
	it := q.items[0].item
	if it.msg.Record == nil {
		ok, err := c.fetch(&it)
		if err != nil { // kept: the store will be back
			time.AfterFunc(fetchAgain, c.pump)
			return false
		}
		if !ok {
			q.items = q.items[1:]
			return true
		}
	}
	q.items[0].item = it
	if it.qos > 0 {
		if !c.window.Acquire(q, c.pump) {
			return false
		}
		e := c.session.out.byID[it.id]
		if it.id == 0 {
			e = c.session.out.add(&it)
		}
		if e == nil {
			c.window.Release(1)
			q.items = q.items[1:]
			return true
		}
		e.windowed = true
	}
	q.items = q.items[1:]
	c.push(it)
	return true
}

// fetchAgain is the pause after a retained message could not be read.
const fetchAgain = time.Second

// fetch reads the retained message of an item's topic. ok is false when there is
// none any more, or the client is gone.
func (c *client) fetch(it *outItem) (ok bool, err error) {
	c.session.mu.Unlock()
	defer c.session.mu.Lock()
	r, ok, err := c.srv.retained.get(c.ctx, it.topic, c.now())
	if err != nil && c.ctx.Err() == nil {
		c.srv.retained.complain(c.srv.env.Log, it.topic, err)
		return false, err
	}
	if err != nil || !ok {
		return false, nil
	}
	if mark, ours := r.Header(shard.HeaderMQTT); ours {
		it.qos = min(it.qos, publishedQoS(mark))
	}
	it.msg = shard.Message{Subject: subjectOfRecord(r, it.topic), Record: r}
	return true, nil
}

// sendRetained queues the retained messages that a new subscription matches
// [MQTT-3.3.1-9].
func (c *client) sendRetained(sb *sub) {
	var items []localItem
	var ids []uint32
	if sb.id != 0 {
		ids = []uint32{sb.id}
	}
	add := func(topic string, r *shard.Record) {
		it := outItem{topic: topic, ids: ids, qos: sb.opts.QoS, retain: true} // [MQTT-3.3.1-8]
		if r != nil {
			it.qos = 0
			it.msg = shard.Message{Subject: subjectOfRecord(r, topic), Record: r}
		}
		items = append(items, localItem{item: it})
	}
	if sb.name == "$SYS" || strings.HasPrefix(sb.name, "$SYS/") {
		c.srv.sysMatching(sb.match, add)
	} else {
		for _, topic := range c.srv.retained.match(sb.match) {
			add(topic, nil)
		}
	}
	if len(items) == 0 {
		return
	}
	c.session.mu.Lock()
	c.session.local.items = append(c.session.local.items, items...)
	c.session.mu.Unlock()
	c.pump()
}
