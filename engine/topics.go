package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/singleflight"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// catchAllTopic takes the subjects past the bound of topics made by themselves.
const catchAllTopic = "robustmq.catch-all"

// MaxShards bounds the shards of one topic.
const MaxShards = 100_000

// topics implements shard.Topics over the catalog's snapshot.
type topics struct {
	e      *Engine
	flight singleflight.Group
	maker  topicMaker
}

func (t *topics) set() *catalog.TopicSet { return t.e.cat.Topics() }

// ByName implements shard.TopicReader. Nobody finds the engine's own topic by it.
func (t *topics) ByName(name string) (*shard.Topic, bool) {
	x, ok := t.set().ByName(name)
	if !ok || x.Internal {
		return nil, false
	}
	return x, true
}

// ByNum implements shard.TopicReader.
func (t *topics) ByNum(n shard.TopicNum) (*shard.Topic, bool) { return t.set().ByNum(n) }

// Changed implements shard.TopicReader.
func (t *topics) Changed() <-chan struct{} { return t.e.cat.Changed() }

// List implements shard.TopicReader.
func (t *topics) List() []*shard.Topic {
	set := t.set()
	out := make([]*shard.Topic, 0, set.Len())
	for x := range set.All() {
		if !x.Internal {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b *shard.Topic) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Overlapping calls fn for each topic that can hold what the filter matches.
func (t *topics) Overlapping(f shard.Filter, fn func(*shard.Topic)) {
	for x := range t.set().Overlapping(f) {
		fn(x)
	}
}

// Resolve implements shard.Topics.
func (t *topics) Resolve(ctx context.Context, subject string, create bool) (*shard.Topic, error) {
	if x, ok := t.set().Resolve(subject); ok {
		return x, nil
	}
	if err := shard.CheckSubject(subject); err != nil {
		return nil, err
	}
	if !create {
		if x, ok := t.set().ByName(catchAllTopic); ok && t.set().AutoLen() >= t.e.opts.AutoTopics {
			return x, nil
		}
		return nil, shard.ErrTopicNotFound
	}
	v, err, _ := t.flight.Do(subject, func() (any, error) { return t.auto(ctx, subject) })
	if err != nil {
		return nil, err
	}
	return v.(*shard.Topic), nil
}

// auto makes the topic of a subject that nothing captures.
func (t *topics) auto(ctx context.Context, subject string) (*shard.Topic, error) {
	if x, ok := t.set().Resolve(subject); ok {
		return x, nil
	}
	if t.set().AutoLen() < t.e.opts.AutoTopics {
		x, err := t.create(ctx, shard.Topic{Name: subject, Shards: t.e.opts.AutoShards, Auto: true}, t.maker.create)
		if !errors.Is(err, errAutoTopics) {
			return t.orExisting(x, err, subject, subject)
		}
	}
	if x, ok := t.set().ByName(catchAllTopic); ok {
		return x, nil
	}
	t.e.log.Warn("topics.auto_create.max is reached: new subjects share one topic", "topic", catchAllTopic)
	x, err := t.create(ctx, shard.Topic{Name: catchAllTopic, Shards: t.e.opts.CatchAllShards, Auto: true}, t.e.cat.CreateTopic)
	return t.orExisting(x, err, subject, catchAllTopic)
}

// orExisting gives the outcome of a creation, or the topic that stood in its way.
func (t *topics) orExisting(x *shard.Topic, err error, subject, name string) (*shard.Topic, error) {
	if errors.Is(err, shard.ErrTopicExists) || errors.Is(err, shard.ErrCaptureConflict) {
		if x, ok := t.set().Resolve(subject); ok {
			return x, nil
		}
		if x, ok := t.set().ByName(name); ok { // a topic of that name that captures other subjects
			return x, nil
		}
	}
	return x, err
}

// Create implements shard.Topics.
func (t *topics) Create(ctx context.Context, x shard.Topic) (*shard.Topic, error) {
	x.Auto, x.Internal = false, false
	made, err := t.create(ctx, x, t.e.cat.CreateTopic)
	if err == nil {
		t.sayLeftOut(made)
	}
	return made, err
}

// sayLeftOut logs what a capture does not take because another topic has it: gateways
// whose protocol has no word for it rely on that.
func (t *topics) sayLeftOut(x *shard.Topic) {
	if left, n := shard.LeftOut(t.List(), x, 5); n > 0 {
		t.e.log.Warn("topics that exist keep what they capture", "topic", x.Name, "captures", x.Captures, "left_out", left, "count", n)
	}
}

// create checks and completes a topic, and makes it by fn.
func (t *topics) create(ctx context.Context, x shard.Topic, fn func(context.Context, shard.Topic) (*shard.Topic, error)) (*shard.Topic, error) {
	if x.Name == stateTopic || x.Name == snapshotTopic { // nor does the first use of its subject make it
		return nil, shard.Errorf(shard.KindInvalid, "topic name %q is reserved", x.Name)
	}
	if x.Shards == 0 {
		x.Shards = t.e.opts.AutoShards
	}
	if x.Shards > MaxShards {
		return nil, shard.Errorf(shard.KindInvalid, "topic of %d shards is over %d", x.Shards, MaxShards)
	}
	if err := shard.CheckSubject(x.Name); err != nil {
		return nil, err
	}
	for _, c := range x.Captures {
		if _, err := shard.ParseSubjectFilter(c); err != nil {
			return nil, err
		}
	}
	x.Created = t.e.opts.Now().UnixMilli()
	out, err := fn(ctx, x)
	return out, catalogError(err)
}

// Update implements shard.Topics.
func (t *topics) Update(ctx context.Context, name string, fn func(*shard.Topic) error) (*shard.Topic, error) {
	x, err := t.e.cat.UpdateTopic(ctx, name, func(x *shard.Topic) error {
		if x.Internal {
			return shard.ErrTopicNotFound
		}
		before := x.Shards
		if err := fn(x); err != nil {
			return err
		}
		if x.Shards < before || x.Shards > MaxShards {
			return shard.Errorf(shard.KindInvalid, "topic %q has %d shards; %d is not possible", name, before, x.Shards)
		}
		return nil
	})
	return x, catalogError(err)
}

// Delete implements shard.Topics.
func (t *topics) Delete(ctx context.Context, name string) error {
	x, ok := t.ByName(name)
	if !ok || x.Internal {
		return shard.ErrTopicNotFound
	}
	if err := catalogError(t.e.cat.DeleteTopic(ctx, name)); err != nil {
		return err
	}
	t.e.forgetTopic(x)
	t.e.groups.TopicDeleted(x.Num)
	return nil
}

// forgetTopic drops the shards of a deleted topic from memory; retention frees
// its objects.
func (e *Engine) forgetTopic(x *shard.Topic) {
	var gone []*shardLog
	for i := range e.shards {
		st := &e.shards[i]
		st.Lock()
		for id, s := range st.m {
			if id.Topic != x.Num {
				continue
			}
			delete(st.m, id)
			s.mu.Lock()
			s.gone = true
			waiting := s.waiting
			s.waiting, s.tail = nil, nil
			s.mu.Unlock()
			for _, ch := range waiting {
				close(ch)
			}
			gone = append(gone, s)
		}
		st.Unlock()
	}
	for _, s := range gone {
		s.abort(shard.ErrTopicNotFound)
	}
}

// catalogError gives the catalog's errors their kinds.
func catalogError(err error) error {
	var known *shard.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, catalog.ErrInvalid):
		return shard.Errorf(shard.KindInvalid, "%w", err)
	case errors.Is(err, catalog.ErrTooLarge):
		return shard.Errorf(shard.KindTooLarge, "%w", err)
	}
	return shard.Errorf(shard.KindUnavailable, "%w", err)
}
