package mqtt

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// A retained message is two things: a record that live subscribers get, and the
// value that is kept for those who come later. This file makes their order a
// promise:
//
//   - The value is offered before its record is appended. Who subscribes after the
//     record went to live subscribers finds it, whatever the disk does meanwhile:
//     nobody gets neither.
//   - Records of a shard and the values they leave are queued in one order, so what
//     is kept is what live subscribers saw last.
//   - A value that is read is pushed to a connection only while no newer one was
//     offered: it never follows a newer live message.

// retainOrder holds what is on its way. Its zero value is ready.
type retainOrder struct {
	// logs are held, by shard, from the offer to the queueing of the value.
	logs    [64]sync.Mutex
	stripes [256]retainStripe
}

// retainStripe is the part of the topics with one hash. Its lock is taken before
// that of the tree of names.
type retainStripe struct {
	sync.RWMutex
	offers uint64
	topics map[string]*comingTopic
}

// comingTopic is what a topic has on its way, in the order of the log; at least one.
type comingTopic struct {
	list   []*coming
	stored bool // the state has a message of the topic
}

// coming is a change of a retained message that the state does not have yet.
type coming struct {
	op      shard.StateOp
	decided bool           // its append began; it was not refused
	then    map[any]func() // called once it is decided
}

// shardLock serialises appends of retained messages to a shard.
func (s *retainStore) shardLock(id shard.ID) *sync.Mutex {
	return &s.order.logs[(uint64(id.Topic)*31+uint64(id.Index))%uint64(len(s.order.logs))]
}

func (s *retainStore) stripe(topic string) *retainStripe {
	return &s.order.stripes[retainHash(topic)]
}

// offer announces a change before its message is appended.
func (s *retainStore) offer(op shard.StateOp) *coming {
	m := &coming{op: op}
	st := s.stripe(op.Key)
	st.Lock()
	defer st.Unlock()
	st.offers++
	t := st.topics[op.Key]
	if t == nil {
		if st.topics == nil {
			st.topics = make(map[string]*comingTopic)
		}
		t = &comingTopic{stored: s.has(op.Key)}
		st.topics[op.Key] = t
	}
	t.list = append(t.list, m)
	if op.Value != nil {
		s.note(op.Key, true)
	}
	return m
}

// decide says whether the message's append was accepted. What it gives is to be
// called with no lock held.
func (s *retainStore) decide(m *coming, accepted bool) map[any]func() {
	st := s.stripe(m.op.Key)
	st.Lock()
	defer st.Unlock()
	m.decided = true
	if !accepted {
		s.drop(st, m)
	}
	then := m.then
	m.then = nil
	return then
}

// keep writes an accepted change; done is told the outcome.
func (s *retainStore) keep(ctx context.Context, m *coming, done func(error)) {
	s.set(ctx, m.op, func(err error) {
		st := s.stripe(m.op.Key)
		st.Lock()
		if err == nil {
			st.topics[m.op.Key].stored = m.op.Value != nil
		}
		s.drop(st, m)
		st.Unlock()
		done(err)
	})
}

// drop forgets a change that is written or failed. The stripe is locked.
func (s *retainStore) drop(st *retainStripe, m *coming) {
	t := st.topics[m.op.Key]
	for i, o := range t.list {
		if o == m {
			t.list = append(t.list[:i:i], t.list[i+1:]...)
			break
		}
	}
	if len(t.list) == 0 {
		delete(st.topics, m.op.Key)
		s.note(m.op.Key, t.stored)
	}
}

// gone notes that the state has no message of a topic any more.
func (s *retainStore) gone(topic string) {
	st := s.stripe(topic)
	st.Lock()
	defer st.Unlock()
	if t := st.topics[topic]; t != nil {
		t.stored = false
		return
	}
	s.note(topic, false)
}

// newest gives the newest message of a topic, nil for none, and the number by
// which ifNewest knows it. It is not known while a newer one is being appended:
// again is called then, once it is, and once per key.
func (s *retainStore) newest(ctx context.Context, topic string, now time.Time, key any, again func()) (r *shard.Record, at uint64, known bool, err error) {
	st := s.stripe(topic)
	st.Lock()
	at = st.offers
	if t := st.topics[topic]; t != nil {
		m := t.list[len(t.list)-1]
		if !m.decided {
			if m.then == nil {
				m.then = make(map[any]func())
			}
			m.then[key] = again
			st.Unlock()
			return nil, at, false, nil
		}
		st.Unlock()
		if m.op.Value == nil {
			return nil, at, true, nil
		}
		if r, err = thaw(m.op.Value); err != nil || r.Expired(now) {
			return nil, at, true, err
		}
		return r, at, true, nil
	}
	st.Unlock()
	r, _, err = s.get(ctx, topic, now)
	return r, at, true, err
}

// ifNewest calls push, which must not block, unless a newer message than that of
// newest was offered. Live subscribers get none before push returns.
func (s *retainStore) ifNewest(topic string, at uint64, push func()) bool {
	st := s.stripe(topic)
	st.RLock()
	defer st.RUnlock()
	if st.offers != at {
		return false
	}
	push()
	return true
}

// toRetain is a retained message whose append has yet to begin.
type toRetain struct {
	op   shard.StateOp
	qos  uint8
	slot uint64
}

// appendRetained appends by fn, which tells of a refusal, with the values that the
// messages leave: all are on their way when it returns. done is called for each.
func (s *retainStore) appendRetained(ctx context.Context, id shard.ID, ms []toRetain, fn func() error, done func(*toRetain, error)) {
	then := make(map[any]func())
	order := s.shardLock(id)
	order.Lock()
	coming := make([]*coming, len(ms))
	for i := range ms {
		coming[i] = s.offer(ms[i].op)
	}
	refused := fn()
	for i, m := range coming {
		maps.Copy(then, s.decide(m, refused == nil))
		if refused != nil {
			done(&ms[i], refused)
			continue
		}
		s.keep(ctx, m, func(err error) { done(&ms[i], err) })
	}
	order.Unlock()
	for _, f := range then {
		f()
	}
}

// retained is told that the message of a PUBLISH is kept, or why it is not; its
// slot waits for that at QoS 1 and 2.
func (c *client) retained(m *toRetain, err error) {
	if m.qos > 0 {
		c.completedSlots([]uint64{m.slot}, 0, err)
	} else if err != nil {
		c.srv.env.Log.Warn("keep retained message", "topic", m.op.Key, "error", err)
	}
	c.applying.Done()
}

// retainKnown keeps the message of a PUBLISH whose record an earlier process
// appended, and perhaps no more than that: unless a newer one is kept.
func (c *client) retainKnown(topic string, r *shard.Record, id shard.ID, slot uint64) {
	c.applying.Add(1)
	m := toRetain{op: keepOf(topic, r), qos: 2, slot: slot}
	cur, _, known, err := c.srv.retained.newest(c.ctx, topic, c.now(), &m, func() {})
	if err != nil || !known || cur != nil && cur.Timestamp > r.Timestamp {
		c.retained(&m, err)
		return
	}
	c.srv.retained.appendRetained(c.ctx, id, []toRetain{m}, func() error { return nil }, c.retained)
}
