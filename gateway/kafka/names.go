package kafka

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// Topic names. A name that Kafka can spell ([a-zA-Z0-9._-], 1 to 249 bytes, not
// "." nor "..") and that does not begin with one of the two prefixes below is
// itself. Another is the escape prefix followed by its bytes, with '-' and
// what Kafka cannot spell as '-' and two lower-case hex digits; where that is
// longer than 249 bytes it is the number prefix followed by the topic's number.
const (
	escapePrefix = "robustmq-x."
	numberPrefix = "robustmq-t."
	maxKafkaName = 249
)

func legalByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-'
}

func legalName(s string) bool {
	if s == "" || len(s) > maxKafkaName || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		if !legalByte(s[i]) {
			return false
		}
	}
	return true
}

func hasNamePrefix(s string) bool {
	return strings.HasPrefix(s, escapePrefix) || strings.HasPrefix(s, numberPrefix)
}

// kafkaName is the name Kafka clients know a topic by.
func kafkaName(t *shard.Topic) string {
	if legalName(t.Name) && !hasNamePrefix(t.Name) {
		return t.Name
	}
	if e := escapeName(t.Name); len(e) <= maxKafkaName {
		return e
	}
	return numberPrefix + strconv.FormatUint(uint64(t.Num), 10)
}

func escapeName(s string) string {
	var b strings.Builder
	b.WriteString(escapePrefix)
	for i := range len(s) {
		if legalByte(s[i]) && s[i] != '-' {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('-')
		b.WriteString(hex.EncodeToString([]byte{s[i]}))
	}
	return b.String()
}

// topicName gives the topic's own name for one that a Kafka client uses; ok is
// false when the name is illegal. num is set instead for a name by number.
func topicName(s string) (name string, num shard.TopicNum, ok bool) {
	if !legalName(s) {
		return "", 0, false
	}
	if rest, is := strings.CutPrefix(s, numberPrefix); is {
		n, err := strconv.ParseUint(rest, 10, 64)
		return "", shard.TopicNum(n), err == nil && strconv.FormatUint(n, 10) == rest
	}
	rest, is := strings.CutPrefix(s, escapePrefix)
	if !is {
		return s, 0, true
	}
	out := make([]byte, 0, len(rest))
	for i := 0; i < len(rest); i++ {
		if rest[i] != '-' {
			out = append(out, rest[i])
			continue
		}
		if i+2 >= len(rest) {
			return "", 0, false
		}
		b, err := hex.DecodeString(rest[i+1 : i+3])
		if err != nil {
			return "", 0, false
		}
		out = append(out, b[0])
		i += 2
	}
	name = string(out)
	// One spelling for each topic: no second way to write it.
	if kafkaName(&shard.Topic{Name: name}) != s {
		return "", 0, false
	}
	return name, 0, true
}

// topic finds a topic by the name a client uses. Internal ones are not there.
func (s *Server) topic(name string) (*shard.Topic, bool) {
	own, num, ok := topicName(name)
	if !ok {
		return nil, false
	}
	var t *shard.Topic
	if own == "" {
		if t, ok = s.broker.Topics.ByNum(num); ok && kafkaName(t) != name {
			return nil, false
		}
	} else {
		t, ok = s.broker.Topics.ByName(own)
	}
	if !ok || t.Internal {
		return nil, false
	}
	return t, true
}

// partition gives the shard of a partition that exists.
func partition(t *shard.Topic, p int32) (shard.ID, bool) {
	if p < 0 || uint32(p) >= t.Shards {
		return shard.ID{}, false
	}
	return t.Shard(uint32(p)), true
}

type topicID = [16]byte

// idPrefix is the half of every topic id that tells the cluster.
type idPrefix [8]byte

// newIDPrefix never begins with what prints as '-' in Kafka's base64, which
// command lines would take for a flag, and is never zero.
func newIDPrefix(cluster string) idPrefix {
	h := sha256.Sum256([]byte(cluster))
	var p idPrefix
	copy(p[:], h[:])
	p[0] = p[0]&0x7f | 0x10
	return p
}

func (p idPrefix) of(t *shard.Topic) topicID {
	var id topicID
	copy(id[:], p[:])
	binary.BigEndian.PutUint64(id[8:], uint64(t.Num))
	return id
}

// topicByID finds a topic by its id.
func (s *Server) topicByID(id topicID) (*shard.Topic, bool) {
	if !bytes.Equal(id[:8], s.ids[:]) {
		return nil, false
	}
	t, ok := s.broker.Topics.ByNum(shard.TopicNum(binary.BigEndian.Uint64(id[8:])))
	if !ok || t.Internal {
		return nil, false
	}
	return t, true
}

// lookup finds a topic by id when that is set, else by name, with the code of
// what is wrong.
func (s *Server) lookup(name string, id topicID, byID bool) (*shard.Topic, int16) {
	if byID {
		if t, ok := s.topicByID(id); ok {
			return t, codeNone
		}
		return nil, codeUnknownTopicID
	}
	if t, ok := s.topic(name); ok {
		return t, codeNone
	}
	return nil, codeUnknownTopicOrPartition
}
