package kafka

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Produce (0): v3-13; v0-2 are shown and refused (KAFKA-18659: librdkafka turns
// compression off where they are not shown).
//
// v7+: zstd. v8+: errors have a text and name the records to blame (KIP-467). v13+: topic ids. The handler hands the
// batches to the log and returns; the response is complete with the last
// completion, so that a connection has any number of produces in flight. With
// acks 0 there is no response, and an error closes the connection.
func serveProduce(c *conn, r *request) {
	q := r.body.(*kmsg.ProduceRequest)
	p := &produce{c: c, r: r, quiet: q.Acks == 0, resp: q.ResponseKind().(*kmsg.ProduceResponse)}
	p.left.Store(1)
	p.resp.Topics = make([]kmsg.ProduceResponseTopic, len(q.Topics))
	timeout := min(max(time.Duration(q.TimeoutMillis)*time.Millisecond, time.Second), time.Minute)
	ctx, cancel := context.WithTimeout(c.ctx, timeout) // bounds the wait for room only
	defer cancel()
	for i := range q.Topics {
		from, to := &q.Topics[i], &p.resp.Topics[i]
		to.Topic, to.TopicID = from.Topic, from.TopicID
		to.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(from.Partitions))
		t, code := p.topic(q, from)
		for j := range from.Partitions {
			slot := &to.Partitions[j]
			slot.Default()
			slot.Partition, slot.BaseOffset, slot.LogAppendTime, slot.LogStartOffset = from.Partitions[j].Partition, -1, -1, -1
			if code != codeNone {
				slot.ErrorCode = code
				p.failed.Store(true)
				continue
			}
			p.append(ctx, q, t, from.Partitions[j].Records, slot)
		}
	}
	p.finish()
}

// produce is a produce request in flight.
type produce struct {
	c      *conn
	r      *request
	resp   *kmsg.ProduceResponse
	quiet  bool // acks 0
	left   atomic.Int32
	failed atomic.Bool
}

func (p *produce) topic(q *kmsg.ProduceRequest, from *kmsg.ProduceRequestTopic) (*shard.Topic, int16) {
	switch {
	case q.Acks < -1 || q.Acks > 1:
		return nil, codeInvalidRequiredAcks
	case q.TransactionID != nil:
		return nil, codeInvalidTxnState
	}
	t, code := p.c.srv.lookup(from.Topic, from.TopicID, q.Version >= 13)
	if code != codeNone {
		if in, ok := p.c.srv.inbox(from.Topic, from.TopicID, q.Version >= 13); ok {
			t, code = in, codeNone
		}
	}
	if code == codeNone && !p.c.mayWrite(t.Name) {
		return nil, codeTopicAuthorizationFailed
	}
	return t, code
}

func (p *produce) append(ctx context.Context, q *kmsg.ProduceRequest, t *shard.Topic, raw []byte, slot *kmsg.ProduceResponseTopicPartition) {
	id, ok := partition(t, slot.Partition)
	if !ok {
		slot.ErrorCode = codeUnknownTopicOrPartition
		p.failed.Store(true)
		return
	}
	b, no := p.c.checkBatch(raw, t, q.Version)
	if no != nil {
		no.tell(slot)
		p.failed.Store(true)
		return
	}
	stats := p.c.srv.env.Stats
	stats.MessagesIn.Add(int64(b.Count()))
	if shard.Relayed(t.Name) {
		p.relay(t, b, slot)
		return
	}
	opts := shard.AppendOptions{Origin: p.c.nc.Origin}
	if p.quiet {
		opts.Durability = shard.DurabilityMemory
	}
	p.left.Add(1)
	p.c.srv.broker.Log.Append(ctx, id, b, opts, &produced{p, slot})
}

// produced is the completion of one partition.
type produced struct {
	p    *produce
	slot *kmsg.ProduceResponseTopicPartition
}

// Appended notes the outcome.
func (d *produced) Appended(a shard.AppendResult) {
	if a.Err != nil {
		d.slot.ErrorCode, d.slot.ErrorMessage = errorCode(a.Err), message(a.Err)
		d.p.failed.Store(true)
		if shard.KindOf(a.Err) == shard.KindInternal {
			d.p.c.log.Error("append failed", "error", a.Err)
		}
	} else {
		d.slot.BaseOffset, d.slot.LogAppendTime, d.slot.LogStartOffset = a.Base, a.AppendTime, a.Start
	}
	d.p.finish()
}

// finish ends the request when nothing of it is left.
func (p *produce) finish() {
	if p.left.Add(-1) > 0 {
		return
	}
	switch {
	case !p.quiet:
		p.resp.ThrottleMillis = p.c.throttled()
		var pause time.Duration
		if p.refusedForNow() {
			pause = refusalPause
		}
		p.r.replyAfter(p.resp, pause)
	case p.failed.Load(): // as Kafka: the only way to tell
		p.r.hangUp()
	default:
		p.r.reply(nil)
	}
}
