package amqp

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/robustmq/robustmq-go/shard"
)

// Names of queues that were deleted. Consuming a name that was never declared reads
// the subject of that name; one that was deleted is not there, as in RabbitMQ, until
// somebody declares it or a later message lies under it: else a worker whose queue was
// deleted would wait for ever, or have again what was worked off.

// keyDeleted begins the keys of deleted names in the vhost's State.
const keyDeleted = "d/"

// maxDeleted bounds the deleted names that a vhost remembers; the oldest are forgotten.
const maxDeleted = 10_000

// ends are where the shards of a topic ended when a queue was deleted: part of the
// stored form. The zero value is that of a subject without a topic.
type ends struct {
	Topic shard.TopicNum `json:"topic,omitempty"`
	Ends  []int64        `json:"ends,omitempty"`

	durable bool // it is stored
}

// of gives where a shard ended.
func (e *ends) of(id shard.ID) int64 {
	if id.Topic != e.Topic || int(id.Index) >= len(e.Ends) {
		return 0
	}
	return e.Ends[id.Index]
}

// before tells whether a message was there when the queue was deleted.
func (e *ends) before(d *shard.Delivery) bool { return e != nil && d.Tag.Offset < e.of(d.Tag.Shard) }

// deletedNames are those of a vhost, under its mu.
type deletedNames struct {
	by    map[string]*ends
	order []string // names, the oldest first; some are no longer in by
}

// add remembers a name and gives those that are forgotten for it.
func (n *deletedNames) add(name string, e *ends) (dropped []string) {
	if n.by == nil {
		n.by = make(map[string]*ends)
	}
	if n.by[name] == nil {
		n.order = append(n.order, name)
	}
	n.by[name] = e
	for len(n.by) > maxDeleted || len(n.order) > 2*maxDeleted {
		oldest := n.order[0]
		n.order = n.order[1:]
		if old := n.by[oldest]; old != nil && oldest != name {
			delete(n.by, oldest)
			if old.durable {
				dropped = append(dropped, keyDeleted+oldest)
			}
		}
	}
	return dropped
}

// endsOf tells where the topic of a queue's subject ends now.
func (vh *vhost) endsOf(ctx context.Context, q *queue) (*ends, error) {
	topics := vh.s.env.Broker.Topics
	e := &ends{durable: q.durable}
	t, err := topics.Resolve(ctx, vh.subjectOfQueue(q.name), false)
	if shard.KindOf(err) == shard.KindNotFound {
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	e.Topic, e.Ends = t.Num, make([]int64, t.Shards)
	for i := range t.Shards {
		b, err := vh.s.env.Broker.Log.Bounds(ctx, t.Shard(i))
		if err != nil && shard.KindOf(err) != shard.KindNotFound {
			return nil, err
		}
		e.Ends[i] = b.End
	}
	return e, nil
}

// noteDeleted remembers the name of a queue that is being deleted, and gives what is to
// be stored of it. Names that the server made up come never again.
func (vh *vhost) noteDeleted(ctx context.Context, q *queue) ([]shard.StateOp, error) {
	if strings.HasPrefix(q.name, "amq.") {
		return nil, nil
	}
	e, err := vh.endsOf(ctx, q)
	if err != nil {
		return nil, err
	}
	vh.mu.Lock()
	dropped := vh.mu.deleted.add(q.name, e)
	vh.mu.Unlock()
	var ops []shard.StateOp
	for _, key := range dropped {
		ops = append(ops, shard.StateOp{Key: key})
	}
	if !q.durable {
		return ops, nil
	}
	data, err := json.Marshal(e)
	if err != nil {
		return nil, shard.Errorf(shard.KindInternal, "encode %s: %w", q.name, err)
	}
	return append(ops, shard.StateOp{Key: keyDeleted + q.name, Value: data}), nil
}

func (vh *vhost) loadDeleted(name, data string) {
	e := &ends{durable: true}
	if err := json.Unmarshal([]byte(data), e); err != nil {
		vh.s.log.Error("stored name of a deleted queue is unreadable", "vhost", vh.name, "queue", name, "error", err)
		return
	}
	vh.mu.Lock()
	vh.mu.deleted.add(name, e) // no more were stored
	vh.mu.Unlock()
}

// deletedAt gives where a name's topic ended when its queue was deleted, nil for one
// that was not.
func (vh *vhost) deletedAt(name string) *ends {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return vh.mu.deleted.by[name]
}

// comeBack forgets that a name was deleted: there is a queue again.
func (vh *vhost) comeBack(ctx context.Context, name string) error {
	vh.mu.Lock()
	e := vh.mu.deleted.by[name]
	delete(vh.mu.deleted.by, name)
	vh.mu.Unlock()
	if e == nil || !e.durable {
		return nil
	}
	return vh.forget(ctx, keyDeleted+name)
}

// came tells whether a message came for a name after its queue was deleted.
func (vh *vhost) came(ctx context.Context, name string, e *ends) (bool, error) {
	subject := vh.subjectOfQueue(name)
	t, err := vh.s.env.Broker.Topics.Resolve(ctx, subject, false)
	if err != nil {
		if shard.KindOf(err) == shard.KindNotFound {
			err = nil
		}
		return false, err
	}
	for i := range t.Shards {
		b, err := vh.s.env.Broker.Log.Bounds(ctx, t.Shard(i))
		if err != nil {
			return false, err
		}
		from := max(b.Start, e.of(t.Shard(i)))
		if from >= b.End {
			continue
		}
		if !t.CapturesMany() {
			return true, nil
		}
		if found, err := vh.holds(ctx, t, i, from, subject); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// lookAhead bounds what is read of a topic of many subjects to find one, in bytes.
const lookAhead = 4 << 20

// holds looks for a message of a subject in a topic of many. What lies too far ahead
// may be one.
func (vh *vhost) holds(ctx context.Context, t *shard.Topic, index uint32, from int64, subject string) (bool, error) {
	for read := 0; read < lookAhead; {
		res, err := vh.s.env.Broker.Log.Read(ctx, t.Shard(index), from, shard.ReadOptions{MaxBytes: lookAhead})
		if err != nil || len(res.Batches) == 0 {
			return false, err
		}
		for _, b := range res.Batches {
			recs, err := b.Records()
			if err != nil {
				return true, nil //nolint:nilerr // it may be one: who reads it is told
			}
			for i := range recs {
				if recs[i].Offset >= from && t.SubjectOf(&recs[i]) == subject {
					return true, nil
				}
			}
			read += b.Size()
		}
		from = res.Batches[len(res.Batches)-1].LastOffset() + 1
	}
	return true, nil
}
