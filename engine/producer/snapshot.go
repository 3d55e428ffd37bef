package producer

import (
	"encoding/binary"
	"math"

	"github.com/robustmq/robustmq-go/shard"
)

const snapshotV1 = 1

// Snapshot encodes the table.
func (t *Table) Snapshot() []byte {
	p := []byte{snapshotV1}
	p = binary.AppendUvarint(p, uint64(len(t.producers)))
	for e := t.used.next; e != &t.used; e = e.next {
		p = binary.AppendVarint(p, e.id)
		p = binary.AppendVarint(p, int64(e.epoch))
		p = binary.AppendVarint(p, e.used)
		p = binary.AppendUvarint(p, uint64(len(e.batches)))
		for i := range e.batches {
			p = binary.AppendVarint(p, int64(e.batches[i].first))
			p = binary.AppendVarint(p, int64(e.batches[i].last))
			p = appendVerdict(p, &e.batches[i].verdict)
		}
	}
	p = binary.AppendUvarint(p, uint64(len(t.ids)))
	for _, e := range t.order {
		if t.ids[e.id] != e {
			continue
		}
		p = binary.AppendUvarint(p, uint64(len(e.id)))
		p = append(p, e.id...)
		p = appendVerdict(p, &e.verdict)
		p = binary.AppendVarint(p, e.at)
	}
	return p
}

func appendVerdict(p []byte, v *Verdict) []byte {
	p = binary.AppendVarint(p, v.Base)
	p = binary.AppendVarint(p, v.Last)
	return binary.AppendVarint(p, v.Timestamp)
}

// Restore makes a table of a snapshot. Entries over the limits are an error.
// Errors: KindCorrupt; KindInvalid for an unknown version.
func Restore(limits Limits, p []byte) (*Table, error) {
	if len(p) == 0 {
		return nil, corrupt()
	}
	if p[0] != snapshotV1 {
		return nil, shard.Errorf(shard.KindInvalid, "restore producers: version %d is not supported", p[0])
	}
	t := New(limits)
	r := reader{p: p[1:]}
	t.readProducers(&r)
	t.readIDs(&r)
	if r.bad || len(r.p) != 0 {
		return nil, corrupt()
	}
	return t, nil
}

func corrupt() error {
	return shard.Errorf(shard.KindCorrupt, "restore producers: snapshot is malformed")
}

func (t *Table) readProducers(r *reader) {
	for n := r.count(t.limits.Producers); n > 0 && !r.bad; n-- {
		e := &entry{id: r.within(0, math.MaxInt64), epoch: int16(r.within(0, math.MaxInt16)), used: r.varint()}
		for k := r.count(Retained); k > 0 && !r.bad; k-- {
			b := seqBatch{first: int32(r.within(0, math.MaxInt32)), last: int32(r.within(0, math.MaxInt32))}
			b.verdict = r.verdict()
			e.batches = append(e.batches, b)
		}
		if t.producers[e.id] != nil {
			r.bad = true
		}
		if r.bad {
			return
		}
		if t.producers == nil {
			t.producers = make(map[int64]*entry)
		}
		t.producers[e.id] = e
		t.link(e)
	}
}

func (t *Table) readIDs(r *reader) {
	for n := r.count(t.limits.IDs); n > 0 && !r.bad; n-- {
		id := r.text(MaxIDBytes)
		e := &idEntry{id: id, verdict: r.verdict(), at: r.varint()}
		if id == "" || t.ids[id] != nil {
			r.bad = true
		}
		if r.bad {
			return
		}
		t.addID(e)
	}
}

// reader decodes; once bad it stays bad and gives zero values.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) take(n int) {
	if n <= 0 || n > 1 && r.p[n-1] == 0 { // not the shortest form
		r.bad, r.p = true, nil
		return
	}
	r.p = r.p[n:]
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.p)
	if r.take(n); r.bad {
		return 0
	}
	return v
}

func (r *reader) within(low, high int64) int64 {
	v := r.varint()
	if v < low || v > high {
		r.bad = true
	}
	return v
}

// count reads a number of entries, each at least one byte long.
func (r *reader) count(limit int) int {
	v, n := binary.Uvarint(r.p)
	if r.take(n); r.bad || v > uint64(limit) || v > uint64(len(r.p)) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *reader) text(limit int) string {
	n := r.count(limit)
	if r.bad {
		return ""
	}
	s := string(r.p[:n])
	r.p = r.p[n:]
	return s
}

func (r *reader) verdict() Verdict {
	return Verdict{Duplicate: true, Base: r.varint(), Last: r.varint(), Timestamp: r.varint()}
}
