package catalog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// MaxSwapCost bounds a swap: a segment removed costs 1, one added 2. They are
// compares of one transaction, and the fence is one more.
const MaxSwapCost = maxTxnOps - 20

// CommitSegment makes a segment part of the log: one transaction, one value
// (more keys only past half a MiB of extents), fenced by the incarnation. When
// it returns nil the segment is durable in etcd and in this process's view.
//
// It may be repeated with the same segment after any error, and has to be after
// ErrUnavailable before its object or its WAL records are let go, since the
// commit may have happened. Errors: ErrFenced, ErrUnavailable, ErrOverlap (the
// offsets are committed already, in another segment), ErrTooLarge (cut it in
// two), ErrInvalid, ErrConflict (the ULID was used before for something else).
func (s *Session) CommitSegment(ctx context.Context, seg Segment) error {
	ctx, cancel := s.context(ctx)
	defer cancel()
	if err := s.swap(ctx, []Segment{seg}, nil); err != nil {
		return fmt.Errorf("commit segment %s: %w", seg.ULID, err)
	}
	return nil
}

// SwapSegments replaces segments by others: one transaction, so that no reader
// of any gateway sees a state between. Removed segments are written to the
// deletions in it, but for those whose object an added segment names too. It
// may be repeated unchanged like CommitSegment. Errors: those of CommitSegment,
// and ErrConflict when a segment to be removed is not there any more.
func (s *Session) SwapSegments(ctx context.Context, add []Segment, remove []ULID) error {
	if len(add) == 0 && len(remove) == 0 {
		return nil
	}
	ctx, cancel := s.context(ctx)
	defer cancel()
	if err := s.swap(ctx, add, remove); err != nil {
		return fmt.Errorf("swap %d segments for %d: %w", len(remove), len(add), err)
	}
	return nil
}

// swapPlan is a swap made ready: its transaction and what it changes.
type swapPlan struct {
	txn     txn
	changes []change
	heads   map[string][]byte // head keys of what is added
	bytes   int
}

func (s *Session) swap(ctx context.Context, add []Segment, remove []ULID) error {
	if s.fenced() {
		return ErrFenced
	}
	if cost := 2*len(add) + len(remove); cost > MaxSwapCost {
		return fmt.Errorf("%w: swap costs %d, over %d", ErrTooLarge, cost, MaxSwapCost)
	}
	plan := swapPlan{heads: map[string][]byte{}}
	for i := range add {
		if err := s.planAdd(&plan, &add[i]); err != nil {
			return err
		}
	}
	if s.committed(add, remove) {
		return nil
	}
	if err := s.planRemove(&plan, add, remove); err != nil {
		return err
	}
	if err := s.checkOverlap(add, remove); err != nil {
		return err
	}
	plan.txn.nest()
	out, err := s.run(ctx, "commit", plan.txn)
	if err != nil {
		return err
	}
	if out.ok {
		s.c.applyOwn(out.rev, plan.changes...)
		return nil
	}
	return s.settle(ctx, &plan, out, remove)
}

// planAdd adds the keys of a new segment. That the ULID is in no deletion
// either keeps a repeated commit from bringing back a segment that was
// committed, its answer lost, and compacted away since.
func (s *Session) planAdd(p *swapPlan, seg *Segment) error {
	values, err := encodeSegment(seg)
	if err != nil {
		return err
	}
	head := s.c.key(kindSegment, partName(seg.ULID, 0))
	if _, twice := p.heads[head]; twice {
		return fmt.Errorf("%w: segment %s is added twice", ErrInvalid, seg.ULID)
	}
	p.heads[head] = values[0]
	gone := s.c.key(kindDeletion, seg.ULID.String())
	p.txn.iff(absent(head), absent(gone))
	p.txn.orGet(head, gone)
	for i, v := range values {
		name := partName(seg.ULID, i)
		p.txn.put(s.c.key(kindSegment, name), v)
		p.changes = append(p.changes, own(kindSegment, name, v))
		p.bytes += len(v)
	}
	if p.bytes > MaxSegmentBytes {
		return fmt.Errorf("%w: %d bytes of segments", ErrTooLarge, p.bytes)
	}
	return nil
}

// planRemove adds the deletion of segments, and of the parts they consist of.
func (s *Session) planRemove(p *swapPlan, add []Segment, remove []ULID) error {
	kept := map[string]bool{}
	for i := range add {
		kept[add[i].Key] = true
	}
	now := s.c.cfg.Now().UnixMilli()
	seen := map[ULID]bool{}
	for _, id := range remove {
		e, ok := s.c.segments.lookup(id)
		if !ok {
			return fmt.Errorf("%w: segment %s is not there", ErrConflict, id)
		}
		if seen[id] {
			return fmt.Errorf("%w: segment %s is removed twice", ErrInvalid, id)
		}
		seen[id] = true
		head := s.c.key(kindSegment, partName(id, 0))
		p.txn.iff(clientv3.Compare(clientv3.CreateRevision(head), ">", 0))
		for part := range e.parts + 1 {
			p.txn.do(clientv3.OpDelete(s.c.key(kindSegment, partName(id, part))))
			p.changes = append(p.changes, ownDelete(kindSegment, partName(id, part)))
		}
		if kept[e.seg.Key] {
			continue
		}
		value := encodeDeletion(Deletion{ULID: id, Key: e.seg.Key, Size: e.seg.Size, When: now})
		p.txn.put(s.c.key(kindDeletion, id.String()), value)
		p.changes = append(p.changes, own(kindDeletion, id.String(), value))
	}
	return nil
}

// nest folds the operations into transactions without condition, so that their
// number does not meet etcd's bound on one list. etcd grants a transaction
// within another only what the longest list of the outer one has left over.
func (t *txn) nest() {
	if len(t.then) < maxTxnOps {
		return
	}
	each := maxTxnOps - 1 - max(len(t.cmps), len(t.els)) // the fence comes on top
	var folded []clientv3.Op
	for part := range slices.Chunk(t.then, max(each, 1)) {
		folded = append(folded, clientv3.OpTxn(nil, part, nil))
	}
	t.then = folded
}

// committed tells whether the view has a swap's outcome already, from an earlier
// attempt: all that it adds is there or, if it was only a commit or only a
// removal, all it names is among the deletions.
func (s *Session) committed(add []Segment, remove []ULID) bool {
	there, gone := 0, 0
	for i := range add {
		if e, ok := s.c.segments.lookup(add[i].ULID); ok && e.equal(&add[i]) {
			there++
		} else if !ok && s.c.deleted.has(add[i].ULID) {
			gone++
		}
	}
	for _, id := range remove {
		if _, ok := s.c.segments.lookup(id); !ok && s.c.deleted.has(id) {
			gone++
		}
	}
	if len(add) > 0 && there == len(add) {
		return true
	}
	return (len(add) == 0 || len(remove) == 0) && gone == len(add)+len(remove)
}

// equal tells whether an entry is this very segment.
func (e *entry) equal(seg *Segment) bool {
	h := e.head()
	if e.seg.Key != seg.Key || e.seg.Level != seg.Level || e.seg.Size != seg.Size || e.count != len(seg.Extents) || !slices.EqualFunc(e.seg.Sections, seg.Sections, Section.equal) {
		return false
	}
	same, i := true, 0
	err := h.walk(func(x *Extent, _ int) {
		same = same && *x == seg.Extents[i]
		i++
	})
	return err == nil && same
}

// checkOverlap refuses offsets that a segment which stays holds already, and
// those that two of the added ones hold.
func (s *Session) checkOverlap(add []Segment, remove []ULID) error {
	pass := make(map[ULID]bool, len(remove))
	for _, id := range remove {
		pass[id] = true
	}
	var all []Extent
	for i := range add {
		for _, x := range add[i].Extents {
			if o, yes := s.c.segments.overlap(x.Shard, x.Base, x.Last, pass); yes {
				return shard.At(fmt.Errorf("%w: %s (object %s)", ErrOverlap, o.ULID, o.Key), "check extents", x.Shard, x.Base)
			}
		}
		if len(add) > 1 {
			all = append(all, add[i].Extents...)
		}
	}
	slices.SortFunc(all, func(a, b Extent) int { return cmp.Or(a.Shard.Compare(b.Shard), cmp.Compare(a.Base, b.Base)) })
	for i := 1; i < len(all); i++ {
		if !follows(&all[i-1], &all[i]) {
			return shard.At(fmt.Errorf("%w: both are added", ErrOverlap), "check extents", all[i].Shard, all[i].Base)
		}
	}
	return nil
}

// settle reads from a failed transaction what became of a swap: done by an
// attempt whose answer was lost, or in conflict.
func (s *Session) settle(ctx context.Context, p *swapPlan, out outcome, remove []ULID) error {
	there := 0
	var rev int64
	for key, value := range p.heads {
		kv := out.found[key]
		if kv == nil {
			continue
		}
		if !bytes.Equal(kv.Value, value) {
			return fmt.Errorf("%w: %s holds something else", ErrConflict, key)
		}
		there, rev = there+1, max(rev, kv.ModRevision)
	}
	switch {
	case len(p.heads) > 0 && there == len(p.heads):
		return s.c.waitApplied(ctx, rev)
	case len(p.heads) == 0 && out.retried:
		return s.settleRemoval(ctx, remove)
	}
	for key, kv := range out.found {
		if kind, name := s.c.split([]byte(key)); kind == kindDeletion {
			if there == 0 && len(remove) == 0 {
				// Committed by an attempt of ours, and compacted away since.
				return s.c.waitApplied(ctx, kv.ModRevision)
			}
			return fmt.Errorf("%w: segment %s was removed", ErrConflict, name)
		}
	}
	return fmt.Errorf("%w: a segment to be removed is not there", ErrConflict)
}

// settleRemoval tells whether a removal whose answer was lost has happened: the
// segments are gone, each with its deletion noted.
func (s *Session) settleRemoval(ctx context.Context, remove []ULID) error {
	var rev int64
	for _, id := range remove {
		resp, err := s.c.get(ctx, s.c.key(kindDeletion, id.String()))
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			return fmt.Errorf("%w: segment %s is not there", ErrConflict, id)
		}
		rev = max(rev, resp.Kvs[0].ModRevision)
	}
	return s.c.waitApplied(ctx, rev)
}

// FindExtent gives the first extent of a shard whose last offset is at or past
// offset, and its segment (shared; without its extents). A local look-up.
func (c *Catalog) FindExtent(id shard.ID, offset int64) (*Segment, Extent, bool) {
	return c.segments.find(id, offset)
}

// Extents gives all extents of a shard, in order.
func (c *Catalog) Extents(id shard.ID) []SegmentExtent { return c.segments.list(id) }

// WalkExtents calls fn for the extents of a shard, in order, while it gives true. fn
// must not call the catalog.
func (c *Catalog) WalkExtents(id shard.ID, fn func(*Segment, *Extent) bool) {
	c.segments.walk(id, fn)
}

// EachShard calls fn for each shard that has extents, in no order. fn must not ask the
// catalog for segments.
func (c *Catalog) EachShard(fn func(shard.ID, ShardExtents)) { c.segments.eachShard(fn) }

// Bounds gives the first and the last committed offset of a shard.
func (c *Catalog) Bounds(id shard.ID) (base, last int64, ok bool) { return c.segments.bounds(id) }

// Segment gives a segment with its extents.
func (c *Catalog) Segment(id ULID) (Segment, bool) {
	e, ok := c.segments.lookup(id)
	if !ok {
		return Segment{}, false
	}
	h := e.head()
	seg, err := h.segment()
	return seg, err == nil
}

// Segments walks all segments as of now, in order of their ULIDs; they are
// shared, and without their extents (see Segment).
func (c *Catalog) Segments() iter.Seq[*Segment] {
	return func(yield func(*Segment) bool) {
		for _, s := range c.segments.segments() {
			if !yield(s) {
				return
			}
		}
	}
}

// SegmentsChanged gives a channel that is closed when segments come or go.
func (c *Catalog) SegmentsChanged() <-chan struct{} { return c.segments.note.wait() }

// SegmentStats gives the numbers of segments and of extents in the view.
func (c *Catalog) SegmentStats() (segments, extents int) {
	c.segments.mu.Lock()
	defer c.segments.mu.Unlock()
	return len(c.segments.mu.byID), int(c.segments.extents.Load())
}
