package engine

import (
	"maps"
	"slices"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// ledger knows of each segment how much of it can still be read. It reads the rows of
// a segment once, when it comes to know it; after that it follows what becomes dead:
// shards whose start was raised, topics that were deleted.
type ledger struct {
	mu     sync.Mutex
	segs   map[ulid.ULID]*mergeSeg
	topics map[shard.TopicNum]uint32 // with extents: the number of their shards
	// starts are the offsets below which a shard's extents count as dead in segs.
	starts map[shard.ID]int64
}

// gather brings the ledger up to date and gives what it has, sorted by inTime.
func (e *Engine) gather() []mergeSeg {
	l := &e.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.segs == nil {
		l.segs, l.topics = make(map[ulid.ULID]*mergeSeg), make(map[shard.TopicNum]uint32)
		l.starts = e.kept.allStarts()
	}
	for id, start := range e.kept.takeRaised() {
		e.bury(id, start)
	}
	for num, shards := range l.topics {
		if _, ok := e.cat.Topics().ByNum(num); ok {
			continue
		}
		for index := range shards {
			e.bury(shard.ID{Topic: num, Index: index}, -1)
		}
		delete(l.topics, num)
	}
	seen := make(map[ulid.ULID]bool, len(l.segs))
	for s := range e.cat.Segments() {
		seen[s.ULID] = true
		if l.segs[s.ULID] == nil {
			if full, ok := e.cat.Segment(s.ULID); ok {
				l.segs[s.ULID] = e.measure(&full)
			}
		}
	}
	maps.DeleteFunc(l.segs, func(id ulid.ULID, _ *mergeSeg) bool { return !seen[id] })
	out := make([]mergeSeg, 0, len(l.segs))
	for id, s := range l.segs {
		x := *s
		if _, bad := e.unmergeable.Load(id); bad {
			x.bad = true
		}
		out = append(out, x)
	}
	slices.SortFunc(out, inTime)
	e.noteUnmerged(out)
	return out
}

// bury takes what a shard has below start out of the segments that are known; of a
// topic that is gone, with a start below 0, all. l.mu is held.
func (e *Engine) bury(id shard.ID, start int64) {
	l := &e.ledger
	from := l.starts[id]
	e.cat.WalkExtents(id, func(seg *catalog.Segment, x *catalog.Extent) bool {
		if start >= 0 && x.Last >= start {
			return false
		}
		if s := l.segs[seg.ULID]; s != nil && x.Last >= from {
			s.live -= x.Len
			s.extents--
		}
		return true
	})
	if start < 0 {
		delete(l.starts, id)
		return
	}
	l.starts[id] = max(from, start)
}

// measure reads what a segment holds. l.mu is held.
func (e *Engine) measure(seg *catalog.Segment) *mergeSeg {
	l := &e.ledger
	out := &mergeSeg{id: seg.ULID, level: int(seg.Level), class: classOf(seg), created: seg.Created, size: seg.Size}
	for i := range seg.Extents {
		x := &seg.Extents[i]
		t, ok := e.cat.Topics().ByNum(x.Shard.Topic)
		if !ok || x.Shard.Index >= t.Shards {
			continue
		}
		l.topics[x.Shard.Topic] = max(l.topics[x.Shard.Topic], t.Shards)
		if x.Last >= l.starts[x.Shard] {
			out.live += x.Len
			out.extents++
		}
	}
	return out
}

// classOf gives the class of a segment.
func classOf(seg *catalog.Segment) mergeClass {
	if _, ok := seg.Section(catalog.SectionSnapshot); ok {
		return classSnapshot
	}
	if b, ok := seg.Section(catalog.SectionClass); ok && len(b) == 1 && mergeClass(b[0]) <= maxClass {
		return mergeClass(b[0])
	}
	return classMixed
}

// allStarts gives the start of each shard that has one, and forgets which were raised.
func (k *kept) allStarts() map[shard.ID]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.raised = nil
	if k.starts == nil {
		return make(map[shard.ID]int64)
	}
	return maps.Clone(k.starts)
}

// takeRaised gives the starts that were raised since it was last asked.
func (k *kept) takeRaised() map[shard.ID]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.raised
	k.raised = nil
	return out
}

// unmerged is what flushes made and no merge has taken yet.
type unmerged struct {
	segments int
	bytes    int64
	oldest   int64 // milliseconds; 0: none
}

func (e *Engine) noteUnmerged(segs []mergeSeg) {
	var u unmerged
	for i := range segs {
		if s := &segs[i]; s.level == 0 && s.class != classSnapshot {
			if u.segments++; u.segments == 1 {
				u.oldest = s.created
			}
			u.bytes += s.size
		}
	}
	e.fresh.Store(&u)
}
