package mqtt

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// retainStore keeps the newest retained message of each topic [MQTT-3.3.1-5]:
// the messages in shard.State, their names in a tree here. It is safe for
// concurrent use.
type retainStore struct {
	state shard.State
	said  atomic.Int64 // Unix nanoseconds: of the last complaint
	order retainOrder
	mu    struct {
		sync.RWMutex
		root  retainNode
		count int
	}
}

// retainNode is one level of a topic.
type retainNode struct {
	next map[string]*retainNode
	here bool // a topic ends here
}

const retainPrefix = "mqtt/retained/"

// retainOwner spreads the messages over 256 owners.
func retainOwner(topic string) string {
	return fmt.Sprintf("%s%02x", retainPrefix, retainHash(topic))
}

func retainHash(topic string) byte {
	h := fnv.New32a()
	_, _ = h.Write([]byte(topic))
	return byte(h.Sum32())
}

func newRetainStore(st shard.State) *retainStore { return &retainStore{state: st} }

// load reads the names of what is kept.
func (s *retainStore) load(ctx context.Context) error {
	owners, err := s.state.Owners(ctx, retainPrefix)
	if errors.Is(err, shard.ErrLogAway) {
		return nil // the process starts over when it is known what there is
	}
	if err != nil {
		return fmt.Errorf("list retained messages: %w", err)
	}
	for _, o := range owners {
		err := shard.RangeNames(ctx, s.state, o, "", func(topic string) bool {
			s.note(topic, true)
			return true
		})
		if err != nil {
			return fmt.Errorf("load retained messages: %w", err)
		}
	}
	return nil
}

// keepOf makes the change that keeps r as the message of a topic, or forgets it
// when its payload is empty [MQTT-3.3.1-6] [MQTT-3.3.1-7].
func keepOf(topic string, r *shard.Record) shard.StateOp {
	op := shard.StateOp{Key: topic}
	if len(r.Value) > 0 {
		op.Value = shard.BatchOf(*r).Raw()
	}
	return op
}

// set makes the change of keepOf; done is told the outcome.
func (s *retainStore) set(ctx context.Context, op shard.StateOp, done func(error)) {
	s.state.Apply(ctx, retainOwner(op.Key), []shard.StateOp{op}, done)
}

// get reads the message of a topic; ok is false when there is none any more.
func (s *retainStore) get(ctx context.Context, topic string, now time.Time) (*shard.Record, bool, error) {
	v, ok, err := s.state.Get(ctx, retainOwner(topic), topic)
	if err != nil || !ok {
		return nil, false, err
	}
	r, err := thaw(v.Data)
	if err != nil {
		return nil, false, err
	}
	if r.Expired(now) {
		op := shard.StateOp{Key: topic, If: v.Rev}
		s.state.Apply(ctx, retainOwner(topic), []shard.StateOp{op}, func(err error) {
			if err == nil {
				s.gone(topic)
			}
		})
		return nil, false, nil
	}
	return r, true, nil
}

// complainInterval keeps a store that is away from filling the log.
const complainInterval = 5 * time.Second

// complain logs that a message could not be read, at a rate.
func (s *retainStore) complain(log *slog.Logger, topic string, err error) {
	last, now := s.said.Load(), time.Now().UnixNano()
	if now-last >= int64(complainInterval) && s.said.CompareAndSwap(last, now) {
		log.Warn("retained messages cannot be read; it is tried again", "topic", topic, "error", err)
	}
}

// count is the number of retained messages.
func (s *retainStore) count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.count
}

// note adds or removes a name.
func (s *retainStore) note(topic string, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep {
		n := &s.mu.root
		for level := range strings.SplitSeq(topic, "/") {
			c := n.next[level]
			if c == nil {
				if n.next == nil {
					n.next = make(map[string]*retainNode)
				}
				c = &retainNode{}
				n.next[strings.Clone(level)] = c
			}
			n = c
		}
		if !n.here {
			n.here = true
			s.mu.count++
		}
		return
	}
	if s.mu.root.remove(topic) {
		s.mu.count--
	}
}

// has tells whether a name is there.
func (s *retainStore) has(topic string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := &s.mu.root
	for level := range strings.SplitSeq(topic, "/") {
		if n = n.next[level]; n == nil {
			return false
		}
	}
	return n.here
}

// remove forgets a name and the levels that only it had.
func (n *retainNode) remove(topic string) bool {
	level, rest, more := strings.Cut(topic, "/")
	c := n.next[level]
	if c == nil {
		return false
	}
	was := c.here
	if more {
		was = c.remove(rest)
	} else {
		c.here = false
	}
	if !c.here && len(c.next) == 0 {
		delete(n.next, level)
	}
	return was
}

// match gives the topics that a filter in shard.SpaceMQTT matches.
func (s *retainStore) match(f shard.Filter) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	s.mu.root.match("", f.Tokens, true, &out)
	return out
}

func (n *retainNode) match(name string, ts []shard.Token, top bool, out *[]string) {
	if len(ts) == 0 {
		if n.here {
			*out = append(*out, name)
		}
		return
	}
	t, rest := ts[0], ts[1:]
	if t.Kind == shard.TokenMany { // "#" is the parent level too (4.7.1.2)
		n.all(name, top, out)
		return
	}
	if t.Kind == shard.TokenLiteral {
		if c := n.next[t.Text]; c != nil {
			c.match(join(name, t.Text, top), rest, false, out)
		}
		return
	}
	for level, c := range n.next {
		if !top || !strings.HasPrefix(level, "$") { // [MQTT-4.7.2-1]
			c.match(join(name, level, top), rest, false, out)
		}
	}
}

func (n *retainNode) all(name string, top bool, out *[]string) {
	if n.here {
		*out = append(*out, name)
	}
	for level, c := range n.next {
		if !top || !strings.HasPrefix(level, "$") { // [MQTT-4.7.2-1]
			c.all(join(name, level, top), false, out)
		}
	}
}

func join(name, level string, top bool) string {
	if top {
		return level
	}
	return name + "/" + level
}
