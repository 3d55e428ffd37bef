package kafka

import (
	"context"
	"sync"

	"github.com/robustmq/robustmq-go/shard"
)

// What a damaged range is to a consumer. Apache Kafka's consumers get the broken
// bytes, find the checksum wrong and raise; their users seek past the record. Here
// the bytes are not sent, and nobody knows where to seek to. So each client is told
// once, by CORRUPT_MESSAGE, which Java's consumers raise, too; the log and a metric
// tell the operator. The client's next fetch is answered with what comes after the
// range, as over a hole that compaction left. kafka.skip_damaged = false tells it
// for ever instead.

const (
	// maxDamaged bounds the ranges, and maxTold the clients of each, that are known
	// to have been told; past maxTold a range counts as told to everybody, so that
	// no client that comes under a new name each time is stopped for ever.
	maxDamaged = 1000
	maxTold    = 16
)

type damagedRange struct {
	id     shard.ID
	resume int64
}

// damages knows which clients were told of which ranges, and how far the damage
// goes on after each: ranges side by side are one to a client.
type damages struct {
	mu   sync.Mutex
	told map[damagedRange]*told
}

type told struct {
	who  map[string]bool
	past int64
}

// tell notes that a client is told of a range, unless it was before: then past is
// where it may read on.
func (d *damages) tell(r damagedRange, client string) (past int64, before bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.told[r]
	if t == nil {
		if len(d.told) >= maxDamaged {
			for other := range d.told { // any one: its clients are told once more
				delete(d.told, other)
				break
			}
		}
		if d.told == nil {
			d.told = make(map[damagedRange]*told)
		}
		t = &told{who: make(map[string]bool), past: r.resume}
		d.told[r] = t
	}
	if t.who[client] || len(t.who) >= maxTold {
		return t.past, true
	}
	t.who[client] = true
	return 0, false
}

// goesOn notes how far the damage that begins with a range was found to go.
func (d *damages) goesOn(r damagedRange, to int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.told[r]; t != nil {
		t.past = max(t.past, to)
	}
}

// maxHoles bounds the damaged ranges that one fetch passes over in a partition.
const maxHoles = 1024

// readPast reads from a partition's next offset, past ranges that are damaged and
// that this client was told of.
func (f *fetch) readPast(ctx context.Context, p *fetchPart, opts shard.ReadOptions) (shard.ReadResult, error) {
	res, err := f.c.srv.broker.Log.Read(ctx, p.id, p.next, opts)
	if shard.KindOf(err) != shard.KindCorrupt || res.Resume <= p.next || len(p.batches) > 0 {
		return res, err
	}
	if !f.c.srv.cfg.SkipDamaged {
		return res, &coded{codeCorruptMessage, err.Error()}
	}
	from, past, before := p.next, p.next, true
	if p.hole.resume == 0 { // else this fetch is on its way past it
		p.hole = damagedRange{p.id, res.Resume}
		past, before = f.c.srv.damages.tell(p.hole, f.client)
	}
	if !before {
		f.c.log.Error("records are damaged: the client is told, and its next fetch passes over them", "topic", p.topic.Name, "partition", p.id.Index,
			"from", from, "to", res.Resume-1, "client", f.client, "error", err)
		return res, &coded{codeCorruptMessage, err.Error()}
	}
	p.next = past
	for range maxHoles {
		res, err = f.c.srv.broker.Log.Read(ctx, p.id, p.next, opts)
		if shard.KindOf(err) != shard.KindCorrupt || res.Resume <= p.next {
			break
		}
		p.next, err = res.Resume, nil // the next fetch goes on there
	}
	f.c.srv.damages.goesOn(p.hole, p.next)
	if len(res.Batches) > 0 {
		f.c.srv.env.Stats.DamagePassed.Add(p.next - from)
	}
	return res, err
}
