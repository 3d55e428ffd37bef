package nats

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// runState is scratch for delivering, guarded by the outbox's mutex.
type runState struct {
	head    []byte // "MSG subject sid ", behind a byte for the H of HMSG
	plain   []byte // "MSG subject sid size\r\n" of messages without reply and headers
	size    int    // in plain
	block   []byte // a header block
	subject string
	fresh   bool // head is of another subscription
}

// Deliver implements shard.Subscriber.
func (c *conn) Deliver(ms []shard.Message, matched []shard.SubID) { c.deliver(ms, matched) }

// DeliverQueued implements shard.QueueSubscriber: a member that UNSUB gave a
// maximum, or whose connection ends, leaves messages to the others of its group.
func (c *conn) DeliverQueued(ms []shard.Message, id shard.SubID) int {
	ids := [1]shard.SubID{id}
	return c.deliver(ms, ids[:])
}

// deliver sends MSG or HMSG lines to the outbox, and gives their number.
func (c *conn) deliver(ms []shard.Message, matched []shard.SubID) int {
	buf, ok := c.out.lock()
	if !ok {
		return 0
	}
	n, size := 0, 0
	var ended []*subscription
	for _, id := range matched {
		s := c.subs.byID[id]
		if s == nil {
			continue
		}
		seen := s.wanted(ms)
		if s.part.Load() {
			seen = c.visible(seen)
		}
		k := s.take(len(seen))
		var bytes int
		buf, bytes = c.appendRun(buf, seen[:k], s.sid)
		n, size = n+k, size+bytes
		if s.over() {
			c.dropLocked(s)
			ended = append(ended, s)
		}
	}
	congested := c.out.unlock(buf)
	c.sent(n, size)
	if congested {
		c.s.stallPublisher(ms[0].Origin, c.out)
	}
	for _, s := range ended {
		go c.live.Remove(s.id) // not from within Deliver
	}
	return n
}

// systemSubjects are the server's own, of which a leading wildcard brings nothing,
// as nats-server keeps them in an account of their own.
const systemSubjects = "$SYS."

// wanted leaves out what a leading wildcard does not bring.
func (s *subscription) wanted(ms []shard.Message) []shard.Message {
	own := func(m shard.Message) bool { return strings.HasPrefix(m.Subject, systemSubjects) }
	if !s.wild || !slices.ContainsFunc(ms, own) {
		return ms
	}
	return slices.DeleteFunc(slices.Clone(ms), own)
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

// appendRun writes messages for one subscription, and gives their size: headers and
// payload, as what came in is counted and as nats-server counts. out.mu is locked.
func (c *conn) appendRun(buf []byte, ms []shard.Message, sid string) (out []byte, size int) {
	r := &c.subs.run
	headers := c.headers.Load()
	r.fresh = true
	for i := range ms {
		m := &ms[i]
		buf = c.out.room(buf, m.Record.Size()+len(m.Subject)+messageOverhead)
		var n int
		buf, n = r.appendMessage(buf, m, sid, headers)
		size += n
	}
	return buf, size
}

// messageOverhead is about what a message takes besides subject, value and
// headers.
const messageOverhead = 128

// appendMessage writes MSG subject sid [reply] size, or HMSG with headers. It gives
// the size of headers and payload.
func (r *runState) appendMessage(buf []byte, m *shard.Message, sid string, headers bool) (_ []byte, size int) {
	if r.fresh || m.Subject != r.subject {
		r.head = appendSubject(append(r.head[:0], "HMSG "...), m.Subject)
		r.head = append(append(append(r.head, ' '), sid...), ' ')
		r.subject, r.fresh, r.size = m.Subject, false, -1
	}
	value := m.Record.Value
	size = len(value)
	var k known
	if len(m.Record.Headers) > 0 {
		k = sortHeaders(m.Record.Headers)
	}
	switch {
	case headers && (k.shown || len(k.status) > 0 || k.block != nil):
		if r.block = append(r.block[:0], k.block...); k.block == nil {
			r.block = appendHeaders(r.block, m.Record.Headers, k.status)
		}
		size += len(r.block)
		buf = appendReply(append(buf, r.head...), k.reply)
		buf = strconv.AppendInt(buf, int64(len(r.block)), 10)
		buf = appendSize(append(buf, ' '), len(r.block)+len(value))
		buf = append(buf, r.block...)
	case len(k.reply) > 0:
		buf = appendReply(append(buf, r.head[1:]...), k.reply)
		buf = appendSize(buf, len(value))
	default:
		if r.size != len(value) {
			r.size = len(value)
			r.plain = appendSize(append(r.plain[:0], r.head[1:]...), r.size)
		}
		buf = append(buf, r.plain...)
	}
	buf = append(buf, value...)
	return append(buf, '\r', '\n'), size
}

func appendSize(buf []byte, n int) []byte {
	return append(strconv.AppendInt(buf, int64(n), 10), '\r', '\n')
}

func appendReply(buf, reply []byte) []byte {
	if len(reply) == 0 {
		return buf
	}
	return append(append(buf, reply...), ' ')
}

// headerOfSubject tells the client which of its requests a status is about.
const headerOfSubject = "Nats-Subject"

// sendStatus hands the client itself a status message on a reply subject, as the
// answer to a request that nobody takes or that failed. Others who listen to that
// subject get nothing: whoever asks may not be allowed to publish there.
func (c *conn) sendStatus(subject string, reply []byte, code string) {
	to := string(reply)
	m := shard.Message{Subject: to, Record: &shard.Record{Timestamp: time.Now().UnixMilli(), Value: []byte{},
		Headers: []shard.Header{{Name: headerStatus, Value: []byte(code)}, {Name: headerOfSubject, Value: []byte(subject)}}}}
	buf, ok := c.out.lock()
	if !ok {
		return
	}
	n, size := 0, 0
	var ended []*subscription
	for _, s := range c.subs.byID {
		if !s.filter.Match(to) || s.take(1) == 0 {
			continue
		}
		var k int
		buf, k = c.appendRun(buf, []shard.Message{m}, s.sid)
		n, size = n+1, size+k
		if s.over() {
			ended = append(ended, s)
		}
	}
	for _, s := range ended {
		c.dropLocked(s)
	}
	c.out.replies += size
	c.out.unlock(buf)
	c.sent(n, size)
	for _, s := range ended {
		c.live.Remove(s.id)
	}
}
