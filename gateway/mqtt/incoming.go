package mqtt

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// keptIn is the value of a keyIn key.
type keptIn struct {
	Dedupe   string `json:"d"`
	Received bool   `json:"r,omitempty"`
	// Where is topic number, shard and the offset from which on the record is
	// to be looked for; At the time it was published.
	Where [3]int64 `json:"s"`
	At    int64    `json:"t"`
}

// keepIncoming notes a QoS 2 message of a persistent session that came in: once
// before its append, and once after it. The first note is on its way before the
// append is, so it is as durable when the append is.
func (c *client) keepIncoming(id uint16, in *incoming, received bool, done func(error)) {
	k := keptIn{
		Dedupe: in.dedupe, Received: received, At: in.at,
		Where: [3]int64{int64(in.shard.Topic), int64(in.shard.Index), in.from},
	}
	c.apply([]shard.StateOp{put(idKey(keyIn, id), k)}, done)
}

// forgetIncoming forgets one that was released. If that fails the connection
// ends, and the client releases it again.
func (c *client) forgetIncoming(id uint16, then func()) {
	c.apply([]shard.StateOp{{Key: idKey(keyIn, id)}}, func(err error) {
		if err != nil {
			c.finish(nil)
			return
		}
		then()
	})
}

// restore takes a note of an earlier connection over.
func (f *ackFIFO) restore(id uint16, data []byte) error {
	var k keptIn
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	if k.Dedupe == "" {
		return shard.Errorf(shard.KindCorrupt, "received message without a name")
	}
	if f.incoming == nil {
		f.incoming = make(map[uint16]*incoming)
	}
	f.incoming[id] = &incoming{
		answered: k.Received, resumed: !k.Received, restored: true, dedupe: k.Dedupe, at: k.At, from: k.Where[2],
		shard: shard.ID{Topic: shard.TopicNum(k.Where[0]), Index: uint32(k.Where[1])},
	}
	f.unfinished++
	return nil
}

// locate notes where the record of a message will be, or, for one sent again
// whose fate is open, finds it where it is there.
func (c *client) locate(in *incoming, t *target, payload []byte, now time.Time) (known *shard.Record, err error) {
	if in.check {
		in.check = false
		r, err := c.lookUp(in)
		if err != nil {
			return nil, err
		}
		if r != nil && bytes.Equal(r.Value, payload) {
			return r, nil
		}
		if r != nil { // a new message: the client forgot the old one
			in.dedupe = rand.Text()
		}
	}
	id := t.shard()
	b, err := c.srv.broker.Log.Bounds(c.ctx, id)
	in.shard, in.from, in.at = id, b.End, now.UnixMilli()
	return nil, err
}

// lookUpMs is how much younger than the message records may be, in milliseconds,
// before the search for it ends.
const lookUpMs = 60_000

// lookUp searches the shard for the record of a message; nil: it is not there.
func (c *client) lookUp(in *incoming) (*shard.Record, error) {
	from := in.from
	for {
		r, err := c.srv.broker.Log.Read(c.ctx, in.shard, from, shard.ReadOptions{})
		switch {
		case shard.KindOf(err) == shard.KindOutOfRange && err != nil && from < r.Bounds.Start:
			from = r.Bounds.Start
			continue
		case err != nil && (shard.KindOf(err) == shard.KindNotFound || shard.KindOf(err) == shard.KindOutOfRange):
			return nil, nil // the topic is gone
		case err != nil:
			return nil, err
		case len(r.Batches) == 0:
			return nil, nil
		}
		for _, b := range r.Batches {
			if b.BaseTimestamp() > in.at+lookUpMs {
				return nil, nil
			}
			rs, err := b.Records()
			if err != nil {
				return nil, err
			}
			for i := range rs {
				if rs[i].HeaderString(headerID) == in.dedupe {
					return &rs[i], nil
				}
			}
			from = b.LastOffset() + 1
		}
	}
}

// answerKnown answers a message that is in its shard already.
func (c *client) answerKnown(p *packet.Publish, in *incoming, r *shard.Record) error {
	waits := uint8(1)
	if p.Retain {
		waits++
	}
	slot := c.acks.reserve(p.ID, p.QoS, waits, false)
	c.keepIncoming(p.ID, in, true, func(err error) { c.completedSlots([]uint64{slot}, 0, err) })
	if p.Retain {
		c.retainKnown(string(p.Topic), r, in.shard, slot)
	}
	return nil
}
