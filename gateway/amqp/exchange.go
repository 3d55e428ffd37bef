package amqp

import (
	"context"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// Class exchange (AMQP 1.6).

// The exchange types.
const (
	typeDirect  = "direct"
	typeFanout  = "fanout"
	typeTopic   = "topic"
	typeHeaders = "headers"
)

// Labels of an exchange's topic.
const (
	labelVHost    = "amqp-vhost"
	labelExchange = "amqp-exchange"
	labelType     = "amqp-type"
	// labelMade marks topics that exchange.declare made, so that
	// exchange.delete may take an empty one away.
	labelMade = "amqp-made"
)

// target is where a publish goes.
type target struct {
	subject       string
	exchange, key string // as published
	bound         bool   // some queue is bound that matches
}

// route finds the subjects of a publish, to ts: mostly one. bound is looked up only
// where it is to be known: mandatory, further keys, or alternate exchanges.
func (vh *vhost) route(c *conn, further []string, p *publish, r *shard.Record, ts []target) ([]target, error) {
	exchange, key := p.method.Exchange, p.method.RoutingKey
	t := target{exchange: exchange, key: key}
	if token, ok := strings.CutPrefix(key, replyQueue+"."); ok && exchange == "" {
		t.subject, t.bound = replySubject(token), true
		return append(ts, t), nil
	}
	x := vh.exchange(exchange)
	if x == nil {
		return ts, vh.noExchange(exchange)
	}
	if x.internal {
		return ts, refuse(codeAccessRefused, "cannot publish to internal exchange '%s' in vhost '%s'", exchange, vh.name)
	}
	if len(further) > 0 || vh.alternates.Load() && exchange != "" {
		return vh.targets(c.ctx, t, x, append([]string{key}, further...), r, ts)
	}
	if p.method.Mandatory {
		vh.mu.RLock()
		t.bound = x.name == "" && vh.mu.queues[key] != nil || vh.reaches(x, key, r, nil)
		vh.mu.RUnlock()
	}
	return vh.addTarget(c.ctx, ts, t, hop{x, key})
}

func (vh *vhost) checkSubject(s string) error {
	if s == "" {
		return nil
	}
	if err := vh.within(s); err != nil {
		return err
	}
	if err := shard.CheckSubject(s); err != nil {
		return refuse(codePreconditionFailed, "routing key is not usable: %v", err)
	}
	return nil
}

// subjectOfQueue is where the default exchange puts messages for a queue.
func (vh *vhost) subjectOfQueue(name string) string { return vh.prefix + name }

// subjectOf gives the subject of an exchange and routing key.
func (vh *vhost) subjectOf(x *exchange, key string) string {
	switch {
	case x.name == "amq.topic" && key != "":
		return vh.prefix + key
	case key == "":
		return vh.prefix + x.name
	}
	return vh.prefix + x.name + "." + key
}

// ensureTopic makes the exchange's topic, or makes an existing one capture what
// is published to the exchange.
func (vh *vhost) ensureTopic(ctx context.Context, x *exchange) error {
	if x.name == "" || x.name == "amq.topic" {
		x.ready.Store(true)
		return nil
	}
	name := vh.prefix + x.name
	f, err := shard.ParseSubjectFilter(name)
	if _, literal := f.Literal(); err != nil || !literal {
		return refuse(codePreconditionFailed, "exchange name '%s' cannot be a subject", x.name)
	}
	captures := []string{name, name + ".>"}
	labels := map[string]string{labelVHost: vh.name, labelExchange: x.name, labelType: x.typ}
	topics := vh.s.env.Broker.Topics
	t, ok := topics.ByName(name)
	if !ok {
		made := shard.Topic{Name: name, Captures: captures, Labels: map[string]string{labelMade: "1"}}
		for k, v := range labels {
			made.Labels[k] = v
		}
		if _, err := topics.Create(ctx, made); err == nil {
			x.ready.Store(true)
			return nil
		} else if t, ok = topics.ByName(name); !ok {
			return err
		}
	}
	same := slices.Contains(t.Captures, captures[0]) && slices.Contains(t.Captures, captures[1])
	for k, v := range labels {
		same = same && t.Labels[k] == v
	}
	if !same {
		_, err := topics.Update(ctx, name, func(t *shard.Topic) error {
			for _, c := range captures {
				if !slices.Contains(t.Captures, c) {
					t.Captures = append(t.Captures, c)
				}
			}
			if t.Labels == nil {
				t.Labels = make(map[string]string)
			}
			for k, v := range labels {
				t.Labels[k] = v
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	x.ready.Store(true)
	return nil
}

func (ch *channel) exchangeMethod(m frame.Method) error {
	switch m := m.(type) {
	case *frame.ExchangeDeclare:
		if err := ch.declareExchange(m); err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.ExchangeDeclareOk{})
		return nil
	case *frame.ExchangeDelete:
		if err := ch.deleteExchange(m); err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.ExchangeDeleteOk{})
		return nil
	case *frame.ExchangeBind:
		if err := ch.bindExchange(m.Source, m.Destination, m.RoutingKey, m.Arguments); err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.ExchangeBindOk{})
		return nil
	case *frame.ExchangeUnbind:
		if err := ch.unbindExchange(m.Source, m.Destination, m.RoutingKey, m.Arguments); err != nil || m.NoWait {
			return err
		}
		ch.send(&frame.ExchangeUnbindOk{})
		return nil
	}
	return refuse(codeCommandInvalid, "%s is the server's to send", m.ID())
}

func alternateOf(args frame.Table) string {
	v, _ := args.Get("alternate-exchange")
	return v.Str
}

func (ch *channel) declareExchange(m *frame.ExchangeDeclare) error {
	vh := ch.c.vh
	if m.Exchange == "" {
		return refuse(codeAccessRefused, "operation not permitted on the default exchange")
	}
	if m.Passive {
		if vh.exchange(m.Exchange) == nil {
			return vh.noExchange(m.Exchange)
		}
		return nil
	}
	switch m.Type {
	case typeDirect, typeFanout, typeTopic, typeHeaders:
	default:
		return refuse(codePreconditionFailed, "invalid exchange type '%s'", m.Type)
	}
	if v, ok := m.Arguments.Get("alternate-exchange"); ok && v.Kind != frame.KindString {
		return refuse(codePreconditionFailed, "invalid arg 'alternate-exchange' for exchange '%s' in vhost '%s'", m.Exchange, vh.name)
	}
	vh.topo.Lock()
	defer vh.topo.Unlock()
	if x := vh.exchange(m.Exchange); x != nil {
		return vh.sameExchange(x, m)
	}
	if strings.HasPrefix(m.Exchange, "amq.") {
		return refuse(codeAccessRefused, "exchange name '%s' contains reserved prefix 'amq.*'", m.Exchange)
	}
	if err := vh.within(m.Exchange + "."); err != nil { // what is published to it lies below its name
		return err
	}
	if err := ch.c.may(shard.OpCreate, gateway.ResourceSubject, vh.prefix+m.Exchange, "exchange '"+m.Exchange+"' in vhost '"+vh.name+"'"); err != nil {
		return err
	}
	if err := ch.mayAlternate(m); err != nil {
		return err
	}
	vh.mu.RLock()
	count := len(vh.mu.exchanges)
	vh.mu.RUnlock()
	if limit := vh.s.cfg.MaxExchanges; count >= limit {
		return refuse(codePreconditionFailed, "cannot declare exchange '%s': exchange limit in vhost '%s' (%d) is reached", m.Exchange, vh.name, limit)
	}
	x := newExchange(m.Exchange, m.Type, false)
	x.durable, x.autoDelete, x.internal, x.args = m.Durable, m.AutoDelete, m.Internal, m.Arguments
	x.alternate, x.declarer = alternateOf(m.Arguments), ch.c.declarer()
	if err := vh.ensureTopic(ch.c.ctx, x); err != nil {
		return err
	}
	if x.durable {
		err := vh.remember(ch.c.ctx, keyExchange+x.name, storedExchange{x.typ, x.autoDelete, x.internal, frame.AppendTable(nil, x.args), x.declarer})
		if err != nil {
			return err
		}
	}
	vh.enterExchange(x)
	return nil
}

// sameExchange refuses a declare that differs from what is there.
func (vh *vhost) sameExchange(x *exchange, m *frame.ExchangeDeclare) error {
	differs := func(arg, got, is string) error {
		return refuse(codePreconditionFailed, "inequivalent arg '%s' for exchange '%s' in vhost '%s': received '%s' but current is '%s'", arg, x.name, vh.name, got, is)
	}
	switch {
	case x.typ != m.Type:
		return differs("type", m.Type, x.typ)
	case x.durable != m.Durable:
		return differs("durable", boolText(m.Durable), boolText(x.durable))
	case x.autoDelete != m.AutoDelete:
		return differs("auto_delete", boolText(m.AutoDelete), boolText(x.autoDelete))
	case x.internal != m.Internal:
		return differs("internal", boolText(m.Internal), boolText(x.internal))
	case x.alternate != alternateOf(m.Arguments):
		return differs("alternate-exchange", alternateOf(m.Arguments), x.alternate)
	}
	return nil
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

func (ch *channel) deleteExchange(m *frame.ExchangeDelete) error {
	vh := ch.c.vh
	if m.Exchange == "" {
		return refuse(codeAccessRefused, "operation not permitted on the default exchange")
	}
	if strings.HasPrefix(m.Exchange, "amq.") {
		return refuse(codeAccessRefused, "exchange name '%s' contains reserved prefix 'amq.*'", m.Exchange)
	}
	vh.topo.Lock()
	defer vh.topo.Unlock()
	x := vh.exchange(m.Exchange)
	if x == nil {
		return nil // RabbitMQ: deleting what is not there succeeds
	}
	if err := ch.c.mayDelete(x.declarer, gateway.ResourceSubject, vh.prefix+m.Exchange, vh.named("exchange", m.Exchange)); err != nil {
		return err
	}
	vh.mu.RLock()
	used := len(x.out) > 0
	vh.mu.RUnlock()
	if m.IfUnused && used {
		return refuse(codePreconditionFailed, "exchange '%s' in vhost '%s' in use", m.Exchange, vh.name)
	}
	return vh.dropExchange(ch.c.ctx, x)
}

// dropExchange deletes an exchange and its bindings, and the auto-delete exchanges
// that lose their last one by it; topo is held for writing.
func (vh *vhost) dropExchange(ctx context.Context, x *exchange) error {
	for todo := []string{x.name}; len(todo) > 0; todo = todo[1:] {
		if x = vh.exchange(todo[0]); x == nil {
			continue
		}
		queues := vh.downstream(x)
		keys := []string{keyExchange + x.name}
		vh.mu.Lock()
		for _, bs := range []map[string]*binding{x.out, x.in} {
			for _, b := range bs {
				if b.durable {
					keys = append(keys, keyBinding+b.id)
				}
				if vh.unlink(b) && b.source != x.name {
					todo = append(todo, b.source)
				}
			}
		}
		delete(vh.mu.exchanges, x.name)
		vh.mu.Unlock()
		if err := vh.forget(ctx, keys...); err != nil {
			return err
		}
		for _, q := range queues {
			if err := vh.bindGroup(ctx, q); err != nil && shard.KindOf(err) != shard.KindNotFound {
				return err
			}
		}
		vh.retireTopic(ctx, x)
	}
	return nil
}

// retireTopic takes an exchange's topic away if exchange.declare made it and it
// holds nothing; else others may read it still.
func (vh *vhost) retireTopic(ctx context.Context, x *exchange) {
	topics := vh.s.env.Broker.Topics
	t, ok := topics.ByName(vh.prefix + x.name)
	if !ok || t.Labels[labelMade] == "" {
		return
	}
	for i := range t.Shards {
		b, err := vh.s.env.Broker.Log.Bounds(ctx, t.Shard(i))
		if err != nil || b.End > 0 {
			return
		}
	}
	if err := topics.Delete(ctx, t.Name); err != nil {
		vh.s.log.Warn("topic of a deleted exchange not deleted", "topic", t.Name, "error", err)
	}
}

// bindExchange binds an exchange to another (RabbitMQ's exchange.bind).
func (ch *channel) bindExchange(source, dest, key string, args frame.Table) error {
	vh := ch.c.vh
	if source == "" || dest == "" {
		return refuse(codeAccessRefused, "operation not permitted on the default exchange")
	}
	vh.topo.Lock()
	defer vh.topo.Unlock()
	x, d := vh.exchange(source), vh.exchange(dest)
	if x == nil {
		return vh.noExchange(source)
	}
	if d == nil {
		return vh.noExchange(dest)
	}
	b := newBinding(source, dest, false, key, args)
	b.durable = x.durable && d.durable
	return vh.addBinding(ch.c, x, b)
}

func (ch *channel) unbindExchange(source, dest, key string, args frame.Table) error {
	vh := ch.c.vh
	if source == "" || dest == "" {
		return refuse(codeAccessRefused, "operation not permitted on the default exchange")
	}
	vh.topo.Lock()
	defer vh.topo.Unlock()
	b := newBinding(source, dest, false, key, args)
	orphan, err := vh.removeBinding(ch.c, b)
	if err != nil || orphan == "" {
		return err
	}
	return vh.dropExchange(ch.c.ctx, vh.exchange(orphan))
}
