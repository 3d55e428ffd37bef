package live

import "github.com/robustmq/robustmq-go/shard"

// CanMatch tells whether a record of the topic may match; true may be wrong,
// false never is. It is cheap while the index and the topic do not change.
func (x *Index[V, M]) CanMatch(t *shard.Topic) bool {
	if x.size.Load() == 0 {
		return false
	}
	gen := x.gen.Load()
	x.topics.RLock()
	if x.topics.gen == gen {
		if can, ok := x.topics.m[t]; ok {
			x.topics.RUnlock()
			return can
		}
	}
	x.topics.RUnlock()
	can := x.canMatch(t)
	x.topics.Lock()
	defer x.topics.Unlock()
	if gen < x.topics.gen {
		return can
	}
	if gen > x.topics.gen || x.topics.m == nil || len(x.topics.m) >= maxCached {
		x.topics.gen, x.topics.m = gen, make(map[*shard.Topic]bool)
	}
	x.topics.m[t] = can
	return can
}

func (x *Index[V, M]) canMatch(t *shard.Topic) bool {
	if t.Name == shard.CatchAllTopic {
		return true
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	captures := t.Filters()
	left := maxOverlapChecks
	check := func(f shard.Filter) bool {
		for _, c := range captures {
			if f.Overlaps(c) {
				return true
			}
		}
		left--
		return left <= 0
	}
	if t.CapturesMany() {
		if x.subject.any(shard.Filter{}, check) {
			return true
		}
	} else if len(x.subject.collect(nil, t.Name, shard.SpaceSubject)) > 0 {
		return true
	}
	return x.mqtt.any(shard.Filter{Space: shard.SpaceMQTT}, check)
}

// any tells whether check holds for one of the filters below n.
func (n *node[V]) any(f shard.Filter, check func(shard.Filter) bool) bool {
	with := func(t shard.Token) shard.Filter {
		return shard.Filter{Space: f.Space, Tokens: append(f.Tokens[:len(f.Tokens):len(f.Tokens)], t)}
	}
	if n.here != nil && check(f) || n.rest != nil && check(with(shard.Token{Kind: shard.TokenRest})) {
		return true
	}
	if n.one != nil && n.one.any(with(shard.Token{Kind: shard.TokenOne}), check) ||
		n.many != nil && n.many.any(with(shard.Token{Kind: shard.TokenMany}), check) {
		return true
	}
	for text, c := range n.lits {
		if c.any(with(shard.Token{Text: text}), check) {
			return true
		}
	}
	return false
}
