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
func (sb *sub) relayed() bool { return sb.match.RelayedOnly() }

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
	for i := range p.Filters {
		if f := &p.Filters[i]; f.NoLocal && strings.HasPrefix(f.Filter, sharePrefix) { // [MQTT-3.8.3-4]
			return protocolError(packet.ProtocolError, "no-local shared subscription")
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, sessionTimeout)
	defer cancel()
	ack := &packet.Suback{ID: p.ID, Codes: make([]packet.Code, len(p.Filters))}
	c.session.changing.Lock()
	fresh, err := c.subscribeAll(ctx, p, ack)
	c.session.changing.Unlock()
	if err != nil {
		return err
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

// subscribeAll starts the subscriptions of a SUBSCRIBE, and gives those that are
// sent retained messages. However many there are, it waits for two writes: that
// of the bindings and that of the session.
func (c *client) subscribeAll(ctx context.Context, p *packet.Subscribe, ack *packet.Suback) (fresh []*sub, err error) {
	refused := func(i int, err error) {
		ack.Codes[i] = codeFor(packet.SUBACK, err)
		if len(ack.Props) == 0 {
			ack.Props = c.reason(nil, err.Error())
		}
		c.srv.env.Log.Debug("subscription refused", "client", c.id, "filter", p.Filters[i].Filter, "error", err)
	}
	id := p.Props.Num(packet.PropSubscriptionID, 0)
	subs := make([]*sub, len(p.Filters))
	var binds []shard.Binding
	known := make(map[string]bool)
	for i := range p.Filters {
		sb, err := c.newAllowed(&p.Filters[i], id, known)
		if err != nil {
			refused(i, err)
			continue
		}
		if subs[i] = sb; sb.grouped() {
			binds = append(binds, c.binding(sb))
		}
	}
	c.session.noteMixed(subs)
	notBound := c.bind(ctx, binds)
	var ops []shard.StateOp
	replaced := false
	for i, sb := range subs {
		if sb == nil {
			continue
		}
		isNew, err := false, notBound
		if err == nil || !sb.grouped() {
			isNew, err = c.subscribe(ctx, sb)
		}
		if err != nil {
			refused(i, err)
			continue
		}
		f := &p.Filters[i]
		replaced = replaced || !isNew
		ack.Codes[i] = packet.Code(sb.opts.QoS)
		ops = append(ops, put(keySub+sb.filter, keptSub{Options: f.Options(), ID: id}))
		if sb.share == "" && (f.RetainHandling == 0 || f.RetainHandling == 1 && isNew) { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
			fresh = append(fresh, sb)
		}
	}
	if replaced { // what it replaced may have been what made it mixed
		c.session.unmix()
	}
	if c.durable && len(ops) > 0 {
		err = c.applyWait(ctx, ops)
	}
	return fresh, err
}

// newAllowed reads a subscription and asks whether the client may have it. known
// are the new filters of the same packet.
func (c *client) newAllowed(f *packet.Subscription, id uint32, known map[string]bool) (*sub, error) {
	sb, err := newSub(f.Filter, f.Options(), id)
	if err != nil {
		return nil, err
	}
	if sb.relayed() {
		sb.opts.QoS = 0
	}
	if !c.maySubscribe(sb) {
		return nil, protocolError(packet.NotAuthorized, "not allowed to subscribe")
	}
	if c.session.subs[sb.filter] == nil && !known[sb.filter] {
		if len(c.session.subs)+len(known) >= c.srv.env.Limits.MaxSubscriptions {
			return nil, protocolError(packet.QuotaExceeded, "too many subscriptions")
		}
		known[sb.filter] = true
	}
	return sb, nil
}

// bind adds to the bindings of the session's group.
func (c *client) bind(ctx context.Context, bs []shard.Binding) error {
	if len(bs) == 0 {
		return nil
	}
	if err := c.openGroup(ctx); err != nil {
		return err
	}
	set := c.session.group.group.Bindings()
	err := set.Add(ctx, bs...)
	if err == nil {
		return nil
	}
	var undo []string
	for _, b := range bs {
		if old := c.session.subs[b.ID]; old == nil || !old.grouped() {
			undo = append(undo, b.ID)
		}
	}
	if e := set.Remove(ctx, undo...); e != nil {
		c.srv.env.Log.Debug("undo MQTT bindings", "client", c.id, "error", e)
	}
	return err
}

// subscribe starts one subscription, or replaces the one of the same filter
// without a gap [MQTT-3.8.4-3]. That of a grouped one is bound already.
func (c *client) subscribe(ctx context.Context, sb *sub) (isNew bool, err error) {
	ss := &c.session
	old := ss.subs[sb.filter]
	ss.noLocal = ss.noLocal || sb.opts.NoLocal
	if old != nil {
		sb.live, sb.member = old.live, old.member
	}
	switch {
	case sb.liveOnly():
		err = c.goLive(sb)
	case sb.share != "":
		err = c.srv.joinShare(ctx, c, sb)
	}
	if err != nil {
		return false, err
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
	return old == nil, err
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

// maxMixedChecks bounds the pairs of filters that are compared for one SUBSCRIBE:
// a client may have very many.
const maxMixedChecks = 1 << 16

// noteMixed notes whether new subscriptions make the session mixed, before they
// begin. Past the bound it says so without need, which costs time and nothing else.
func (ss *session) noteMixed(fresh []*sub) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.mixed {
		return
	}
	var all, added [2][]*sub // live and grouped ones
	sort := func(to *[2][]*sub, sb *sub) {
		switch {
		case sb == nil || sb.share != "":
		case sb.grouped():
			to[1] = append(to[1], sb)
		default:
			to[0] = append(to[0], sb)
		}
	}
	for _, sb := range ss.subs {
		sort(&all, sb)
	}
	for _, sb := range fresh {
		sort(&all, sb)
		sort(&added, sb)
	}
	checks := 0
	for kind := range added {
		for _, sb := range added[kind] {
			for _, o := range all[1-kind] {
				if checks++; checks > maxMixedChecks || o.match.Overlaps(sb.match) {
					ss.mixed = true
					return
				}
			}
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
	c.session.changing.Lock()
	subs := make([]*sub, 0, len(p.Filters))
	seen := make(map[string]bool, len(p.Filters))
	for i, f := range p.Filters {
		sb := c.session.subs[f]
		if sb == nil || seen[f] { // [MQTT-3.10.4-5]
			ack.Codes[i] = packet.NoSubscriptionExisted
			if _, err := newSub(f, 0, 0); err != nil {
				ack.Codes[i] = codeFor(packet.UNSUBACK, err)
			}
			continue
		}
		seen[f] = true
		subs = append(subs, sb)
	}
	err := c.endSubs(ctx, subs)
	c.session.changing.Unlock()
	if err != nil {
		return err
	}
	c.control(ack)
	return nil
}

// endSubs ends subscriptions. session.changing is held. After an error, which is
// the store's, none of them is known to be over.
func (c *client) endSubs(ctx context.Context, subs []*sub) error {
	if len(subs) == 0 {
		return nil
	}
	ss := &c.session
	var ops []shard.StateOp
	var bound []string
	for _, sb := range subs {
		switch {
		case sb.liveOnly():
			c.endLive(sb)
		case sb.share != "":
			c.keepShared(sb.member, false)
			c.srv.leaveShare(ctx, c, sb, true)
		default: // what matched until now is still delivered [MQTT-3.10.4-3]
			bound = append(bound, sb.filter)
		}
		ops = append(ops, shard.StateOp{Key: keySub + sb.filter})
	}
	if len(bound) > 0 {
		if err := ss.group.group.Bindings().Remove(ctx, bound...); err != nil {
			return err
		}
	}
	ss.mu.Lock()
	for _, sb := range subs {
		delete(ss.subs, sb.filter)
	}
	ss.mu.Unlock()
	c.srv.env.Stats.Subscriptions.Add(-int64(len(subs)))
	ss.unmix()
	if !c.durable {
		return nil
	}
	return c.applyWait(ctx, ops)
}
