package engine

import (
	"context"
	"sync"

	"github.com/robustmq/robustmq-go/catalog"
	"github.com/robustmq/robustmq-go/shard"
)

// topicMaker makes the topics of first uses, all that are waited for in one
// transaction: while one is under way the next ones gather. Who uses many subjects
// for the first time asks for them at once.
type topicMaker struct {
	e  *Engine
	mu struct {
		sync.Mutex
		queue   []*making
		running bool
	}
}

// making is one topic that is waited for.
type making struct {
	topic shard.Topic
	out   catalog.Created
	done  chan struct{}
}

// create makes a topic, and waits until it is there or ctx ends; it may be made
// still then.
func (m *topicMaker) create(ctx context.Context, t shard.Topic) (*shard.Topic, error) {
	x := &making{topic: t, done: make(chan struct{})}
	m.mu.Lock()
	m.mu.queue = append(m.mu.queue, x)
	if !m.mu.running {
		m.mu.running = true
		go m.run()
	}
	m.mu.Unlock()
	select {
	case <-x.done:
		return x.out.Topic, x.out.Err
	case <-ctx.Done():
		return nil, shard.Errorf(shard.KindUnavailable, "create topic %q: %w", t.Name, context.Cause(ctx))
	}
}

// run works until nothing waits.
func (m *topicMaker) run() {
	for {
		m.mu.Lock()
		n := min(len(m.mu.queue), catalog.MaxTopicsAtOnce)
		if n == 0 {
			m.mu.queue, m.mu.running = nil, false
			m.mu.Unlock()
			return
		}
		batch := m.mu.queue[:n:n]
		m.mu.queue = m.mu.queue[n:]
		m.mu.Unlock()
		m.make(batch)
	}
}

// errAutoTopics says that no more topics make themselves.
var errAutoTopics = shard.Errorf(shard.KindUnavailable, "topics.auto_create.max is reached")

// make makes topics together, those of one name once, and no more than may be.
func (m *topicMaker) make(batch []*making) {
	room := m.e.opts.AutoTopics - m.e.cat.Topics().AutoLen()
	ts := make([]shard.Topic, 0, len(batch))
	at := make(map[string]int, len(batch))
	for _, x := range batch {
		if _, ok := at[x.topic.Name]; !ok && len(ts) < room {
			at[x.topic.Name] = len(ts)
			ts = append(ts, x.topic)
		}
	}
	out := m.e.cat.CreateTopics(m.e.ctx, ts)
	for _, x := range batch {
		if i, ok := at[x.topic.Name]; ok {
			x.out = out[i]
		} else {
			x.out.Err = errAutoTopics
		}
		close(x.done)
	}
}
