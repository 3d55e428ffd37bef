package nats

import (
	"bytes"
	"context"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// publisher gathers the messages of one connection into batches.
type publisher struct {
	c    *conn
	now  int64 // of the last read, milliseconds
	msgs int64 // not yet counted
	size int64

	targets map[string]*target
	last    *target // of the last message
	made    time.Time
	changed <-chan struct{} // topics differ from what targets say

	// The batch being gathered: messages in a row for one shard.
	build   *shard.Builder
	cur     *target
	hint    int // size of the last batch
	relay   []shard.Message
	record  shard.Record   // scratch
	headers []shard.Header // scratch
}

const (
	batchBytes   = 512 << 10
	stallBackoff = 20 * time.Millisecond
)

func newPublisher(c *conn) publisher {
	return publisher{c: c, targets: make(map[string]*target)}
}

// begin starts the work on what one read brought.
func (p *publisher) begin(now time.Time) {
	p.now = now.UnixMilli()
	select {
	case <-p.changed:
		p.reset()
	default:
		if now.Sub(p.made) >= targetsAge {
			p.reset()
		}
	}
}

// count adds what was published to the counters.
func (p *publisher) count() {
	if p.msgs == 0 {
		return
	}
	st := p.c.s.env.Stats
	st.MessagesIn.Add(p.msgs)
	st.BytesIn.Add(p.size)
	p.c.stats.msgsIn.Add(p.msgs)
	p.c.stats.bytesIn.Add(p.size)
	p.msgs, p.size = 0, 0
}

// publish takes one PUB or HPUB, and tells whether it was accepted.
func (p *publisher) publish(ctx context.Context, cmd *command) bool {
	c := p.c
	p.msgs++
	p.size += int64(len(cmd.headers) + len(cmd.payload))
	t := p.target(ctx, cmd)
	switch t.kind {
	case targetInvalid:
		c.s.env.Stats.Dropped.Add(1)
		if c.opts.Pedantic {
			c.softError(softPubSubject)
		}
		return !c.opts.Pedantic
	case targetDenied:
		c.permission("Publish to", t.subject, "")
		return false
	case targetFailed:
		p.refuse(ctx, t.subject, cmd.reply, t.err)
		return false
	}
	r := &p.record
	p.fillRecord(r, t, cmd)
	request := len(cmd.reply) > 0 && c.opts.NoResponders
	if t.kind == targetNobody {
		if request {
			p.flush(ctx)
			c.sendStatus(t.subject, cmd.reply, statusNoReply)
		}
		return true
	}
	if t.kind != targetStored {
		p.addRelay(ctx, t, r, request)
		return true
	}
	p.add(ctx, t, r)
	if request && !c.responds(t.subject) {
		p.flush(ctx)
		c.sendStatus(t.subject, cmd.reply, statusNoReply)
	}
	return true
}

// fillRecord makes the record of a command; it shares memory with the read
// buffer. Of a header block that is malformed nothing is read, and all is kept: no
// server looks into it, and NATS clients may understand it.
func (p *publisher) fillRecord(r *shard.Record, t *target, cmd *command) {
	hs := p.headers[:0]
	*r = shard.Record{Timestamp: p.now, Value: cmd.payload}
	if r.Value == nil {
		r.Value = []byte{}
	}
	if t.named {
		hs = append(hs, shard.Header{Name: shard.HeaderSubject, Value: t.bytes})
	}
	if t.keyed {
		r.Key = t.bytes
	}
	if len(cmd.reply) > 0 {
		hs = append(hs, shard.Header{Name: shard.HeaderReplySubject, Value: cmd.reply})
	}
	if len(cmd.headers) > 0 {
		before := len(hs)
		var plain, ok bool
		if hs, plain, ok = parseHeaders(hs, cmd.headers); !ok {
			hs = hs[:before]
		}
		if !plain || len(hs) == before {
			hs = append(hs, shard.Header{Name: headerBlock, Value: cmd.headers})
		}
	}
	p.headers = hs[:0]
	if len(hs) > 0 {
		r.Headers = hs
	}
}

// recordOverhead is more than a batch adds to a record's own bytes, but for what
// headers add.
const recordOverhead = 32

// add puts a record into the batch being gathered; one for another shard ends
// the batch, so that order holds across subjects.
func (p *publisher) add(ctx context.Context, t *target, r *shard.Record) {
	size := r.Size() + recordOverhead + 8*len(r.Headers)
	if len(p.relay) > 0 || p.cur != nil && (p.cur.id != t.id || p.build.Size()+size > p.cur.limit) {
		p.flush(ctx)
	}
	if p.cur == nil {
		// What is read already bounds what will be added; the last batch tells
		// whether subjects alternate.
		room := min(size+p.c.parse.buffered(), max(2*p.hint, size), batchBytes+size)
		p.cur, p.build = t, shard.NewBuilder(room)
	}
	p.build.Add(r)
}

func (p *publisher) addRelay(ctx context.Context, t *target, r *shard.Record, request bool) {
	if p.cur != nil {
		p.flush(ctx)
	}
	cp := *r
	cp.Value = bytes.Clone(r.Value)
	cp.Headers = cloneHeaders(r.Headers)
	m := shard.Message{Subject: t.subject, Record: &cp, Origin: p.c.nc.Origin}
	if !request {
		p.relay = append(p.relay, m)
		return
	}
	p.flush(ctx)
	if p.c.s.env.Broker.Live.Relay([]shard.Message{m}) == 0 {
		reply, _ := r.Header(shard.HeaderReplySubject)
		p.c.sendStatus(t.subject, reply, statusNoReply)
	}
}

// flush appends what was gathered.
func (p *publisher) flush(ctx context.Context) {
	if len(p.relay) > 0 {
		p.c.s.env.Broker.Live.Relay(p.relay)
		clear(p.relay)
		p.relay = p.relay[:0]
	}
	if p.cur == nil {
		return
	}
	t, b := p.cur, p.build.Build()
	p.cur, p.build, p.hint = nil, nil, b.Size()
	p.append(ctx, t, b)
}

// append hands a batch to the log. While the log is full the client is not read.
func (p *publisher) append(ctx context.Context, t *target, b *shard.Batch) {
	// Memory durability completes within the call: nobody is promised more.
	opts := shard.AppendOptions{Durability: shard.DurabilityMemory, Origin: p.c.nc.Origin}
	for ctx.Err() == nil {
		var err error
		p.c.s.env.Broker.Log.Append(ctx, t.id, b, opts, shard.CompletionFunc(func(r shard.AppendResult) { err = r.Err }))
		if err == nil {
			return
		}
		switch k := shard.KindOf(err); {
		case k == shard.KindUnavailable:
			select {
			case <-time.After(stallBackoff):
			case <-ctx.Done():
			}
		case k == shard.KindTooLarge && b.Count() > 1:
			t.limit = max(b.Size()/2, 1024)
			p.halve(ctx, t, b)
			return
		default:
			p.dropped(b.Count(), t.subject, err)
			return
		}
	}
}

// halve appends a batch in two parts: a topic's own bound is for batches.
func (p *publisher) halve(ctx context.Context, t *target, b *shard.Batch) {
	rs, err := b.Records()
	if err != nil || len(rs) < 2 {
		p.dropped(b.Count(), t.subject, err)
		return
	}
	mid := len(rs) / 2
	p.append(ctx, t, shard.BatchOf(rs[:mid]...))
	p.append(ctx, t, shard.BatchOf(rs[mid:]...))
}

// refuse answers a request that cannot be published. A plain publish is promised
// nothing, and clients close on an error they do not know: it is only counted.
func (p *publisher) refuse(ctx context.Context, subject string, reply []byte, err error) {
	p.dropped(1, subject, err)
	if len(reply) > 0 {
		p.flush(ctx)
		p.c.sendStatus(subject, reply, status(err))
	}
}

func (p *publisher) dropped(n int, subject string, err error) {
	p.c.s.env.Stats.Dropped.Add(int64(n))
	p.c.s.complain(subject, n, err)
}
