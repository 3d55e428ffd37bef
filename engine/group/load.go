package group

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// Load restores the durable groups that the state holds. What of them cannot be
// read is logged and left as it is. Call it once, before batches are fed.
func (m *Manager) Load(ctx context.Context) error {
	owners, err := m.opts.State.Owners(ctx, "group/")
	if err != nil {
		return fmt.Errorf("load groups: %w", err)
	}
	m.begin(ctx)
	for _, o := range owners {
		g, err := m.load(ctx, strings.TrimPrefix(o, "group/"))
		if err != nil {
			return fmt.Errorf("load group %q: %w", o, err)
		}
		if g == nil {
			continue
		}
		m.mu.Lock()
		if m.mu.groups[g.name] == nil {
			m.mu.groups[g.name] = g
			close(g.ready)
		}
		m.mu.Unlock()
		g.mu.Lock()
		if g.configDirty {
			g.markLocked()
		}
		g.rescheduleLocked()
		guessed := g.guessed()
		g.mu.Unlock()
		if guessed {
			g.kick()
		}
	}
	return nil
}

// load restores one group; nil if it has no readable config.
func (m *Manager) load(ctx context.Context, name string) (*group, error) {
	v, ok, err := m.opts.State.Get(ctx, owner(name), keyConfig)
	if err != nil {
		return nil, err
	}
	if !ok {
		m.eraseRest(ctx, name)
		return nil, nil
	}
	cfg, idleMs, err := decodeConfig(v.Data)
	if err != nil {
		m.opts.Logger.Error("a group is not restored", "group", name, "err", err)
		return nil, nil
	}
	cfg.Name = name
	g := newGroup(m, cfg)
	g.idleSince = time.UnixMilli(idleMs)
	if idleMs == 0 {
		g.idleSince, g.configDirty = m.opts.Now(), true
	}
	saved := make(map[shard.ID][]byte)
	err = m.opts.State.Range(ctx, owner(name), "", func(key string, v shard.StateValue) bool {
		g.restore(key, v.Data, saved)
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, b := range g.all {
		if !b.removed {
			m.watch(b)
		}
	}
	if err := g.restoreCursors(ctx, saved); err != nil {
		for _, b := range g.all {
			m.index.Remove(b.filter, b)
		}
		return nil, err
	}
	return g, nil
}

// eraseRest deletes what is left of a group whose deletion a crash broke off.
func (m *Manager) eraseRest(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, beginWithin)
	defer cancel()
	if err := m.eraseState(ctx, name); err != nil {
		m.opts.Logger.Warn("what is left of a deleted group is not deleted now", "group", name, "err", err)
	}
}

// restore takes one value of a group that nobody else knows yet.
func (g *group) restore(key string, data []byte, saved map[shard.ID][]byte) {
	bad := func(err error) {
		g.m.opts.Logger.Error("a part of a group is not restored", "group", g.name, "key", key, "err", err)
	}
	switch {
	case strings.HasPrefix(key, "b/"):
		serial, err := strconv.ParseUint(key[2:], 10, 63)
		if err != nil {
			bad(err)
			return
		}
		b, err := decodeBinding(data)
		if err != nil {
			bad(err)
			return
		}
		b.g, b.serial = g, serial
		g.serial = max(g.serial, serial)
		g.all = append(g.all, b)
		if !b.removed {
			g.bound[b.pub.ID] = b
		} else {
			g.removed++
		}
	case strings.HasPrefix(key, "c/"):
		topic, index, _ := strings.Cut(key[2:], "/")
		n, err1 := strconv.ParseUint(topic, 10, 64)
		i, err2 := strconv.ParseUint(index, 10, 32)
		if err1 != nil || err2 != nil {
			bad(corrupt())
			return
		}
		saved[shard.ID{Topic: shard.TopicNum(n), Index: uint32(i)}] = data
	}
}

// restoreCursors makes the cursors that were saved, and those of shards that a
// binding covers and no message of which was acknowledged yet.
func (g *group) restoreCursors(ctx context.Context, saved map[shard.ID][]byte) error {
	for id, data := range saved {
		t, ok := g.m.opts.Topics.ByNum(id.Topic)
		if !ok {
			g.dropKeys = append(g.dropKeys, cursorKey(id))
			continue
		}
		c, err := decodeCursor(data)
		if err != nil {
			g.m.opts.Logger.Error("a group's cursor is not restored; it begins again", "group", g.name, "shard", id.String(), "err", err)
			continue
		}
		if err := g.restoreCursor(ctx, t, id, c); err != nil {
			return err
		}
	}
	var err error
	for _, b := range g.all {
		if b.removed {
			for id, end := range b.ends {
				if t, ok := g.m.opts.Topics.ByNum(id.Topic); ok && err == nil && b.starts[id] < end {
					err = g.restoreCursor(ctx, t, id, savedCursor{floor: g.lowestStart(id, nil)})
				}
			}
			continue
		}
		g.m.opts.Topics.Overlapping(b.filter, func(t *shard.Topic) {
			for i := range t.Shards {
				if id := t.Shard(i); err == nil && !t.Internal {
					err = g.restoreCursor(ctx, t, id, savedCursor{floor: g.lowestStart(id, nil)})
				}
			}
		})
	}
	return err
}

// lowestStart is where the first binding but one begins in a shard.
func (g *group) lowestStart(id shard.ID, but *binding) int64 {
	low := int64(-1)
	for _, b := range g.all {
		if s := b.starts[id]; b != but && (low < 0 || s < low) {
			low = s
		}
	}
	return max(low, 0)
}

func (g *group) restoreCursor(ctx context.Context, t *shard.Topic, id shard.ID, saved savedCursor) error {
	if g.cursors[id] != nil {
		return nil
	}
	b, err := g.m.opts.Log.Bounds(ctx, id)
	if err != nil && shard.KindOf(err) == shard.KindNotFound || err == nil && b.End == 0 && saved.floor == 0 {
		return nil
	}
	if err != nil {
		return shard.At(err, "restore cursor", id, saved.floor)
	}
	f := g.m.makeFeed(id, 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	end := max(b.End, f.end.Load())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cursors[id] != nil { // fed meanwhile
		return nil
	}
	c := g.cursorLocked(f, t, saved.floor)
	c.high, c.redelivered, c.acked, c.saved = saved.high, saved.high, saved.runs, saved.floor
	if len(saved.counts) > 0 {
		c.counts = make(map[int64]int32, len(saved.counts))
		for _, x := range saved.counts {
			c.counts[x.offset] = x.count
		}
	}
	c.counted = end
	if g.m.killed {
		c.perhaps = end
	}
	c.setLive(saved.floor >= end)
	c.advance()
	return nil
}
