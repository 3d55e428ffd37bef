package shard

import (
	"slices"
	"strconv"
	"strings"
)

// Durability says what an acknowledgement of an append means.
type Durability uint8

// The durabilities. The zero value stands for the cluster's default.
const (
	DurabilityDefault Durability = iota
	// DurabilityWAL: fdatasync of the gateway's write-ahead log returned.
	DurabilityWAL
	// DurabilityObject: the segment is in object storage and the catalog has
	// committed it.
	DurabilityObject
	// DurabilityMemory: queued; nothing waits for a disk.
	DurabilityMemory
)

var durabilityNames = [...]string{"default", "wal", "object", "memory"}

// String gives the configuration's word for it.
func (d Durability) String() string {
	if int(d) < len(durabilityNames) {
		return durabilityNames[d]
	}
	return "unknown"
}

// ParseDurability reads "wal", "object", "memory" or "default".
func ParseDurability(s string) (Durability, error) {
	if i := slices.Index(durabilityNames[:], s); i >= 0 {
		return Durability(i), nil
	}
	return 0, Errorf(KindInvalid, "durability %q is none of wal, object, memory", s)
}

// Topic is a named set of shards and the subjects it captures. Values handed
// out by Topics are shared and immutable.
type Topic struct {
	Num    TopicNum
	Name   string
	Shards uint32
	// Captures are subject filters (ParseSubjectFilter); empty means the
	// topic's own name.
	Captures []string
	Config   TopicConfig
	// Created in milliseconds since the epoch.
	Created int64
	// Internal topics belong to the engine; no client sees them.
	Internal bool
	// Auto says the topic was made by the first use of its subject.
	Auto bool
	// Labels are a gateway's own notes (an AMQP exchange's type), kept as is.
	Labels map[string]string
}

// TopicConfig holds what is enforced. The zero value of a field stands for the
// cluster's default.
type TopicConfig struct {
	Durability Durability
	// RetentionMs is the age in milliseconds past which records are freed; -1: never.
	RetentionMs int64
	// RetentionBytes bounds each shard; -1: no bound.
	RetentionBytes int64
	// RetentionHard frees what durable cursors have not acknowledged yet, too.
	RetentionHard bool
	// Compact keeps the newest record of each key; Delete frees by retention.
	// Neither set means Delete.
	Compact bool
	Delete  bool
	// MaxMessageBytes bounds a record batch.
	MaxMessageBytes int32
	// AppendTime stamps records with the time of their append.
	AppendTime bool
	// Extra holds further settings that a gateway accepted and enforces by
	// itself, by the name its users know, and those of CompactionTimes.
	Extra map[string]string
}

// Settings in Extra that the engine goes by, in milliseconds.
const (
	// MinCompactionLag is how long a record stays, superseded or not, and how old
	// one has to be to supersede another.
	MinCompactionLag = "min.compaction.lag.ms"
	// DeleteRetention is how long a deletion (a record without a value) stays.
	DeleteRetention = "delete.retention.ms"
)

// CompactionTimes gives the values of MinCompactionLag and DeleteRetention; without
// a setting they are 0 and a day.
func (c *TopicConfig) CompactionTimes() (lag, deletions int64) {
	of := func(name string, def int64) int64 {
		if n, err := strconv.ParseInt(c.Extra[name], 10, 64); err == nil && n >= 0 {
			return n
		}
		return def
	}
	return of(MinCompactionLag, 0), of(DeleteRetention, 24*3600*1000)
}

// Filters gives the parsed captures.
func (t *Topic) Filters() []Filter {
	if len(t.Captures) == 0 {
		return []Filter{LiteralFilter(t.Name)}
	}
	fs := make([]Filter, 0, len(t.Captures))
	for _, c := range t.Captures {
		if f, err := ParseSubjectFilter(c); err == nil {
			fs = append(fs, f)
		}
	}
	return fs
}

// CatchAllTopic is the name of the built-in topic that takes the subjects past
// topics.auto_create.max.
const CatchAllTopic = "robustmq.catch-all"

// CapturesMany tells whether subjects other than the topic's name end up here.
func (t *Topic) CapturesMany() bool {
	return t.Name == CatchAllTopic || len(t.Captures) > 1 || len(t.Captures) == 1 && !t.CapturesName(t.Captures[0])
}

// CapturesName tells whether a capture is of the subject that the topic is named by, and
// of no other. A topic may be named "a.>", which as a capture is more than a name.
func (t *Topic) CapturesName(filter string) bool {
	return filter == t.Name && !strings.ContainsAny(filter, "*>")
}

// Clone gives a deep copy that the caller may change.
func (t *Topic) Clone() *Topic {
	c := *t
	c.Captures = slices.Clone(t.Captures)
	c.Labels = cloneMap(t.Labels)
	c.Config.Extra = cloneMap(t.Config.Extra)
	return &c
}

func cloneMap(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Shard gives the ID of one of the topic's shards.
func (t *Topic) Shard(index uint32) ID { return ID{Topic: t.Num, Index: index} }

// ShardOf chooses the shard for a record: by key, or by subject where there is
// no key, so that order per key or subject holds. The hash is the one Kafka's
// own clients use, so a key meets the same partition whoever publishes it.
func (t *Topic) ShardOf(key []byte, subject string) ID {
	if t.Shards <= 1 {
		return ID{Topic: t.Num}
	}
	if key == nil {
		key = []byte(subject)
	}
	return ID{Topic: t.Num, Index: (murmur2(key) & 0x7fffffff) % t.Shards}
}

// SubjectOf gives the subject of a record stored in t.
func (t *Topic) SubjectOf(r *Record) string {
	if v, ok := r.Header(HeaderSubject); ok {
		return string(v)
	}
	return t.Name
}

// murmur2 is the 32-bit hash of Kafka's default partitioner.
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
