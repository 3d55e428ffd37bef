package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// maxUnflushed bounds the offsets that a shard has given out and no segment has:
// past it appends are refused as by a full log. So whoever knows where a shard's
// segments end knows, without its owner's log, an offset above all it gave.
const maxUnflushed = 1 << 27

// leapAll makes offsets go on above what abandoned logs may have given out. Each
// abandoned log counts a leap of maxUnflushed, until all shards' new places are
// noted in segments: two that are lost before that leap twice, and a place is
// never the same again. Nothing is served before it is through.
//
// A place is noted, and not worked out from the slot's row each time, since a
// shard leaps once for each log, whenever it is used next.
func (e *Engine) leapAll(ctx context.Context) error {
	var slots []int
	for n, k := range e.leaps {
		if k > 0 {
			slots = append(slots, n)
		}
	}
	if len(slots) == 0 {
		return nil
	}
	ops := map[noteOwner][]shard.StateOp{}
	shards := 0
	for t := range e.cat.Topics().All() {
		if e.class(t) == shard.DurabilityObject || t.Internal && t.Num != stateTopicNum {
			continue // what was acknowledged is in segments; snapshots of state are no log
		}
		for i := range t.Shards {
			id := t.Shard(i)
			k := e.leaps[slotOf(id)]
			if k == 0 {
				continue
			}
			s, _, err := e.shardFor(id)
			if err != nil {
				return err
			}
			s.mu.Lock()
			base := s.next + k*maxUnflushed
			s.leap(base)
			s.mu.Unlock()
			e.kept.raiseLeap(id, base)
			at := noteOwner{shardStateOwner(id), slotOfName(shardStateOwner(id))}
			if id.Topic == stateTopicNum { // in that shard itself, so that something is stored past the hole
				at = noteOwner{lostOwner, int(id.Index)}
			}
			ops[at] = append(ops[at], shard.StateOp{Key: shardStateKey("leap", id), Value: binary.BigEndian.AppendUint64(nil, uint64(base))})
			shards++
		}
	}
	e.log.Warn("offsets leap over what abandoned logs may have given out", "slots", len(slots), "shards", shards)
	if err := e.noteLeaps(ctx, ops); err != nil {
		return err
	}
	e.flusher.begin()
	err := e.flusher.flush(ctx)
	e.flusher.report(err)
	if err != nil {
		return fmt.Errorf("note where offsets go on: %w", err)
	}
	if err := e.session.SettleLeaps(ctx, slots); err != nil {
		return fmt.Errorf("note where offsets go on: %w", err)
	}
	e.leaps = [Slots]int64{}
	return nil
}

// noteOwner is an owner of state, and the slot that its notes are written to.
type noteOwner struct {
	owner string
	slot  int
}

// leapsInOne is how many notes go into one change of state.
const leapsInOne = 10_000

func (e *Engine) noteLeaps(ctx context.Context, ops map[noteOwner][]shard.StateOp) error {
	for at, list := range ops {
		for len(list) > 0 {
			part := list[:min(len(list), leapsInOne)]
			if err := e.state.keep(ctx, at.slot, at.owner, part...); err != nil {
				return fmt.Errorf("note where offsets go on: %w", err)
			}
			list = list[len(part):]
		}
	}
	return nil
}

// leap makes offsets go on at base. The end stays where it is until something is
// appended there; readers of what was lost, who are past it, are at the end, too.
// The shard is locked.
func (s *shardLog) leap(base int64) {
	if base <= s.next {
		return
	}
	s.next, s.synced, s.flushed, s.hole = base, base, base, base
}

// leaped tells whether a hole is what an abandoned log has left.
func (c *checker) leaped(next, base int64) bool {
	if base-next < maxUnflushed {
		return false
	}
	return slices.ContainsFunc(c.cat.WALs(), func(w catalog.WAL) bool { return w.State == catalog.WALAbandoned })
}
