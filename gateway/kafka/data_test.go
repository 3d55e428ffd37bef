package kafka

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/gateway"
	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func batchOf(rs ...shard.Record) []byte { return slices.Clone(shard.BatchOf(rs...).Raw()) }

func TestEveryVersionOfProduceAndFetch(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 1, nil)
	w := s.dial()
	next := int64(0)
	for v := int16(3); v <= 13; v++ {
		q := produceReq(1, "t", 0, batchOf(rec("k", "v")))
		q.Topics[0].TopicID = s.srv.ids.of(top)
		p := ask[*kmsg.ProduceResponse](w, q, v).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != next {
			t.Fatalf("produce v%d: %+v", v, p)
		}
		next++
	}
	for v := int16(4); v <= 18; v++ {
		q := fetchReq("t", 0, 3)
		q.Topics[0].TopicID = s.srv.ids.of(top)
		if v >= 7 {
			q.SessionEpoch = -1
		}
		resp := ask[*kmsg.FetchResponse](w, q, v)
		p := resp.Topics[0].Partitions[0]
		bs, err := shard.SplitBatches(p.RecordBatches)
		if p.ErrorCode != 0 || err != nil || len(bs) != int(next)-3 || bs[0].BaseOffset() != 3 || p.HighWatermark != next {
			t.Fatalf("fetch v%d: code %d, %d batches, %v", v, p.ErrorCode, len(bs), err)
		}
	}
}

func TestOldProduceIsShownAndRefused(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	for _, k := range ask[*kmsg.ApiVersionsResponse](w, newAPIVersions(), 4).ApiKeys {
		if k.ApiKey == 0 && k.MinVersion != 0 {
			t.Errorf("produce is shown from v%d on", k.MinVersion)
		}
	}
	q := produceReq(1, "t", 0, nil)
	q.SetVersion(2)
	w.send(q)
	if !w.closed() {
		t.Error("produce v2 is served")
	}
}

func newAPIVersions() *kmsg.ApiVersionsRequest {
	q := kmsg.NewPtrApiVersionsRequest()
	q.ClientSoftwareName, q.ClientSoftwareVersion, q.NodeID = "test", "1", -1
	return q
}

func TestAPIVersionsShowsTheTable(t *testing.T) {
	s := newStand(t)
	w := s.dial()
	for v := int16(0); v <= 5; v++ {
		resp := ask[*kmsg.ApiVersionsResponse](w, newAPIVersions(), v)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(s.srv.apis.rows) {
			t.Errorf("v%d: code %d, %d keys", v, resp.ErrorCode, len(resp.ApiKeys))
		}
	}
	q := newAPIVersions()
	q.ClusterID, q.NodeID = ptr("elsewhere"), 1
	if resp := ask[*kmsg.ApiVersionsResponse](w, q, 5); resp.ErrorCode != codeRebootstrapRequired {
		t.Errorf("another cluster's client gets %d", resp.ErrorCode)
	}
	q = newAPIVersions()
	q.ClientSoftwareName = "-bad-"
	if resp := ask[*kmsg.ApiVersionsResponse](w, q, 3); resp.ErrorCode != codeInvalidRequest {
		t.Errorf("an illegal software name gets %d", resp.ErrorCode)
	}
	// A version from the future is answered in the form of v0 (KIP-511).
	q = newAPIVersions()
	b := frameOf(q, 77, "w")
	b[7] = 99
	if _, err := w.c.Write(b); err != nil {
		t.Fatal(err)
	}
	v0 := kmsg.NewPtrApiVersionsRequest()
	resp, err := w.read(v0, 77)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.ApiVersionsResponse)
	if got.ErrorCode != codeUnsupportedVersion || len(got.ApiKeys) != 1 || got.ApiKeys[0].MaxVersion != 5 {
		t.Errorf("v99 gets %+v", got)
	}
}

func TestAcksZeroIsNotAnswered(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	for range 5 {
		q := produceReq(0, "t", 0, batchOf(rec("k", "v")))
		q.SetVersion(9)
		w.send(q)
	}
	if hb := ask[*kmsg.ListOffsetsResponse](w, listReq("t", offsetLatest), 7); hb.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("the next request gets %+v", hb)
	}
	waitFor(t, func() bool { return s.end("t", 0) == 5 })
	bad := produceReq(0, "none", 0, batchOf(rec("k", "v")))
	bad.SetVersion(9)
	w.send(bad)
	if !w.closed() {
		t.Error("an error with acks 0 leaves the connection open")
	}
}

func (s *stand) end(topic string, p uint32) int64 {
	s.t.Helper()
	b := s.mem.Broker()
	top, ok := b.Topics.ByName(topic)
	if !ok {
		return -1
	}
	bounds, err := b.Log.Bounds(context.Background(), top.Shard(p))
	if err != nil {
		s.t.Fatal(err)
	}
	return bounds.End
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen")
		}
	}
}

func listReq(topic string, ts int64) *kmsg.ListOffsetsRequest {
	q := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = ts
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic, lt.Partitions = topic, append(lt.Partitions, p)
	q.Topics = append(q.Topics, lt)
	return q
}

func TestProducesArePipelinedAndAnsweredInOrder(t *testing.T) {
	const n, delay = 40, 300 * time.Millisecond
	s := newStand(t, withMem(func(o *shardmem.Options) { o.Delay = delay }))
	s.topic("t", 2, nil)
	w := s.dial()
	start := time.Now()
	qs := make([]kmsg.Request, n)
	for i := range n {
		q := produceReq(-1, "t", int32(i%2), batchOf(rec("k", fmt.Sprint(i))))
		q.SetVersion(9)
		qs[i] = q
		w.send(q)
	}
	for i := range n {
		resp, err := w.read(qs[i], int32(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if p := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != int64(i/2) {
			t.Fatalf("answer %d: %+v", i, p)
		}
	}
	if d := time.Since(start); d > n*delay/2 {
		t.Errorf("%d produces took %v: one after another", n, d)
	}
}

func TestInflightBytesAreBounded(t *testing.T) {
	var appended atomic.Int64
	s := newStand(t, withLimits(func(l *gateway.Limits) { l.MaxInflightBytes = 50_000 }), withMem(func(o *shardmem.Options) {
		o.Delay = 300 * time.Millisecond
		o.FailAppend = func(shard.ID, *shard.Batch, shard.AppendOptions) error { appended.Add(1); return nil }
	}))
	s.topic("t", 1, nil)
	w := s.dial()
	q := produceReq(-1, "t", 0, batchOf(rec("k", strings.Repeat("x", 10_000))))
	q.SetVersion(9)
	var all []byte
	for i := range int32(10) {
		all = append(all, frameOf(q, i, "w")...)
	}
	if _, err := w.c.Write(all); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return appended.Load() > 0 })
	time.Sleep(50 * time.Millisecond)
	if n := appended.Load(); n != 4 {
		t.Errorf("%d batches of 10 kB are in flight, the bound is 50 kB", n)
	}
	for i := range int32(10) {
		resp, err := w.read(q, i)
		if err != nil || resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
}

func TestProduceErrors(t *testing.T) {
	var fail atomic.Value
	s := newStand(t, withMem(func(o *shardmem.Options) {
		o.FailAppend = func(shard.ID, *shard.Batch, shard.AppendOptions) error {
			if e, ok := fail.Load().(error); ok {
				return e
			}
			return nil
		}
	}))
	s.topic("t", 1, nil)
	w := s.dial()
	code := func(q *kmsg.ProduceRequest) int16 {
		return ask[*kmsg.ProduceResponse](w, q, 9).Topics[0].Partitions[0].ErrorCode
	}
	if c := code(produceReq(2, "t", 0, batchOf(rec("k", "v")))); c != codeInvalidRequiredAcks {
		t.Errorf("acks 2: %d", c)
	}
	if c := code(produceReq(1, "t", 1, batchOf(rec("k", "v")))); c != codeUnknownTopicOrPartition {
		t.Errorf("no such partition: %d", c)
	}
	if c := code(produceReq(1, "nope", 0, batchOf(rec("k", "v")))); c != codeUnknownTopicOrPartition {
		t.Errorf("no such topic: %d", c)
	}
	tx := produceReq(-1, "t", 0, batchOf(rec("k", "v")))
	tx.TransactionID = ptr("tx")
	if c := code(tx); c != codeInvalidTxnState {
		t.Errorf("transactional: %d", c)
	}
	byID := produceReq(-1, "", 0, batchOf(rec("k", "v")))
	if c := ask[*kmsg.ProduceResponse](w, byID, 13).Topics[0].Partitions[0].ErrorCode; c != codeUnknownTopicID {
		t.Errorf("no such topic id: %d", c)
	}
	fail.Store(error(shard.ErrWALFull))
	if c := code(produceReq(1, "t", 0, batchOf(rec("k", "v")))); c != codeRequestTimedOut {
		t.Errorf("full log: %d", c)
	}
}

func TestIdempotence(t *testing.T) {
	s := newStand(t)
	s.topic("t", 1, nil)
	w := s.dial()
	id := ask[*kmsg.InitProducerIDResponse](w, kmsg.NewPtrInitProducerIDRequest(), 4)
	if id.ErrorCode != 0 || id.ProducerID < 0 {
		t.Fatalf("producer id: %+v", id)
	}
	if other := ask[*kmsg.InitProducerIDResponse](w, kmsg.NewPtrInitProducerIDRequest(), 4); other.ProducerID == id.ProducerID {
		t.Error("two producers have one id")
	}
	tx := kmsg.NewPtrInitProducerIDRequest()
	tx.TransactionalID = ptr("tx")
	if r := ask[*kmsg.InitProducerIDResponse](w, tx, 4); r.ErrorCode != codeClusterAuthorizationFailed {
		t.Errorf("a transactional id gets %d", r.ErrorCode)
	}
	batch := func(epoch int16, seq int32) []byte {
		b := shard.NewBuilder(100)
		r := rec("k", "v")
		b.Add(&r)
		return slices.Clone(b.BuildProducer(id.ProducerID, epoch, seq).Raw())
	}
	for i, x := range []struct {
		epoch  int16
		seq    int32
		code   int16
		offset int64
	}{{0, 0, 0, 0}, {0, 1, 0, 1}, {0, 1, 0, 1}, {0, 0, 0, 0}, {0, 5, codeOutOfOrderSequenceNumber, -1}, {1, 0, 0, 2}, {0, 2, codeInvalidProducerEpoch, -1}} {
		if p := w.produce("t", batch(x.epoch, x.seq)); p.ErrorCode != x.code || p.BaseOffset != x.offset {
			t.Errorf("step %d: code %d offset %d, want %d and %d", i, p.ErrorCode, p.BaseOffset, x.code, x.offset)
		}
	}
}

func TestManyIdempotentProducers(t *testing.T) {
	const producers, each = 16, 200
	s := newStand(t)
	s.topic("t", 4, nil)
	var wg sync.WaitGroup
	for p := range producers {
		cl := s.client(kgo.DefaultProduceTopic("t"), kgo.ProducerLinger(time.Millisecond))
		wg.Go(func() {
			for i := range each {
				cl.Produce(context.Background(), &kgo.Record{Key: fmt.Appendf(nil, "p%d", p), Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
			if err := cl.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	cl := s.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	next := make(map[string]int)
	for n := 0; n < producers*each; {
		fs := poll(t, cl)
		fs.EachRecord(func(r *kgo.Record) {
			n++
			if want := fmt.Sprint(next[string(r.Key)]); string(r.Value) != want {
				t.Errorf("%s: %s, want %s", r.Key, r.Value, want)
			}
			next[string(r.Key)]++
		})
	}
	for k, n := range next {
		if n != each {
			t.Errorf("%s: %d records", k, n)
		}
	}
}

func poll(t testing.TB, cl *kgo.Client) kgo.Fetches {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	fs := cl.PollFetches(ctx)
	if err := fs.Err(); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestCompressionsComeBack(t *testing.T) {
	s := newStand(t)
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		name := fmt.Sprintf("c%d", i)
		cl := s.client(kgo.ProducerBatchCompression(codec), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		value := bytes.Repeat([]byte("compressible "), 100)
		sent := &kgo.Record{Topic: name, Key: []byte{}, Value: value, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{0, 1}}, {Key: "h", Value: nil}}}
		if err := cl.ProduceSync(context.Background(), sent).FirstErr(); err != nil {
			t.Fatal(err)
		}
		got := poll(t, cl).Records()[0]
		if !bytes.Equal(got.Value, value) || got.Key == nil || len(got.Headers) != 2 || got.Headers[1].Value != nil || got.Timestamp.UnixMilli() != sent.Timestamp.UnixMilli() {
			t.Errorf("codec %d: %+v came back", i, got)
		}
		top, _ := s.mem.Broker().Topics.ByName(name)
		res, err := s.mem.Broker().Log.Read(context.Background(), top.Shard(0), 0, shard.ReadOptions{})
		if err != nil || int(res.Batches[0].Codec()) != i {
			t.Errorf("codec %d is stored as %d: %v", i, res.Batches[0].Codec(), err)
		}
	}
}
