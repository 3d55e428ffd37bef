package live

import (
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

type subscription struct {
	hub *Hub
	to  shard.Subscriber
	// deliver is held shared while to.Deliver runs.
	deliver sync.RWMutex

	mu struct {
		sync.Mutex
		filters map[shard.SubID]*filter
		closed  bool
	}
}

// Subscribe implements shard.Live.
func (h *Hub) Subscribe(to shard.Subscriber) shard.Subscription {
	return &subscription{hub: h, to: to}
}

// Add implements shard.Subscription.
func (s *subscription) Add(id shard.SubID, f shard.Filter, opts shard.LiveOptions) error {
	if len(f.Tokens) == 0 {
		return shard.Errorf(shard.KindInvalid, "subscribe: filter is empty")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return shard.ErrClosed
	}
	n := &filter{sub: s, id: id, filter: f, opts: opts}
	s.hub.count(n, 1)
	s.hub.index.Add(f, n)
	old := s.mu.filters[id]
	if s.mu.filters == nil {
		s.mu.filters = make(map[shard.SubID]*filter)
	}
	s.mu.filters[id] = n
	if old != nil {
		s.end(old)
	}
	return nil
}

func (h *Hub) count(f *filter, n int64) {
	if f.opts.Durable {
		h.durable.Add(n)
	} else {
		h.early.Add(n)
	}
}

// Remove implements shard.Subscription.
func (s *subscription) Remove(id shard.SubID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.mu.filters[id]; f != nil {
		delete(s.mu.filters, id)
		s.end(f)
	}
}

// Close implements shard.Subscription.
func (s *subscription) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	fs := make([]*filter, 0, len(s.mu.filters))
	for _, f := range s.mu.filters {
		fs = append(fs, f)
	}
	s.mu.filters = nil
	s.end(fs...)
}

// end waits for a delivery that runs; a later one sees that the filters are gone
// though its match be older.
func (s *subscription) end(fs ...*filter) {
	for _, f := range fs {
		s.hub.index.Remove(f.filter, f)
		s.hub.count(f, -1)
	}
	s.deliver.Lock()
	for _, f := range fs {
		f.gone = true
	}
	s.deliver.Unlock()
}
