package nats

import (
	"context"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// target is where messages of one subject go.
type target struct {
	kind    targetKind
	subject string
	bytes   []byte // the subject
	id      shard.ID
	named   bool // the subject differs from the topic's name
	keyed   bool // the subject is the key
	limit   int  // bytes of a batch
	err     error
}

type targetKind uint8

const (
	targetStored  targetKind = iota
	targetRelayed            // handed to live subscribers only
	targetRequest            // no topic captures it, and a request makes none: relayed
	targetNobody             // belongs to the server: nobody answers there
	targetInvalid
	targetDenied
	targetFailed
)

const (
	maxTargets = 4096
	targetsAge = time.Second // how long a change of access rules may go unseen
)

var errNotStored = shard.Errorf(shard.KindTooLarge, "subject is too deep or too long to be stored: handed to who is subscribed")

// target finds where a command's subject goes; a request makes no topic.
func (p *publisher) target(ctx context.Context, cmd *command) *target {
	request := len(cmd.reply) > 0
	if t := p.last; t != nil && string(cmd.subject) == t.subject && (t.kind != targetRequest || request) {
		return t
	}
	if t := p.targets[string(cmd.subject)]; t != nil && (t.kind != targetRequest || request) {
		p.last = t
		return t
	}
	if p.changed == nil || len(p.targets) >= maxTargets {
		p.reset()
	}
	t := p.resolve(ctx, string(cmd.subject), request)
	if t.kind != targetFailed {
		p.targets[t.subject], p.last = t, t
	}
	return t
}

// reset forgets all targets.
func (p *publisher) reset() {
	clear(p.targets)
	p.last, p.made = nil, time.Now()
	p.changed = p.c.s.env.Broker.Topics.Changed()
}

func (p *publisher) resolve(ctx context.Context, subject string, request bool) *target {
	c := p.c
	t := &target{subject: subject, bytes: []byte(subject), limit: batchBytes}
	valid, literal := validSubject(subject)
	switch {
	case !valid || !literal && c.opts.Pedantic:
		t.kind = targetInvalid
		return t
	case !c.s.env.Auth.Allowed(c.principal, c.nc.RemoteAddr(), shard.OpPublish, gateway.ResourceSubject, subject):
		t.kind = targetDenied
		return t
	case shard.ServerOwn(subject): // MQTT clients trust what they read there
		t.kind = targetNobody
		return t
	case !literal || shard.Relayed(subject) || c.s.inbox(subject):
		t.kind = targetRelayed
		return t
	case shard.CheckSubject(subject) != nil: // as nats-server, which has no such bounds
		c.s.say("messages not stored", subject[:min(len(subject), 200)], 1, errNotStored)
		t.kind = targetRelayed
		return t
	}
	topic, err := c.s.env.Broker.Topics.Resolve(ctx, subject, false)
	if err != nil && !request && shard.KindOf(err) == shard.KindNotFound {
		p.makeTopics(ctx, subject)
		topic, err = c.s.env.Broker.Topics.Resolve(ctx, subject, true)
	}
	if err != nil && request && shard.KindOf(err) == shard.KindNotFound && c.s.groupInterest(subject) {
		topic, err = c.s.env.Broker.Topics.Resolve(ctx, subject, true) // a queue waits for it
	}
	switch {
	case err != nil && request && shard.KindOf(err) == shard.KindNotFound:
		t.kind = targetRequest
		return t
	case err != nil:
		t.kind, t.err = targetFailed, err
		return t
	}
	if m := int(topic.Config.MaxMessageBytes); m > 0 {
		t.limit = min(t.limit, m)
	}
	t.id = topic.ShardOf(nil, subject)
	t.named, t.keyed = topic.Name != subject, topic.CapturesMany()
	return t
}
