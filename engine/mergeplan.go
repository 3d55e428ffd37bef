package engine

import (
	"cmp"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/robustmq/robustmq-go/shard"
)

// mergeClass says what a segment holds. Flushes put everything into one object;
// merges part it, since each class ages in its own way.
type mergeClass uint8

// Stored in a segment's row (catalog.SectionClass): never change.
const (
	classMixed mergeClass = 0 // what a flush made, or a merge of versions before classes
	classPlain mergeClass = 1
	classDirty mergeClass = 2 // compacted topics, with records that are superseded
	classClean mergeClass = 3 // compacted topics, without when it was made
	classState mergeClass = 4 // the state log
	maxClass              = classState
	// classSnapshot is not merged: see snapshot.go.
	classSnapshot mergeClass = 255
)

// mergeSeg is what the choice of a merge goes by.
type mergeSeg struct {
	id      ulid.ULID
	level   int
	class   mergeClass
	created int64
	size    int64 // of the object
	live    int64 // bytes of extents that can be read
	extents int   // of these
	bad     bool  // it cannot be read, or takes no part for another reason
}

// mergePolicy chooses merges. It is a function of what segments there are.
//
//   - Size-tiered by count: segments of one level that follow one another in time
//     become one level more once there are n of them, whatever they weigh together.
//     Those that weigh half of what a segment may are left as they are, unless they
//     hold so many shards that together they save rows of the catalog.
//   - What is mostly dead is rewritten alone.
//   - Shards of compacted topics are rewritten when what was added since the last
//     time weighs as much as what was left then.
type mergePolicy struct {
	n       int
	segment int64 // bytes of one segment at most
}

const (
	// maxLevel is where merging ends: 16^6 flushes.
	maxLevel = 6
	// maxRun bounds the segments of one merge: its transaction has room for no more.
	maxRun = 64
	// denseExtents in a large segment make it worth to be merged once more.
	denseExtents = 64
	// runSegments is how many full segments a run that is behind may weigh.
	runSegments = 8
)

func (p mergePolicy) large(s *mergeSeg, level int) bool {
	return s.live >= p.segment/2 && (level > 1 || s.extents < denseExtents)
}

// tier gives a run of segments to be merged into the next level, nil when there is
// none; accept has the last word. segs are sorted by inTime.
func (p mergePolicy) tier(segs []mergeSeg, accept func([]mergeSeg) bool) []mergeSeg {
	var count [maxClass + 1][maxLevel + 1]int // of what may begin a run
	for i := range segs {
		if s := &segs[i]; s.class <= maxClass && s.level < maxLevel && !s.bad && !p.large(s, s.level) {
			count[s.class][s.level]++
		}
	}
	n := min(p.n, maxRun/2)
	if count[classMixed][0] >= n {
		fresh := slices.DeleteFunc(slices.Clone(segs), func(s mergeSeg) bool { return s.level > 0 || s.class != classMixed })
		if run := p.tierOf(fresh, 0, accept); run != nil {
			return run
		}
	}
	for class := classPlain; class <= maxClass; class++ {
		for level := 1; level < maxLevel; level++ {
			if count[class][level]+count[classMixed][level] < n {
				continue
			}
			list := slices.DeleteFunc(slices.Clone(segs), func(s mergeSeg) bool { return s.class != classMixed && s.class != class })
			if run := p.tierOf(list, level, accept); run != nil {
				return run
			}
		}
	}
	return nil
}

// tierOf is tier for one level. A segment of a lower level that lies between those
// of a run is taken in: it would never have neighbours of its own again.
func (p mergePolicy) tierOf(list []mergeSeg, level int, accept func([]mergeSeg) bool) []mergeSeg {
	n := min(p.n, maxRun/2)
	start, count := 0, 0
	for i := range list {
		s := &list[i]
		if s.bad || s.level > level || p.large(s, level) {
			start, count = i+1, 0
			continue
		}
		if s.level == level {
			count++
		}
		for count >= n && s.level == level {
			run := list[start : p.extend(list, start, i, level)+1]
			if len(run) <= maxRun && accept(run) {
				return slices.Clone(run)
			}
			if list[start].level == level {
				count--
			}
			start++
		}
	}
	return nil
}

// extend gives the last segment of a run that begins at start and could end at i:
// one that is behind takes more at a time.
func (p mergePolicy) extend(list []mergeSeg, start, i, level int) int {
	var bytes int64
	for _, s := range list[start : i+1] {
		bytes += s.live
	}
	for i+1 < len(list) && i+1-start < maxRun {
		s := &list[i+1]
		if bytes += s.live; s.bad || s.level != level || p.large(s, level) || bytes > runSegments*p.segment {
			break
		}
		i++
	}
	return i
}

// dead gives the bytes of an object that nobody can read any more; what an index
// takes is not among them.
func (s *mergeSeg) dead() int64 {
	const index, extent, share = 512, 128, 1000
	return max(0, s.size-s.live-index-extent*int64(s.extents)-s.size/share)
}

// sparse gives the segment of which most is dead, by bytes, nil when all are fine.
// What a flush made is merged soon, so more of it may be.
func (p mergePolicy) sparse(segs []mergeSeg) *mergeSeg {
	var worst *mergeSeg
	for i := range segs {
		s := &segs[i]
		part := int64(4)
		if s.level == 0 {
			part = 2
		}
		d := s.dead()
		if s.bad || s.class == classSnapshot || s.live == 0 || d < p.segment/64 || d*part < s.size {
			continue
		}
		if worst == nil || d > worst.dead() {
			worst = s
		}
	}
	return worst
}

// compactShard is a shard of a compacted topic.
type compactShard struct {
	id           shard.ID
	clean, dirty int64 // bytes in segments
}

// due gives the shards that are to be compacted: those that weigh twice what they
// did after the last time, once there is enough of them. Thus compacted topics hold
// twice what is live, and what is enough for a merge.
func (p mergePolicy) due(shards []compactShard) []compactShard {
	var out []compactShard
	var dirty int64
	for _, s := range shards {
		if s.dirty > 0 && s.dirty >= s.clean {
			out = append(out, s)
			dirty += s.dirty
		}
	}
	if dirty < p.segment/4 {
		return nil
	}
	slices.SortFunc(out, func(a, b compactShard) int { return cmp.Or(cmp.Compare(b.dirty, a.dirty), a.id.Compare(b.id)) })
	return out
}

// inTime orders segments as their records came.
func inTime(a, b mergeSeg) int {
	return cmp.Or(cmp.Compare(a.created, b.created), a.id.Compare(b.id))
}

// rowBytes is about what segments take in the catalog.
func rowBytes(segments, extents int) int { return 120*segments + 17*extents }

// worth tells whether a run that may hold large segments saves enough rows to be
// merged; distinct is how many shards it holds.
func (p mergePolicy) worth(run []mergeSeg, distinct int) bool {
	large, extents := false, 0
	var live int64
	for i := range run {
		large = large || run[i].live >= p.segment/2
		extents += run[i].extents
		live += run[i].live
	}
	parts := int((live + p.segment - 1) / p.segment)
	return !large || 10*rowBytes(parts, distinct+parts) <= 6*rowBytes(len(run), extents)
}
