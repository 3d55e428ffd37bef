package catalog

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// A topic is topics/{name}, persistent. Its number comes from the counter
// "topics", which every creation and every change of captures overwrites: so
// two changes that might conflict are never both committed.
//
// Value, version 1: mark of the write (8 random bytes, length-prefixed), number,
// shards, flags (1 byte: 1 internal, 2 auto, 4 retention hard, 8 compact,
// 16 delete, 32 append time), created (signed varint, ms), captures (count,
// strings), durability (1 byte), retention ms and bytes, largest message (signed
// varints), extra and labels (count, then key and value in order of the keys).

const (
	// MaxShards bounds the shards of one topic.
	MaxShards = 1 << 20
	// MaxTopicBytes bounds the encoded record of one topic.
	MaxTopicBytes = 256 << 10

	topicCounter = "topics"
	markBytes    = 8
)

const (
	flagInternal = 1 << iota
	flagAuto
	flagRetentionHard
	flagCompact
	flagDelete
	flagAppendTime
	flagsKnown = 1<<iota - 1
)

func topicFlags(t *shard.Topic) (f byte) {
	for bit, on := range map[byte]bool{
		flagInternal: t.Internal, flagAuto: t.Auto, flagRetentionHard: t.Config.RetentionHard,
		flagCompact: t.Config.Compact, flagDelete: t.Config.Delete, flagAppendTime: t.Config.AppendTime,
	} {
		if on {
			f |= bit
		}
	}
	return f
}

func encodeTopic(t *shard.Topic, mark string) []byte {
	e := encoder{b: []byte{version1}}
	e.str(mark)
	e.uvarint(uint64(t.Num))
	e.uvarint(uint64(t.Shards))
	e.byte(topicFlags(t))
	e.varint(t.Created)
	e.strs(t.Captures)
	e.byte(byte(t.Config.Durability))
	e.varint(t.Config.RetentionMs)
	e.varint(t.Config.RetentionBytes)
	e.varint(int64(t.Config.MaxMessageBytes))
	e.strMap(t.Config.Extra)
	e.strMap(t.Labels)
	return e.b
}

func decodeTopic(name string, b []byte) (*shard.Topic, string, error) {
	if len(b) > MaxTopicBytes {
		return nil, "", fmt.Errorf("decode topic: %w: %d bytes", ErrTooLarge, len(b))
	}
	d := newDecoder(b, version1)
	mark := d.str(maxMarkBytes)
	t := &shard.Topic{Name: name, Num: shard.TopicNum(d.uvarint()), Shards: d.u32()}
	f := d.byte()
	if f&^flagsKnown != 0 {
		d.fail("unknown topic flags")
	}
	t.Created = d.varint()
	t.Captures = d.strs(maxListLength, maxNameBytes)
	t.Internal, t.Auto = f&flagInternal != 0, f&flagAuto != 0
	cfg := &t.Config
	cfg.RetentionHard, cfg.Compact = f&flagRetentionHard != 0, f&flagCompact != 0
	cfg.Delete, cfg.AppendTime = f&flagDelete != 0, f&flagAppendTime != 0
	cfg.Durability = shard.Durability(d.byte())
	cfg.RetentionMs, cfg.RetentionBytes = d.varint(), d.varint()
	if m := d.varint(); m < math.MinInt32 || m > math.MaxInt32 {
		d.fail("largest message is over 32 bits")
	} else {
		cfg.MaxMessageBytes = int32(m)
	}
	cfg.Extra, t.Labels = d.strMap(), d.strMap()
	if err := d.done(); err != nil {
		return nil, "", fmt.Errorf("decode topic: %w", err)
	}
	return t, mark, nil
}

func (e *encoder) strMap(m map[string]string) {
	e.uvarint(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.str(k)
		e.str(m[k])
	}
}

// strMap reads a map; keys must rise, so that there is one encoding only.
func (d *decoder) strMap() map[string]string {
	n := d.count(maxListLength, 2)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		k, v := d.str(maxBlobBytes), d.str(maxBlobBytes)
		if i > 0 && k <= last {
			d.fail("keys are out of order")
			return nil
		}
		m[k], last = v, k
	}
	return m
}

func newMark() string {
	b := make([]byte, markBytes)
	rand.Read(b)
	return string(b)
}

// Topics gives the newest view of all topics.
func (c *Catalog) Topics() *TopicSet { return c.topics.set.Load() }

// Changed gives a channel that is closed at the next change of any topic.
func (c *Catalog) Changed() <-chan struct{} { return c.topics.note.wait() }

// encodeChecked checks and encodes a topic for storing.
func encodeChecked(t *shard.Topic, mark string) ([]byte, error) {
	if err := checkTopic(t); err != nil {
		return nil, err
	}
	b := encodeTopic(t, mark)
	if len(b) > MaxTopicBytes {
		return nil, fmt.Errorf("%w: topic %q of %d bytes", ErrTooLarge, t.Name, len(b))
	}
	if _, _, err := decodeTopic(t.Name, b); err != nil {
		return nil, fmt.Errorf("%w: topic %q: %w", ErrInvalid, t.Name, err)
	}
	return b, nil
}

// catchUp waits until the view has all that a failed transaction has found.
func (c *Catalog) catchUp(ctx context.Context, out outcome) error {
	var rev int64
	for _, kv := range out.found {
		rev = max(rev, kv.ModRevision)
	}
	return c.waitApplied(ctx, rev)
}

// UpdateTopic changes a topic by fn, which gets a copy and is called again when
// another writer was first. Name, number and time of creation stay. Errors:
// shard.ErrTopicNotFound, shard.ErrCaptureConflict, ErrInvalid, ErrUnavailable,
// and what fn gives.
func (c *Catalog) UpdateTopic(ctx context.Context, name string, fn func(*shard.Topic) error) (*shard.Topic, error) {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	for {
		t, again, err := c.updateOnce(ctx, name, fn)
		if err != nil {
			return nil, fmt.Errorf("update topic %q: %w", name, err)
		}
		if !again {
			return t, nil
		}
	}
}

func (c *Catalog) updateOnce(ctx context.Context, name string, fn func(*shard.Topic) error) (t *shard.Topic, again bool, err error) {
	set := c.Topics()
	counter := c.counters.rows()[topicCounter]
	old, ok := set.byName.get(name)
	if !ok {
		return nil, false, shard.ErrTopicNotFound
	}
	t, mark := old.topic.Clone(), newMark()
	if err := fn(t); err != nil {
		return nil, false, err
	}
	t.Name, t.Num, t.Created = name, old.topic.Num, old.topic.Created
	value, err := encodeChecked(t, mark)
	if err != nil {
		return nil, false, err
	}
	key, ckey := c.key(kindTopic, name), c.key(kindCounter, topicCounter)
	tx := txn{cmps: []clientv3.Cmp{modifiedAt(key, old.mod)}}
	tx.put(key, value)
	tx.orGet(key)
	chs := []change{ownUpdate(kindTopic, name, value, old.create, old.version)}
	if !slices.Equal(t.Captures, old.topic.Captures) || t.Internal != old.topic.Internal {
		if o, ok := set.conflict(t); ok {
			return nil, false, fmt.Errorf("%w: %q", shard.ErrCaptureConflict, o.Name)
		}
		cvalue := encodeCounter(max(counter.val, 1))
		tx.iff(modifiedAt(ckey, counter.mod))
		tx.put(ckey, cvalue)
		tx.orGet(ckey)
		chs = append(chs, ownUpdate(kindCounter, topicCounter, cvalue, counter.create, counter.version))
	}
	out, err := c.commit(ctx, "commit", tx)
	if err != nil {
		return nil, false, err
	}
	if out.ok {
		c.applyOwn(out.rev, chs...)
		return t, false, nil
	}
	kv := out.found[key]
	if err := c.catchUp(ctx, out); err != nil {
		return nil, false, err
	}
	if kv == nil {
		return nil, true, c.awaitGone(ctx, name, old)
	}
	if _, m, err := decodeTopic(name, kv.Value); err == nil && m == mark {
		return t, false, nil
	}
	if out.retried && kv.CreateRevision == old.create && kv.Version > old.version+1 {
		return nil, false, fmt.Errorf("%w: an answer was lost and others have written since", ErrUnavailable)
	}
	return nil, true, nil
}

// awaitGone waits until the view knows that a topic's record, which etcd no
// longer has, is gone or made anew.
func (c *Catalog) awaitGone(ctx context.Context, name string, old topicRow) error {
	for {
		ch := c.Changed()
		if r, ok := c.Topics().byName.get(name); !ok || r.mod != old.mod {
			return nil
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// DeleteTopic removes a topic. Its number is never used again; its segments
// stay until retention or compaction finds that nobody owns them.
func (c *Catalog) DeleteTopic(ctx context.Context, name string) error {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	for {
		old, ok := c.Topics().byName.get(name)
		if !ok {
			return fmt.Errorf("delete topic %q: %w", name, shard.ErrTopicNotFound)
		}
		key := c.key(kindTopic, name)
		tx := txn{cmps: []clientv3.Cmp{modifiedAt(key, old.mod)}}
		tx.do(clientv3.OpDelete(key))
		tx.orGet(key)
		out, err := c.commit(ctx, "delete topic "+name, tx)
		if err != nil {
			return err
		}
		if out.ok {
			c.applyOwn(out.rev, ownDelete(kindTopic, name))
			return nil
		}
		kv := out.found[key]
		if kv == nil {
			err = c.awaitGone(ctx, name, old)
		} else {
			err = c.catchUp(ctx, out)
		}
		if err != nil {
			return fmt.Errorf("delete topic %q: %w", name, err)
		}
		if kv == nil || kv.CreateRevision != old.create {
			return nil // the topic we were asked about is gone, by us or by another
		}
	}
}
