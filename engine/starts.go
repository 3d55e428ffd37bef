package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// What the engine keeps about shards in the state log, under one owner a slot:
//
//	start/<topic>/<index>     the start offset, 8 bytes big-endian
//	lost/<topic>/<index>      damaged ranges, pairs of 8 bytes
//	leap/<topic>/<index>      where offsets go on after a log was abandoned, 8 bytes big-endian
//	producers/<topic>/<index> the producer table's snapshot
func shardStateOwner(id shard.ID) string { return fmt.Sprintf("engine/%03d", slotOf(id)) }

func shardStateKey(kind string, id shard.ID) string {
	return fmt.Sprintf("%s/%d/%d", kind, uint64(id.Topic), id.Index)
}

// kept is what the state log says of shards, in memory or not.
type kept struct {
	mu     sync.RWMutex
	starts map[shard.ID]int64
	leaps  map[shard.ID]int64
	lost   map[shard.ID][]span
	raised map[shard.ID]int64 // starts that the ledger was not told of
}

func (k *kept) leap(id shard.ID) int64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.leaps[id]
}

func (k *kept) raiseLeap(id shard.ID, offset int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaps == nil {
		k.leaps = make(map[shard.ID]int64)
	}
	k.leaps[id] = max(k.leaps[id], offset)
}

func (k *kept) start(id shard.ID) int64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.starts[id]
}

func (k *kept) raise(id shard.ID, offset int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.starts == nil {
		k.starts = make(map[shard.ID]int64)
	}
	if offset <= k.starts[id] {
		return
	}
	k.starts[id] = offset
	if k.raised == nil {
		k.raised = make(map[shard.ID]int64)
	}
	k.raised[id] = offset
}

func (k *kept) lostOf(id shard.ID) []span {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Clone(k.lost[id])
}

func (k *kept) setLost(id shard.ID, ls []span) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == nil {
		k.lost = make(map[shard.ID][]span)
	}
	k.lost[id] = slices.Clone(ls)
}

// dropTopics forgets shards of topics that are gone, and gives them.
func (k *kept) dropTopics(exists func(shard.TopicNum) bool) (gone []shard.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.starts {
		if !exists(id.Topic) {
			gone = append(gone, id)
			delete(k.starts, id)
		}
	}
	for id := range k.leaps {
		if !exists(id.Topic) {
			gone = append(gone, id)
			delete(k.leaps, id)
		}
	}
	for id := range k.lost {
		if !exists(id.Topic) {
			gone = append(gone, id)
			delete(k.lost, id)
		}
	}
	return gone
}

// loadShardState reads starts and lost ranges after the state log is loaded.
func (e *Engine) loadShardState() {
	for slot := range Slots {
		owner := fmt.Sprintf("engine/%03d", slot)
		e.state.slots[slotOfName(owner)].walk(owner, "", func(key string, v shard.StateValue) bool {
			kind, id, ok := parseShardStateKey(key)
			switch {
			case !ok:
				e.log.Error("state of a shard has a malformed key", "owner", owner, "key", key)
			case kind == "start" && len(v.Data) == 8:
				e.kept.raise(id, int64(binary.BigEndian.Uint64(v.Data)))
			case kind == "leap" && len(v.Data) == 8:
				e.kept.raiseLeap(id, int64(binary.BigEndian.Uint64(v.Data)))
			case kind == "lost":
				e.kept.setLost(id, decodeSpans(v.Data))
			}
			return true
		})
	}
}

func parseShardStateKey(key string) (kind string, id shard.ID, ok bool) {
	kind, rest, _ := strings.Cut(key, "/")
	num, index, _ := strings.Cut(rest, "/")
	n, err1 := strconv.ParseUint(num, 10, 64)
	i, err2 := strconv.ParseUint(index, 10, 32)
	return kind, shard.ID{Topic: shard.TopicNum(n), Index: uint32(i)}, err1 == nil && err2 == nil
}

func encodeSpans(ls []span) []byte {
	b := make([]byte, 0, 16*len(ls))
	for _, l := range ls {
		b = binary.BigEndian.AppendUint64(b, uint64(l.from))
		b = binary.BigEndian.AppendUint64(b, uint64(l.to))
	}
	return b
}

func decodeSpans(b []byte) (ls []span) {
	for ; len(b) >= 16; b = b[16:] {
		l := span{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}
		if l.from >= 0 && l.from < l.to {
			ls = append(ls, l)
		}
	}
	return ls
}

// lose notes a range that is damaged, and tells whether it was not known before.
// The shard is locked.
func (s *shardLog) lose(from, to int64) bool {
	at := 0
	for ; at < len(s.lost) && s.lost[at].from <= from; at++ {
		from = max(from, s.lost[at].to)
	}
	if from >= to {
		return false
	}
	s.lost = slices.Insert(s.lost, at, span{from, to})
	return true
}

// skipLost makes the shard go on after its damaged ranges: their offsets are
// never given out again.
func (s *shardLog) skipLost() {
	for _, l := range s.lost {
		if l.to <= s.next {
			continue
		}
		if s.flushed == s.next {
			s.flushed = l.to
		}
		s.next, s.synced, s.end = l.to, l.to, l.to
	}
}

// saveLost keeps a shard's damaged ranges beyond the WAL that showed them. While a
// log is waited for nothing stands on ours: then they are known until the next restart.
func (e *Engine) saveLost(ctx context.Context, s *shardLog) error {
	if e.waits() {
		return nil
	}
	s.mu.Lock()
	ls := slices.Clone(s.lost)
	s.mu.Unlock()
	if len(ls) > maxLostSpans {
		ls = append(ls[:maxLostSpans-1:maxLostSpans-1], span{ls[maxLostSpans-1].from, ls[len(ls)-1].to})
	}
	e.kept.setLost(s.id, ls)
	owner := shardStateOwner(s.id)
	slot := slotOfName(owner)
	if s.id.Topic == stateTopicNum { // in that shard itself, since it is read first
		owner, slot = lostOwner, int(s.id.Index)
	}
	op := shard.StateOp{Key: shardStateKey("lost", s.id), Value: encodeSpans(ls)}
	if err := e.state.keep(ctx, slot, owner, op); err != nil {
		return fmt.Errorf("note damaged range of shard %s: %w", s.id, err)
	}
	return nil
}

// maxLostSpans bounds what is noted of one shard; past it ranges are joined.
const maxLostSpans = 1000

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
	// Also in a slot that is refused: a start only rises, so none that is lost matters.
	err = e.state.note(ctx, shardStateOwner(id), shard.StateOp{Key: shardStateKey("start", id), Value: v})
	if err != nil {
		return err
	}
	e.kept.raise(id, offset)
	s.raise(offset)
	return nil
}
