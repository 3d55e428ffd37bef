package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/robustmq/robustmq-go/shard"
	"github.com/robustmq/robustmq-go/shard/shardmem"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// damaged is a log of which some offsets, each a range of its own, cannot be read.
type damaged struct {
	shard.Log
	from, to int64
}

func (d *damaged) Read(ctx context.Context, id shard.ID, from int64, opts shard.ReadOptions) (shard.ReadResult, error) {
	if from >= d.from && from < d.to {
		b, err := d.Log.Bounds(ctx, id)
		if err != nil {
			return shard.ReadResult{}, err
		}
		return shard.ReadResult{Bounds: b, Resume: from + 1}, shard.At(shard.ErrBatchCorrupt, "read", id, from)
	}
	if from < d.from {
		opts.Until = d.from
	}
	return d.Log.Read(ctx, id, from, opts)
}

func newDamaged(t *testing.T, from, to int64, opts ...option) *stand {
	t.Helper()
	s := newStand(t, append(opts, func(s *stand, _ *shardmem.Options) {
		s.wrap = func(l shard.Log) shard.Log { return &damaged{l, from, to} }
	})...)
	top := s.topic("t", 1, nil)
	for i := range to + 4 {
		if _, err := shard.AppendWait(context.Background(), s.mem.Broker().Log, top.Shard(0), shard.BatchOf(rec("k", fmt.Sprint(i))), shard.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestFetchPassesDamage: each client is told of damaged records once, however many
// ranges they are, and its next fetch gets what comes after; all is counted.
func TestFetchPassesDamage(t *testing.T) {
	const from, to = 3, 3 + 3000 // more than one fetch passes over
	s := newDamaged(t, from, to)
	for _, client := range []*wire{s.dial(), s.dial()} {
		told, got := 0, int64(-1)
		for range 10 {
			p := ask[*kmsg.FetchResponse](client, fetchReq("t", 0, from), 12).Topics[0].Partitions[0]
			if p.ErrorCode == codeCorruptMessage {
				told++
				continue
			}
			if p.ErrorCode != codeNone {
				t.Fatalf("code %d", p.ErrorCode)
			}
			if bs, err := shard.SplitBatches(p.RecordBatches); err != nil || len(bs) > 0 {
				if err != nil {
					t.Fatal(err)
				}
				got = bs[0].BaseOffset()
				break
			}
		}
		if got != to {
			t.Errorf("the fetch after the damage begins with %d, want %d", got, to)
		}
		if told > 1 || client.corr == 0 {
			t.Errorf("told %d times", told)
		}
	}
	if n := s.srv.env.Stats.DamagePassed.Load(); n < to-from {
		t.Errorf("%d offsets are counted", n)
	}
}

// TestConsumerPassesDamage is that of a real client.
func TestConsumerPassesDamage(t *testing.T) {
	s := newDamaged(t, 3, 5)
	cl := s.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var got []string
	for len(got) < 7 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if want := "[0 1 2 5 6 7 8]"; fmt.Sprint(got) != want {
		t.Errorf("consumed %v, want %s", got, want)
	}
}

// TestDamageIsRefused: where that is asked for, nobody passes.
func TestDamageIsRefused(t *testing.T) {
	s := newDamaged(t, 3, 5, withConfig(func(c *Config) { c.SkipDamaged = false }))
	w := s.dial()
	for range 3 {
		if p := ask[*kmsg.FetchResponse](w, fetchReq("t", 0, 3), 12).Topics[0].Partitions[0]; p.ErrorCode != codeCorruptMessage {
			t.Errorf("code %d", p.ErrorCode)
		}
	}
}
