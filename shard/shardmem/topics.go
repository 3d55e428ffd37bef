package shardmem

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

const (
	maxShards      = 100_000
	catchAllShards = 16
)

// topics implements shard.Topics.
type topics struct {
	b        *Broker
	captures *shard.Captures

	mu      sync.RWMutex
	byName  map[string]*shard.Topic
	byNum   map[shard.TopicNum]*shard.Topic
	next    shard.TopicNum
	auto    int
	changed chan struct{}
}

func newTopics(b *Broker) *topics {
	return &topics{b: b, captures: shard.NewCaptures(), byName: make(map[string]*shard.Topic),
		byNum: make(map[shard.TopicNum]*shard.Topic), changed: make(chan struct{})}
}

// ByName implements shard.TopicReader.
func (t *topics) ByName(name string) (*shard.Topic, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	x, ok := t.byName[name]
	return x, ok
}

// ByNum implements shard.TopicReader.
func (t *topics) ByNum(n shard.TopicNum) (*shard.Topic, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	x, ok := t.byNum[n]
	return x, ok
}

// List implements shard.TopicReader.
func (t *topics) List() []*shard.Topic {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*shard.Topic, 0, len(t.byName))
	for _, x := range t.byName {
		if !x.Internal {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b *shard.Topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Changed implements shard.TopicReader.
func (t *topics) Changed() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.changed
}

// Overlapping calls fn for each topic that can hold what the filter matches.
func (t *topics) Overlapping(f shard.Filter, fn func(*shard.Topic)) {
	catchAll, ok := t.ByName(shard.CatchAllTopic)
	if ok {
		fn(catchAll)
	}
	t.captures.Overlapping(f, func(x *shard.Topic) {
		if x != catchAll {
			fn(x)
		}
	})
}

// Resolve implements shard.Topics.
func (t *topics) Resolve(_ context.Context, subject string, create bool) (*shard.Topic, error) {
	if x := t.captures.Find(subject); x != nil {
		return x, nil
	}
	if err := shard.CheckSubject(subject); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.captures.Find(subject); x != nil {
		return x, nil
	}
	full := t.auto >= t.b.opts.AutoTopics
	if x := t.byName[shard.CatchAllTopic]; x != nil && full {
		return x, nil
	}
	if !create {
		return nil, shard.ErrTopicNotFound
	}
	if x := t.byName[subject]; x != nil { // a topic of that name that captures other subjects
		return x, nil
	}
	if full {
		return t.put(&shard.Topic{Name: shard.CatchAllTopic, Shards: catchAllShards, Auto: true}), nil
	}
	t.auto++
	return t.put(&shard.Topic{Name: subject, Shards: t.b.opts.AutoShards, Auto: true}), nil
}

// put numbers a new topic, or replaces one. t is locked.
func (t *topics) put(x *shard.Topic) *shard.Topic {
	if x.Num == 0 {
		t.next++
		x.Num, x.Created = t.next, t.b.opts.Now().UnixMilli()
	}
	t.byName[x.Name], t.byNum[x.Num] = x, x
	t.captures.Put(x)
	t.notify()
	return x
}

func (t *topics) notify() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// Create implements shard.Topics.
func (t *topics) Create(_ context.Context, x shard.Topic) (*shard.Topic, error) {
	n := x.Clone()
	n.Num, n.Auto, n.Internal = 0, false, false
	if n.Shards == 0 {
		n.Shards = t.b.opts.AutoShards
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName[n.Name] != nil {
		return nil, shard.ErrTopicExists
	}
	if err := t.check(n); err != nil {
		return nil, err
	}
	return t.put(n), nil
}

func (t *topics) check(x *shard.Topic) error {
	if err := shard.CheckSubject(x.Name); err != nil {
		return err
	}
	if x.Shards == 0 || x.Shards > maxShards {
		return shard.Errorf(shard.KindInvalid, "topic of %d shards is not possible", x.Shards)
	}
	for _, c := range x.Captures {
		if _, err := shard.ParseSubjectFilter(c); err != nil {
			return err
		}
	}
	if t.captures.Conflict(x) != nil {
		return shard.ErrCaptureConflict
	}
	return nil
}

// Update implements shard.Topics.
func (t *topics) Update(_ context.Context, name string, fn func(*shard.Topic) error) (*shard.Topic, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.byName[name]
	if old == nil || old.Internal {
		return nil, shard.ErrTopicNotFound
	}
	n := old.Clone()
	if err := fn(n); err != nil {
		return nil, err
	}
	n.Num, n.Name, n.Created, n.Auto, n.Internal = old.Num, old.Name, old.Created, old.Auto, old.Internal
	if n.Shards < old.Shards {
		return nil, shard.Errorf(shard.KindInvalid, "topic %q has %d shards and cannot have fewer", name, old.Shards)
	}
	if err := t.check(n); err != nil {
		return nil, err
	}
	return t.put(n), nil
}

// Delete implements shard.Topics.
func (t *topics) Delete(_ context.Context, name string) error {
	t.mu.Lock()
	x := t.byName[name]
	if x == nil || x.Internal {
		t.mu.Unlock()
		return shard.ErrTopicNotFound
	}
	delete(t.byName, name)
	delete(t.byNum, x.Num)
	t.captures.Remove(x.Num)
	if x.Auto && name != shard.CatchAllTopic {
		t.auto--
	}
	t.notify()
	t.mu.Unlock()
	t.b.dropLogs(x)
	t.b.groups.TopicDeleted(x.Num)
	return nil
}
