package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// What the engine keeps about shards in the state log, under one owner a slot:
//
//	start/<topic>/<index>     the start offset, 8 bytes big-endian
//	lost/<topic>/<index>      damaged ranges, pairs of 8 bytes
//	producers/<topic>/<index> the producer table's snapshot
func shardStateOwner(id shard.ID) string { return fmt.Sprintf("engine/%03d", slotOf(id)) }

func shardStateKey(kind string, id shard.ID) string {
	return fmt.Sprintf("%s/%d/%d", kind, uint64(id.Topic), id.Index)
}

// starts holds the start offsets that were raised.
type starts struct {
	mu sync.RWMutex
	m  map[shard.ID]int64
}

func (s *starts) get(id shard.ID) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[id]
}

func (s *starts) set(id shard.ID, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[shard.ID]int64)
	}
	s.m[id] = max(s.m[id], offset)
}

// loadShardState reads starts and lost ranges after the state log is loaded.
func (e *Engine) loadShardState(ctx context.Context) error {
	for slot := range Slots {
		owner := fmt.Sprintf("engine/%03d", slot)
		err := e.state.Range(ctx, owner, "", func(key string, v shard.StateValue) bool {
			var id shard.ID
			kind, rest, _ := strings.Cut(key, "/")
			if _, err := fmt.Sscanf(rest, "%d/%d", &id.Topic, &id.Index); err != nil {
				e.log.Error("state of a shard has a malformed key", "owner", owner, "key", key)
				return true
			}
			switch {
			case kind == "start" && len(v.Data) == 8:
				e.starts.set(id, int64(binary.BigEndian.Uint64(v.Data)))
			case kind == "lost":
				e.loadLost(id, v.Data)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	e.each(func(s *shardLog) { s.raise(e.starts.get(s.id)) })
	return nil
}

func (e *Engine) loadLost(id shard.ID, b []byte) {
	s, _, err := e.shardFor(id)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; len(b) >= 16; b = b[16:] {
		s.lost = append(s.lost, span{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))})
	}
}

// saveLost keeps a shard's damaged ranges beyond the WAL that showed them.
func (e *Engine) saveLost(ctx context.Context, s *shardLog) error {
	s.mu.Lock()
	var b []byte
	for _, l := range s.lost {
		b = binary.BigEndian.AppendUint64(b, uint64(l.from))
		b = binary.BigEndian.AppendUint64(b, uint64(l.to))
	}
	s.mu.Unlock()
	return shard.ApplyWait(ctx, e.state, shardStateOwner(s.id), shard.StateOp{Key: shardStateKey("lost", s.id), Value: b})
}

// raise lifts the start offset; what lies before it is dropped from the tail.
func (s *shardLog) raise(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset <= s.start {
		return
	}
	s.start = offset
	if offset > s.next { // a shard whose records are all gone goes on from there
		s.flushed, s.synced, s.end, s.next = offset, offset, offset, offset
	}
	n := 0
	for n < len(s.tail) && s.tail[n].last < offset && s.tail[n].last < s.flushed {
		n++
	}
	s.tail = s.tail[n:]
}

// TrimBefore implements shard.Log.
func (e *Engine) TrimBefore(ctx context.Context, id shard.ID, offset int64) error {
	s, _, err := e.owned(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	b := s.bounds()
	s.mu.Unlock()
	if offset > b.End || offset < 0 {
		return shard.At(shard.ErrOffsetOutOfRange, "trim", id, offset)
	}
	if offset <= b.Start {
		return nil
	}
	v := binary.BigEndian.AppendUint64(nil, uint64(offset))
	err = shard.ApplyWait(ctx, e.state, shardStateOwner(id), shard.StateOp{Key: shardStateKey("start", id), Value: v})
	if err != nil {
		return err
	}
	e.starts.set(id, offset)
	s.raise(offset)
	return nil
}
