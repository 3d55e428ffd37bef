package amqp

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// vhost holds exchanges, queues and bindings.
//
// Locks, in this order: topo is held for reading while one queue changes, whose
// name is locked in busy, and for writing while exchanges change; mu guards the
// maps and what is in them, and is never held over a call to the engine.
type vhost struct {
	s      *server
	name   string
	prefix string   // of its subjects
	walls  []string // prefixes of subjects that are others'
	owner  string   // of its State

	loading struct {
		sync.Mutex
		done bool
	}
	alternates atomic.Bool // some exchange has one, or had

	topo sync.RWMutex
	busy keyedLocks
	mu   struct {
		sync.RWMutex
		exchanges map[string]*exchange
		queues    map[string]*queue
		deleted   deletedNames
	}
}

// exchange is one exchange.
type exchange struct {
	name       string
	typ        string
	durable    bool
	autoDelete bool
	internal   bool
	args       frame.Table
	alternate  string
	builtin    bool
	ready      atomic.Bool // its topic is there
	declarer   *declarer   // nil of what earlier versions stored

	out  map[string]*binding // by id: bindings whose source it is
	in   map[string]*binding // those whose destination it is
	used bool                // had a binding once: auto-delete applies
}

// queue is one queue. A declare may adopt an implicit one, so its properties are
// read under mu; the limits are deliveries' to read, too.
type queue struct {
	name       string
	durable    bool
	exclusive  bool
	autoDelete bool
	implicit   bool  // consumed without ever being declared
	after      *ends // implicit, after a queue of its name was deleted: what came later
	args       frame.Table
	declarer   *declarer                   // whose rights its dead letters have; nil of what earlier versions stored
	limits     atomic.Pointer[queueLimits] // never nil
	owner      *conn                       // of an exclusive queue
	group      shard.Group

	in        map[string]*binding
	streams   map[string]struct{} // groups of a stream's consumers
	consumers int
	deleted   bool

	// bound is how many bindings the group has by exchanges, -1 where some are by
	// amq.topic: of who holds the queue's lock, or that of the topology.
	bound int
}

// binding is one binding of a queue or exchange to an exchange.
type binding struct {
	id      string
	source  string
	dest    string
	toQueue bool
	key     string
	args    frame.Table
	headers *shard.HeaderMatch
	durable bool
}

func newVHost(s *server, name string) *vhost {
	vh := &vhost{s: s, name: name, owner: "amqp/vhost/" + name}
	if name != "/" {
		vh.prefix = name + "."
	}
	vh.mu.exchanges = make(map[string]*exchange)
	vh.mu.queues = make(map[string]*queue)
	for name, typ := range map[string]string{
		"": typeDirect, "amq.direct": typeDirect, "amq.fanout": typeFanout, "amq.topic": typeTopic,
		"amq.headers": typeHeaders, "amq.match": typeHeaders,
	} {
		vh.mu.exchanges[name] = newExchange(name, typ, true)
	}
	return vh
}

func newExchange(name, typ string, builtin bool) *exchange {
	return &exchange{
		name: name, typ: typ, durable: true, builtin: builtin,
		out: make(map[string]*binding), in: make(map[string]*binding),
	}
}

func (vh *vhost) exchange(name string) *exchange {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return vh.mu.exchanges[name]
}

func (vh *vhost) queue(name string) *queue {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return vh.mu.queues[name]
}

func (vh *vhost) noExchange(name string) error {
	return refuse(codeNotFound, "no exchange '%s' in vhost '%s'", name, vh.name)
}

func (vh *vhost) noQueue(name string) error {
	return refuse(codeNotFound, "no queue '%s' in vhost '%s'", name, vh.name)
}

func (vh *vhost) groupName(queue string) string { return "amqp/" + vh.name + "/" + queue }

// The stored forms: part of the format, fields are only ever added. Args are an
// encoded field table.
type (
	storedExchange struct {
		Type       string `json:"type"`
		AutoDelete bool   `json:"auto_delete,omitempty"`
		Internal   bool   `json:"internal,omitempty"`
		Args       []byte `json:"args,omitempty"`
		// Declarer is missing in what earlier versions stored.
		Declarer *declarer `json:"declarer,omitempty"`
	}
	storedQueue struct {
		AutoDelete bool   `json:"auto_delete,omitempty"`
		Implicit   bool   `json:"implicit,omitempty"`
		Args       []byte `json:"args,omitempty"`
		// After is there where a deleted queue had the name.
		After *ends `json:"after,omitempty"`
		// Declarer is missing in what earlier versions stored.
		Declarer *declarer `json:"declarer,omitempty"`
	}
	storedBinding struct {
		Source  string `json:"source"`
		Dest    string `json:"dest"`
		ToQueue bool   `json:"to_queue,omitempty"`
		Key     string `json:"key"`
		Args    []byte `json:"args,omitempty"`
	}
)

// Keys of the vhost's State.
const (
	keyExchange = "e/"
	keyQueue    = "q/"
	keyBinding  = "b/"
)

// load reads the durable topology, once.
func (vh *vhost) load(ctx context.Context) error {
	vh.loading.Lock()
	defer vh.loading.Unlock()
	if vh.loading.done {
		return nil
	}
	var stored []struct{ key, data string }
	err := vh.s.env.Broker.State.Range(ctx, vh.owner, "", func(key string, v shard.StateValue) bool {
		stored = append(stored, struct{ key, data string }{key, string(v.Data)})
		return true
	})
	if err != nil {
		return err
	}
	var bindings []*binding
	for _, e := range stored {
		switch {
		case strings.HasPrefix(e.key, keyExchange):
			vh.loadExchange(e.key[len(keyExchange):], e.data)
		case strings.HasPrefix(e.key, keyQueue):
			if _, err := vh.loadQueue(ctx, e.key[len(keyQueue):], e.data); err != nil {
				return err
			}
		case strings.HasPrefix(e.key, keyDeleted):
			vh.loadDeleted(e.key[len(keyDeleted):], e.data)
		case strings.HasPrefix(e.key, keyBinding):
			var b storedBinding
			if json.Unmarshal([]byte(e.data), &b) == nil {
				args, _ := frame.DecodeTable(b.Args)
				bindings = append(bindings, newBinding(b.Source, b.Dest, b.ToQueue, b.Key, args))
			}
		}
	}
	vh.mu.Lock()
	for _, b := range bindings {
		b.durable = true
		vh.link(b)
	}
	vh.mu.Unlock()
	if err := vh.settleGroups(ctx); err != nil {
		return err
	}
	vh.warnOfWalls()
	vh.loading.done = true
	return nil
}

func (vh *vhost) loadExchange(name, data string) {
	var e storedExchange
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		vh.s.log.Error("stored exchange is unreadable", "vhost", vh.name, "exchange", name, "error", err)
		return
	}
	x := newExchange(name, e.Type, false)
	x.autoDelete, x.internal, x.declarer = e.AutoDelete, e.Internal, e.Declarer
	x.args, _ = frame.DecodeTable(e.Args)
	x.alternate = alternateOf(x.args)
	vh.enterExchange(x)
}

func (vh *vhost) enterExchange(x *exchange) {
	vh.mu.Lock()
	vh.mu.exchanges[x.name] = x
	vh.mu.Unlock()
	if x.alternate != "" {
		vh.alternates.Store(true)
	}
}

func (vh *vhost) loadQueue(ctx context.Context, name, data string) (*queue, error) {
	var e storedQueue
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		vh.s.log.Error("stored queue is unreadable", "vhost", vh.name, "queue", name, "error", err)
		return nil, nil
	}
	q := &queue{name: name, durable: true, autoDelete: e.AutoDelete, implicit: e.Implicit, in: make(map[string]*binding), declarer: e.Declarer, after: e.After}
	q.args, _ = frame.DecodeTable(e.Args)
	limits, err := limitsOf(q.args)
	if err != nil {
		return nil, err
	}
	q.limits.Store(&limits)
	if q.group, err = vh.s.env.Broker.Groups.Get(vh.groupName(name)); err != nil {
		if shard.KindOf(err) != shard.KindNotFound {
			return nil, err
		}
		if limits.expires > 0 { // it expired while nobody looked
			return nil, vh.forget(ctx, keyQueue+name)
		}
		start := shard.StartNew
		if q.implicit {
			start = shard.StartEarliest
		}
		if err = vh.createGroup(ctx, q, start); err != nil {
			return nil, err
		}
	}
	vh.mu.Lock()
	vh.mu.queues[name] = q
	vh.mu.Unlock()
	vh.limit(q)
	return q, nil
}

// settleGroups gives every queue's group the bindings that follow from the
// topology, and deletes groups that a crash left without a queue.
func (vh *vhost) settleGroups(ctx context.Context) error {
	for _, q := range vh.allQueues() {
		if err := vh.bindGroup(ctx, q); err != nil {
			return err
		}
	}
	prefix := vh.groupName("")
	for _, g := range vh.s.env.Broker.Groups.List(prefix) {
		if err := vh.dropOrphan(ctx, g.Config(), prefix); err != nil {
			return err
		}
	}
	return nil
}

// dropOrphan deletes a durable group whose queue is not stored. A queue is
// stored before its group is made and forgotten before it is deleted.
func (vh *vhost) dropOrphan(ctx context.Context, c shard.GroupConfig, prefix string) error {
	queue := strings.TrimPrefix(c.Name, prefix)
	if !c.Durable || vh.queue(queue) != nil {
		return nil
	}
	if _, stored, err := vh.s.env.Broker.State.Get(ctx, vh.owner, keyQueue+queue); err != nil || stored {
		return err
	}
	vh.s.log.Warn("group without a queue deleted", "group", c.Name)
	if err := vh.s.env.Broker.Groups.Delete(ctx, c.Name); err != nil && shard.KindOf(err) != shard.KindNotFound {
		return err
	}
	return nil
}

func (vh *vhost) allQueues() []*queue {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	qs := make([]*queue, 0, len(vh.mu.queues))
	for _, q := range vh.mu.queues {
		qs = append(qs, q)
	}
	return qs
}

// remember stores a value of the vhost.
func (vh *vhost) remember(ctx context.Context, key string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return shard.Errorf(shard.KindInternal, "encode %s: %w", key, err)
	}
	return shard.ApplyWait(ctx, vh.s.env.Broker.State, vh.owner, shard.StateOp{Key: key, Value: data})
}

// forget drops values of the vhost, all at once.
func (vh *vhost) forget(ctx context.Context, keys ...string) error {
	return vh.forgetAnd(ctx, nil, keys...)
}

// forgetAnd makes other changes with it.
func (vh *vhost) forgetAnd(ctx context.Context, ops []shard.StateOp, keys ...string) error {
	for _, k := range keys {
		ops = append(ops, shard.StateOp{Key: k})
	}
	if len(ops) == 0 {
		return nil
	}
	return shard.ApplyWait(ctx, vh.s.env.Broker.State, vh.owner, ops...)
}

// keyedLocks is a mutex per name, for as long as somebody wants it.
type keyedLocks struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

// lock locks a name and gives what unlocks it.
func (k *keyedLocks) lock(name string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[string]*keyedLock)
	}
	l := k.locks[name]
	if l == nil {
		l = new(keyedLock)
		k.locks[name] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		if l.users--; l.users == 0 {
			delete(k.locks, name)
		}
		k.mu.Unlock()
	}
}
