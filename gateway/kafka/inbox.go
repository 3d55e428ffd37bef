package kafka

import (
	"encoding/binary"
	"hash/fnv"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An answer goes where its request says: to a name that a NATS or AMQP requester
// waits at (shard.Inbox). No topic has it; to producers it is one with one partition
// for as long as somebody waits. What is produced there is handed over, never stored.

// inboxes are the names that producers asked for, by the number in their topic ids.
// It is bounded: the oldest is forgotten, and asked for again by its name.
type inboxes struct {
	mu    sync.Mutex
	names map[shard.TopicNum]string
	order []shard.TopicNum
}

const (
	maxInboxes = 4096
	// inboxBit is set in the numbers of inboxes, which no topic has.
	inboxBit shard.TopicNum = 1 << 63
)

// topic gives what stands for a name, and remembers its number.
func (in *inboxes) topic(name string) *shard.Topic {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	t := &shard.Topic{Name: name, Num: shard.TopicNum(h.Sum64()) | inboxBit, Shards: 1, Auto: true}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.names == nil {
		in.names = make(map[shard.TopicNum]string)
	}
	if _, known := in.names[t.Num]; !known {
		in.order = append(in.order, t.Num)
	}
	in.names[t.Num] = name
	for len(in.order) > maxInboxes {
		delete(in.names, in.order[0])
		in.order = in.order[1:]
	}
	return t
}

func (in *inboxes) byNum(n shard.TopicNum) (*shard.Topic, bool) {
	in.mu.Lock()
	name, ok := in.names[n]
	in.mu.Unlock()
	if !ok {
		return nil, false
	}
	return in.topic(name), true
}

// inbox gives the inbox of a name or topic id, if somebody waits there.
func (s *Server) inbox(name string, id topicID, byID bool) (*shard.Topic, bool) {
	if byID {
		t, ok := s.inboxes.byNum(shard.TopicNum(binary.BigEndian.Uint64(id[8:])))
		return t, ok && s.ids.of(t) == id
	}
	own, _, ok := topicName(name)
	if !ok || !shard.Inbox(own) || !s.broker.Live.Interest(own) {
		return nil, false
	}
	return s.inboxes.topic(own), true
}

// inboxMetadata is topicMetadata of an inbox: this node has its only partition.
func (c *conn) inboxMetadata(t *shard.Topic, q *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := c.topicMetadata(t, q)
	self := c.srv.broker.Cluster.Self().ID
	p := kmsg.MetadataResponseTopicPartition{Leader: self, Replicas: []int32{self}, ISR: []int32{self}}
	out.Partitions = []kmsg.MetadataResponseTopicPartition{p}
	return out
}

// relay hands a batch to who waits for it. That nobody does is told: it is kept
// nowhere.
func (p *produce) relay(t *shard.Topic, b *shard.Batch, slot *kmsg.ProduceResponseTopicPartition) {
	recs, err := b.Records()
	if err != nil {
		slot.ErrorCode = inflateRefusal(err).code
		p.failed.Store(true)
		return
	}
	ms := make([]shard.Message, len(recs))
	for i := range recs {
		ms[i] = shard.Message{Subject: t.Name, Record: &recs[i], Origin: p.c.nc.Origin}
	}
	if p.c.srv.broker.Live.Relay(ms) == 0 && !p.quiet {
		text := "nobody waits for an answer at this name any more"
		slot.ErrorCode, slot.ErrorMessage = codeInvalidTopic, &text
		return
	}
	slot.BaseOffset, slot.LogStartOffset = 0, 0
}
