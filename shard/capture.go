package shard

import (
	"slices"
	"strings"
	"sync"
)

// Captures finds the topic that captures a subject: the most specific filter
// wins. It is safe for concurrent use; lookups of exact names do not grow with
// the number of topics.
type Captures struct {
	mu      sync.RWMutex
	exact   map[string]*Topic
	wild    []capture // by falling specificity within equal heads
	byTopic map[TopicNum]*Topic
}

type capture struct {
	filter Filter
	topic  *Topic
}

// NewCaptures makes an empty index.
func NewCaptures() *Captures {
	return &Captures{exact: make(map[string]*Topic), byTopic: make(map[TopicNum]*Topic)}
}

// Put adds or replaces a topic.
func (c *Captures) Put(t *Topic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(t.Num)
	c.byTopic[t.Num] = t
	if t.Internal {
		return
	}
	for _, f := range t.Filters() {
		if name, ok := f.Literal(); ok {
			c.exact[name] = t
		} else {
			c.wild = append(c.wild, capture{f, t})
		}
	}
}

// Remove drops a topic.
func (c *Captures) Remove(n TopicNum) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(n)
}

func (c *Captures) drop(n TopicNum) {
	old, ok := c.byTopic[n]
	if !ok {
		return
	}
	delete(c.byTopic, n)
	for _, f := range old.Filters() {
		name, lit := f.Literal()
		if lit && c.exact[name] != nil && c.exact[name].Num == n {
			delete(c.exact, name)
		}
	}
	c.wild = slices.DeleteFunc(c.wild, func(w capture) bool { return w.topic.Num == n })
}

// Find gives the topic that captures the subject, nil when none does.
func (c *Captures) Find(subject string) *Topic {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if t := c.exact[subject]; t != nil {
		return t
	}
	var best *capture
	for i := range c.wild {
		w := &c.wild[i]
		if w.filter.Match(subject) && (best == nil || w.filter.Specificity(best.filter) > 0) {
			best = w
		}
	}
	if best == nil {
		return nil
	}
	return best.topic
}

// Conflict gives a topic other than t that has a capture which is equally
// specific as one of t's and overlaps it; nil when there is none. Two topics
// that claim the very same subject literally conflict too.
func (c *Captures) Conflict(t *Topic) *Topic {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, f := range t.Filters() {
		if name, ok := f.Literal(); ok {
			if o := c.exact[name]; o != nil && o.Num != t.Num {
				return o
			}
			continue
		}
		for i := range c.wild {
			w := &c.wild[i]
			if w.topic.Num != t.Num && w.filter.Specificity(f) == 0 && w.filter.Overlaps(f) {
				return w.topic
			}
		}
	}
	return nil
}

// Overlapping calls fn for each topic some of whose captures can hold what the
// filter matches.
func (c *Captures) Overlapping(f Filter, fn func(*Topic)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if name, ok := f.Literal(); ok && f.Space == SpaceSubject {
		if t := c.exact[name]; t != nil {
			fn(t)
		}
		c.overlappingWild(f, nil, fn)
		return
	}
	seen := make(map[TopicNum]bool)
	for name, t := range c.exact {
		if !seen[t.Num] && f.Overlaps(LiteralFilter(name)) {
			seen[t.Num] = true
			fn(t)
		}
	}
	c.overlappingWild(f, seen, fn)
}

func (c *Captures) overlappingWild(f Filter, seen map[TopicNum]bool, fn func(*Topic)) {
	for i := range c.wild {
		w := &c.wild[i]
		if seen[w.topic.Num] || !f.Overlaps(w.filter) {
			continue
		}
		if seen == nil {
			seen = make(map[TopicNum]bool)
		}
		seen[w.topic.Num] = true
		fn(w.topic)
	}
}

// LeftOut gives what t does not capture although its filters match it, because
// another topic has it: names and filters of those, at most so many, and how many
// there are. A capture that is made later takes no subject from a topic that exists.
func LeftOut(all []*Topic, t *Topic, most int) (captures []string, n int) {
	var wild []Filter
	for _, f := range t.Filters() {
		if _, literal := f.Literal(); !literal {
			wild = append(wild, f)
		}
	}
	if len(wild) == 0 {
		return nil, 0
	}
	for _, o := range all {
		if o.Num == t.Num || o.Internal {
			continue
		}
		for _, f := range o.Filters() {
			if !slices.ContainsFunc(wild, func(w Filter) bool { return f.Specificity(w) > 0 && w.Overlaps(f) }) {
				continue
			}
			if n++; n <= most {
				captures = append(captures, strings.TrimPrefix(f.String(), "."))
			}
		}
	}
	return captures, n
}
