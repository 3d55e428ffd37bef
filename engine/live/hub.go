package live

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robustmq/robustmq-go/shard"
)

// maxPooled bounds the runs, in messages, that are kept for reuse.
const maxPooled = 4096

// Hub is a shard.Live. Use NewHub.
type Hub struct {
	log   *slog.Logger
	now   func() time.Time
	index *Index[*filter, match]
	// early and durable count the filters of each kind.
	early, durable atomic.Int64
	runs           sync.Pool // *[]shard.Message

	bad struct {
		sync.Mutex
		topics map[shard.TopicNum]bool
	}
}

// filter is one filter of a subscription.
type filter struct {
	sub    *subscription
	id     shard.SubID
	filter shard.Filter
	opts   shard.LiveOptions
	at     int // its place in its target or queue, under the index's lock
	// gone is set under the write lock of sub.deliver.
	gone bool
}

// NewHub makes a hub without subscribers. logger is told of batches that cannot
// be decoded; now tells the time of arrivals.
func NewHub(logger *slog.Logger, now func() time.Time) *Hub {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	h := &Hub{log: logger, now: now}
	h.index = &Index[*filter, match]{buildSets: h.buildMatch, keep: newAudience}
	h.runs.New = func() any { return new([]shard.Message) }
	h.bad.topics = make(map[shard.TopicNum]bool)
	return h
}

// Assigned hands a batch to those who take messages before they are durable.
// The log's owner calls it in the shard's order.
func (h *Hub) Assigned(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin) {
	if h.early.Load() > 0 {
		h.feed(t, index, b, origin, false)
	}
}

// Durable hands a batch that became visible to those who take only such.
func (h *Hub) Durable(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin) {
	if h.durable.Load() > 0 {
		h.feed(t, index, b, origin, true)
	}
}

func (h *Hub) feed(t *shard.Topic, index uint32, b *shard.Batch, origin shard.Origin, durable bool) {
	if t.Internal || b.Control() || !h.index.CanMatch(t) {
		return
	}
	recs, err := b.Records()
	if err != nil {
		h.skipBad(t, index, b, err)
		return
	}
	buf := h.runs.Get().(*[]shard.Message)
	ms := (*buf)[:0]
	var cur *match
	now := h.now().UnixMilli()
	for i := range recs {
		r := &recs[i]
		if r.Stillborn() {
			continue
		}
		subject := Subject(t, r)
		m := h.index.Match(subject, r)
		if len(ms) > 0 && (m != cur || ms[0].Subject != subject) {
			cur.pick(durable).run(ms)
			ms = ms[:0]
		}
		if cur = m; m != nil {
			ms = append(ms, shard.Message{Topic: t, Shard: index, Subject: subject, Record: r, Origin: origin, Arrived: now})
		}
	}
	if len(ms) > 0 {
		cur.pick(durable).run(ms)
	}
	if cap(ms) <= maxPooled {
		clear(ms[:cap(ms)])
		*buf = ms[:0]
		h.runs.Put(buf)
	}
}

func (m *match) pick(durable bool) *reach {
	if durable {
		return &m.durable
	}
	return &m.early
}

// deliver holds the subscription's lock shared, so that Remove can wait.
func (d *target) deliver(ms []shard.Message) int {
	s := d.sub
	s.deliver.RLock()
	defer s.deliver.RUnlock()
	ids := d.matched(ms[0].Origin)
	if len(ids) == 0 {
		return 0
	}
	s.to.Deliver(ms, ids)
	return len(ms)
}

// takes tells whether the filter has not ended and wants what origin published.
func (f *filter) takes(origin shard.Origin) bool {
	return !f.gone && (f.opts.NotFrom == 0 || f.opts.NotFrom != origin)
}

// deliver tells how many messages the filter's subscriber took.
func (f *filter) deliver(ms []shard.Message) int {
	s := f.sub
	s.deliver.RLock()
	defer s.deliver.RUnlock()
	if !f.takes(ms[0].Origin) {
		return 0
	}
	if q, ok := s.to.(shard.QueueSubscriber); ok {
		return q.DeliverQueued(ms, f.id)
	}
	ids := [1]shard.SubID{f.id}
	s.to.Deliver(ms, ids[:])
	return len(ms)
}

func (h *Hub) skipBad(t *shard.Topic, index uint32, b *shard.Batch, err error) {
	h.bad.Lock()
	known := h.bad.topics[t.Num]
	h.bad.topics[t.Num] = true
	h.bad.Unlock()
	if !known {
		h.log.Error("live subscribers do not get a batch that cannot be decoded",
			"topic", t.Name, "shard", index, "offset", b.BaseOffset(), "err", err)
	}
}

// Relay implements shard.Live.
func (h *Hub) Relay(ms []shard.Message) int {
	n := 0
	for len(ms) > 0 {
		m := h.index.Match(ms[0].Subject, ms[0].Record)
		k := 1
		for k < len(ms) && ms[k].Subject == ms[0].Subject && ms[k].Origin == ms[0].Origin &&
			h.index.Match(ms[k].Subject, ms[k].Record) == m {
			k++
		}
		if m != nil {
			n += m.early.run(ms[:k:k]) + m.durable.run(ms[:k:k])
		}
		ms = ms[k:]
	}
	return n
}

// Interest implements shard.Live.
func (h *Hub) Interest(subject string) bool {
	return h.index.size.Load() > 0 && h.index.match(names{subject: subject}) != nil
}

// InterestIn implements shard.Live.
func (h *Hub) InterestIn(subject string, from shard.Origin) bool {
	if h.index.size.Load() == 0 {
		return false
	}
	m := h.index.match(names{subject: subject})
	return m != nil && (m.early.wants(from) || m.durable.wants(from))
}
