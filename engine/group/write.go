package group

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// writes is what a durable group has to write; under the group's lock.
type writes struct {
	configDirty   bool
	dirtyCursors  []*cursor
	bindingsDirty bool // one of all is, perhaps
	dropKeys      []string
	// marked rises with each change that is to be written, done follows it.
	marked, wrote uint64
	writing       bool
	keptBack      bool // several bindings change
	waiters       []waiter
}

type waiter struct {
	upTo uint64
	ch   chan error
}

// writeRetry is how long a write that failed rests.
const writeRetry = time.Second

func cursorKey(id shard.ID) string {
	return "c/" + strconv.FormatUint(uint64(id.Topic), 10) + "/" + strconv.FormatUint(uint64(id.Index), 10)
}

func bindingKey(serial uint64) string { return "b/" + strconv.FormatUint(serial, 10) }

func owner(name string) string { return "group/" + name }

// dirtyLocked notes that a cursor has to be written sometime; markLocked soon.
func (g *group) dirtyLocked(c *cursor) {
	if g.durable && !c.dirty {
		c.dirty = true
		g.dirtyCursors = append(g.dirtyCursors, c)
	}
}

// dirtyBinding notes that a binding has to be written.
func (g *group) dirtyBinding(b *binding) { b.dirty, g.bindingsDirty = true, true }

// markLocked has what is dirty written, and gives what written waits for.
func (g *group) markLocked() uint64 {
	if !g.durable {
		return 0
	}
	g.marked++
	if !g.writing {
		g.kick()
	}
	return g.marked
}

// sweepBehind is how many records an idle cursor may be ahead of what is
// written of it.
const sweepBehind = 10_000

// touch has cursors written that moved by at least so much, and what else there
// is to write.
func (g *group) touch(least int64) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.durable || g.over {
		return 0
	}
	for _, c := range g.cursors {
		if c.floor()-c.saved >= least {
			g.dirtyLocked(c)
		}
	}
	if len(g.dirtyCursors) == 0 && g.wrote == g.marked {
		return 0
	}
	return g.markLocked()
}

// written waits until everything marked up to then is durable.
func (g *group) written(ctx context.Context, upTo uint64) error {
	g.mu.Lock()
	if g.wrote >= upTo {
		g.mu.Unlock()
		return nil
	}
	if g.over {
		g.mu.Unlock()
		return shard.ErrGroupNotFound
	}
	w := waiter{upTo, make(chan error, 1)}
	g.waiters = append(g.waiters, w)
	g.mu.Unlock()
	select {
	case err := <-w.ch:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Sync implements shard.SyncedGroup.
func (g *group) Sync(ctx context.Context) error {
	g.mu.Lock()
	upTo := g.marked
	if len(g.dirtyCursors) > 0 {
		upTo = g.markLocked()
	}
	g.mu.Unlock()
	return g.written(ctx, upTo)
}

// hold keeps writes back while several bindings change, so that they are one.
func (g *group) hold(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keptBack = on; !on && g.wrote < g.marked {
		g.kick()
	}
}

// maxBindingWrite bounds the bindings in one write, in bytes: each may name a
// place in very many shards. The others follow with the next one. So it is with
// cursors, of which there may be one for each topic that there is, and with what is
// deleted: the state takes changes of shard.MaxBatchBytes.
const (
	maxBindingWrite = 4 << 20
	maxCursorWrite  = 4 << 20
)

// keyConfig is where the state has what makes a group one.
const keyConfig = "g"

// keyRoom is about what a change of the state takes beside its value: each has the
// owner's name.
func (g *group) keyRoom() int { return len(g.name) + 64 }

// dirtyBindings gives bindings to write, and whether those are all. One that was
// replaced goes with what took its place: after a crash between two writes there
// would be neither, or both.
func (g *group) dirtyBindings() (bs []*binding, ops []shard.StateOp, all bool) {
	if !g.bindingsDirty {
		return nil, nil, true
	}
	size, adding := 0, false
	for _, b := range g.all {
		if !b.dirty || b.adding {
			adding = adding || b.dirty
			continue
		}
		if size > maxBindingWrite {
			return bs, ops, false
		}
		for ; b != nil && b.dirty; b = b.next {
			op := shard.StateOp{Key: bindingKey(b.serial), Value: encodeBinding(b)}
			size += len(op.Value) + len(g.name)
			b.dirty = false
			bs, ops = append(bs, b), append(ops, op)
		}
	}
	g.bindingsDirty = adding
	return bs, ops, true
}

// takeDirty puts the cursors and keys to drop that one write has room for, and tells
// whether those are all.
func (g *group) takeDirty(put func(key string, value []byte)) (cursors []*cursor, drops []string, all bool) {
	n := min(len(g.dropKeys), max(1, maxCursorWrite/g.keyRoom()))
	drops, g.dropKeys = g.dropKeys[:n:n], g.dropKeys[n:]
	for _, key := range drops {
		put(key, nil)
	}
	size := n * g.keyRoom()
	for n = 0; n < len(g.dirtyCursors) && len(g.dropKeys) == 0 && size < maxCursorWrite; n++ {
		c := g.dirtyCursors[n]
		c.dirty = false
		if !c.gone {
			c.saved = c.floor()
			v := encodeCursor(&savedCursor{c.saved, c.high, c.savedRuns(), c.savedCounts()})
			size += len(v) + g.keyRoom()
			put(cursorKey(c.id), v)
		}
	}
	cursors, g.dirtyCursors = g.dirtyCursors[:n:n], slices.Clone(g.dirtyCursors[n:])
	return cursors, drops, len(g.dirtyCursors)+len(g.dropKeys) == 0
}

// write begins a write if there is something and none is under way. The group
// is locked.
func (g *group) write(now time.Time) {
	if g.writing || g.keptBack || g.wrote == g.marked || g.over || !g.writeAt.IsZero() && now.Before(g.writeAt) {
		return
	}
	g.prune()
	upTo, asked := g.marked, g.marked
	bs, ops, all := g.dirtyBindings()
	if !all {
		upTo = g.wrote
	}
	put := func(key string, value []byte) { ops = append(ops, shard.StateOp{Key: key, Value: value}) }
	config := g.configDirty
	if config {
		put(keyConfig, encodeConfig(&g.cfg, g.idleSince))
	}
	cursors, drops, fits := g.takeDirty(put)
	if !fits {
		upTo = g.wrote
	}
	g.configDirty, g.lazyAt, g.writeAt = false, time.Time{}, time.Time{}
	g.writing = true
	finish := func(err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.writing = false
		if err != nil {
			g.configDirty = g.configDirty || config
			g.dropKeys = append(g.dropKeys, drops...)
			for _, b := range bs {
				g.dirtyBinding(b)
			}
			for _, c := range cursors {
				g.dirtyLocked(c)
			}
			g.writeAt = g.m.opts.Now().Add(writeRetry)
			g.wakeAtLocked(g.writeAt)
			g.answer(asked, err)
		} else {
			g.wrote = upTo
			g.answer(upTo, nil)
		}
		g.cond.Broadcast()
		if g.wrote < g.marked {
			g.kick()
		}
	}
	if len(ops) == 0 {
		go finish(nil)
		return
	}
	go g.m.opts.State.Apply(g.m.ctx, owner(g.name), ops, finish)
}

// answer tells those who wait for writes up to upTo.
func (g *group) answer(upTo uint64, err error) {
	kept := g.waiters[:0]
	for _, w := range g.waiters {
		if w.upTo <= upTo {
			w.ch <- err
		} else {
			kept = append(kept, w)
		}
	}
	clear(g.waiters[len(kept):])
	g.waiters = kept
}

// erase deletes all that is written of a group that ended.
func (g *group) erase(ctx context.Context) error {
	g.mu.Lock()
	for g.writing {
		g.cond.Wait()
	}
	g.answer(g.marked, shard.ErrGroupNotFound)
	g.mu.Unlock()
	if !g.durable {
		return nil
	}
	return g.m.eraseState(ctx, g.name)
}

// eraseState deletes what the state has of a group: first what makes it one, so that
// what a crash leaves is no group. See Load.
func (m *Manager) eraseState(ctx context.Context, name string) error {
	ops := []shard.StateOp{{Key: keyConfig}}
	some := false
	err := m.opts.State.Range(ctx, owner(name), "", func(key string, _ shard.StateValue) bool {
		if some = true; key != keyConfig {
			ops = append(ops, shard.StateOp{Key: key})
		}
		return true
	})
	if err != nil || !some {
		return err
	}
	for part := range slices.Chunk(ops, max(1, maxCursorWrite/(len(name)+64))) {
		if err := shard.ApplyWait(ctx, m.opts.State, owner(name), part...); err != nil {
			return err
		}
	}
	return nil
}
