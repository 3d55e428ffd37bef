package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFetchWaitsForData(t *testing.T) {
	s := newStand(t)
	s.topic("t", 3, nil)
	w, p := s.dial(), s.dial()
	q := fetchReq("t", 0, 0)
	q.MaxWaitMillis, q.SessionEpoch = 60_000, -1
	for i := int32(1); i < 3; i++ {
		part := q.Topics[0].Partitions[0]
		part.Partition = i
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, part)
	}
	q.SetVersion(12)
	start := time.Now()
	w.send(q)
	time.Sleep(50 * time.Millisecond)
	pq := produceReq(-1, "t", 2, batchOf(rec("k", "v")))
	ask[*kmsg.ProduceResponse](p, pq, 9)
	resp, err := w.read(q, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 50*time.Millisecond || d > 20*time.Second {
		t.Errorf("the fetch took %v", d)
	}
	if n := len(resp.(*kmsg.FetchResponse).Topics[0].Partitions[2].RecordBatches); n == 0 {
		t.Error("the fetch came back without the record")
	}
	// Less than min_bytes: at max_wait.
	q.MaxWaitMillis, q.MinBytes = 150, 100_000
	start = time.Now()
	got := ask[*kmsg.FetchResponse](w, q, 12)
	if d := time.Since(start); d < 140*time.Millisecond || d > 20*time.Second {
		t.Errorf("the fetch of little took %v", d)
	}
	if len(got.Topics[0].Partitions[2].RecordBatches) == 0 {
		t.Error("what there is is not returned at max_wait")
	}
}

func TestFetchEndsWhenItsClientOrTopicGoes(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	q := fetchReq("t", 0, 0)
	q.MaxWaitMillis = 60_000
	q.SetVersion(12)
	w.send(q)
	time.Sleep(30 * time.Millisecond)
	if err := s.mem.Broker().Topics.Delete(context.Background(), "t"); err != nil {
		t.Fatal(err)
	}
	resp, err := w.read(q, 1)
	if err != nil || resp.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("the fetch of a deleted topic: %+v, %v", resp, err)
	}
	s.topic("u", 1, nil)
	w2 := s.dial()
	q = fetchReq("u", 0, 0)
	q.MaxWaitMillis = 60_000
	q.SetVersion(12)
	w2.send(q)
	time.Sleep(30 * time.Millisecond)
	_ = w2.c.Close()
	_ = w.c.Close()
	waitFor(t, func() bool { return len(s.ln.Conns()) == 0 })
}

func TestFetchBudgetIsSharedOut(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 4, nil)
	w := s.dial()
	b := s.mem.Broker()
	for p := range uint32(4) {
		for range 10 {
			r := rec("k", strings.Repeat("x", 20_000))
			if _, err := shard.AppendWait(context.Background(), b.Log, top.Shard(p), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	q := fetchReq("t", 0, 0)
	q.SessionEpoch = -1
	for i := int32(1); i < 4; i++ {
		part := q.Topics[0].Partitions[0]
		part.Partition = i
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, part)
	}
	sizes := func(max int32) (out []int, sum int) {
		q.MaxBytes = max
		for _, p := range ask[*kmsg.FetchResponse](w, q, 12).Topics[0].Partitions {
			out, sum = append(out, len(p.RecordBatches)), sum+len(p.RecordBatches)
		}
		return out, sum
	}
	got, sum := sizes(240_000)
	for _, n := range got {
		if n < 40_000 {
			t.Errorf("shares are %v", got)
		}
	}
	if sum > 240_000 || sum < 200_000 {
		t.Errorf("%d bytes of a budget of 240000", sum)
	}
	// KIP-74: one batch even where the budget is smaller; not two.
	got, sum = sizes(100)
	if sum < 20_000 || sum > 21_000 || got[0] == 0 {
		t.Errorf("a budget of 100 gives %v", got)
	}
	// What the others do not need, one may take.
	q.Topics[0].Partitions[1].FetchOffset, q.Topics[0].Partitions[2].FetchOffset, q.Topics[0].Partitions[3].FetchOffset = 10, 10, 10
	if got, _ = sizes(190_000); got[0] < 180_000 {
		t.Errorf("the only one with data gets %v", got)
	}
}

func TestFetchErrors(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	w.produce("t", batchOf(rec("k", "v")))
	code := func(topic string, p int32, offset int64, epoch int32) int16 {
		q := fetchReq(topic, p, offset)
		q.SessionEpoch, q.MaxWaitMillis = -1, 60_000 // errors do not wait
		q.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
		if offset == 1 {
			q.MaxWaitMillis = 0
		}
		return ask[*kmsg.FetchResponse](w, q, 12).Topics[0].Partitions[0].ErrorCode
	}
	start := time.Now()
	for _, x := range []struct {
		topic     string
		partition int32
		offset    int64
		epoch     int32
		code      int16
	}{
		{"t", 0, 1, -1, 0}, {"t", 0, 2, -1, codeOffsetOutOfRange}, {"t", 0, -1, -1, codeOffsetOutOfRange},
		{"t", 1, 0, -1, codeUnknownTopicOrPartition}, {"t", -1, 0, -1, codeUnknownTopicOrPartition}, {"none", 0, 0, -1, codeUnknownTopicOrPartition},
		{"t", 0, 0, 99, codeUnknownLeaderEpoch},
	} {
		if got := code(x.topic, x.partition, x.offset, x.epoch); got != x.code {
			t.Errorf("%+v: %d", x, got)
		}
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("errors waited %v", d)
	}
}

func TestFetchSessions(t *testing.T) {
	s := newStand(t)
	s.topic("t", 3, nil)
	w := s.dial()
	parts := func(r *kmsg.FetchResponse) (out []int32) {
		for _, x := range r.Topics {
			for _, p := range x.Partitions {
				out = append(out, p.Partition)
			}
		}
		slices.Sort(out)
		return out
	}
	full := fetchReq("t", 0, 0)
	full.SessionEpoch = 0
	for i := int32(1); i < 3; i++ {
		p := full.Topics[0].Partitions[0]
		p.Partition = i
		full.Topics[0].Partitions = append(full.Topics[0].Partitions, p)
	}
	r := ask[*kmsg.FetchResponse](w, full, 12)
	id := r.SessionID
	if id == 0 || len(parts(r)) != 3 {
		t.Fatalf("the first fetch: session %d, partitions %v", id, parts(r))
	}
	next := func(epoch int32, change func(*kmsg.FetchRequest)) *kmsg.FetchResponse {
		q := kmsg.NewPtrFetchRequest()
		q.MaxBytes, q.SessionID, q.SessionEpoch = 1<<20, id, epoch
		if change != nil {
			change(q)
		}
		return ask[*kmsg.FetchResponse](w, q, 12)
	}
	if got := parts(next(1, nil)); len(got) != 0 {
		t.Errorf("nothing changed, and %v are sent", got)
	}
	w.produce("t", batchOf(rec("k", "v")))
	if r := next(2, nil); !slices.Equal(parts(r), []int32{0}) || len(r.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Errorf("after a record in 0: %v", parts(r))
	}
	// The client goes on to offset 1 and drops partition 2.
	move := func(q *kmsg.FetchRequest) {
		x := fetchReq("t", 0, 1)
		q.Topics = x.Topics
		q.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{2}}}
	}
	if r := next(3, move); len(parts(r)) != 0 {
		t.Errorf("after moving on: %v", parts(r))
	}
	ask[*kmsg.ProduceResponse](w, produceReq(1, "t", 2, batchOf(rec("k", "v"))), 9)
	if r := next(4, nil); len(parts(r)) != 0 {
		t.Errorf("a forgotten partition is sent: %v", parts(r))
	}
	if r := next(9, nil); r.ErrorCode != codeInvalidFetchSessionEpoch {
		t.Errorf("a wrong epoch gets %d", r.ErrorCode)
	}
	id++
	if r := next(5, nil); r.ErrorCode != codeFetchSessionIDNotFound {
		t.Errorf("a wrong id gets %d", r.ErrorCode)
	}
	id--
	full.SessionID, full.SessionEpoch = id, -1
	if r := ask[*kmsg.FetchResponse](w, full, 12); r.SessionID != 0 || len(parts(r)) != 3 {
		t.Errorf("the last fetch: session %d, partitions %v", r.SessionID, parts(r))
	}
	if r := next(5, nil); r.ErrorCode != codeFetchSessionIDNotFound {
		t.Errorf("a closed session gets %d", r.ErrorCode)
	}
	full.SessionID, full.SessionEpoch = 0, 0
	for i := range maxFetchSessions + 2 {
		if r := ask[*kmsg.FetchResponse](w, full, 12); (r.SessionID != 0) != (i < maxFetchSessions) {
			t.Errorf("session %d has the id %d", i, r.SessionID)
		}
	}
}

func TestReservedHeadersStayInside(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 1, nil)
	r := rec("k", "v", shard.Header{Name: "robustmq-mqtt", Value: []byte("1")}, shard.Header{Name: "content-type", Value: []byte("text/plain")})
	if _, err := shard.AppendWait(context.Background(), s.mem.Broker().Log, top.Shard(0), shard.BatchOf(r), shard.AppendOptions{}); err != nil {
		t.Fatal(err)
	}
	cl := s.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := poll(t, cl).Records()[0]
	if len(got.Headers) != 1 || got.Headers[0].Key != "content-type" || string(got.Value) != "v" {
		t.Errorf("a Kafka client sees %+v", got)
	}
}

func TestListOffsets(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 1, nil)
	w := s.dial()
	for _, ts := range []int64{100, 300, 200, 300, 250} {
		r := shard.Record{Timestamp: ts, Value: []byte("v")}
		w.produce("t", batchOf(r))
	}
	for v := int16(1); v <= 11; v++ {
		for _, x := range []struct{ ts, offset, stamp int64 }{
			{offsetLatest, 5, -1}, {offsetEarliest, 0, -1}, {offsetMaxTimestamp, 1, 300}, {offsetEarliestLocal, 0, -1},
			{offsetLatestTiered, -1, -1}, {50, 0, 100}, {101, 1, 300}, {300, 1, 300}, {301, -1, -1},
		} {
			p := ask[*kmsg.ListOffsetsResponse](w, listReq("t", x.ts), v).Topics[0].Partitions[0]
			if p.ErrorCode != 0 || p.Offset != x.offset || p.Timestamp != x.stamp {
				t.Errorf("v%d %d: %+v, want %d at %d", v, x.ts, p, x.offset, x.stamp)
			}
		}
	}
	if err := s.mem.Broker().Log.TrimBefore(context.Background(), top.Shard(0), 5); err != nil {
		t.Fatal(err)
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listReq("t", offsetMaxTimestamp), 7).Topics[0].Partitions[0]; p.Offset != -1 {
		t.Errorf("an empty partition's newest timestamp is at %d", p.Offset)
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listReq("t", -9), 7).Topics[0].Partitions[0]; p.ErrorCode != codeUnsupportedVersion {
		t.Errorf("timestamp -9 gets %d", p.ErrorCode)
	}
	if p := ask[*kmsg.ListOffsetsResponse](w, listReq("none", -1), 7).Topics[0].Partitions[0]; p.ErrorCode != codeUnknownTopicOrPartition {
		t.Errorf("no such topic gets %d", p.ErrorCode)
	}
}

// manyEpochs is a log of one record per batch whose epochs are given.
type manyEpochs struct {
	shard.Log
	epochs []int32
}

func (m *manyEpochs) Read(_ context.Context, _ shard.ID, from int64, _ shard.ReadOptions) (shard.ReadResult, error) {
	b := shard.BatchOf(rec("k", "v"))
	b.Assign(from, m.epochs[from-10])
	return shard.ReadResult{Batches: []*shard.Batch{b}}, nil
}

func TestEndOfEpoch(t *testing.T) {
	log := &manyEpochs{epochs: []int32{2, 2, 4, 4, 4, 7, 9}} // offsets 10 to 16
	b := shard.Bounds{Start: 10, End: 17, Epoch: 9}
	for _, x := range []struct {
		asked, epoch int32
		end          int64
	}{{1, 1, 10}, {2, 2, 12}, {3, 2, 12}, {4, 4, 15}, {5, 4, 15}, {7, 7, 16}, {8, 7, 16}} {
		epoch, end, err := endOfEpoch(context.Background(), log, shard.ID{}, b, x.asked)
		if err != nil || epoch != x.epoch || end != x.end {
			t.Errorf("epoch %d ends as %d at %d (%v), want %d at %d", x.asked, epoch, end, err, x.epoch, x.end)
		}
	}
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	w.produce("t", batchOf(rec("k", "v")))
	q := kmsg.NewPtrOffsetForLeaderEpochRequest()
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
	for v := int16(2); v <= 4; v++ {
		q.Topics[0].Partitions[0].LeaderEpoch = 0
		if got := ask[*kmsg.OffsetForLeaderEpochResponse](w, q, v).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.EndOffset != 1 {
			t.Errorf("v%d: %+v", v, got)
		}
		q.Topics[0].Partitions[0].LeaderEpoch = 5
		if got := ask[*kmsg.OffsetForLeaderEpochResponse](w, q, v).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.EndOffset != -1 {
			t.Errorf("v%d, an epoch to come: %+v", v, got)
		}
	}
}

func TestDrainAnswersAndCloses(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	q := fetchReq("t", 0, 0)
	q.MaxWaitMillis = 60_000
	q.SetVersion(12)
	w.send(q)
	time.Sleep(30 * time.Millisecond)
	start := time.Now()
	s.srv.Drain(context.Background())
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("the drain took %v", d)
	}
	if _, err := w.read(q, 1); err != nil {
		t.Errorf("the long poll was not answered: %v", err)
	}
	if !w.closed() {
		t.Error("the connection stays open")
	}
}

func TestNothingAcknowledgedIsLostOverRestarts(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	cl := s.client(kgo.DefaultProduceTopic("t"), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	var acked, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := cl.ProduceSync(context.Background(), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
				failed.Add(1)
			} else {
				acked.Add(1)
			}
		}
	})
	for range 3 {
		time.Sleep(60 * time.Millisecond)
		s.restart()
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wg.Wait()
	if failed.Load() > 0 || acked.Load() == 0 || s.end("t", 0) != acked.Load() {
		t.Errorf("%d acknowledged, %d failed, %d stored", acked.Load(), failed.Load(), s.end("t", 0))
	}
}
