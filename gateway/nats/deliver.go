package nats

import (
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// runState is scratch for delivering, guarded by the outbox's mutex.
type runState struct {
	head    []byte // "MSG subject sid ", behind a byte for the H of HMSG
	block   []byte // a header block
	subject string
	fresh   bool // head is of another subscription
}

// Deliver implements shard.Subscriber: MSG or HMSG lines go to the outbox.
func (c *conn) Deliver(ms []shard.Message, matched []shard.SubID) {
	buf, ok := c.out.lock()
	if !ok {
		return
	}
	n, size := 0, len(buf)
	var ended []*subscription
	for _, id := range matched {
		s := c.subs.byID[id]
		if s == nil {
			continue
		}
		k := s.take(len(ms))
		buf = c.appendRun(buf, ms[:k], s.sid)
		n += k
		if s.over() {
			c.dropLocked(s)
			ended = append(ended, s)
		}
	}
	size = len(buf) - size
	congested := c.out.unlock(buf)
	c.sent(n, size)
	if congested {
		c.s.stallPublisher(ms[0].Origin, c.out)
	}
	for _, s := range ended {
		go c.live.Remove(s.id) // not from within Deliver
	}
}

func (c *conn) sent(n, size int) {
	if n == 0 {
		return
	}
	st := c.s.env.Stats
	st.MessagesOut.Add(int64(n))
	st.BytesOut.Add(int64(size))
	c.stats.msgsOut.Add(int64(n))
	c.stats.bytesOut.Add(int64(size))
}

// appendRun writes messages for one subscription. out.mu is locked.
func (c *conn) appendRun(buf []byte, ms []shard.Message, sid string) []byte {
	r := &c.subs.run
	headers := c.headers.Load()
	r.fresh = true
	for i := range ms {
		buf = r.appendMessage(buf, &ms[i], sid, headers)
	}
	return buf
}

// appendMessage writes MSG subject sid [reply] size, or HMSG with headers.
func (r *runState) appendMessage(buf []byte, m *shard.Message, sid string, headers bool) []byte {
	if r.fresh || m.Subject != r.subject {
		r.head = appendSubject(append(r.head[:0], "HMSG "...), m.Subject)
		r.head = append(append(append(r.head, ' '), sid...), ' ')
		r.subject, r.fresh = m.Subject, false
	}
	var k known
	if len(m.Record.Headers) > 0 {
		k = sortHeaders(m.Record.Headers)
	}
	value := m.Record.Value
	if headers && (k.shown || len(k.status) > 0) {
		r.block = appendHeaders(r.block[:0], m.Record.Headers, k.status)
		buf = append(buf, r.head...)
		buf = appendReply(buf, k.reply)
		buf = strconv.AppendInt(buf, int64(len(r.block)), 10)
		buf = append(buf, ' ')
		buf = strconv.AppendInt(buf, int64(len(r.block)+len(value)), 10)
		buf = append(buf, "\r\n"...)
		buf = append(buf, r.block...)
	} else {
		buf = append(buf, r.head[1:]...)
		buf = appendReply(buf, k.reply)
		buf = strconv.AppendInt(buf, int64(len(value)), 10)
		buf = append(buf, "\r\n"...)
	}
	buf = append(buf, value...)
	return append(buf, "\r\n"...)
}

func appendReply(buf, reply []byte) []byte {
	if len(reply) == 0 {
		return buf
	}
	return append(append(buf, reply...), ' ')
}

// sendStatus hands the client itself a status message on a reply subject, as the
// answer to a request that nobody takes or that failed. Others who listen to that
// subject get nothing: whoever asks may not be allowed to publish there.
func (c *conn) sendStatus(reply, code string) {
	m := shard.Message{Subject: reply, Record: &shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte{},
		Headers: []shard.Header{{Name: headerStatus, Value: []byte(code)}}}}
	buf, ok := c.out.lock()
	if !ok {
		return
	}
	n, size := 0, len(buf)
	var ended []*subscription
	for _, s := range c.subs.byID {
		if !s.filter.Match(reply) || s.take(1) == 0 {
			continue
		}
		buf = c.appendRun(buf, []shard.Message{m}, s.sid)
		n++
		if s.over() {
			ended = append(ended, s)
		}
	}
	for _, s := range ended {
		c.dropLocked(s)
	}
	size = len(buf) - size
	c.out.replies += size
	c.out.unlock(buf)
	c.sent(n, size)
	for _, s := range ended {
		c.live.Remove(s.id)
	}
}
