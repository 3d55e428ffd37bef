package kafka

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// written is a topic of 100 batches of two records, as a Kafka client gets them.
func written(t *testing.T, s *stand, name string) (id shard.ID, want []byte) {
	t.Helper()
	top, log := s.topic(name, 1, nil), s.mem.Broker().Log
	value := strings.Repeat("v", 2000)
	for i := range 100 {
		b := shard.BatchOf(rec("k", fmt.Sprint(i, value), shard.Header{Name: "robustmq-subject", Value: []byte("a.b")}, shard.Header{Name: "mine"}), rec("", value))
		if i%2 == 0 { // nothing to hide
			b = shard.BatchOf(rec("k", fmt.Sprint(i, value)), rec("", value))
		}
		done := make(chan shard.AppendResult, 1)
		log.Append(context.Background(), top.Shard(0), b, shard.AppendOptions{}, shard.CompletionFunc(func(r shard.AppendResult) { done <- r }))
		if r := <-done; r.Err != nil {
			t.Fatal(r.Err)
		}
		if out := shownToKafka(b); out != nil {
			want = append(want, out...)
		} else {
			want = append(want, b.Raw()...)
		}
	}
	return top.Shard(0), want
}

func (w *wire) fetchFrom(topic string, offset int64, part int32) kmsg.FetchResponseTopicPartition {
	q := fetchReq(topic, 0, offset)
	q.Topics[0].Partitions[0].PartitionMaxBytes = part
	return ask[*kmsg.FetchResponse](w, q, 11).Topics[0].Partitions[0]
}

// through fetches from the start to the end, in fetches of up to part bytes.
func (w *wire) through(topic string, part int32) (got []byte, fetches int) {
	w.t.Helper()
	for next := int64(0); next < 200; fetches++ {
		p := w.fetchFrom(topic, next, part)
		bs, err := shard.SplitBatches(p.RecordBatches)
		if err != nil || p.ErrorCode != codeNone || len(bs) == 0 || p.HighWatermark != 200 {
			w.t.Fatalf("fetch from %d: code %d, %d batches, high watermark %d, error %v", next, p.ErrorCode, len(bs), p.HighWatermark, err)
		}
		got, next = append(got, p.RecordBatches...), bs[len(bs)-1].LastOffset()+1
	}
	return got, fetches
}

// TestReadAhead: a client that is behind gets the same with and without, and what
// it does not come for is given up.
func TestReadAhead(t *testing.T) {
	s := newStand(t)
	_, want := written(t, s, "t")
	w := s.dial()
	for _, part := range []int32{1, 9000, 40_000, 100_000} {
		got, n := w.through("t", part)
		if !bytes.Equal(got, want) {
			t.Fatalf("fetches of %d bytes: %d bytes, want %d", part, len(got), len(want))
		}
		if least := len(want) / int(max(part, 9000)); n < least {
			t.Fatalf("%d fetches of %d bytes", n, part)
		}
	}
	if s.srv.ahead.Load() != allAhead { // nothing follows the end
		t.Fatalf("%d bytes are reserved at the end", allAhead-s.srv.ahead.Load())
	}
	w.fetchFrom("t", 0, 20_000)
	if s.srv.ahead.Load() == allAhead {
		t.Fatal("nothing is read ahead")
	}
	got := w.fetchFrom("t", 20, 20_000) // elsewhere
	if bs, err := shard.SplitBatches(got.RecordBatches); err != nil || len(bs) == 0 || bs[0].BaseOffset() != 20 {
		t.Fatalf("after a seek: %d batches, error %v", len(bs), err)
	}
	waitFor(t, func() bool { return s.srv.ahead.Load() == allAhead }) // the client does not come
	w.fetchFrom("t", 0, 20_000)
	_ = w.c.Close()
	waitFor(t, func() bool { return s.srv.ahead.Load() == allAhead })
	s.srv.ahead.Store(0)
	if got, _ := s.dial().through("t", 20_000); !bytes.Equal(got, want) {
		t.Fatal("other bytes without room")
	}
	s.srv.ahead.Store(allAhead)
}

// TestReadAheadIsNotStale: what was read ahead is not given to a client when it was
// deleted meanwhile.
func TestReadAheadIsNotStale(t *testing.T) {
	s := newStand(t)
	id, _ := written(t, s, "t")
	w := s.dial()
	bs, err := shard.SplitBatches(w.fetchFrom("t", 0, 20_000).RecordBatches)
	if err != nil || s.srv.ahead.Load() == allAhead {
		t.Fatalf("%d bytes read ahead, error %v", allAhead-s.srv.ahead.Load(), err)
	}
	next := bs[len(bs)-1].LastOffset() + 1
	if err := s.mem.Broker().Log.TrimBefore(context.Background(), id, next+10); err != nil {
		t.Fatal(err)
	}
	if p := w.fetchFrom("t", next, 20_000); p.ErrorCode != codeOffsetOutOfRange {
		t.Errorf("deleted records: code %d and %d bytes", p.ErrorCode, len(p.RecordBatches))
	}
	w.fetchFrom("t", next+10, 20_000)
	if err := s.mem.Broker().Topics.Delete(context.Background(), "t"); err != nil {
		t.Fatal(err)
	}
	if p := w.fetchFrom("t", next+20, 20_000); p.ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("a deleted topic: code %d and %d bytes", p.ErrorCode, len(p.RecordBatches))
	}
}
