package mqtt

import (
	"context"
	"strings"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

const sharePrefix = "$share/"

// newSub reads a topic filter and its options.
func newSub(filter string, options uint8, id uint32) (*sub, error) {
	sb := &sub{filter: filter, name: filter, id: id}
	sb.setOptions(options)
	if rest, ok := strings.CutPrefix(filter, sharePrefix); ok {
		sb.share, sb.name, ok = strings.Cut(rest, "/")
		if !ok || sb.share == "" || strings.ContainsAny(sb.share, "+#") || sb.name == "" { // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
			return nil, protocolError(packet.TopicFilterInvalid, "shared subscription is malformed")
		}
	}
	if len(filter) > shard.MaxSubjectBytes {
		return nil, protocolError(packet.TopicFilterInvalid, "topic filter is too long")
	}
	f, err := shard.ParseMQTTFilter(sb.name)
	if err != nil {
		return nil, protocolError(packet.TopicFilterInvalid, err.Error())
	}
	sb.match = f
	return sb, nil
}

func (sb *sub) setOptions(o uint8) {
	sb.opts = packet.Subscription{QoS: min(o&3, 2), NoLocal: o&4 != 0, RetainAsPublished: o&8 != 0, RetainHandling: o >> 4 & 3}
}

// relayed tells whether the filter is for subjects that are never stored.
func (sb *sub) relayed() bool {
	t := sb.match.Tokens[0]
	return t.Kind == shard.TokenLiteral && (strings.HasPrefix(t.Text, "$") || t.Text == "_INBOX" || strings.HasPrefix(t.Text, "_INBOX."))
}

// liveOnly tells whether the subscription is fed by shard.Live; else by a group.
func (sb *sub) liveOnly() bool { return sb.relayed() || sb.opts.QoS == 0 && sb.share == "" }

// grouped tells whether it is a binding of the session's own group.
func (sb *sub) grouped() bool { return !sb.liveOnly() && sb.share == "" }

// subject gives the filter in subject form, which access rules are held against.
func (sb *sub) subject() string {
	parts := make([]string, len(sb.match.Tokens))
	for i, t := range sb.match.Tokens {
		switch t.Kind {
		case shard.TokenOne:
			parts[i] = "*"
		case shard.TokenMany:
			parts[i] = ">"
		default:
			parts[i] = t.Text
		}
	}
	return strings.Join(parts, ".")
}

// handleSubscribe starts subscriptions and answers SUBACK [MQTT-3.8.4-1], with a
// code per topic filter in their order [MQTT-3.8.4-6].
func (c *client) handleSubscribe(p *packet.Subscribe) error {
	c.publish.flush()
	ctx, cancel := context.WithTimeout(c.ctx, sessionTimeout)
	defer cancel()
	ack := &packet.Suback{ID: p.ID, Codes: make([]packet.Code, len(p.Filters))}
	id := p.Props.Num(packet.PropSubscriptionID, 0)
	var ops []shard.StateOp
	var fresh []*sub
	for i := range p.Filters {
		f := &p.Filters[i]
		if f.NoLocal && strings.HasPrefix(f.Filter, sharePrefix) { // [MQTT-3.8.3-4]
			return protocolError(packet.ProtocolError, "no-local shared subscription")
		}
		sb, isNew, err := c.subscribe(ctx, f, id)
		if err != nil {
			ack.Codes[i] = codeFor(packet.SUBACK, err)
			if len(ack.Props) == 0 {
				ack.Props = c.reason(nil, err.Error())
			}
			c.srv.env.Log.Debug("subscription refused", "client", c.id, "filter", f.Filter, "error", err)
			continue
		}
		ack.Codes[i] = packet.Code(sb.opts.QoS)
		ops = append(ops, put(keySub+sb.filter, keptSub{Options: f.Options(), ID: id}))
		if sb.share == "" && (f.RetainHandling == 0 || f.RetainHandling == 1 && isNew) { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
			fresh = append(fresh, sb)
		}
	}
	if c.durable && len(ops) > 0 {
		if err := shard.ApplyWait(ctx, c.srv.broker.State, c.sessionOwner, ops...); err != nil {
			return err
		}
	}
	if c.v < packet.V5 {
		for i, code := range ack.Codes {
			if code.Failed() { // MQTT 3.1.1 [MQTT-3.9.3-2]
				ack.Codes[i] = packet.UnspecifiedError
			}
		}
	}
	c.control(ack)
	for _, sb := range fresh {
		c.sendRetained(sb)
	}
	return nil
}

// subscribe starts one subscription, or replaces the one of the same filter
// without a gap [MQTT-3.8.4-3].
func (c *client) subscribe(ctx context.Context, f *packet.Subscription, id uint32) (sb *sub, isNew bool, err error) {
	if sb, err = newSub(f.Filter, f.Options(), id); err != nil {
		return nil, false, err
	}
	if sb.relayed() {
		sb.opts.QoS = 0
	}
	if !c.allowed(shard.OpSubscribe, sb.subject()) {
		return nil, false, protocolError(packet.NotAuthorized, "not allowed to subscribe")
	}
	ss := &c.session
	old := ss.subs[sb.filter]
	if old == nil && len(ss.subs) >= c.srv.env.Limits.MaxSubscriptions {
		return nil, false, protocolError(packet.QuotaExceeded, "too many subscriptions")
	}
	ss.noLocal = ss.noLocal || sb.opts.NoLocal
	if old != nil {
		sb.live, sb.member = old.live, old.member
	}
	switch {
	case sb.liveOnly():
		err = c.goLive(sb)
	case sb.share != "":
		err = c.srv.joinShare(ctx, c, sb)
	default:
		if err = c.openGroup(ctx); err == nil {
			err = ss.group.group.Bindings().Add(ctx, c.binding(sb))
		}
	}
	if err != nil {
		return nil, false, err
	}
	if old != nil {
		err = c.stopOther(ctx, old, sb)
	} else {
		c.srv.env.Stats.Subscriptions.Add(1)
	}
	ss.mu.Lock()
	if ss.subs == nil {
		ss.subs = make(map[string]*sub)
	}
	ss.subs[sb.filter] = sb
	ss.mu.Unlock()
	ss.noteMixed(sb)
	return sb, old == nil, err
}

// stopOther ends the way a replaced subscription was fed, where it is not the
// way of the new one.
func (c *client) stopOther(ctx context.Context, old, sb *sub) error {
	if old.live != 0 && !sb.liveOnly() {
		c.endLive(old)
		sb.live = 0
	}
	if old.grouped() && !sb.grouped() {
		return c.session.group.group.Bindings().Remove(ctx, old.filter)
	}
	return nil
}

// goLive feeds a subscription by shard.Live.
func (c *client) goLive(sb *sub) error {
	ss := &c.session
	ss.mu.Lock()
	live := ss.live
	ss.mu.Unlock()
	if live == nil {
		live = c.srv.broker.Live.Subscribe(liveReceiver{c})
	}
	ss.mu.Lock()
	ss.live = live
	if sb.live == 0 {
		ss.nextSub++
		sb.live = ss.nextSub
	}
	if ss.byLive == nil {
		ss.byLive = make(map[shard.SubID]*sub)
	}
	ss.byLive[sb.live] = sb
	ss.mu.Unlock()
	opts := shard.LiveOptions{}
	if sb.share != "" {
		opts.Queue = "mqtt " + sb.filter // a share is one filter's [MQTT-4.8.2-3]; NATS cannot spell the blank
	}
	if sb.opts.NoLocal { // [MQTT-3.8.3-3]
		opts.NotFrom = c.nc.Origin
	}
	return live.Add(sb.live, sb.match, opts)
}

func (c *client) endLive(sb *sub) {
	c.session.live.Remove(sb.live)
	c.session.mu.Lock()
	delete(c.session.byLive, sb.live)
	c.session.mu.Unlock()
}

// maxMixedChecks bounds the filters that a new one is compared with: a client may
// have very many.
const maxMixedChecks = 4096

// noteMixed notes whether a new subscription makes the session mixed. Past the
// bound it says so without need, which costs time and nothing else.
func (ss *session) noteMixed(sb *sub) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.mixed || sb.share != "" {
		return
	}
	checks := 0
	for _, o := range ss.subs {
		if o.share != "" || o.grouped() == sb.grouped() {
			continue
		}
		if checks++; checks > maxMixedChecks || o.match.Overlaps(sb.match) {
			ss.mixed = true
			return
		}
	}
}

// unmix notes that subscriptions ended: with those of one kind only, no message
// comes both ways.
func (ss *session) unmix() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	live, grouped := false, false
	for _, sb := range ss.subs {
		live, grouped = live || sb.liveOnly(), grouped || sb.grouped()
	}
	ss.mixed = ss.mixed && live && grouped
}

// handleUnsubscribe ends subscriptions and answers UNSUBACK [MQTT-3.10.4-4].
func (c *client) handleUnsubscribe(p *packet.Unsubscribe) error {
	c.publish.flush()
	ctx, cancel := context.WithTimeout(c.ctx, sessionTimeout)
	defer cancel()
	ack := &packet.Unsuback{ID: p.ID, Codes: make([]packet.Code, len(p.Filters))}
	var ops []shard.StateOp
	ss := &c.session
	for i, f := range p.Filters {
		sb := ss.subs[f]
		if sb == nil { // [MQTT-3.10.4-5]
			ack.Codes[i] = packet.NoSubscriptionExisted
			continue
		}
		var err error
		switch {
		case sb.liveOnly():
			c.endLive(sb)
		case sb.share != "":
			c.keepShared(sb.member, false)
			c.srv.leaveShare(ctx, c, sb, true)
		default: // what matched until now is still delivered [MQTT-3.10.4-3]
			err = ss.group.group.Bindings().Remove(ctx, f)
		}
		if err != nil {
			ack.Codes[i] = codeFor(packet.UNSUBACK, err)
			continue
		}
		ss.mu.Lock()
		delete(ss.subs, f)
		ss.mu.Unlock()
		c.srv.env.Stats.Subscriptions.Add(-1)
		ops = append(ops, shard.StateOp{Key: keySub + f})
	}
	ss.unmix()
	if c.durable && len(ops) > 0 {
		if err := shard.ApplyWait(ctx, c.srv.broker.State, c.sessionOwner, ops...); err != nil {
			return err
		}
	}
	c.control(ack)
	return nil
}
