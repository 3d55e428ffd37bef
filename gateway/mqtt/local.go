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
	items   []*localItem
	pumping bool
	again   bool
}

// localItem is one message.
type localItem struct {
	item outItem
	// retained: it is its topic's newest retained message, which is read when its
	// turn comes; at is what it is known by then, and qos the subscription's.
	retained bool
	at       uint64
	qos      uint8
}

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
	li := q.items[0]
	if li.retained && li.item.msg.Record == nil {
		if known := c.fetch(li); !known {
			return false
		}
		if len(q.items) == 0 || q.items[0] != li { // dropped meanwhile
			return true
		}
		if li.item.msg.Record == nil {
			q.items = q.items[1:]
			return true
		}
	}
	if li.item.qos > 0 && !c.window.Acquire(q, c.pump) {
		return false
	}
	if li.retained && !c.srv.retained.ifNewest(li.item.topic, li.at, func() { c.pushLocal(q, li) }) {
		c.giveBack(li)
		li.item.msg, li.item.qos = shard.Message{}, li.qos // read it again
		return true
	}
	if !li.retained {
		c.pushLocal(q, li)
	}
	return true
}

// pushLocal sends the first item, which has its place in the window.
func (c *client) pushLocal(q *localQueue, li *localItem) {
	q.items = q.items[1:]
	it := li.item
	if it.qos > 0 {
		e := c.session.out.byID[it.id]
		if it.id == 0 {
			e = c.session.out.add(&it)
		}
		if e == nil {
			c.giveBack(li)
			return
		}
		e.windowed = true
	}
	c.push(it)
}

// giveBack frees the place that an unsent item took in the window. Who waits for
// one is called without session.mu, which is held here.
func (c *client) giveBack(li *localItem) {
	if li.item.qos == 0 {
		return
	}
	c.session.mu.Unlock()
	defer c.session.mu.Lock()
	c.window.Release(1)
}

// fetchAgain is the pause after a retained message could not be read.
const fetchAgain = time.Second

// fetch reads the retained message of an item's topic; the record stays nil where
// there is none. While it is not known the queue is pumped again once it is.
func (c *client) fetch(li *localItem) (known bool) {
	c.session.mu.Unlock()
	defer c.session.mu.Lock()
	topic := li.item.topic
	r, at, known, err := c.srv.retained.newest(c.ctx, topic, c.now(), &c.session.local, c.pump)
	if err != nil && c.ctx.Err() == nil { // kept: the store will be back
		c.srv.retained.complain(c.srv.env.Log, topic, err)
		time.AfterFunc(fetchAgain, c.pump)
		return false
	}
	if err != nil || r == nil {
		return known
	}
	li.item.qos = li.qos
	if mark, ours := r.Header(shard.HeaderMQTT); ours {
		li.item.qos = min(li.qos, publishedQoS(mark))
	}
	li.item.msg, li.at = shard.Message{Subject: subjectOfRecord(r, topic), Record: r}, at
	return true
}

// sendRetained queues the retained messages that a new subscription matches
// [MQTT-3.3.1-9].
func (c *client) sendRetained(sb *sub) {
	var items []*localItem
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
		items = append(items, &localItem{item: it, retained: r == nil, qos: it.qos})
	}
	if sb.name == "$SYS" || strings.HasPrefix(sb.name, "$SYS/") {
		c.srv.sysMatching(sb.match, add)
	} else {
		of := []*sub{sb}
		for _, topic := range c.srv.retained.match(sb.match) {
			if subject, _ := shard.SubjectOfMQTT(topic); !c.hides(of, subject) {
				add(topic, nil)
			}
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
