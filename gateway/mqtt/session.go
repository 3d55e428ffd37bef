package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// sessionPrefix begins the owner in shard.State and the name of the group of a
// session; the client identifier follows.
const sessionPrefix = "mqtt/session/"

// Keys below a session's owner.
const (
	keyMeta = "meta"
	keyWill = "will"
	keySub  = "sub/"
	keyIn   = "in/"
	keyOut  = "out/"
)

// session is what a connected client's session holds in memory.
type session struct {
	// noLocal: the client has a no-local subscription, so what it publishes
	// carries its name. The reading goroutine's.
	noLocal bool

	// changing is held while subs changes; who holds it or mu may read it.
	changing sync.Mutex
	// active: from the resumption to the end of deliveries. Guarded by changing.
	active bool

	mu      sync.Mutex
	subs    map[string]*sub
	live    shard.Subscription // made with the first QoS 0 subscription
	byLive  map[shard.SubID]*sub
	nextSub shard.SubID
	// mixed: a QoS 0 subscription may overlap one at QoS 1 or 2, so a message may
	// come both ways and has to go out once.
	mixed bool
	// outlived are verdicts of outlivedSub by filter, until rules change.
	outlived map[string]bool
	group    *receiver // of the session's own group
	out      sending
	local    localQueue
}

// sub is one subscription.
type sub struct {
	filter string // as the client gave it
	name   string // the filter below $share/<name>/, or filter
	share  string // the share name, "" for none
	opts   packet.Subscription
	id     uint32 // subscription identifier, 0 for none
	match  shard.Filter
	live   shard.SubID // 0 when fed by a group
	member *receiver   // of a shared subscription fed by a group
	part   atomic.Bool // rules deny some of it: each message is asked about
}

// meta is the value of keyMeta.
type meta struct {
	Expiry uint32 `json:"expiry"`
	// Left is when the connection ended, in milliseconds since the epoch; 0
	// while there is one.
	Left int64 `json:"left,omitempty"`
	V    uint8 `json:"v"`
	// User is whose session it is; "" in those of earlier versions.
	User string `json:"u,omitempty"`
}

// expired tells whether the session's time without a connection is up.
func (m *meta) expired(now time.Time) bool {
	return m.Left > 0 && m.Expiry != noExpiry && now.UnixMilli() >= m.Left+int64(m.Expiry)*1000
}

// keptSub is the value of a keySub key.
type keptSub struct {
	Options uint8  `json:"o"`
	ID      uint32 `json:"i,omitempty"`
}

// put makes the change that writes v as JSON.
func put(key string, v any) shard.StateOp {
	b, err := json.Marshal(v)
	if err != nil {
		panic("internal error: encode " + key + ": " + err.Error())
	}
	return shard.StateOp{Key: key, Value: b}
}

func idKey(prefix string, id uint16) string { return prefix + strconv.Itoa(int(id)) }

func parseIDKey(key, prefix string) (uint16, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(key, prefix), 10, 16)
	return uint16(n), err == nil && n > 0
}

// apply changes the session's state without waiting.
func (c *client) apply(ops []shard.StateOp, done func(error)) {
	c.applying.Add(1)
	c.srv.broker.State.Apply(c.srv.ctx, c.sessionOwner, ops, func(err error) {
		if err != nil {
			c.srv.env.Log.Warn("write MQTT session", "client", c.id, "error", err)
		}
		done(err)
		c.applying.Done()
	})
}

// maxOps bounds the changes in one write: each holds the client identifier.
const maxOps = 4096

// applyWait changes the session's state, in one write where there are not very
// many changes.
func (c *client) applyWait(ctx context.Context, ops []shard.StateOp) error {
	for part := range slices.Chunk(ops, maxOps) {
		if err := shard.ApplyWait(ctx, c.srv.broker.State, c.sessionOwner, part...); err != nil {
			return err
		}
	}
	return nil
}

// loadSession finds the session of the client identifier and tells whether there
// is one to go on with [MQTT-3.1.2-4] [MQTT-3.1.2-5].
func (c *client) loadSession(ctx context.Context, clean bool) (present bool, err error) {
	s := c.srv
	s.takeOffline(c.id)
	st := s.broker.State
	v, ok, err := st.Get(ctx, c.sessionOwner, keyMeta)
	if err != nil {
		return false, err
	}
	c.durable = c.expiry > 0
	if !ok {
		return false, nil
	}
	var m meta
	if err := json.Unmarshal(v.Data, &m); err != nil {
		return false, shard.Errorf(shard.KindCorrupt, "read session of %q: %w", c.id, err)
	}
	ended := clean || m.expired(c.now())
	if !ended && m.User != c.who.Name {
		if ended, err = c.refusedSession(ctx); err != nil {
			return false, err
		}
	}
	if ended {
		return false, s.discardSession(ctx, c.id)
	}
	c.durable = true
	err = st.Range(ctx, c.sessionOwner, "", func(key string, v shard.StateValue) bool {
		if e := c.loadKey(key, v.Data); e != nil {
			s.env.Log.Warn("skip damaged MQTT session entry", "client", c.id, "key", key, "error", e)
		}
		return true
	})
	return true, err
}

// refusedSession tells whether another user's session has a subscription that
// this user may not make, and with it messages that are not for this user.
func (c *client) refusedSession(ctx context.Context) (refused bool, err error) {
	err = c.srv.broker.State.Range(ctx, c.sessionOwner, keySub, func(key string, _ shard.StateValue) bool {
		sb, err := newSub(strings.TrimPrefix(key, keySub), 0, 0)
		refused = err != nil || !c.maySubscribe(sb)
		return !refused
	})
	return refused, err
}

// loadKey takes one entry of the session over.
func (c *client) loadKey(key string, data []byte) error {
	switch {
	case strings.HasPrefix(key, keySub):
		var k keptSub
		if err := json.Unmarshal(data, &k); err != nil {
			return err
		}
		sb, err := newSub(strings.TrimPrefix(key, keySub), k.Options, k.ID)
		if err != nil {
			return err
		}
		c.session.mu.Lock()
		if c.session.subs == nil {
			c.session.subs = make(map[string]*sub)
		}
		c.session.subs[sb.filter] = sb
		c.session.mu.Unlock()
	case strings.HasPrefix(key, keyIn):
		id, ok := parseIDKey(key, keyIn)
		if !ok {
			return shard.Errorf(shard.KindCorrupt, "packet identifier out of range")
		}
		return c.acks.restore(id, data)
	case strings.HasPrefix(key, keyOut):
		id, ok := parseIDKey(key, keyOut)
		if !ok {
			return shard.Errorf(shard.KindCorrupt, "packet identifier out of range")
		}
		return c.session.out.restore(id, data)
	}
	return nil
}

// saveMeta writes the session down where it outlives the connection, with its
// will. It waits only when the session is new.
func (c *client) saveMeta(ctx context.Context) error {
	if !c.durable {
		return nil
	}
	ops := []shard.StateOp{put(keyMeta, meta{Expiry: c.expiry, V: uint8(c.v), User: c.who.Name}), {Key: keyWill}}
	if c.will != nil {
		ops[1] = put(keyWill, c.will)
	}
	return shard.ApplyWait(ctx, c.srv.broker.State, c.sessionOwner, ops...)
}

// resumeSession starts deliveries again, after CONNACK.
func (c *client) resumeSession() error {
	ctx, cancel := context.WithTimeout(c.ctx, sessionTimeout)
	defer cancel()
	ss := &c.session
	ss.changing.Lock()
	defer ss.changing.Unlock()
	ss.active = true
	if len(ss.subs) == 0 && len(ss.out.byID) == 0 {
		return nil
	}
	if err := c.askAgain(ctx); err != nil {
		return err
	}
	c.resendReleases()
	grouped := false
	for _, sb := range ss.subs {
		ss.noLocal = ss.noLocal || sb.opts.NoLocal
		c.srv.env.Stats.Subscriptions.Add(1)
		switch {
		case sb.liveOnly():
			if err := c.goLive(sb); err != nil {
				return err
			}
		case sb.share != "":
			if err := c.srv.joinShare(ctx, c, sb); err != nil {
				return err
			}
		default:
			grouped = true
		}
	}
	ss.noteMixed(slices.Collect(maps.Values(ss.subs)))
	if !grouped && len(ss.out.restored) == 0 {
		return nil
	}
	if err := c.openGroup(ctx); err != nil {
		return err
	}
	return c.rebind(ctx)
}

// rebind adds bindings that are missing in the session's group, which happens
// only when an operator deleted it.
func (c *client) rebind(ctx context.Context) error {
	have := make(map[string]bool)
	for _, b := range c.session.group.group.Bindings().List() {
		have[b.ID] = true
	}
	var missing []shard.Binding
	for _, sb := range c.session.subs {
		if sb.grouped() && !have[sb.filter] {
			missing = append(missing, c.binding(sb))
		}
	}
	return c.session.group.group.Bindings().Add(ctx, missing...)
}

// openGroup makes or finds the session's group and attaches to it. The session
// expiry of the connection before holds until the group has this consumer, the new
// one from then on.
func (c *client) openGroup(ctx context.Context) error {
	if c.session.group != nil {
		return nil
	}
	var expire time.Duration
	if c.expiry != noExpiry {
		expire = time.Duration(c.expiry) * time.Second
	}
	for {
		g, err := c.srv.broker.Groups.Get(c.sessionOwner)
		if err != nil {
			cfg := shard.GroupConfig{Name: c.sessionOwner, Durable: c.durable}
			if c.durable {
				cfg.ExpireAfter = expire
			}
			g, err = c.srv.broker.Groups.Create(ctx, cfg)
		}
		if err != nil {
			return err
		}
		err = c.attachGroup(g)
		if errors.Is(err, shard.ErrGroupNotFound) { // its time was up at this very moment
			continue
		}
		if err == nil && c.durable && g.Config().ExpireAfter != expire {
			err = g.SetData(ctx, nil, expire)
		}
		return err
	}
}

func (c *client) attachGroup(g shard.Group) error {
	r := &receiver{c: c, group: g, ready: make(chan struct{})}
	c.session.mu.Lock()
	c.session.group = r
	c.session.mu.Unlock()
	return r.attach(shard.ConsumerConfig{Windows: []*shard.Window{c.window}, Origin: c.nc.Origin})
}

// letGo ends the connection's hold on its session: deliveries stop, the will is
// published or put off, and what outlives the connection is written down.
func (c *client) letGo(left bool) {
	s := c.srv
	ctx, cancel := context.WithTimeout(context.Background(), sessionTimeout)
	defer cancel()
	defer s.release(c)
	if !c.connected {
		s.putBack(ctx, c)
		return
	}
	ended := c.expiry == 0
	c.stopDeliveries(ctx, ended)
	c.applying.Wait()
	delay := uint32(0)
	if c.will != nil && !c.mayWill(c.will.Topic) { // a rule was withdrawn
		c.will = nil
	}
	if c.will != nil {
		delay = min(c.will.Delay, c.expiry) // [MQTT-3.1.3-9]
	}
	if c.will != nil && delay == 0 {
		s.publishWill(ctx, c.id, c.will) // [MQTT-3.1.2-8]
		c.will = nil
	}
	if !c.durable {
		return
	}
	if ended { // [MQTT-3.1.2-23]
		if err := s.forgetSession(ctx, c.id, false); err != nil {
			s.env.Log.Warn("discard MQTT session", "client", c.id, "error", err)
		}
		return
	}
	if g := c.session.group; g != nil {
		c.settleGroup(ctx, g.group, left)
	}
	now := c.now()
	m := meta{Expiry: c.expiry, Left: now.UnixMilli(), V: uint8(c.v), User: c.who.Name}
	ops := append(c.session.out.save(), put(keyMeta, m))
	if c.will != nil {
		c.will.Due = now.Add(time.Duration(delay) * time.Second).UnixMilli()
		ops = append(ops, put(keyWill, c.will))
	} else {
		ops = append(ops, shard.StateOp{Key: keyWill})
	}
	if err := shard.ApplyWait(ctx, s.broker.State, c.sessionOwner, ops...); err != nil {
		s.env.Log.Warn("write MQTT session", "client", c.id, "error", err)
	}
	s.addOffline(c.id, &m, c.will)
}

// settleGroup has the group's acknowledgements written before the entries of what
// they are for are removed, or a crash in between would send a QoS 2 message anew.
// It follows a session expiry that DISCONNECT changed.
func (c *client) settleGroup(ctx context.Context, g shard.Group, left bool) {
	expire := g.Config().ExpireAfter
	changed := false
	if left {
		old := expire
		if expire = 0; c.expiry != noExpiry {
			expire = time.Duration(c.expiry) * time.Second
		}
		changed = expire != old
	}
	if !changed && len(c.session.out.trash) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := g.SetData(ctx, nil, expire); err != nil {
		c.session.out.trash = nil // an entry that stays does less harm
		c.srv.env.Log.Warn("settle MQTT session", "client", c.id, "error", err)
	}
}

// settleTimeout bounds what a takeover waits for a store that fails: the group
// writes again by itself.
const settleTimeout = 2 * time.Second

// stopDeliveries closes what feeds the connection.
func (c *client) stopDeliveries(ctx context.Context, ended bool) {
	ss := &c.session
	ss.changing.Lock()
	defer ss.changing.Unlock()
	ss.active = false
	ss.mu.Lock()
	live, group := ss.live, ss.group
	subs := ss.subs
	c.window.Forget(&ss.local)
	ss.mu.Unlock()
	if live != nil {
		live.Close()
	}
	c.srv.env.Stats.Subscriptions.Add(-int64(len(subs)))
	for _, sb := range subs {
		if sb.member != nil {
			c.keepShared(sb.member, ended)
			c.srv.leaveShare(ctx, c, sb, ended)
		}
	}
	if group == nil {
		return
	}
	group.close()
	if !c.durable {
		if err := c.srv.broker.Groups.Delete(ctx, c.sessionOwner); err != nil {
			c.srv.env.Log.Warn("delete MQTT session group", "client", c.id, "error", err)
		}
	}
}

// discardSession forgets a session that is over; a will that was put off is
// published now [MQTT-3.1.3-9].
func (s *Server) discardSession(ctx context.Context, id string) error {
	return s.forgetSession(ctx, id, true)
}

// forgetSession forgets a session. The will that is written down is also that of a
// connection which is ending: that has published it, or DISCONNECT took it back.
func (s *Server) forgetSession(ctx context.Context, id string, putOff bool) error {
	owner := sessionPrefix + id
	var ops []shard.StateOp
	var w *will
	var shared []string
	err := s.broker.State.Range(ctx, owner, "", func(key string, v shard.StateValue) bool {
		ops = append(ops, shard.StateOp{Key: key})
		if key == keyWill && putOff {
			w, _ = parseWill(v.Data)
		}
		if f, ok := strings.CutPrefix(key, keySub+"$share/"); ok {
			shared = append(shared, f)
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, f := range shared {
		s.dropHolder(ctx, f, id)
	}
	if err := s.broker.Groups.Delete(ctx, owner); err != nil && shard.KindOf(err) != shard.KindNotFound {
		return err
	}
	if w != nil {
		s.publishWill(ctx, id, w)
	}
	if len(ops) == 0 {
		return nil
	}
	return shard.ApplyWait(ctx, s.broker.State, owner, ops...)
}
