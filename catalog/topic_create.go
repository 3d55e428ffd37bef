package catalog

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/robustmq/robustmq-go/shard"
)

// MaxTopicsAtOnce bounds the topics of one CreateTopics: each is a compare of the
// transaction, and the counter is one more.
const MaxTopicsAtOnce = 100

// maxCreateBytes bounds names and values of one CreateTopics, in bytes: a name is
// in the transaction three times, and etcd takes requests of 1.5 MiB.
const maxCreateBytes = 256 << 10

// Created is what became of one topic of CreateTopics.
type Created struct {
	Topic *shard.Topic
	Err   error
}

// CreateTopic stores a new topic under the next number (t.Num is not looked
// at); t.Created is to be set by the caller. One transaction. Errors:
// shard.ErrTopicExists, shard.ErrCaptureConflict, ErrInvalid, ErrUnavailable.
func (c *Catalog) CreateTopic(ctx context.Context, t shard.Topic) (*shard.Topic, error) {
	out := c.CreateTopics(ctx, []shard.Topic{t})
	return out[0].Topic, out[0].Err
}

// CreateTopics is CreateTopic for several, in one transaction where no other
// writer is in the way; each has an outcome of its own. Of several, none may
// capture more than its own name. Past MaxTopicsAtOnce, or very long names, it
// takes more transactions.
func (c *Catalog) CreateTopics(ctx context.Context, ts []shard.Topic) []Created {
	ctx, cancel := c.opContext(ctx)
	defer cancel()
	c.createMu.Lock()
	defer c.createMu.Unlock()
	b := creation{c: c, mark: newMark(), out: make([]Created, len(ts)), left: make(map[string]int, len(ts))}
	for i := range ts {
		_, twice := b.left[ts[i].Name]
		switch {
		case len(ts) > 1 && ts[i].CapturesMany():
			b.fail(i, &ts[i], fmt.Errorf("%w: it captures more than its name", ErrInvalid))
		case twice:
			b.fail(i, &ts[i], shard.ErrTopicExists)
		default:
			b.left[ts[i].Name] = i
		}
	}
	for len(b.left) > 0 {
		if ctx.Err() != nil {
			b.failAll(ts, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err()))
			break
		}
		if err := b.round(ctx, ts); err != nil {
			b.failAll(ts, err)
		}
	}
	return b.out
}

// creation is a CreateTopics under way.
type creation struct {
	c    *Catalog
	mark string
	out  []Created
	left map[string]int // by name: those without an outcome
}

func (b *creation) fail(i int, t *shard.Topic, err error) {
	b.out[i].Err = fmt.Errorf("create topic %q: %w", t.Name, err)
	if b.left[t.Name] == i {
		delete(b.left, t.Name)
	}
}

func (b *creation) failAll(ts []shard.Topic, err error) {
	for _, i := range b.left {
		b.fail(i, &ts[i], err)
	}
}

func (b *creation) done(i int, t *shard.Topic) {
	b.out[i].Topic = t
	delete(b.left, t.Name)
}

// round makes as many as one transaction takes. Without an error it may have made
// none: another writer was first, and the view has caught up with that.
func (b *creation) round(ctx context.Context, ts []shard.Topic) error {
	c := b.c
	set, counter := c.Topics(), c.counters.rows()[topicCounter]
	ckey := c.key(kindCounter, topicCounter)
	tx := txn{cmps: []clientv3.Cmp{modifiedAt(ckey, counter.mod)}}
	next, size := shard.TopicNum(max(counter.val, 1)), 0
	var chs []change
	made := make(map[int]*shard.Topic)
	for i := range ts {
		t := &ts[i]
		if at, ok := b.left[t.Name]; !ok || at != i {
			continue
		}
		if b.settled(set, i, t) {
			continue
		}
		if len(made) == MaxTopicsAtOnce || size > maxCreateBytes {
			break
		}
		x := t.Clone()
		x.Num = next
		value, err := encodeChecked(x, b.mark)
		if err != nil {
			b.fail(i, t, err)
			continue
		}
		next++
		made[i] = x
		size += len(x.Name) + len(value)
		key := c.key(kindTopic, x.Name)
		tx.iff(absent(key))
		tx.put(key, value)
		tx.orGet(key)
		chs = append(chs, own(kindTopic, x.Name, value))
	}
	if len(made) == 0 {
		return nil
	}
	cvalue := encodeCounter(int64(next))
	tx.put(ckey, cvalue)
	tx.orGet(ckey)
	chs = append(chs, ownUpdate(kindCounter, topicCounter, cvalue, counter.create, counter.version))
	out, err := c.commit(ctx, "commit", tx)
	if err != nil {
		return err
	}
	if !out.ok {
		// Somebody else was first, or an answer of ours was lost: look again
		// when the view has caught up.
		return c.catchUp(ctx, out)
	}
	c.applyOwn(out.rev, chs...)
	set = c.Topics()
	for i, x := range made {
		if r, ok := set.byName.get(x.Name); ok && r.mark == b.mark {
			x = r.topic
		}
		b.done(i, x)
	}
	return nil
}

// settled gives a topic that the view knows, or conflicts with, its outcome.
func (b *creation) settled(set *TopicSet, i int, t *shard.Topic) bool {
	if r, ok := set.byName.get(t.Name); ok {
		if r.mark == b.mark {
			b.done(i, r.topic)
		} else {
			b.fail(i, t, shard.ErrTopicExists)
		}
		return true
	}
	if o, ok := set.conflict(t); ok {
		b.fail(i, t, fmt.Errorf("%w: %q", shard.ErrCaptureConflict, o.Name))
		return true
	}
	return false
}
