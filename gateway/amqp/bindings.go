package amqp

import (
	"context"

	"github.com/robustmq/robustmq-go/gateway/amqp/frame"
	"github.com/robustmq/robustmq-go/shard"
)

// addBinding makes a binding known, durable where it is, and effective in the
// groups of all queues that it concerns.
func (vh *vhost) addBinding(c *conn, x *exchange, b *binding) error {
	if x.typ == typeHeaders {
		if _, err := headersOf(b.args); err != nil {
			return err
		}
	}
	if err := vh.within(vh.filterText(x, b)); err != nil {
		return err
	}
	if err := vh.mayBind(c, x, b); err != nil {
		return err
	}
	if err := vh.ensureTopic(c.ctx, x); err != nil {
		return err
	}
	vh.mu.Lock()
	if _, ok := x.out[b.id]; ok {
		vh.mu.Unlock()
		return nil // bound already (AMQP 1.7.2.3: duplicates are ignored)
	}
	vh.link(b)
	q := vh.mu.queues[b.dest]
	vh.mu.Unlock()
	done, err := false, error(nil)
	if b.toQueue && q != nil {
		done, err = vh.extend(c.ctx, q, b)
	}
	if !done && err == nil {
		err = vh.rebind(c.ctx, b)
	}
	if err == nil && b.durable {
		err = vh.remember(c.ctx, keyBinding+b.id, storedBinding{b.source, b.dest, b.toQueue, b.key, frame.AppendTable(nil, b.args)})
	}
	if err != nil {
		vh.mu.Lock()
		vh.unlink(b)
		vh.mu.Unlock()
		if undo := vh.rebind(c.ctx, b); undo != nil {
			vh.s.log.Warn("binding not undone", "binding", b.id, "error", undo)
		}
		return err
	}
	return nil
}

// extend adds to the bindings of a queue's group what one more binding of the queue
// brings: of thousands, the others need no look. ok is false where it takes bindGroup
// to tell. The queue is locked, or all of the topology.
func (vh *vhost) extend(ctx context.Context, q *queue, b *binding) (ok bool, err error) {
	w := walker{vh: vh, seen: make(map[string]bool)}
	vh.mu.RLock()
	w.step(b, anyKey, nil)
	vh.mu.RUnlock()
	if w.over || q.bound < 0 || q.bound+len(w.out) > maxEffective {
		return false, nil
	}
	for i := range w.out {
		r := &w.out[i]
		if r.exchange.name == "amq.topic" || len(r.headers) > 1 {
			return false, nil
		}
	}
	for i := range w.out {
		r := &w.out[i]
		nb := shard.Binding{Filter: vh.subjects(r), Headers: conjunction(r.headers)[0], Data: []byte(dataExchange)}
		nb.ID = bindingID(nb.Filter, nb.Headers)
		if err := q.group.Bindings().Add(ctx, nb); err != nil {
			return false, err
		}
		q.bound++
	}
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return len(q.streams) == 0, nil
}

// bindingID tells the bindings of a group apart.
func bindingID(f shard.Filter, m *shard.HeaderMatch) string {
	return f.String() + "\x00" + headersID(m)
}

// align adds and removes what bindings differ from those that are wanted, but for
// the default exchange's.
func align(ctx context.Context, bs shard.GroupBindings, want map[string]shard.Binding) error {
	have := make(map[string]*shard.Binding)
	for _, b := range bs.List() {
		have[b.ID] = b
	}
	for id, b := range want {
		if h := have[id]; h == nil || string(h.Data) != string(b.Data) {
			if err := bs.Add(ctx, b); err != nil {
				return err
			}
		}
	}
	for id := range have {
		if _, ok := want[id]; !ok && id != bindingDefault {
			if err := bs.Remove(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// rebind brings the groups that a binding concerns in line.
func (vh *vhost) rebind(ctx context.Context, b *binding) error {
	queues := []*queue{vh.queue(b.dest)}
	if !b.toQueue {
		queues = vh.downstream(vh.exchange(b.dest))
	}
	for _, q := range queues {
		if q == nil {
			continue
		}
		if err := vh.bindGroup(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// removeBinding undoes addBinding; orphan names an auto-delete exchange that
// lost its last binding. Unknown bindings are no error.
func (vh *vhost) removeBinding(c *conn, b *binding) (orphan string, err error) {
	ctx, x := c.ctx, vh.exchange(b.source)
	if x == nil {
		return "", nil
	}
	if err := vh.mayBind(c, x, b); err != nil {
		return "", err
	}
	vh.mu.Lock()
	known, ok := x.out[b.id]
	if !ok {
		vh.mu.Unlock()
		return "", nil
	}
	if vh.unlink(known) {
		orphan = x.name
	}
	vh.mu.Unlock()
	if known.durable {
		if err := vh.forget(ctx, keyBinding+b.id); err != nil {
			return "", err
		}
	}
	return orphan, vh.rebind(ctx, known)
}

// filterText is what a binding reads, as access rules name it.
func (vh *vhost) filterText(x *exchange, b *binding) string {
	return textOf(vh.subjects(&route{exchange: x, tokens: tokensOf(x, b)}))
}

// textOf gives a filter as access rules name it.
func textOf(f shard.Filter) string {
	text := ""
	for i, t := range f.Tokens {
		if i > 0 {
			text += "."
		}
		switch t.Kind {
		case shard.TokenOne:
			text += "*"
		case shard.TokenMany, shard.TokenRest:
			return text + ">"
		default:
			text += t.Text
		}
	}
	return text
}
