package group

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/engine/live"
	"github.com/robustmq/robustmq-go/shard"
)

// maxConds bounds the conditions of a binding.
const maxConds = 1024

// binding is one filter of a group, or what is left of it. All but the first
// four fields is under the group's lock.
type binding struct {
	g      *group
	serial uint64
	filter shard.Filter
	plain  bool // no condition but the filter

	pub *shard.Binding
	// starts are where it begins in shards that held something when it was
	// added, ends where it ended; a shard that is not there has 0.
	starts, ends map[shard.ID]int64
	// adding, removing: the change is under way; a shard not there was not yet
	// looked at.
	adding, removing, removed bool
	dirty                     bool
	// next took its place: who is to read one of them from the state has to find both.
	next *binding
}

func newBinding(g *group, serial uint64, pub *shard.Binding) *binding {
	return &binding{
		g: g, serial: serial, filter: pub.Filter, pub: pub,
		plain: pub.Headers == nil && pub.NotFrom == "", starts: make(map[shard.ID]int64),
	}
}

// covers tells whether an offset lies between the binding's start and end.
func (b *binding) covers(id shard.ID, offset int64) bool {
	s, ok := b.starts[id]
	if offset < s || !ok && b.adding {
		return false
	}
	if !b.removing && !b.removed {
		return true
	}
	e, ok := b.ends[id]
	return offset < e || !ok && b.removing
}

// takes tells whether a record meets what the binding asks beyond its filter.
func (b *binding) takes(r *shard.Record) bool {
	if b.plain {
		return true
	}
	if b.pub.NotFrom != "" {
		if v, ok := r.Header(shard.HeaderOrigin); ok && string(v) == b.pub.NotFrom {
			return false
		}
	}
	return b.pub.Headers.Match(r)
}

// all tells whether every record from offset on, in that shard, is the group's
// for all bindings that match.
func (gm *groupMatch) all(id shard.ID, offset int64) bool {
	if gm.rev != gm.g.rev || gm.public == nil {
		gm.rev, gm.plain = gm.g.rev, true
		gm.public = make([]*shard.Binding, len(gm.bindings))
		for i, b := range gm.bindings {
			gm.public[i] = b.pub
			gm.plain = gm.plain && b.plain && !b.adding && !b.removing && !b.removed
		}
	}
	if !gm.plain {
		return false
	}
	for _, b := range gm.bindings {
		if b.starts[id] > offset {
			return false
		}
	}
	return true
}

// matching gives those of bs, whose filters match, that take the record.
func (g *group) matching(bs []*binding, id shard.ID, r *shard.Record) []*shard.Binding {
	var pub []*shard.Binding
	for _, b := range bs {
		if b.covers(id, r.Offset) && b.takes(r) {
			pub = append(pub, b.pub)
		}
	}
	return pub
}

// manyBindings is from how many on a group that reads looks them up in a trie.
const manyBindings = 8

// walled tells whether messages of a subject are kept from the group.
func (g *group) walled(subject string) bool {
	for _, prefix := range g.limits.NotUnder {
		if strings.HasPrefix(subject, prefix) {
			return true
		}
	}
	return false
}

// match gives the bindings, removed ones too, that take a record.
func (g *group) match(c *cursor, subject string, r *shard.Record) []*shard.Binding {
	if g.walled(subject) {
		return nil
	}
	if len(g.all) <= manyBindings {
		var pub []*shard.Binding
		for _, b := range g.all {
			if b.covers(c.id, r.Offset) && b.filter.MatchMessage(subject, r) && b.takes(r) {
				pub = append(pub, b.pub)
			}
		}
		return pub
	}
	if g.lookup == nil || g.lookRev != g.rev {
		g.lookRev = g.rev
		g.lookup = live.NewIndex(func(bs []*binding) *[]*binding {
			slices.SortFunc(bs, func(a, b *binding) int { return int(a.serial) - int(b.serial) })
			return &bs
		})
		for _, b := range g.all {
			g.lookup.Add(b.filter, b)
		}
	}
	bs := g.lookup.Match(subject, r)
	if bs == nil {
		return nil
	}
	return g.matching(*bs, c.id, r)
}

// takesAll tells whether surely each record of a shard is the group's.
func (g *group) takesAll(c *cursor) bool {
	if g.limits.NotUnder != nil && c.top.CapturesMany() || g.walled(c.top.Name) {
		return false
	}
	for _, b := range g.all {
		if !b.plain || b.removed || b.removing || b.adding || b.starts[c.id] > c.next {
			continue
		}
		f := b.filter
		if f.Space == shard.SpaceSubject && len(f.Tokens) == 1 && (f.Tokens[0].Kind == shard.TokenRest || f.Tokens[0].Kind == shard.TokenMany) {
			return true
		}
		if !c.top.CapturesMany() && f.MatchMessage(c.top.Name, &shard.Record{}) {
			return true
		}
		if len(c.top.Captures) == 1 && "."+c.top.Captures[0] == f.String() {
			return true
		}
	}
	return false
}

// bindings implements shard.GroupBindings.
type bindings group

// List implements shard.GroupBindings.
func (bs *bindings) List() []*shard.Binding {
	g := (*group)(bs)
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*shard.Binding, 0, len(g.bound))
	for _, b := range g.bound {
		out = append(out, b.pub)
	}
	slices.SortFunc(out, func(a, b *shard.Binding) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Add implements shard.GroupBindings.
func (bs *bindings) Add(ctx context.Context, xs ...shard.Binding) error {
	g := (*group)(bs)
	for i := range xs {
		if err := checkBinding(&xs[i]); err != nil {
			return err
		}
	}
	return g.together(ctx, len(xs), func(i int) (uint64, error) { return g.bind(ctx, &xs[i]) })
}

// together makes n changes of bindings, each of which tells the write that makes it
// durable, and waits for that of the last.
func (g *group) together(ctx context.Context, n int, change func(i int) (wait uint64, err error)) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	var wait uint64
	g.hold(true)
	for i := range n {
		w, err := change(i)
		if err != nil {
			g.hold(false)
			return err
		}
		wait = max(wait, w)
	}
	g.hold(false)
	return g.written(ctx, wait)
}

// bind adds one binding, and tells which write makes it durable. g.changing is
// held.
func (g *group) bind(ctx context.Context, x *shard.Binding) (wait uint64, err error) {
	pub := cloneBinding(x)
	g.mu.Lock()
	if g.over {
		g.mu.Unlock()
		return 0, shard.ErrGroupNotFound
	}
	old := g.bound[x.ID]
	if old != nil && sameMeaning(old.pub, pub) {
		old.pub = pub
		g.dirtyBinding(old)
		g.rev++
		wait = g.markLocked()
		g.mu.Unlock()
		return wait, nil
	}
	g.serial++
	n := newBinding(g, g.serial, pub)
	n.adding = true
	g.all = append(slices.Clip(g.all), n)
	if old != nil {
		old.removing, old.ends = true, make(map[shard.ID]int64)
	}
	g.pending++
	g.rev++
	g.mu.Unlock()
	g.m.index.Add(n.filter, n)
	err = g.cut(ctx, n, old)
	wait = g.settle(n, old, err)
	g.kick()
	return wait, err
}

// settle ends a change of bindings: n takes the place of old, either may be nil.
// After an error all is as it was.
func (g *group) settle(n, old *binding, err error) (wait uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending--
	g.rev++
	if err != nil || g.over {
		if n != nil {
			g.all = slices.DeleteFunc(slices.Clone(g.all), func(b *binding) bool { return b == n })
			g.m.index.Remove(n.filter, n)
		}
		if old != nil {
			old.removing, old.ends = false, nil
		}
		return 0
	}
	if old != nil {
		delete(g.bound, old.pub.ID)
		old.removing, old.removed = false, true
		g.removed++
		g.dirtyBinding(old)
		for _, c := range g.cursors {
			if _, ok := old.ends[c.id]; !ok {
				old.ends[c.id] = c.f.end.Load()
			}
		}
		old.next = n
		g.m.index.Remove(old.filter, old)
		if g.attended {
			g.m.attended.Remove(old.filter, old)
		}
	}
	if n != nil {
		n.adding = false
		g.dirtyBinding(n)
		g.bound[n.pub.ID] = n
		if g.attended {
			g.m.attended.Add(n.filter, n)
		}
	}
	return g.markLocked()
}

// Remove implements shard.GroupBindings.
func (bs *bindings) Remove(ctx context.Context, ids ...string) error {
	g := (*group)(bs)
	return g.together(ctx, len(ids), func(i int) (uint64, error) { return g.unbind(ctx, ids[i]) })
}

func (g *group) unbind(ctx context.Context, id string) (wait uint64, err error) {
	g.mu.Lock()
	old := g.bound[id]
	if g.over || old == nil {
		over := g.over
		g.mu.Unlock()
		if over {
			return 0, shard.ErrGroupNotFound
		}
		return 0, nil
	}
	old.removing, old.ends = true, make(map[shard.ID]int64)
	g.pending++
	g.rev++
	g.mu.Unlock()
	err = g.cut(ctx, nil, old)
	wait = g.settle(nil, old, err)
	g.kick()
	return wait, err
}

// cut says for each shard that holds anything where n begins and old ends.
func (g *group) cut(ctx context.Context, n, old *binding) error {
	topics := make(map[*shard.Topic]struct{})
	for _, b := range []*binding{n, old} {
		if b != nil {
			g.m.opts.Topics.Overlapping(b.filter, func(t *shard.Topic) {
				if !t.Internal {
					topics[t] = struct{}{}
				}
			})
		}
	}
	for t := range topics {
		for i := range t.Shards {
			if err := g.cutShard(ctx, t, t.Shard(i), n, old); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *group) cutShard(ctx context.Context, t *shard.Topic, id shard.ID, n, old *binding) error {
	b, err := g.m.opts.Log.Bounds(ctx, id)
	if err != nil && shard.KindOf(err) != shard.KindNotFound {
		return shard.At(err, "bind group", id, 0)
	}
	if err != nil || b.End == 0 {
		return nil
	}
	f := g.m.makeFeed(id, 0)
	f.mu.Lock()
	defer f.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return shard.ErrGroupNotFound
	}
	cut := max(b.End, f.end.Load())
	if old != nil {
		old.ends[id] = cut
		g.readUpTo(f, t, cut, n)
	}
	switch {
	case n == nil:
	case n.pub.Start == shard.StartEarliest && b.Start < cut:
		n.starts[id] = b.Start
		g.startAt(f, t, b.Start, cut, n)
	default:
		n.starts[id] = cut
		if g.durable && len(g.all) == 1 { // else an older one may have something before the cut that is not fed yet
			g.cursorLocked(f, t, cut)
		}
	}
	return nil
}

// readUpTo has the group read what is visible and not yet fed, for a binding
// that ends and will not be known when it is fed.
func (g *group) readUpTo(f *feed, t *shard.Topic, end int64, n *binding) {
	fed := max(f.end.Load(), g.lowestStart(f.id, n))
	if fed >= end {
		return
	}
	c := g.cursorLocked(f, t, fed)
	if c.live {
		c.setLive(false)
		c.next, c.counted, c.behind = max(c.next, fed), end, 0
	}
	c.gen++ // a read under way may have found the end before this was visible
}

// startAt has the group read a shard from an offset for a new binding. For the
// older ones, what is done stays done.
func (g *group) startAt(f *feed, t *shard.Topic, start, end int64, n *binding) {
	c := g.cursors[f.id]
	if c == nil {
		c = g.cursorLocked(f, t, start)
		c.setLive(false)
		c.counted = end
		return
	}
	floor := c.floor()
	for _, b := range g.all {
		if b != n {
			b.starts[f.id] = max(b.starts[f.id], floor)
			g.dirtyBinding(b)
		}
	}
	c.rewind(start)
}

// prune forgets removed bindings that no cursor needs any more.
func (g *group) prune() {
	if g.removed == 0 {
		return
	}
	needed := func(b *binding) bool {
		for id, end := range b.ends {
			c := g.cursors[id]
			if c != nil && b.starts[id] < end && (c.next < end && !c.live || g.durable && c.floor() < end) {
				return true
			}
		}
		return false
	}
	var kept []*binding
	for _, b := range g.all {
		if b.removed && !needed(b) && (b.next == nil || !b.next.dirty) {
			if g.durable {
				g.dropKeys = append(g.dropKeys, bindingKey(b.serial))
			}
			g.removed--
			continue
		}
		kept = append(kept, b)
	}
	if len(kept) < len(g.all) {
		g.all = kept
		g.rev++
	}
}

func checkBinding(b *shard.Binding) error {
	switch {
	case len(b.Filter.Tokens) == 0:
		return shard.Errorf(shard.KindInvalid, "bind group: filter is empty")
	case len(b.ID) > maxName || len(b.NotFrom) > maxName:
		return shard.Errorf(shard.KindTooLarge, "bind group: id or not-from is too long")
	case b.Headers != nil && len(b.Headers.Conds) > maxConds:
		return shard.Errorf(shard.KindTooLarge, "bind group: %d conditions", len(b.Headers.Conds))
	}
	return nil
}

func cloneBinding(x *shard.Binding) *shard.Binding {
	b := *x
	b.Filter.Tokens = slices.Clone(x.Filter.Tokens)
	b.Data = slices.Clone(x.Data)
	if x.Headers != nil {
		h := *x.Headers
		h.Conds = slices.Clone(x.Headers.Conds)
		b.Headers = &h
	}
	return &b
}

// sameMeaning tells whether two bindings of one ID match the same, so that
// neither the start nor the end of any message changes.
func sameMeaning(a, b *shard.Binding) bool {
	if a.Filter.Space != b.Filter.Space || !slices.Equal(a.Filter.Tokens, b.Filter.Tokens) ||
		a.NotFrom != b.NotFrom || (a.Headers == nil) != (b.Headers == nil) {
		return false
	}
	return a.Headers == nil || a.Headers.Any == b.Headers.Any &&
		slices.EqualFunc(a.Headers.Conds, b.Headers.Conds, func(x, y shard.HeaderCond) bool {
			return x.Name == y.Name && (x.Value == nil) == (y.Value == nil) && bytes.Equal(x.Value, y.Value)
		})
}

// sortedIDs gives the keys of a position map in order.
func sortedIDs(m map[shard.ID]int64) []shard.ID {
	return slices.SortedFunc(maps.Keys(m), shard.ID.Compare)
}
