package amqp

import (
	"net"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// What the topology asks of the access rules, as RabbitMQ asks it. To read an exchange
// is to subscribe to what the binding takes of it; to write on an exchange is to publish
// to the subject of its name; to write on a queue is to publish to its group.

// mayBind asks who binds or unbinds to write on the destination, and to read of the
// source.
func (vh *vhost) mayBind(c *conn, x *exchange, b *binding) error {
	if err := vh.mayWrite(c, b); err != nil {
		return err
	}
	text := vh.filterText(x, b)
	if b.toQueue && c.owns(vh.queue(b.dest)) && // what a rule denies of it is filtered at delivery
		c.s.env.Auth.Coverage(c.who, c.nc.RemoteAddr(), shard.OpSubscribe, gateway.ResourceSubject, text) == gateway.CoversPart {
		return nil
	}
	return c.may(shard.OpSubscribe, gateway.ResourceSubject, text, vh.named("exchange", x.name))
}

// mayRelay asks who publishes what is handed on and never stored. The names of direct
// reply-to are no subjects to give rights on: who has one was asked a question.
func (c *conn) mayRelay(subject string) error {
	switch {
	case shard.ServerOwn(subject): // MQTT clients trust what they read there
		return refuse(codeAccessRefused, "access to subject '%s' refused: it is the server's", subject)
	case strings.HasPrefix(subject, shard.DirectReply):
		return nil
	}
	return c.may(shard.OpPublish, gateway.ResourceSubject, subject, "subject '"+subject+"'")
}

func (vh *vhost) mayWrite(c *conn, b *binding) error {
	if !b.toQueue {
		return vh.mayWriteExchange(c, b.dest)
	}
	vh.mu.RLock()
	q := vh.mu.queues[b.dest]
	own := q != nil && q.owner == c
	vh.mu.RUnlock()
	if own { // nobody else uses it
		return nil
	}
	return c.may(shard.OpPublish, gateway.ResourceGroup, vh.groupName(b.dest), vh.named("queue", b.dest))
}

func (vh *vhost) mayWriteExchange(c *conn, name string) error {
	return c.may(shard.OpPublish, gateway.ResourceSubject, vh.prefix+name, vh.named("exchange", name))
}

func (vh *vhost) named(what, name string) string {
	return what + " '" + name + "' in vhost '" + vh.name + "'"
}

// mayAlternate asks who names an alternate exchange to read all of the exchange, for
// any message may go there, and to write on the alternate one.
func (ch *channel) mayAlternate(m *frame.ExchangeDeclare) error {
	vh, name := ch.c.vh, alternateOf(m.Arguments)
	if name == "" {
		return nil
	}
	for _, text := range []string{vh.prefix + m.Exchange, vh.prefix + m.Exchange + ".>"} {
		if err := ch.c.may(shard.OpSubscribe, gateway.ResourceSubject, text, vh.named("exchange", m.Exchange)); err != nil {
			return err
		}
	}
	return vh.mayWriteExchange(ch.c, name)
}

// mayDeclare asks who makes a queue; where it has dead letters, to read the queue and
// to write where they go. Where that follows from each message's own routing key, it is
// asked again for each.
func (vh *vhost) mayDeclare(c *conn, name string, l *queueLimits) error {
	if err := c.may(shard.OpCreate, gateway.ResourceGroup, vh.groupName(name), vh.named("queue", name)); err != nil {
		return err
	}
	if !l.deadLetters {
		return nil
	}
	if err := c.may(shard.OpSubscribe, gateway.ResourceSubject, vh.subjectOfQueue(name), vh.named("queue", name)); err != nil {
		return err
	}
	subject := vh.deadSubject(name, l)
	if err := vh.within(subject); err != nil {
		return err
	}
	return c.may(shard.OpPublish, gateway.ResourceSubject, subject, vh.named("exchange", l.deadExchange))
}

// deadSubject is where a queue's dead letters go, as access rules name it; with no
// routing key of the queue's own, where those go that came by its name.
func (vh *vhost) deadSubject(queue string, l *queueLimits) string {
	key := ""
	if l.deadKey != nil {
		key = *l.deadKey
	} else if l.deadExchange == "" {
		key = queue
	}
	if l.deadExchange == "" {
		return vh.subjectOfQueue(key)
	}
	x := vh.exchange(l.deadExchange)
	if x == nil { // it may come later
		x = &exchange{name: l.deadExchange}
	}
	return vh.subjectOf(x, key)
}

// declarer is who declared a queue: part of the stored form of queues. What the queue
// publishes later, nobody being there, is published with those rights.
type declarer struct {
	User      rawText `json:"user"`
	Anonymous bool    `json:"anonymous,omitempty"`
	// Host is the address that rules for a host are held against.
	Host rawText `json:"host,omitempty"`
}

func (c *conn) declarer() *declarer {
	d := &declarer{User: rawText(c.who.Name), Anonymous: c.who.Anonymous}
	if a := c.nc.RemoteAddr(); a != nil {
		host, _, _ := net.SplitHostPort(a.String())
		d.Host = rawText(host)
	}
	return d
}

// may tells whether the declarer may publish to a subject, or subscribe to it, now. What
// earlier versions stored has none, and may.
func (d *declarer) may(auth *gateway.Auth, op shard.Operation, subject string) bool {
	if d == nil {
		return true
	}
	p := gateway.Principal{Name: string(d.User), Anonymous: d.Anonymous}
	if u, ok := auth.User(string(d.User)); ok && !d.Anonymous {
		p.Superuser = u.Superuser
	}
	return auth.Allowed(p, &net.TCPAddr{IP: net.ParseIP(string(d.Host))}, op, gateway.ResourceSubject, subject)
}

// stored gives what is kept of a queue.
func (q *queue) stored() storedQueue {
	return storedQueue{AutoDelete: q.autoDelete, Implicit: q.implicit, Args: frame.AppendTable(nil, q.args), Declarer: q.declarer, After: q.after}
}
