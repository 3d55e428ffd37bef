package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/robustmq/robustmq-go/catalog/catalogtest"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/tier/store/mem"
)

// TestBatchRoom: a message of the very bound fits with its framing, where its topic sets
// no bound of its own; a topic's own bound is that of the batch.
func TestBatchRoom(t *testing.T) {
	o := quiet()
	o.MaxMessageBytes = 100_000
	r := newRigOn(t, o, catalogtest.OpenEmbedded(t), mem.New(nil))
	free, own := r.topic("free", shard.TopicConfig{}).Shard(0), r.topic("own", shard.TopicConfig{MaxMessageBytes: 100_000}).Shard(0)
	for _, x := range []struct {
		id    shard.ID
		bytes int
		fits  bool
	}{{free, 100_000, true}, {free, 100_000 + batchRoom, false}, {own, 100_000, false}, {own, 99_000, true}} {
		b := shard.BatchOf(shard.Record{Timestamp: 1, Value: make([]byte, x.bytes)})
		_, err := shard.AppendWait(context.Background(), r.Engine, x.id, b, shard.AppendOptions{})
		if (err == nil) != x.fits || err != nil && !errors.Is(err, shard.ErrBatchTooLarge) {
			t.Errorf("%d bytes to %v: %v", x.bytes, x.id, err)
		}
	}
}
