package kafka

import (
	"context"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kbin"
)

// What a group keeps in shard.State, under the owner "kafka/group/<id>":
//
//	"m"                      metadata of the group
//	"o/<topic num>/<index>"  a committed offset
//
// Metadata, version 1: version int8, generation int32, protocol type, protocol
// and leader (strings), then the number of members int32 and of each: member id,
// client id, host (strings), instance id (nullable string), session and rebalance timeout
// in milliseconds (int32), metadata for the protocol and assignment (bytes).
//
// Offset, version 1: version int8, offset int64, leader epoch int32, time of the
// commit in milliseconds int64, metadata (string).
//
// Integers are big-endian, strings and bytes in Kafka's classic form. These are
// formats: they never change.
const (
	groupMetaKey    = "m"
	offsetKeyPrefix = "o/"
	stateVersion    = 1
)

var errGroupState = shard.Errorf(shard.KindCorrupt, "decode group state: malformed")

// save writes the metadata; done is told when that is durable. The group is
// locked, and done runs without the lock, maybe at once.
func (g *group) save(done func(error)) {
	g.writes++
	g.co.apply(g.id, []shard.StateOp{{Key: groupMetaKey, Value: g.encode()}}, func(err error) {
		if err != nil {
			g.co.srv.log.Error("group cannot be saved", "group", g.id, "error", err)
		}
		// The caller of Apply may hold the lock.
		go func() {
			g.Lock()
			g.writes--
			if g.gone {
				g.Unlock()
				return
			}
			g.co.release(g)
		}()
		done(err)
	})
}

func (g *group) encode() []byte {
	b := []byte{stateVersion}
	b = kbin.AppendInt32(b, g.generation)
	b = kbin.AppendString(b, g.protocolType)
	b = kbin.AppendString(b, g.protocol)
	b = kbin.AppendString(b, g.leader)
	b = kbin.AppendInt32(b, int32(len(g.members)))
	for _, m := range g.ordered() {
		b = kbin.AppendString(b, m.id)
		b = kbin.AppendString(b, m.clientID)
		b = kbin.AppendString(b, m.host)
		b = kbin.AppendNullableString(b, m.instance)
		b = kbin.AppendInt32(b, int32(m.session.Milliseconds()))
		b = kbin.AppendInt32(b, int32(m.rebalance.Milliseconds()))
		b = kbin.AppendBytes(b, m.metadataFor(g.protocol))
		b = kbin.AppendBytes(b, m.assignment)
	}
	return b
}

// decode fills an empty group. With members it is Stable, and they go on as if
// nothing had happened.
func (g *group) decode(data []byte) error {
	r := kbin.Reader{Src: data}
	if r.Int8() != stateVersion {
		return errGroupState
	}
	g.generation, g.protocolType, g.protocol, g.leader = r.Int32(), r.String(), r.String(), r.String()
	n := r.Int32()
	if n < 0 || int(n) > len(r.Src) || g.generation < 0 || n > 0 && g.leader == "" {
		return errGroupState
	}
	for range n {
		m := &member{id: r.String(), clientID: r.String(), host: r.String(), instance: r.NullableString()}
		m.session = time.Duration(r.Int32()) * time.Millisecond
		m.rebalance = time.Duration(r.Int32()) * time.Millisecond
		m.protocols = []memberProtocol{{g.protocol, r.Bytes()}}
		m.assignment, m.synced = r.Bytes(), true
		if !r.Ok() || m.session < 0 || m.rebalance < 0 || g.members[m.id] != nil {
			return errGroupState
		}
		if m.id == "" || m.instance != nil && g.static[*m.instance] != "" {
			return errGroupState
		}
		g.add(m)
	}
	if r.Complete() != nil || len(r.Src) > 0 || len(g.members) > 0 && g.members[g.leader] == nil {
		return errGroupState
	}
	if len(g.members) > 0 {
		g.state = groupStable
	}
	return nil
}

// add puts a member in.
func (g *group) add(m *member) {
	g.charge(m.size())
	m.seq = g.joinSeq
	g.joinSeq++
	g.members[m.id] = m
	if m.instance != nil {
		g.static[*m.instance] = m.id
	}
	if g.leader == "" {
		g.leader = m.id
	}
}

// committed is a committed offset.
type committed struct {
	offset   int64
	epoch    int32
	time     int64
	metadata string
}

func offsetKey(id shard.ID) string {
	return offsetKeyPrefix + strconv.FormatUint(uint64(id.Topic), 10) + "/" + strconv.FormatUint(uint64(id.Index), 10)
}

func parseOffsetKey(key string) (shard.ID, bool) {
	rest, ok := strings.CutPrefix(key, offsetKeyPrefix)
	num, index, ok2 := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(num, 10, 64)
	i, err2 := strconv.ParseUint(index, 10, 32)
	return shard.ID{Topic: shard.TopicNum(n), Index: uint32(i)}, ok && ok2 && err == nil && err2 == nil
}

func (c *committed) encode() []byte {
	b := make([]byte, 0, 23+len(c.metadata))
	b = append(b, stateVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.offset))
	b = binary.BigEndian.AppendUint32(b, uint32(c.epoch))
	b = binary.BigEndian.AppendUint64(b, uint64(c.time))
	return kbin.AppendString(b, c.metadata)
}

func decodeCommitted(data []byte) (c committed, err error) {
	r := kbin.Reader{Src: data}
	if r.Int8() != stateVersion {
		return c, errGroupState
	}
	c = committed{offset: r.Int64(), epoch: r.Int32(), time: r.Int64(), metadata: r.String()}
	if r.Complete() != nil || len(r.Src) > 0 {
		return c, errGroupState
	}
	return c, nil
}

func (g *group) hasOffsets(ctx context.Context) bool {
	has := false
	err := g.co.srv.broker.State.Range(ctx, groupOwner(g.id), offsetKeyPrefix, func(string, shard.StateValue) bool {
		has = true
		return false
	})
	return has && err == nil
}

// offsetsOf reads a group's committed offsets, of topics that still exist.
func (s *Server) offsetsOf(ctx context.Context, group string, fn func(t *shard.Topic, id shard.ID, c committed)) error {
	type entry struct {
		id shard.ID
		c  committed
	}
	var all []entry
	err := s.broker.State.Range(ctx, groupOwner(group), offsetKeyPrefix, func(key string, v shard.StateValue) bool {
		if id, ok := parseOffsetKey(key); ok {
			if c, err := decodeCommitted(v.Data); err == nil {
				all = append(all, entry{id, c})
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	for _, e := range all {
		if t, ok := s.broker.Topics.ByNum(e.id.Topic); ok && !t.Internal {
			fn(t, e.id, e.c)
		}
	}
	return nil
}
