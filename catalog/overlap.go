package catalog

import (
	"iter"
	"slices"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// Overlapping gives each topic, internal ones left out, that can hold what a
// filter matches. A filter without wildcards costs what the topics with wildcards
// cost, however many others there are; one with wildcards looks at every name,
// but closely only at those that begin as it does.
func (s *TopicSet) Overlapping(f shard.Filter) iter.Seq[*shard.Topic] {
	return func(yield func(*shard.Topic) bool) {
		seen := make(map[*shard.Topic]bool)
		if t, ok := s.ByName(shard.CatchAllTopic); ok {
			seen[t] = true
			if !yield(t) {
				return
			}
		}
		for t := range s.captured(f) {
			if seen[t] {
				continue
			}
			seen[t] = true
			if !yield(t) {
				return
			}
		}
	}
}

// captured gives the topics with a capture that overlaps f, some more than once.
func (s *TopicSet) captured(f shard.Filter) iter.Seq[*shard.Topic] {
	return func(yield func(*shard.Topic) bool) {
		prefix, flat := prefixOf(f), f.Space != shard.SpaceSubject
		if flat {
			prefix = shard.Flat(prefix)
		}
		if literal(f) {
			if t, ok := s.literal.get(prefix); ok && !yield(t) {
				return
			}
			if flat && !s.yieldSlashed(prefix, yield) {
				return
			}
		} else {
			for name, t := range s.literal.all() {
				begins := strings.HasPrefix(name, prefix) || flat && strings.HasPrefix(shard.Flat(name), prefix)
				if begins && f.Overlaps(shard.LiteralFilter(name)) && !yield(t) {
					return
				}
			}
		}
		for _, list := range s.wildcard.all() {
			for _, c := range list {
				if f.Overlaps(c.filter) && !yield(c.topic) {
					return
				}
			}
		}
	}
}

// literal tells whether a filter of either space has no wildcard; the subject it
// reaches is its prefixOf then.
func literal(f shard.Filter) bool {
	for _, t := range f.Tokens {
		if t.Kind != shard.TokenLiteral {
			return false
		}
	}
	return true
}

// noteSlashed enters a captured subject under the form that it has in common with
// the names that MQTT is offered it under.
func (s *TopicSet) noteSlashed(subject string, ed *edit) {
	flat := shard.Flat(subject)
	if flat == subject {
		return
	}
	list, _ := s.slashed.get(flat)
	if !slices.Contains(list, subject) {
		s.slashed.set(flat, append(slices.Clip(list), subject), ed)
	}
}

func (s *TopicSet) forgetSlashed(subject string, ed *edit) {
	flat := shard.Flat(subject)
	if flat == subject {
		return
	}
	list, _ := s.slashed.get(flat)
	list = slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == subject })
	if len(list) == 0 {
		s.slashed.del(flat, ed)
	} else {
		s.slashed.set(flat, list, ed)
	}
}

// yieldSlashed gives the topics that capture a subject with that flat form.
func (s *TopicSet) yieldSlashed(flat string, yield func(*shard.Topic) bool) bool {
	list, _ := s.slashed.get(flat)
	for _, subject := range list {
		if t, ok := s.literal.get(subject); ok && !yield(t) {
			return false
		}
	}
	return true
}
