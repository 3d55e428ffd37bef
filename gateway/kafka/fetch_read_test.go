package kafka

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// segmented is a log in segments, each with five records of every shard; it notes
// what is read of them.
type segmented struct {
	shard.Log
	mu    sync.Mutex
	reads [][2]int64 // segment and partition, by readers of many shards
}

const perSegment = 5

func (s *segmented) Age(_ shard.ID, offset int64) int64 { return offset / perSegment }

func (s *segmented) Read(ctx context.Context, id shard.ID, from int64, opts shard.ReadOptions) (shard.ReadResult, error) {
	if opts.OneSegment {
		seg := from / perSegment
		opts.Until = (seg + 1) * perSegment
		s.mu.Lock()
		s.reads = append(s.reads, [2]int64{seg, int64(id.Index)})
		s.mu.Unlock()
	}
	return s.Log.Read(ctx, id, from, opts)
}

// taken gives what was read since it was asked last.
func (s *segmented) taken() [][2]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads := s.reads
	s.reads = nil
	return reads
}

func newSegmented(t *testing.T) (*stand, *segmented) {
	log := &segmented{}
	return newStand(t, func(s *stand, _ *shardmem.Options) {
		s.wrap = func(l shard.Log) shard.Log { log.Log = l; return log }
	}), log
}

// TestManyPartitionsByAge: a client that is behind in many partitions gets all
// records of all, in fetches that go from segment to segment, not from partition to
// partition, and read each part of a segment once, but where a fetch ends.
func TestManyPartitionsByAge(t *testing.T) {
	const parts, records, size = 40, 20, 1000
	s, log := newSegmented(t)
	top := s.topic("t", parts, nil)
	for p := range uint32(parts) {
		for i := range records {
			b := shard.BatchOf(rec("k", fmt.Sprint(i, strings.Repeat("x", size))))
			if _, err := shard.AppendWait(context.Background(), log, top.Shard(p), b, shard.AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w := s.dial()
	next := make([]int64, parts)
	q := fetchReq("t", 0, 0)
	q.SessionEpoch = -1
	q.MaxBytes = parts * records * size * 3 / 10 // a segment and a bit
	left := parts * records
	fetches := 0
	for ; left > 0 && fetches < 50; fetches++ {
		one := q.Topics[0].Partitions[0]
		q.Topics[0].Partitions = q.Topics[0].Partitions[:0]
		for p := range int32(parts) {
			one.Partition, one.FetchOffset = p, next[p]
			q.Topics[0].Partitions = append(q.Topics[0].Partitions, one)
		}
		for _, p := range ask[*kmsg.FetchResponse](w, q, 12).Topics[0].Partitions {
			bs, err := shard.SplitBatches(p.RecordBatches)
			if err != nil || p.ErrorCode != codeNone || p.HighWatermark != records {
				t.Fatalf("partition %d: code %d, high watermark %d, error %v", p.Partition, p.ErrorCode, p.HighWatermark, err)
			}
			for _, b := range bs {
				if b.BaseOffset() != next[p.Partition] {
					t.Fatalf("partition %d: offset %d after %d", p.Partition, b.BaseOffset(), next[p.Partition])
				}
				next[p.Partition]++
				left--
			}
		}
		reads := log.taken()
		if !slices.IsSortedFunc(reads, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) }) {
			t.Fatalf("reads of segments and partitions are %v", reads)
		}
		if most := parts * 2; len(reads) > most || len(reads) == 0 {
			t.Fatalf("%d reads in a fetch of a segment and a bit", len(reads))
		}
	}
	if left > 0 || fetches > 6 {
		t.Fatalf("%d records are left after %d fetches", left, fetches)
	}
}

// TestManyPartitionsBeyondTheBudget: partitions for which a fetch has no room are
// told apart from those with an error, and nothing is read of them.
func TestManyPartitionsBeyondTheBudget(t *testing.T) {
	const parts = 40
	s, log := newSegmented(t)
	top := s.topic("t", parts, nil)
	for p := range uint32(parts) {
		if _, err := shard.AppendWait(context.Background(), log, top.Shard(p), shard.BatchOf(rec("k", strings.Repeat("x", 10_000))), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	q := fetchReq("t", 0, 0)
	q.SessionEpoch, q.MaxBytes = -1, 45_000
	one := q.Topics[0].Partitions[0]
	for p := int32(1); p < parts; p++ {
		one.Partition = p
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, one)
	}
	q.Topics[0].Partitions[30].FetchOffset = 7
	q.Topics[0].Partitions[31].CurrentLeaderEpoch = math.MaxInt32
	got := ask[*kmsg.FetchResponse](s.dial(), q, 12).Topics[0].Partitions
	full := 0
	for _, p := range got {
		want := codeNone
		switch p.Partition {
		case 30:
			want = codeOffsetOutOfRange
		case 31:
			want = codeUnknownLeaderEpoch
		}
		if p.ErrorCode != want {
			t.Errorf("partition %d: code %d, want %d", p.Partition, p.ErrorCode, want)
		}
		if want == codeNone && p.HighWatermark != 1 {
			t.Errorf("partition %d: high watermark %d", p.Partition, p.HighWatermark)
		}
		if len(p.RecordBatches) > 0 {
			full++
		}
	}
	if len(got) != parts || full != 4 {
		t.Errorf("%d partitions answered, %d with records", len(got), full)
	}
	if n := len(log.taken()); n > 5 {
		t.Errorf("%d partitions were read for the records of four", n)
	}
}

// TestSessionTakesTurns: the partition after that which was the first to get records
// is the next fetch's first.
func TestSessionTakesTurns(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 4, nil)
	for p := range uint32(4) {
		for range 3 {
			if _, err := shard.AppendWait(context.Background(), s.mem.Broker().Log, top.Shard(p), shard.BatchOf(rec("k", strings.Repeat("x", 10_000))), shard.AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	q := fetchReq("t", 3, 0)
	q.SessionEpoch, q.MaxBytes = 0, 100 // one batch for each fetch
	one := q.Topics[0].Partitions[0]
	for p := range int32(3) { // out of order
		one.Partition = p
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, one)
	}
	w := s.dial()
	var turns []int32
	next := make(map[int32]int64)
	for epoch := int32(1); epoch <= 12; epoch++ {
		r := ask[*kmsg.FetchResponse](w, q, 12)
		id := r.SessionID
		q = kmsg.NewPtrFetchRequest()
		q.SessionID, q.SessionEpoch, q.MaxBytes = id, epoch, 100
		for _, x := range r.Topics {
			for _, p := range x.Partitions {
				if len(p.RecordBatches) > 0 {
					turns = append(turns, p.Partition)
					next[p.Partition]++
					q.Topics = fetchReq("t", p.Partition, next[p.Partition]).Topics
				}
			}
		}
	}
	if want := []int32{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}; !slices.Equal(turns, want) {
		t.Errorf("turns %v, want %v", turns, want)
	}
}

// TestBatchOverItsPartitionsBound: a batch larger than a partition's max_bytes comes
// when it is the partition's turn, though the others always have something (KIP-74).
func TestBatchOverItsPartitionsBound(t *testing.T) {
	s := newStand(t)
	top := s.topic("t", 3, nil)
	put := func(p uint32, size int) {
		t.Helper()
		b := shard.BatchOf(rec("k", strings.Repeat("x", size)))
		if _, err := shard.AppendWait(context.Background(), s.mem.Broker().Log, top.Shard(p), b, shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put(1, 50_000)
	q := fetchReq("t", 0, 0)
	q.SessionEpoch = 0
	for p := int32(1); p < 3; p++ {
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, fetchReq("t", p, 0).Topics[0].Partitions[0])
	}
	for i := range q.Topics[0].Partitions {
		q.Topics[0].Partitions[i].PartitionMaxBytes = 10_000
	}
	w := s.dial()
	next := make(map[int32]int64)
	for epoch := int32(1); next[1] == 0; epoch++ {
		if epoch > 6 {
			t.Fatalf("six fetches, and no large batch: %v", next)
		}
		put(0, 100)
		put(2, 100)
		r := ask[*kmsg.FetchResponse](w, q, 12)
		q = kmsg.NewPtrFetchRequest()
		q.SessionID, q.SessionEpoch, q.MaxBytes = r.SessionID, epoch, 1<<20
		for _, x := range r.Topics {
			for _, p := range x.Partitions {
				bs, err := shard.SplitBatches(p.RecordBatches)
				if err != nil {
					t.Fatal(err)
				}
				next[p.Partition] += int64(len(bs))
				moved := fetchReq("t", p.Partition, next[p.Partition])
				moved.Topics[0].Partitions[0].PartitionMaxBytes = 10_000
				q.Topics = append(q.Topics, moved.Topics...)
			}
		}
	}
}
