package group

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
)

// maxPooled bounds the runs that are kept for reuse, in messages.
const maxPooled = 8192

// lent are runs that are kept between batches, and hold nothing meanwhile.
var lent = sync.Pool{New: func() any { return new([]shard.Message) }}

// feed is one shard as seen here.
type feed struct {
	id shard.ID
	mu sync.Mutex
	// end is an offset up to which batches were fed: the last one's end, or 0
	// where none was since somebody wanted to know. Written under mu.
	end     atomic.Int64
	cursors map[*cursor]struct{} // under mu
	badOnce sync.Once
}

// match is what one name matches, made once for all messages under it.
type match struct{ groups []*groupMatch }

// groupMatch is a group with its bindings that match. All but the first three
// fields is under the group's lock.
type groupMatch struct {
	g        *group
	bindings []*binding
	shared   bool // it is its only binding's, of very many matches
	// public are the bindings as they are handed out, made at revision rev.
	public []*shard.Binding
	rev    uint64
	plain  bool
}

// buildMatch gives each group once. One of which a single binding matches, as most are,
// has the match that this binding keeps, and what was made of it.
func buildMatch(bs []*binding) *match {
	m := &match{groups: make([]*groupMatch, 0, len(bs))}
	at := make(map[*group]int, len(bs))
	for _, b := range bs {
		i, ok := at[b.g]
		if !ok {
			at[b.g] = len(m.groups)
			m.groups = append(m.groups, b.alone)
			continue
		}
		gm := m.groups[i]
		if gm.shared {
			gm = &groupMatch{g: b.g, bindings: slices.Clone(gm.bindings)}
			m.groups[i] = gm
		}
		gm.bindings = append(gm.bindings, b)
	}
	for _, gm := range m.groups {
		if !gm.shared {
			slices.SortFunc(gm.bindings, func(a, b *binding) int { return int(a.serial) - int(b.serial) })
		}
	}
	return m
}

// watch has the index find a binding that its group has.
func (m *Manager) watch(b *binding) {
	b.alone = &groupMatch{g: b.g, bindings: []*binding{b}, shared: true}
	m.index.Add(b.filter, b)
}

func (m *Manager) feed(id shard.ID) *feed {
	m.feeds.RLock()
	defer m.feeds.RUnlock()
	return m.feeds.m[id]
}

// makeFeed gives the feed of a shard; a new one has that end. What lies between
// the end of a feed and that of the log may still be fed.
func (m *Manager) makeFeed(id shard.ID, end int64) *feed {
	if f := m.feed(id); f != nil {
		return f
	}
	m.feeds.Lock()
	defer m.feeds.Unlock()
	f := m.feeds.m[id]
	if f == nil {
		f = &feed{id: id, cursors: make(map[*cursor]struct{})}
		f.end.Store(end)
		m.feeds.m[id] = f
	}
	return f
}

// Durable feeds a batch that became visible. The log's owner calls it in the
// shard's order, one batch at a time per shard.
func (m *Manager) Durable(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin) {
	if t.Internal {
		return
	}
	id := t.Shard(index)
	f := m.feed(id)
	can := m.index.CanMatch(t)
	if f == nil {
		if !can {
			return
		}
		f = m.makeFeed(id, b.BaseOffset())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// A binding may have come before the lock: look again.
	if m.index.CanMatch(t) && !b.Control() {
		m.fanOut(f, t, index, b, origin)
	}
	f.end.Store(max(f.end.Load(), b.LastOffset()+1))
}

// fanOut pushes runs of records with one match to each of its groups.
func (m *Manager) fanOut(f *feed, t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin) {
	recs, err := b.Records()
	if err != nil {
		f.badOnce.Do(func() {
			m.opts.Logger.Error("groups skip a batch that cannot be decoded", "shard", f.id.String(), "offset", b.BaseOffset(), "err", err)
		})
		return
	}
	kept := lent.Get().(*[]shard.Message)
	run := (*kept)[:0]
	var cur *match
	now := m.opts.Now().UnixMilli()
	most := 0 // messages that run held
	flush := func() {
		most = max(most, len(run))
		for i := range cur.groups {
			cur.groups[i].g.push(f, cur.groups[i], t, run, b.Held())
		}
		run = run[:0]
	}
	for i := range recs {
		r := &recs[i]
		subject := live.Subject(t, r)
		next := m.index.Match(subject, r)
		if next != cur && len(run) > 0 {
			flush()
		}
		if cur = next; cur != nil {
			run = append(run, shard.Message{Topic: t, Shard: index, Subject: subject, Record: r, Origin: origin, Arrived: now})
		}
	}
	if len(run) > 0 {
		flush()
	}
	if cap(run) <= maxPooled {
		clear(run[:most])
		*kept = run
		lent.Put(kept)
	}
}
