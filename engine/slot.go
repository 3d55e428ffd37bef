package engine

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/robustmq/robustmq-go/shard"
)

// Slots is the number of virtual owners in a cluster: part of the format, never
// change.
const Slots = 256

// stateTopic is the internal topic that holds the state log, one shard a slot.
const (
	stateTopic    = "robustmq.state"
	stateTopicNum = shard.TopicNum(1)
)

// slotOf gives the slot that a shard belongs to. A state shard is its slot's own.
func slotOf(id shard.ID) int {
	if id.Topic == stateTopicNum {
		return int(id.Index) % Slots
	}
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], uint64(id.Topic))
	binary.BigEndian.PutUint32(b[8:], id.Index)
	h := fnv.New32a()
	_, _ = h.Write(b[:])
	return int(h.Sum32() % Slots)
}

// slotOfName gives the slot that a named thing belongs to: a group, a session,
// the owner of state.
func slotOfName(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int(h.Sum32() % Slots)
}
