package shard

import "fmt"

// TopicNum identifies a topic for as long as its cluster lives. The catalog
// hands numbers out in rising order and never uses one twice, so a topic that
// is deleted and created again under its old name has a new number.
type TopicNum uint64

// ID identifies one shard. It is what the WAL, segments and the catalog know a
// shard by: names belong to topics only.
type ID struct {
	Topic TopicNum
	Index uint32
}

// String gives the form used in logs and errors: "17/3".
func (id ID) String() string { return fmt.Sprintf("%d/%d", uint64(id.Topic), id.Index) }

// Compare orders IDs by topic, then by index: the order in which a segment
// object holds its shards. It returns -1, 0 or 1.
func (id ID) Compare(o ID) int {
	switch {
	case id.Topic < o.Topic:
		return -1
	case id.Topic > o.Topic:
		return 1
	case id.Index < o.Index:
		return -1
	case id.Index > o.Index:
		return 1
	}
	return 0
}
