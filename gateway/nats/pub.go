package nats

import (
	"bytes"
	"context"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// publisher gathers the messages of one connection into batches.
type publisher struct {
	c       *conn
	targets map[string]*target
	made    time.Time       // of targets
	changed <-chan struct{} // topics differ from what targets say

	// the batch being gathered: messages in a row for one shard
	build *shard.Builder
	cur   *target
	relay []shard.Message
}

// target is where messages of one subject go.
type target struct {
	subject string
	topic   *shard.Topic // nil: relayed
	id      shard.ID
	named   bool // the subject differs from the topic's name
	keyed   bool // the subject is the key
	denied  bool
	invalid bool
}

const (
	maxTargets   = 4096
	targetsAge   = time.Second // how long a change of access rules may go unseen
	batchBytes   = 512 << 10
	stallBackoff = 20 * time.Millisecond
)

func newPublisher(c *conn) publisher {
	return publisher{c: c, targets: make(map[string]*target)}
}

// publish takes one PUB or HPUB.
func (p *publisher) publish(ctx context.Context, cmd *command) {
	c := p.c
	st := c.s.env.Stats
	st.MessagesIn.Add(1)
	st.BytesIn.Add(int64(len(cmd.payload)))
	t, err := p.target(ctx, cmd.subject, len(cmd.reply) > 0)
	if err != nil {
		c.s.env.Log.Warn("publish refused", "subject", string(cmd.subject), "error", err)
		p.refuse(ctx, cmd.reply, err)
		return
	}
	switch {
	case t.invalid:
		c.softError("Invalid Publish Subject")
		return
	case t.denied:
		c.permission("Publish to", t.subject)
		return
	}
	r := shard.Record{Timestamp: time.Now().UnixMilli(), Value: cmd.payload}
	if r.Value == nil {
		r.Value = []byte{}
	}
	if t.named {
		r.Headers = append(r.Headers, shard.Header{Name: shard.HeaderSubject, Value: []byte(t.subject)})
	}
	if t.keyed {
		r.Key = []byte(t.subject)
	}
	if len(cmd.reply) > 0 {
		r.Headers = append(r.Headers, shard.Header{Name: shard.HeaderReplySubject, Value: cmd.reply})
	}
	if len(cmd.headers) > 0 {
		var ok bool
		if r.Headers, ok = parseHeaders(r.Headers, cmd.headers); !ok {
			c.softError("Invalid Message Headers")
			return
		}
	}
	request := len(cmd.reply) > 0 && c.opts.NoResponders
	if t.topic == nil {
		p.addRelay(ctx, t, &r, request)
		return
	}
	if request && !c.s.env.Broker.Live.Interest(t.subject) {
		defer p.noResponders(ctx, string(cmd.reply))
	}
	p.add(ctx, t, &r)
}

// target finds where a subject goes; a request makes no topic.
func (p *publisher) target(ctx context.Context, subject []byte, request bool) (*target, error) {
	select {
	case <-p.changed:
		p.reset()
	default:
	}
	if t := p.targets[string(subject)]; t != nil && (t.topic != nil || request || shard.Relayed(t.subject)) {
		if time.Since(p.made) < targetsAge {
			return t, nil
		}
		p.reset()
	}
	if p.changed == nil || len(p.targets) >= maxTargets {
		p.reset()
	}
	t, err := p.resolve(ctx, string(subject), request)
	if err == nil {
		p.targets[t.subject] = t
	}
	return t, err
}

func (p *publisher) reset() {
	clear(p.targets)
	p.made = time.Now()
	p.changed = p.c.s.env.Broker.Topics.Changed()
}

func (p *publisher) resolve(ctx context.Context, subject string, request bool) (*target, error) {
	c := p.c
	t := &target{subject: subject}
	if badSubject(subject, c.opts.Pedantic) {
		t.invalid = true
		return t, nil
	}
	if !c.s.env.Auth.Allowed(c.principal, c.nc.RemoteAddr(), shard.OpPublish, gateway.ResourceSubject, subject) {
		t.denied = true
		return t, nil
	}
	if shard.Relayed(subject) {
		return t, nil
	}
	topic, err := c.s.env.Broker.Topics.Resolve(ctx, subject, !request)
	if err != nil {
		if request && shard.KindOf(err) == shard.KindNotFound {
			return t, nil
		}
		return nil, err
	}
	t.topic, t.id = topic, topic.ShardOf(nil, subject)
	t.named, t.keyed = topic.Name != subject, topic.CapturesMany()
	return t, nil
}

// add puts a record into the batch being gathered; one for another shard ends
// the batch, so that order holds across subjects.
func (p *publisher) add(ctx context.Context, t *target, r *shard.Record) {
	if len(p.relay) > 0 || p.cur != nil && (p.cur.id != t.id || p.build.Size() > batchBytes) {
		p.flush(ctx)
	}
	if p.cur == nil {
		p.cur, p.build = t, shard.NewBuilder(r.Size()+64)
	}
	p.build.Add(r)
}

func (p *publisher) addRelay(ctx context.Context, t *target, r *shard.Record, request bool) {
	if p.cur != nil {
		p.flush(ctx)
	}
	cp := *r
	cp.Value = bytes.Clone(r.Value)
	cp.Headers = make([]shard.Header, len(r.Headers))
	for i, h := range r.Headers {
		cp.Headers[i] = shard.Header{Name: h.Name, Value: bytes.Clone(h.Value)}
	}
	m := shard.Message{Subject: t.subject, Record: &cp, Origin: p.c.nc.Origin}
	if !request {
		p.relay = append(p.relay, m)
		return
	}
	p.flush(ctx)
	if p.c.s.env.Broker.Live.Relay([]shard.Message{m}) == 0 {
		reply, _ := r.Header(shard.HeaderReplySubject)
		p.sendStatus(string(reply), "503")
	}
}

// flush appends what was gathered.
func (p *publisher) flush(ctx context.Context) {
	if len(p.relay) > 0 {
		p.c.s.env.Broker.Live.Relay(p.relay)
		p.relay = nil
	}
	if p.cur == nil {
		return
	}
	t, b := p.cur, p.build.Build()
	p.cur, p.build = nil, nil
	for ctx.Err() == nil {
		var err error
		// Memory durability completes within the call: nobody is promised more.
		p.c.s.env.Broker.Log.Append(ctx, t.id, b, shard.AppendOptions{Durability: shard.DurabilityMemory, Origin: p.c.nc.Origin},
			shard.CompletionFunc(func(r shard.AppendResult) { err = r.Err }))
		if err == nil {
			return
		}
		if shard.KindOf(err) != shard.KindUnavailable {
			p.c.s.env.Log.Warn("publish failed", "subject", t.subject, "error", err)
			p.c.softError("Publish failed: " + shard.KindOf(err).String())
			return
		}
		select { // the log is full: the client is not read until there is room
		case <-time.After(stallBackoff):
		case <-ctx.Done():
		}
	}
}

// refuse answers a request that cannot be published.
func (p *publisher) refuse(_ context.Context, reply []byte, err error) {
	if len(reply) > 0 {
		p.sendStatus(string(reply), status(err))
		return
	}
	p.c.softError("Publish failed: " + shard.KindOf(err).String())
}

func (p *publisher) noResponders(ctx context.Context, reply string) {
	p.flush(ctx)
	p.sendStatus(reply, "503")
}

// sendStatus relays a status message to a reply subject.
func (p *publisher) sendStatus(reply, code string) {
	p.c.s.env.Broker.Live.Relay([]shard.Message{{Subject: reply, Record: &shard.Record{
		Timestamp: time.Now().UnixMilli(), Value: []byte{},
		Headers: []shard.Header{{Name: headerStatus, Value: []byte(code)}},
	}}})
}

// parseHeaders reads a header block; names with the reserved prefix are left out.
func parseHeaders(hs []shard.Header, b []byte) ([]shard.Header, bool) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || !bytes.HasPrefix(line, []byte(headerLine)) {
		return hs, false
	}
	if code := bytes.TrimSpace(line[len(headerLine):]); len(code) > 0 {
		hs = append(hs, shard.Header{Name: headerStatus, Value: code})
	}
	for len(rest) > 0 {
		line, rest, ok = bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			return hs, false
		}
		if len(line) == 0 {
			return hs, len(rest) == 0
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 {
			return hs, false
		}
		for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:] // bytes.TrimLeft makes nil, which is null, of what is empty
		}
		if n := string(name); !shard.Reserved(n) {
			hs = append(hs, shard.Header{Name: n, Value: value})
		}
	}
	return hs, false
}
