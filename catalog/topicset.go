package catalog

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/robustmq/robustmq-go/shard"
)

// TopicSet is an immutable view of all topics. A change makes a new one that
// shares nearly all of the old.
type TopicSet struct {
	byName   pmap[string, topicRow]
	byNum    pmap[shard.TopicNum, *shard.Topic]
	literal  pmap[string, *shard.Topic] // captured subjects without wildcards
	slashed  pmap[string, []string]     // those of them that hold a slash, by shard.Flat
	wildcard pmap[string, []capture]    // by their literal tokens before the first wildcard
	auto     int
	rev      int64
}

type topicRow struct {
	topic                *shard.Topic
	mark                 string
	create, mod, version int64
}

type capture struct {
	filter shard.Filter
	topic  *shard.Topic
}

// ByName gives the topic of a name. What it points to is shared: Clone before changing it.
func (s *TopicSet) ByName(name string) (*shard.Topic, bool) {
	r, ok := s.byName.get(name)
	return r.topic, ok
}

// ByNum gives the topic of a number.
func (s *TopicSet) ByNum(n shard.TopicNum) (*shard.Topic, bool) { return s.byNum.get(n) }

// Len is the number of topics; AutoLen of those made by first use.
func (s *TopicSet) Len() int { return s.byName.n }

// AutoLen is the number of topics made by the first use of their subject.
func (s *TopicSet) AutoLen() int { return s.auto }

// Revision rises with every change of the set.
func (s *TopicSet) Revision() int64 { return s.rev }

// All walks the topics in no particular order.
func (s *TopicSet) All() iter.Seq[*shard.Topic] {
	return func(yield func(*shard.Topic) bool) {
		for _, r := range s.byName.all() {
			if !yield(r.topic) {
				return
			}
		}
	}
}

// Resolve gives the topic that captures a subject: the one whose filter is the
// most specific of those that match. Its cost depends on the depth of the
// subject and on the filters that share its first tokens, not on the number of
// topics.
func (s *TopicSet) Resolve(subject string) (*shard.Topic, bool) {
	if t, ok := s.literal.get(subject); ok {
		return t, true
	}
	if s.wildcard.n == 0 {
		return nil, false
	}
	var best capture
	for end := len(subject); ; end = strings.LastIndexByte(subject[:end], '.') {
		if end < 0 {
			end = 0
		}
		list, _ := s.wildcard.get(subject[:end])
		for _, c := range list {
			if c.filter.Match(subject) && (best.topic == nil || c.filter.Specificity(best.filter) > 0) {
				best = c
			}
		}
		if end == 0 || best.topic != nil {
			return best.topic, best.topic != nil
		}
	}
}

// prefixOf gives the literal tokens of a filter before its first wildcard.
func prefixOf(f shard.Filter) string {
	var toks []string
	for _, t := range f.Tokens {
		if t.Kind != shard.TokenLiteral {
			break
		}
		toks = append(toks, t.Text)
	}
	return strings.Join(toks, ".")
}

// conflict gives the topic, other than t itself, with a capture that overlaps
// one of t's and is as specific. Such filters have their wildcards in the same
// places, so their literal beginnings are the same: only those are compared.
func (s *TopicSet) conflict(t *shard.Topic) (*shard.Topic, bool) {
	if t.Internal {
		return nil, false
	}
	for _, f := range t.Filters() {
		if subject, ok := f.Literal(); ok {
			if o, ok := s.literal.get(subject); ok && o.Name != t.Name {
				return o, true
			}
			continue
		}
		list, _ := s.wildcard.get(prefixOf(f))
		for _, c := range list {
			if c.topic.Name != t.Name && c.filter.Specificity(f) == 0 && c.filter.Overlaps(f) {
				return c.topic, true
			}
		}
	}
	return nil, false
}

// checkTopic refuses what cannot be stored.
func checkTopic(t *shard.Topic) error {
	if err := shard.CheckSubject(t.Name); err != nil {
		return fmt.Errorf("topic name: %w", err)
	}
	if t.Shards < 1 || t.Shards > MaxShards {
		return fmt.Errorf("%w: topic of %d shards, not 1 to %d", ErrInvalid, t.Shards, MaxShards)
	}
	for _, c := range t.Captures {
		if _, err := shard.ParseSubjectFilter(c); err != nil {
			return fmt.Errorf("topic %q: %w", t.Name, err)
		}
	}
	return nil
}

// put adds or replaces a topic.
func (s *TopicSet) put(r topicRow, ed *edit) {
	t := r.topic
	if old, ok := s.byName.get(t.Name); ok {
		s.remove(old.topic, ed)
	}
	s.byName.set(t.Name, r, ed)
	s.byNum.set(t.Num, t, ed)
	s.capture(t, ed)
	if t.Auto {
		s.auto++
	}
}

// capture enters the filters of a topic; internal topics capture nothing.
func (s *TopicSet) capture(t *shard.Topic, ed *edit) {
	if t.Internal {
		return
	}
	for _, f := range t.Filters() {
		if subject, ok := f.Literal(); ok {
			s.literal.set(subject, t, ed)
			s.noteSlashed(subject, ed)
			continue
		}
		p := prefixOf(f)
		list, _ := s.wildcard.get(p)
		s.wildcard.set(p, append(slices.Clip(list), capture{f, t}), ed)
	}
}

func (s *TopicSet) remove(t *shard.Topic, ed *edit) {
	s.byName.del(t.Name, ed)
	s.byNum.del(t.Num, ed)
	for _, f := range t.Filters() {
		if subject, ok := f.Literal(); ok {
			if o, _ := s.literal.get(subject); o == t {
				s.literal.del(subject, ed)
				s.forgetSlashed(subject, ed)
			}
			continue
		}
		p := prefixOf(f)
		list, _ := s.wildcard.get(p)
		list = slices.DeleteFunc(slices.Clone(list), func(c capture) bool { return c.topic == t })
		if len(list) == 0 {
			s.wildcard.del(p, ed)
		} else {
			s.wildcard.set(p, list, ed)
		}
	}
	if t.Auto {
		s.auto--
	}
}

// topicStore holds the newest TopicSet.
type topicStore struct {
	set  atomic.Pointer[TopicSet]
	note notifier
}

func newTopicStore() *topicStore {
	s := &topicStore{}
	s.set.Store(&TopicSet{})
	s.note.init()
	return s
}

func (s *topicStore) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range s.set.Load().byName.all() {
			if !yield(name) {
				return
			}
		}
	}
}

func (s *topicStore) apply(evs []event) error {
	next, ed := *s.set.Load(), new(edit)
	var bad error
	for _, ev := range evs {
		next.rev = max(next.rev, ev.mod)
		if ev.deleted {
			if old, ok := next.byName.get(ev.name); ok {
				next.remove(old.topic, ed)
			}
			continue
		}
		t, mark, err := decodeTopic(ev.name, ev.value)
		if err != nil {
			bad = fmt.Errorf("decode %q: %w", ev.name, err)
			continue
		}
		next.put(topicRow{topic: t, mark: mark, create: ev.create, mod: ev.mod, version: ev.version}, ed)
	}
	s.set.Store(&next)
	s.note.wake()
	return bad
}
