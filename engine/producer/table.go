package producer

import (
	"math"

	"github.com/robustmq/robustmq-go/shard"
)

// Retained is how many batches of a producer are remembered; clients have at
// most that many in flight.
const Retained = 5

// MaxIDBytes bounds a dedupe id.
const MaxIDBytes = 1024

// Limits bound a table. The zero value of a field stands for its default.
type Limits struct {
	// Producers is the number of producer ids kept (10,000).
	Producers int
	// ProducerExpiryMs is how long one is kept after its last append, in
	// milliseconds (1 day, Kafka's producer.id.expiration.ms).
	ProducerExpiryMs int64
	// IDs is the number of dedupe ids kept (100,000).
	IDs int
	// WindowMs is how long a dedupe id is kept, in milliseconds (2 minutes).
	WindowMs int64
}

func (l Limits) withDefaults() Limits {
	if l.Producers <= 0 {
		l.Producers = 10_000
	}
	if l.ProducerExpiryMs <= 0 {
		l.ProducerExpiryMs = 24 * 60 * 60 * 1000
	}
	if l.IDs <= 0 {
		l.IDs = 100_000
	}
	if l.WindowMs <= 0 {
		l.WindowMs = 2 * 60 * 1000
	}
	return l
}

// Verdict is what is known of an append.
type Verdict struct {
	// Duplicate: an earlier append holds; the fields below are its.
	Duplicate  bool
	Base, Last int64
	// Timestamp is the largest of that batch's, in milliseconds.
	Timestamp int64
}

type seqBatch struct {
	first, last int32
	verdict     Verdict
}

type entry struct {
	id         int64
	epoch      int16
	used       int64
	batches    []seqBatch // oldest first, at most Retained
	prev, next *entry     // by use
}

type idEntry struct {
	id      string
	verdict Verdict
	at      int64
}

// Table is one shard's memory of appends. Use New.
type Table struct {
	limits    Limits
	producers map[int64]*entry
	used      entry // ring head: next is the least recently used
	ids       map[string]*idEntry
	order     []*idEntry // by time of append; order[0] is the oldest
}

// New makes an empty table; it takes no memory to speak of until it is used.
func New(limits Limits) *Table {
	t := &Table{limits: limits.withDefaults()}
	t.used.prev, t.used.next = &t.used, &t.used
	return t
}

// Len gives the number of producers and of dedupe ids known.
func (t *Table) Len() (producers, ids int) { return len(t.producers), len(t.ids) }

// Check tells whether a batch may be appended now. Errors:
// shard.ErrProducerFenced, shard.ErrOutOfOrderSequence, KindInvalid for a
// producer batch without sequence.
func (t *Table) Check(b *shard.Batch, now int64) (Verdict, error) {
	id, epoch, seq := b.Producer()
	if id < 0 {
		return Verdict{}, nil
	}
	if epoch < 0 || seq < 0 && !b.Control() {
		return Verdict{}, shard.Errorf(shard.KindInvalid, "check producer: epoch %d or sequence %d is negative", epoch, seq)
	}
	e := t.producers[id]
	if e == nil || now-e.used > t.limits.ProducerExpiryMs {
		return Verdict{}, nil
	}
	switch {
	case epoch < e.epoch:
		return Verdict{}, shard.ErrProducerFenced
	case b.Control():
		return Verdict{}, nil
	case epoch > e.epoch:
		if seq != 0 {
			return Verdict{}, shard.ErrOutOfOrderSequence
		}
		return Verdict{}, nil
	case len(e.batches) == 0:
		return Verdict{}, nil
	}
	last := lastSequence(seq, b.LastOffsetDelta())
	for i := range e.batches {
		if e.batches[i].first == seq && e.batches[i].last == last {
			return e.batches[i].verdict, nil
		}
	}
	if seq != lastSequence(e.batches[len(e.batches)-1].last, 1) {
		return Verdict{}, shard.ErrOutOfOrderSequence
	}
	return Verdict{}, nil
}

// lastSequence adds to a sequence number, wrapping from 2^31-1 to 0.
func lastSequence(first int32, delta int) int32 {
	return int32((int64(first) + int64(delta)) & math.MaxInt32)
}

// Add notes a batch that has its offsets. It does not check: it also replays a
// log.
func (t *Table) Add(b *shard.Batch, now int64) {
	id, epoch, seq := b.Producer()
	if id < 0 || epoch < 0 {
		return
	}
	e := t.producers[id]
	if e == nil {
		if t.producers == nil {
			t.producers = make(map[int64]*entry)
		}
		e = &entry{id: id, epoch: epoch}
		t.producers[id] = e
	} else {
		e.prev.next, e.next.prev = e.next, e.prev
	}
	t.link(e)
	if e.epoch != epoch {
		e.epoch, e.batches = epoch, e.batches[:0]
	}
	e.used = max(e.used, now)
	if !b.Control() && seq >= 0 {
		if len(e.batches) == Retained {
			e.batches = append(e.batches[:0], e.batches[1:]...)
		}
		e.batches = append(e.batches, seqBatch{first: seq, last: lastSequence(seq, b.LastOffsetDelta()),
			verdict: Verdict{Duplicate: true, Base: b.BaseOffset(), Last: b.LastOffset(), Timestamp: b.MaxTimestamp()}})
	}
	t.expireProducers(now)
}

func (t *Table) link(e *entry) {
	e.prev, e.next = t.used.prev, &t.used
	e.prev.next, e.next.prev = e, e
}

func (t *Table) expireProducers(now int64) {
	for e := t.used.next; e != &t.used; e = t.used.next {
		if len(t.producers) <= t.limits.Producers && now-e.used <= t.limits.ProducerExpiryMs {
			return
		}
		delete(t.producers, e.id)
		t.used.next = e.next
		e.next.prev = &t.used
	}
}

// CheckID tells whether an append of that dedupe id happened within the window.
// Errors: KindTooLarge.
func (t *Table) CheckID(id string, now int64) (Verdict, error) {
	if len(id) > MaxIDBytes {
		return Verdict{}, shard.Errorf(shard.KindTooLarge, "check dedupe id: %d bytes", len(id))
	}
	e := t.ids[id]
	if e == nil || now-e.at > t.limits.WindowMs {
		return Verdict{}, nil
	}
	return e.verdict, nil
}

// AddID notes that a batch which has its offsets was appended under a dedupe id.
func (t *Table) AddID(id string, b *shard.Batch, now int64) {
	if id == "" || len(id) > MaxIDBytes {
		return
	}
	t.Expire(now)
	t.addID(&idEntry{id: id, at: now,
		verdict: Verdict{Duplicate: true, Base: b.BaseOffset(), Last: b.LastOffset(), Timestamp: b.MaxTimestamp()}})
	for len(t.ids) > t.limits.IDs {
		t.dropOldestID()
	}
}

// Replay notes a batch that is met in the log after a restart: its producer,
// and its dedupe id if its only record has that as shard.HeaderDedupeID and is
// within the window. What cannot be read is left to who reads it.
func (t *Table) Replay(b *shard.Batch, now int64) {
	if id, _, _ := b.Producer(); id >= 0 {
		t.Add(b, now)
	}
	at := min(b.MaxTimestamp(), now)
	if b.Count() != 1 || now-at > t.limits.WindowMs {
		return
	}
	recs, err := b.Records()
	if err != nil || len(recs) != 1 {
		return
	}
	if id := recs[0].HeaderString(shard.HeaderDedupeID); t.ids[id] == nil {
		t.AddID(id, b, at)
	}
}

func (t *Table) addID(e *idEntry) {
	if t.ids == nil {
		t.ids = make(map[string]*idEntry)
	}
	t.ids[e.id] = e
	t.order = append(t.order, e)
}

func (t *Table) dropOldestID() {
	e := t.order[0]
	t.order[0] = nil
	if t.order = t.order[1:]; len(t.order) == 0 {
		t.order = nil
	}
	if t.ids[e.id] == e {
		delete(t.ids, e.id)
	}
}

// Expire forgets what is past its time at now.
func (t *Table) Expire(now int64) {
	t.expireProducers(now)
	for len(t.order) > 0 && (now-t.order[0].at > t.limits.WindowMs || t.ids[t.order[0].id] != t.order[0]) {
		t.dropOldestID()
	}
}
