package nats

import (
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// headerStatus carries the code of a status message that the gateway itself
// relays ("503": nobody answers requests on that subject).
const headerStatus = shard.ReservedPrefix + "nats-status"

const headerLine = "NATS/1.0"

// Deliver implements shard.Subscriber: MSG or HMSG lines go to the outbox.
func (c *conn) Deliver(ms []shard.Message, matched []shard.SubID) {
	buf, ok := c.out.lock()
	if !ok {
		return
	}
	n, size := 0, len(buf)
	var ended []*subscription
	for _, id := range matched {
		c.subs.Lock()
		s := c.subs.byID[id]
		c.subs.Unlock()
		if s == nil {
			continue
		}
		for i := range ms {
			most := s.max.Load()
			d := s.delivered.Add(1)
			if most > 0 && d > most {
				break
			}
			buf = appendMessage(buf, &ms[i], s.sid, c.opts.Headers)
			n++
			if most > 0 && d == most {
				ended = append(ended, s)
				break
			}
		}
	}
	c.s.env.Stats.MessagesOut.Add(int64(n))
	c.s.env.Stats.BytesOut.Add(int64(len(buf) - size))
	c.out.unlock(buf)
	for _, s := range ended {
		c.drop(s)
		c.s.env.Stats.Subscriptions.Add(-1)
		go c.live.Remove(s.id) // not from within Deliver
	}
}

// appendMessage writes MSG subject sid [reply] size, or HMSG with headers.
func appendMessage(buf []byte, m *shard.Message, sid string, headers bool) []byte {
	r := m.Record
	var block []byte
	if headers && len(r.Headers) > 0 {
		block = appendHeaders(nil, r.Headers)
	}
	if block != nil {
		buf = append(buf, 'H')
	}
	buf = append(buf, "MSG "...)
	buf = appendSubject(buf, m.Subject)
	buf = append(buf, ' ')
	buf = append(buf, sid...)
	buf = append(buf, ' ')
	if reply, ok := r.Header(shard.HeaderReplySubject); ok && len(reply) > 0 {
		buf = append(buf, reply...)
		buf = append(buf, ' ')
	}
	if block != nil {
		buf = strconv.AppendInt(buf, int64(len(block)), 10)
		buf = append(buf, ' ')
	}
	buf = strconv.AppendInt(buf, int64(len(block)+len(r.Value)), 10)
	buf = append(buf, "\r\n"...)
	buf = append(buf, block...)
	buf = append(buf, r.Value...)
	return append(buf, "\r\n"...)
}

// appendSubject writes a subject; blanks, which the protocol cannot spell, are
// percent-encoded.
func appendSubject(buf []byte, s string) []byte {
	if strings.IndexByte(s, ' ') < 0 && !strings.ContainsAny(s, "\t\r\n\f") {
		return append(buf, s...)
	}
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\n', '\f':
			buf = append(buf, '%', hex[c>>4], hex[c&15])
		default:
			buf = append(buf, c)
		}
	}
	return buf
}

// appendHeaders writes a header block (NATS ADR-4), nil when no header can be
// shown: reserved ones are not, nor those the block cannot hold.
func appendHeaders(b []byte, hs []shard.Header) []byte {
	code := ""
	any := false
	for i := range hs {
		if hs[i].Name == headerStatus {
			code = string(hs[i].Value)
		}
	}
	b = append(b, headerLine...)
	if code != "" {
		b = append(append(b, ' '), code...)
		any = true
	}
	b = append(b, "\r\n"...)
	for i := range hs {
		h := &hs[i]
		if shard.Reserved(h.Name) || !headerName(h.Name) || !headerValue(h.Value) {
			continue
		}
		any = true
		b = append(b, h.Name...)
		b = append(b, ": "...)
		b = append(b, h.Value...)
		b = append(b, "\r\n"...)
	}
	if !any {
		return nil
	}
	return append(b, "\r\n"...)
}

func headerName(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == ':' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func headerValue(v []byte) bool {
	for _, c := range v {
		if c == '\r' || c == '\n' {
			return false
		}
	}
	return true
}
