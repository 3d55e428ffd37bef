package mqtt

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/robustmq/robustmq-go/gateway/mqtt/packet"
	"github.com/robustmq/robustmq-go/shard"
)

// fullLog refuses appends at once, as the engine does, while full is set.
type fullLog struct {
	shard.Log
	full atomic.Bool
}

func (l *fullLog) Append(ctx context.Context, id shard.ID, b *shard.Batch, opts shard.AppendOptions, done shard.Completion) {
	if l.full.Load() {
		done.Appended(shard.AppendResult{Err: shard.ErrWALFull, Base: -1, AppendTime: -1})
		return
	}
	l.Log.Append(ctx, id, b, opts, done)
}

func refusing(t *testing.T) (*bed, *fullLog) {
	l := &fullLog{}
	return newBed(t, bedOptions{broker: func(b *shard.Broker) {
		l.Log, b.Log = b.Log, l
	}}), l
}

// TestRefusedQoS2LeavesNoNote: PUBREC with a failure ends the message, so nothing
// of it stays in the session, and its packet identifier is another's.
func TestRefusedQoS2LeavesNoNote(t *testing.T) {
	b, log := refusing(t)
	p := b.connect(kept(5, "p"))
	notes := func() (n int) {
		err := b.mem.Broker().State.Range(context.Background(), sessionPrefix+"p", keyIn, func(string, shard.StateValue) bool {
			n++
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	log.full.Store(true)
	p.publish("t", "refused", 2, 1)
	p.expect("PUBREC 1 0x97")
	if n := notes(); n != 0 {
		t.Fatalf("%d notes of a refused message", n)
	}
	log.full.Store(false)
	p.publish("t", "other", 2, 1)
	p.expect("PUBREC 1")
	if n := notes(); n != 1 {
		t.Fatalf("%d notes of a received message", n)
	}
	p.close()
	p = b.connect(kept(5, "p")).present(true)
	p.send(&packet.Ack{Kind: packet.PUBREL, ID: 1})
	p.expect("PUBCOMP 1")
	if n := notes(); n != 0 {
		t.Fatalf("%d notes of a released message", n)
	}
}

// TestRefusedRetainedIsNotKept: the retained message of a topic is the newest that
// was accepted.
func TestRefusedRetainedIsNotKept(t *testing.T) {
	b, log := refusing(t)
	p := b.connect(clean(5, "p"))
	p.publish("t", "accepted", 1, 1, retained)
	p.expect("PUBACK 1")
	log.full.Store(true)
	p.publish("t", "refused", 1, 2, retained)
	p.expect("PUBACK 2 0x97")
	p.publish("t", "dropped", 0, 0, retained)
	p.publish("t", "", 1, 3, retained)
	p.expect("PUBACK 3 0x97")
	s := b.connect(clean(5, "s"))
	s.subscribe("t", 1)
	s.expect(`PUBLISH t "accepted" q1 id1 retain`)
}
