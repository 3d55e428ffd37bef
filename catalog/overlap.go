package catalog

import (
	"iter"
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
		prefix := prefixOf(f)
		if literal(f) {
			if t, ok := s.literal.get(prefix); ok && !yield(t) {
				return
			}
		} else {
			for name, t := range s.literal.all() {
				if strings.HasPrefix(name, prefix) && f.Overlaps(shard.LiteralFilter(name)) && !yield(t) {
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
