package kafka

import (
	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchReply is a fetch response whose records are written from where the log
// keeps them. It encodes as kmsg.FetchResponse does, which the tests hold it to.
type fetchReply struct {
	*kmsg.FetchResponse
	byID          bool
	readCommitted bool
	topics        []fetchReplyTopic
}

type fetchReplyTopic struct {
	name  string
	id    topicID
	parts []fetchReplyPart
}

type fetchReplyPart struct {
	partition int32
	code      int16
	bounds    shard.Bounds
	batches   []*shard.Batch
	shown     [][]byte // of batches: what shownToKafka gave
	records   [][]byte
	bytes     int
}

func (f *fetchReply) add(p *fetchPart) {
	n := len(f.topics)
	if n == 0 || f.topics[n-1].name != p.key.name || f.topics[n-1].id != p.key.id {
		f.topics = append(f.topics, fetchReplyTopic{name: p.key.name, id: p.key.id})
		n++
	}
	t := &f.topics[n-1]
	t.parts = append(t.parts, fetchReplyPart{partition: p.key.partition, code: p.code, bounds: p.bounds, batches: p.batches, shown: p.shown})
}

// recordBytes settles what is sent of each batch, and tells how much that is.
func (f *fetchReply) recordBytes(c *conn) int {
	all, count := 0, 0
	for i := range f.topics {
		for j := range f.topics[i].parts {
			p := &f.topics[i].parts[j]
			p.records = make([][]byte, 0, len(p.batches))
			for k, b := range p.batches {
				if raw := p.shown[k]; raw != nil {
					p.records, p.bytes = append(p.records, raw), p.bytes+len(raw)
				} else {
					p.records, p.bytes = b.AppendPieces(p.records), p.bytes+b.Size()
				}
				count += b.Count()
			}
			p.batches, p.shown = nil, nil
			all += p.bytes
		}
	}
	c.srv.env.Stats.MessagesOut.Add(int64(count))
	return all
}

// appendVector encodes v4 and later.
func (f *fetchReply) appendVector(w *vector) {
	v, flexible := f.Version, f.Version >= 12
	w.cur = kbin.AppendInt32(w.cur, f.ThrottleMillis)
	if v >= 7 {
		w.cur = kbin.AppendInt16(w.cur, f.ErrorCode)
		w.cur = kbin.AppendInt32(w.cur, f.SessionID)
	}
	w.cur = appendLen(w.cur, len(f.topics), flexible)
	for i := range f.topics {
		t := &f.topics[i]
		switch {
		case v >= 13:
			w.cur = kbin.AppendUuid(w.cur, t.id)
		case flexible:
			w.cur = kbin.AppendCompactString(w.cur, t.name)
		default:
			w.cur = kbin.AppendString(w.cur, t.name)
		}
		w.cur = appendLen(w.cur, len(t.parts), flexible)
		for j := range t.parts {
			f.appendPart(w, &t.parts[j], flexible)
		}
		if flexible {
			w.cur = append(w.cur, 0)
		}
	}
	if flexible {
		w.cur = append(w.cur, 0)
	}
}

func appendLen(dst []byte, n int, flexible bool) []byte {
	if flexible {
		return kbin.AppendCompactArrayLen(dst, n)
	}
	return kbin.AppendArrayLen(dst, n)
}

func (f *fetchReply) appendPart(w *vector, p *fetchReplyPart, flexible bool) {
	w.cur = kbin.AppendInt32(w.cur, p.partition)
	w.cur = kbin.AppendInt16(w.cur, p.code)
	w.cur = kbin.AppendInt64(w.cur, p.bounds.End)
	w.cur = kbin.AppendInt64(w.cur, p.bounds.Stable)
	if f.Version >= 5 {
		w.cur = kbin.AppendInt64(w.cur, p.bounds.Start)
	}
	// Aborted transactions: none; null where the client does not ask for them.
	switch {
	case flexible:
		w.cur = kbin.AppendCompactNullableArrayLen(w.cur, 0, !f.readCommitted)
	default:
		w.cur = kbin.AppendNullableArrayLen(w.cur, 0, !f.readCommitted)
	}
	if f.Version >= 11 {
		w.cur = kbin.AppendInt32(w.cur, -1) // preferred read replica
	}
	if flexible {
		w.cur = kbin.AppendUvarint(w.cur, uint32(p.bytes)+1)
	} else {
		w.cur = kbin.AppendInt32(w.cur, int32(p.bytes))
	}
	for _, raw := range p.records {
		w.splice(raw)
	}
	if flexible {
		w.cur = append(w.cur, 0)
	}
}
