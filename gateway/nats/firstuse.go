package nats

import (
	"bytes"
	"context"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
)

// maxFirstUses bounds the topics that are made together for one connection.
const maxFirstUses = 1024

// makeTopics makes the topic of a subject, and those of the publishes behind it that
// are read already: one by one, each would hold the connection for a transaction of
// the catalog.
func (p *publisher) makeTopics(ctx context.Context, subject string) {
	subjects := []string{subject}
	seen := map[string]bool{subject: true}
	p.c.parse.ahead(func(cmd *command) bool {
		if s := string(cmd.subject); len(cmd.reply) == 0 && !seen[s] {
			seen[s] = true
			if p.firstUse(ctx, s) {
				subjects = append(subjects, s)
			}
		}
		return len(subjects) < maxFirstUses
	})
	if len(subjects) > 1 {
		shard.MakeAll(ctx, p.c.s.env.Broker.Topics, subjects)
	}
}

// firstUse tells whether a publish to a subject would make a topic.
func (p *publisher) firstUse(ctx context.Context, subject string) bool {
	c := p.c
	if valid, literal := validSubject(subject); !valid || !literal || shard.CheckSubject(subject) != nil || shard.Relayed(subject) || c.s.inbox(subject) {
		return false
	}
	if _, err := c.s.env.Broker.Topics.Resolve(ctx, subject, false); shard.KindOf(err) != shard.KindNotFound || err == nil {
		return false
	}
	return c.s.env.Auth.Allowed(c.principal, c.nc.RemoteAddr(), shard.OpPublish, gateway.ResourceSubject, subject)
}

// ahead looks at the publishes that are read and not parsed, until fn gives false.
// What they hold lives as long as the read buffer stays as it is.
func (p *parser) ahead(fn func(*command) bool) {
	var c command
	for in := p.buf[p.r:p.w]; ; {
		i := bytes.IndexByte(in, '\n')
		if i < 0 {
			return
		}
		c = command{}
		_, size, err := c.parseLine(bytes.TrimSuffix(in[:i], []byte("\r")), p.maxPayload)
		if err != nil || c.verb == verbConnect { // whose commands follow is not known yet
			return
		}
		in = in[i+1:]
		if c.verb != verbPub {
			continue
		}
		if !fn(&c) || len(in) < size {
			return
		}
		if in = bytes.TrimPrefix(in[size:], []byte("\r")); len(in) > 0 && in[0] == '\n' {
			in = in[1:]
		}
	}
}
